-- ARGV: now, oldest sign of life, oldest tombstone, oldest story, most ended jobs whose stories are kept, error of a
-- lost worker. Returns 1 where there may be more, then the ids taken back.
local LIMIT = 100
local CLOCK_STEP_S = 7.5  -- half a lease
local REAPED = P .. ':reaped'
local FORGET_LIMIT = 1000  -- forgetting is cheap, and a busy minute leaves many
local replies = {0}
local function more(n, limit) if n >= limit then replies[1] = 1 end end

-- What was noted by a clock ahead of this one, or before this one was set back, counts from now on.
for _, index in ipairs({SEEN, ALIVE}) do
  local ahead = redis.call('ZRANGEBYSCORE', index, '(' .. ARGV[1], '+inf', 'LIMIT', 0, LIMIT)
  more(#ahead, LIMIT)
  for _, name in ipairs(ahead) do redis.call('ZADD', index, now, name) end
end

-- Set back by more than two clocks may differ: nobody waits for the old time to come round again.
local reaped = redis.call('GET', REAPED)
redis.call('SET', REAPED, ARGV[1])
local back = reaped and tonumber(reaped) - now or 0
if back > CLOCK_STEP_S then
  local later = redis.call('ZRANGEBYSCORE', DELAYED, '(' .. reaped, '+inf', 'WITHSCORES')
  for n = 1, #later, 2 do
    local at, job = tonumber(later[n + 1]) - back, load_job(later[n])
    redis.call('ZADD', DELAYED, at, later[n])
    if job then
      job[RETRY_AT] = at
      save(job)
    end
  end
end

local silent = redis.call('ZRANGEBYSCORE', SEEN, '-inf', ARGV[2], 'LIMIT', 0, LIMIT)
more(#silent, LIMIT)
load_jobs(silent)
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

local function forget(index, ids)
  if #ids == 0 then return end
  local keys = {}
  for n, id in ipairs(ids) do keys[2 * n - 1], keys[2 * n] = job_key(id), event_key(id) end
  redis.call('UNLINK', unpack(keys))
  redis.call('ZREM', index, unpack(ids))
  more(#ids, FORGET_LIMIT)
end

-- Of a tombstone that is dropped the story stays, unless enough newer ones do.
local tombs = redis.call('ZRANGEBYSCORE', TOMB, '-inf', ARGV[3], 'WITHSCORES', 'LIMIT', 0, FORGET_LIMIT)
local old, past = {}, {}
for n = 1, #tombs, 2 do
  old[#old + 1] = tombs[n]
  past[n], past[n + 1] = tombs[n + 1], tombs[n]
end
local most = tonumber(ARGV[5])
if redis.call('ZCARD', TOMB) - #old >= most then
  forget(TOMB, old)
elseif #old > 0 then
  load_jobs(old)
  for _, id in ipairs(old) do save(new_job(id, load_record(id))) end
  redis.call('ZREM', TOMB, unpack(old))
  redis.call('ZADD', PAST, unpack(past))
  more(#old, FORGET_LIMIT)
end
forget(PAST, redis.call('ZRANGEBYSCORE', PAST, '-inf', ARGV[4], 'LIMIT', 0, FORGET_LIMIT))
local over = math.min(redis.call('ZCARD', TOMB) + redis.call('ZCARD', PAST) - most, FORGET_LIMIT)
if over > 0 then forget(PAST, redis.call('ZRANGE', PAST, 0, over - 1)) end

-- Where closed lanes stood matters no longer once the others have caught up.
for class = 0, 2 do
  local now_at = redis.call('HGET', FAIR, 'v' .. class)
  if now_at then redis.call('ZREMRANGEBYSCORE', closed_key(class), '-inf', now_at) end
end

settle_pushes()
-- A token that was taken by a worker which then died must not leave its job waiting for the next arrival.
if woken == 0 and has_turn() and redis.call('LLEN', WAKE) == 0 then ring(1) end
return replies
