-- The moves between waiting, leased and ended that several scripts make. Each keeps every index of the job in step.

-- The job waits (again). With `retry_at` it waits for its back-off first.
local function start_waiting(job, retry_at)
  if retry_at then
    redis.call('ZADD', DELAYED, retry_at, job.id)
    redis.call('HSET', job.key, 'r', retry_at)
  else
    ready_push(job)
    ring(1)
  end
  redis.call('INCRBY', WAIT, job.c)
  if job.d ~= '' then redis.call('ZADD', DUE, job.d, job.id) end
end

-- The job waits no longer; it is no longer in the ready queue or is taken out of it here.
local function stop_waiting(job)
  if ready_remove(job) == 0 then redis.call('ZREM', DELAYED, job.id) end
  if job.d ~= '' then redis.call('ZREM', DUE, job.id) end
  redis.call('DECRBY', WAIT, job.c)
end

local function hold(job, worker)
  redis.call('ZADD', RUN, job.b, job.id)
  redis.call('ZADD', SEEN, now, job.id)
  redis.call('SADD', own_key(worker), job.id)
end

-- The worker holds the job no longer.
local function let_go(job)
  redis.call('ZREM', RUN, job.id)
  redis.call('ZREM', SEEN, job.id)
  redis.call('SREM', own_key(job.o), job.id)
  if job.s == CANCELLING then redis.call('LREM', cancel_key(job.o), 0, job.id) end
end

-- The job has ended. What only a live job needs goes now, the rest when the outcome is acked.
local function finish(job, status, extra)
  redis.call('HSET', job.key, 's', status)
  redis.call('HDEL', job.key, 't', 'r', 'b', 'f', 'g')
  add_outcome(job, status, extra)
end

-- The attempt has ended and the job goes back to the queue with it spent.
local function retry(job, retry_at, failure)
  redis.call('HSET', job.key, 's', QUEUED)
  redis.call('HDEL', job.key, 'o', 'b', 'f', 'g')
  add_outcome(job, QUEUED, {'e', failure})
  start_waiting(job, retry_at)
  add_event(job.id, 'retrying', job.a, {'e', failure})
end

-- Its worker is gone: another attempt, or the end where it was cancelling or attempts are spent.
local function take_back(job, failure)
  let_go(job)
  if job.s == CANCELLING then
    finish(job, CANCELLED)
  elseif job.a >= job.mx then
    finish(job, FAILED, {'e', failure})
  else
    retry(job, nil, failure)
  end
end

-- Delayed jobs that are due become ready, each with a token for a waiting worker. Returns how many.
local function promote(limit)
  local ids = redis.call('ZRANGEBYSCORE', DELAYED, '-inf', now, 'LIMIT', 0, limit)
  for _, id in ipairs(ids) do
    local job = load_job(id)
    redis.call('ZREM', DELAYED, id)
    if job then
      redis.call('HDEL', job.key, 'r')
      ready_push(job)
      ring(1)
    end
  end
  return #ids
end

-- Waiting jobs whose start deadline has passed end. Returns how many.
local function expire(limit)
  local ids = redis.call('ZRANGEBYSCORE', DUE, '-inf', now, 'LIMIT', 0, limit)
  for _, id in ipairs(ids) do
    local job = load_job(id)
    redis.call('ZREM', DUE, id)
    if job and job.s == QUEUED then
      stop_waiting(job)
      finish(job, EXPIRED)
    end
  end
  return #ids
end
