-- ARGV: now, oldest sign of life, oldest tombstone, oldest event, most ended jobs whose events are kept, error of a
-- lost worker. Returns 1 where there may be more, then the ids taken back.
local LIMIT = 100
local CLOCK_STEP_S = 7.5  -- half a lease
local REAPED = P .. ':reaped'
local FORGET_LIMIT = 1000  -- forgetting is cheap, and a busy minute leaves many
local replies = {0}
local function more(n, limit) if n >= limit then replies[1] = 1 end end

-- What was noted by a clock ahead of this one, or before this one was set back, counts from now on.
for _, index in ipairs({SEEN, ALIVE}) do
  local ahead = redis.call('ZRANGEBYSCORE', index, '(' .. now, '+inf', 'LIMIT', 0, LIMIT)
  more(#ahead, LIMIT)
  for _, name in ipairs(ahead) do redis.call('ZADD', index, now, name) end
end

-- Set back by more than two clocks may differ: nobody waits for the old time to come round again.
local reaped = redis.call('GET', REAPED)
redis.call('SET', REAPED, now)
local back = reaped and tonumber(reaped) - tonumber(now) or 0
if back > CLOCK_STEP_S then
  local later = redis.call('ZRANGEBYSCORE', DELAYED, '(' .. reaped, '+inf', 'WITHSCORES')
  for n = 1, #later, 2 do
    local at = string.format('%.6f', tonumber(later[n + 1]) - back)
    redis.call('ZADD', DELAYED, at, later[n])
    redis.call('HSET', job_key(later[n]), 'r', at)
  end
end

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

local function forget(index, ids, key_of)
  local keys = {}
  for n, id in ipairs(ids) do keys[n] = key_of(id) end
  if #ids > 0 then
    redis.call('UNLINK', unpack(keys))
    redis.call('ZREM', index, unpack(ids))
  end
  more(#ids, FORGET_LIMIT)
end

local old = redis.call('ZRANGEBYSCORE', TOMB, '-inf', ARGV[3], 'LIMIT', 0, FORGET_LIMIT)
for _, id in ipairs(old) do redis.call('ZADD', PAST, 'NX', now, id) end  -- its end was never announced
forget(TOMB, old, job_key)
forget(PAST, redis.call('ZRANGEBYSCORE', PAST, '-inf', ARGV[4], 'LIMIT', 0, FORGET_LIMIT), event_key)
local over = math.min(redis.call('ZCARD', PAST) - tonumber(ARGV[5]), FORGET_LIMIT)
if over > 0 then forget(PAST, redis.call('ZRANGE', PAST, 0, over - 1), event_key) end

-- Where closed lanes stood matters no longer once the others have caught up.
for class = 0, 2 do
  local now_at = redis.call('HGET', FAIR, 'v' .. class)
  if now_at then redis.call('ZREMRANGEBYSCORE', closed_key(class), '-inf', now_at) end
end

settle_pushes()
-- A token that was taken by a worker which then died must not leave its job waiting for the next arrival.
if woken == 0 and has_turn() and redis.call('LLEN', WAKE) == 0 then ring(1) end
return replies
