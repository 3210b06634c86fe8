-- ARGV: now, oldest sign of life, oldest tombstone, oldest event, most ended jobs whose events are kept, error of a lost
-- worker. Returns 1 where there may be more, then the ids taken back.
local LIMIT = 100
local replies = {0}
local function more(n, limit) if n >= limit then replies[1] = 1 end end

local silent = redis.call('ZRANGEBYSCORE', SEEN, '-inf', ARGV[2], 'LIMIT', 0, LIMIT)
more(#silent, LIMIT)
for _, id in ipairs(silent) do
  local job = load_job(id)
  if job then
    take_back(job, ARGV[6])
    replies[#replies + 1] = id
  else
    redis.call('ZREM', SEEN, id)
  end
end

for _, worker in ipairs(redis.call('ZRANGEBYSCORE', ALIVE, '-inf', ARGV[2], 'LIMIT', 0, LIMIT)) do
  redis.call('ZREM', ALIVE, worker)
  redis.call('HDEL', STATES, worker)
  redis.call('DEL', cancel_key(worker))
end

more(promote(LIMIT), LIMIT)
more(expire(LIMIT), LIMIT)

-- Forgetting is cheap, and a busy hour leaves many: ten times as many at once.
local function forget(index, before, prefix)
  local ids = redis.call('ZRANGEBYSCORE', index, '-inf', before, 'LIMIT', 0, LIMIT * 10)
  more(#ids, LIMIT * 10)
  for _, id in ipairs(ids) do redis.call('UNLINK', P .. prefix .. id) end
  if #ids > 0 then redis.call('ZREM', index, unpack(ids)) end
end
forget(TOMB, ARGV[3], ':j:')
forget(PAST, ARGV[4], ':e:')
local over = redis.call('ZCARD', PAST) - tonumber(ARGV[5])
if over > 0 then
  local oldest = redis.call('ZPOPMIN', PAST, math.min(over, LIMIT * 10))
  more(over, LIMIT * 10)
  for i = 1, #oldest, 2 do redis.call('UNLINK', P .. ':e:' .. oldest[i]) end
end

-- A token that was taken by a worker which then died must not leave its job waiting for the next arrival.
if ready_count() > 0 and redis.call('LLEN', WAKE) == 0 then ring(1) end
return replies
