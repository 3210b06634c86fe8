-- ARGV: now (unused), name of the discipline, most leased of the model or '', then for each tenant: id, weight, most
-- leased or ''. Returns 1 where it is new.
if redis.call('HGET', FAIR, 'd') == ARGV[2] then return 0 end
redis.call('HSET', FAIR, 'd', ARGV[2], 'm', ARGV[3])
redis.call('DEL', SHARE)
for i = 4, #ARGV, 3 do redis.call('HSET', SHARE, ARGV[i], ARGV[i + 1] .. ' ' .. ARGV[i + 2]) end
for _, tenant in ipairs(redis.call('HKEYS', WAITING)) do set_open(tenant) end
woken = ready_count()
return 1
