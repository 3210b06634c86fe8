-- ARGV: now (unused). Returns waiting, leased, predicted microseconds that wait, oldest or '', {worker, heard of at,
-- what it said of itself, held, ...}, {tenant, waiting, ...}, {tenant, leased, ...}.
local workers = {}
local alive = redis.call('ZRANGE', ALIVE, 0, -1, 'WITHSCORES')
for i = 1, #alive, 2 do
  workers[#workers + 1] = alive[i]
  workers[#workers + 1] = alive[i + 1]
  workers[#workers + 1] = redis.call('HGET', STATES, alive[i]) or ''
  workers[#workers + 1] = redis.call('SCARD', own_key(alive[i]))
end
-- When the longest-waiting ready job was accepted, as text; '' where none waits.
local oldest = ''
for class = 0, 2 do
  local first = redis.call('ZRANGE', class_key(class), 0, 0, 'WITHSCORES')[2]
  if first and (oldest == '' or tonumber(first) < tonumber(oldest)) then oldest = first end
end
local waiting = ready_count() + redis.call('ZCARD', DELAYED)
return {waiting, redis.call('ZCARD', SEEN), redis.call('GET', WAIT) or '0', oldest, workers,
        redis.call('HGETALL', WAITING), redis.call('HGETALL', RUNNING)}
