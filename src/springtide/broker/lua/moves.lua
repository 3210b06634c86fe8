-- The moves between waiting, leased and ended that several scripts make. Each keeps every index of the job in step.
-- What can be done for all jobs of a call at once is noted here and done by `settle`.

local let_go_ids = {}    -- no longer leased
local let_go_owned = {}  -- the same, by worker
local spent_tickets = {}
local woken, waiting_more = 0, 0

local function count_in(id, tenant, cost, deadline)
  waiting_more = waiting_more + cost
  count_waiting(tenant, 1)
  if deadline then redis.call('ZADD', DUE, deadline, id) end
end

-- The job waits from now on.
local function enter(id, class, tenant, since, cost, deadline)
  ready_push(id, class, tenant, since, cost)
  woken = woken + 1
  count_in(id, tenant, cost, deadline)
end

-- The job waits (again). With `retry_at` it waits for its back-off first.
local function start_waiting(job, retry_at)
  if not retry_at then
    return enter(job[ID], job[CLASS], job[TENANT], job[SINCE], job[COST], job[DEADLINE])
  end
  redis.call('ZADD', DELAYED, retry_at, job[ID])
  job[RETRY_AT] = retry_at
  count_in(job[ID], job[TENANT], job[COST], job[DEADLINE])
end

-- The job waits no longer, and not because it was leased.
local function stop_waiting(job)
  if not ready_remove(job) then redis.call('ZREM', DELAYED, job[ID]) end
  if job[DEADLINE] then redis.call('ZREM', DUE, job[ID]) end
  waiting_more = waiting_more - job[COST]
  count_waiting(job[TENANT], -1)
end

-- `worker` holds the job's attempt from now on, and has run it since `began`.
local function begin(job, worker, began)
  job[STATUS], job[OWNER], job[BEGUN] = IN_PROGRESS, worker, began
  save(job)
  redis.call('ZADD', SEEN, now, job[ID])
  redis.call('SADD', own_key(worker), job[ID])
  count_running(job[TENANT], 1)
end

-- The job, if `worker` holds `attempt` of it or comes to hold it by naming it; else nil and the job as it stands.
local function load_held(id, worker, attempt)
  local job = load_job(id)
  if not job then return nil end
  local is_run = job[STATUS] == IN_PROGRESS or job[STATUS] == CANCELLING
  if is_run and job[OWNER] == worker and job[ATTEMPT] == attempt then return job end
  -- Nobody holds it, and the next attempt was never granted here: a server whose memory was lost has granted it.
  if job[STATUS] == QUEUED and job[ATTEMPT] + 1 == attempt and job[RETURNED] ~= attempt then
    stop_waiting(job)
    job[ATTEMPT], job[RETRY_AT] = attempt, false
    begin(job, worker, now)
    add_event(job, 'started', attempt, now)
    return job
  end
  return nil, job
end

