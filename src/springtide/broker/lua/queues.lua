-- ARGV: now (unused). Returns waiting, leased, predicted microseconds that wait, oldest or '', {worker, heard of at,
-- its state, held, ...}.
local workers = {}
local alive = redis.call('ZRANGE', ALIVE, 0, -1, 'WITHSCORES')
for i = 1, #alive, 2 do
  workers[#workers + 1] = alive[i]
  workers[#workers + 1] = alive[i + 1]
  workers[#workers + 1] = redis.call('HGET', STATES, alive[i]) or ''
  workers[#workers + 1] = redis.call('SCARD', own_key(alive[i]))
end
local waiting = ready_count() + redis.call('ZCARD', DELAYED)
return {waiting, redis.call('ZCARD', SEEN), redis.call('GET', WAIT) or '0', ready_oldest(), workers}