-- The worker holds the job no longer.
local function let_go(job)
  let_go_ids[#let_go_ids + 1] = job[ID]
  local owned = let_go_owned[job[OWNER]] or {}
  owned[#owned + 1] = job[ID]
  let_go_owned[job[OWNER]] = owned
  count_running(job[TENANT], -1)
  if job[STATUS] == CANCELLING then redis.call('LREM', cancel_key(job[OWNER]), 0, job[ID]) end
end

-- All that is not needed of a job that has ended: the rest goes some time after its outcome is acked.
local function close(job, status)
  if job[TICKET] == '' then spent_tickets[#spent_tickets + 1] = ticket_key(job[ID]) end
  job[STATUS], job[CHECKPOINT], job[TICKET] = status, '', ''
  save(job)
end

-- The job has ended.
local function finish(job, status, run_s, result, failure)
  add_outcome(job, status, run_s, result, failure)
  close(job, status)
end

-- The attempt is over: nothing of it is said of the job any more.
local function lay_down(job)
  job[STATUS], job[OWNER], job[BEGUN], job[FRACTION], job[STAGE] = QUEUED, '', false, false, ''
  save(job)
end

-- The attempt has ended and the job goes back to the queue with it spent.
local function retry(job, retry_at, failure)
  add_outcome(job, QUEUED, nil, nil, failure)
  lay_down(job)
  start_waiting(job, retry_at)
  add_event(job, 'retrying', job[ATTEMPT], now, nil, nil, failure)
end

-- Its worker is gone: another attempt, or the end where it was cancelling or attempts are spent.
local function take_back(job, failure)
  let_go(job)
  if job[STATUS] == CANCELLING then
    finish(job, CANCELLED)
  elseif job[ATTEMPT] >= job[MOST] then
    finish(job, FAILED, nil, nil, failure)
  else
    retry(job, nil, failure)
  end
end

-- The job has given its result. What is to be told of that is written along with it, so that nothing has to be written
-- once it is on record but the tombstone (bury.lua).
local function succeed(job, run_s, result)
  finish(job, COMPLETED, run_s, result)
  if write_event(job, COMPLETED, job[ATTEMPT], now) then job[IS_UNTOLD] = true end
end

-- Delayed jobs that are due become ready, each with a token for a waiting worker. Returns how many.
local function promote(limit)
  local ids = redis.call('ZRANGEBYSCORE', DELAYED, '-inf', now, 'LIMIT', 0, limit)
  load_jobs(ids)
  for _, id in ipairs(ids) do
    local job = load_job(id)
    redis.call('ZREM', DELAYED, id)
    if job then
      job[RETRY_AT] = false
      save(job)
      ready_push(id, job[CLASS], job[TENANT], job[SINCE], job[COST])
      woken = woken + 1
    end
  end
  return #ids
end

-- Waiting jobs whose start deadline has passed end. Returns how many.
local function expire(limit)
  local ids = redis.call('ZRANGEBYSCORE', DUE, '-inf', now, 'LIMIT', 0, limit)
  load_jobs(ids)
  for _, id in ipairs(ids) do
    local job = load_job(id)
    redis.call('ZREM', DUE, id)
    if job and job[STATUS] == QUEUED then
      stop_waiting(job)
      finish(job, EXPIRED)
    end
  end
  return #ids
end

-- Add terminal events, packed {id, kind, at_s, attempt, ...}; their errors are in ARGV behind `at`.
local function announce(events, at)
  local ids = {}
  for n = 1, #events / 4 do ids[n] = events[4 * n - 3] end
  load_jobs(ids)
  for n, id in ipairs(ids) do
    local job = load_record(id) or new_job(id)
    if job[STATUS] == '' then redis.call('ZADD', PAST, 'NX', events[4 * n - 1], id) end
    if job[IS_UNTOLD] then
      job[IS_UNTOLD], told[#told + 1] = false, id
      save(job)
    end
    add_event(job, events[4 * n - 2], events[4 * n], events[4 * n - 1], nil, nil, ARGV[at + n])
  end
end

-- Do what was noted. Called once, when the script itself is through.
local function settle()
  settle_pushes()
  local ended = #let_go_ids
  if ended > 0 then
    local most = model_limit()
    local leased = most and redis.call('ZCARD', SEEN)
    redis.call('ZREM', SEEN, unpack(let_go_ids))
    if most and leased >= most then woken = woken + math.max(0, math.min(ended, most - leased + ended)) end
  end
  woken = woken + settle_counts()
  for worker, ids in pairs(let_go_owned) do redis.call('SREM', own_key(worker), unpack(ids)) end
  if #spent_tickets > 0 then redis.call('UNLINK', unpack(spent_tickets)) end
  if waiting_more ~= 0 then redis.call('INCRBY', WAIT, string.format('%.0f', waiting_more)) end
  write_down()
  if woken > 0 and has_turn() then ring(woken) end
end
