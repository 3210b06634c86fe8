-- What every script begins with. KEYS[1] is the model's hash tag, "{p:<model>}": every key below carries it, so a script
-- touches one Cluster slot. ARGV[1] is now_s as text. Times are passed on as the text they came in: Lua prints a number
-- with 14 digits, too few for an epoch in microseconds. LEASE_TTL_S and EVENTS_PER_JOB are set by the loader.
--
--   :j:<id>  HASH    a job: s status, a attempt, mx most attempts, pr class 0..2, q enqueued_at_s, c predicted microseconds,
--                    d start deadline, t ticket (opaque), o owner, b attempt begun at, f fraction, g stage, r retry at;
--                    once it has ended s, a and o, later as its tombstone
--   :e:<id>  STREAM  its live events; a PUBLISH of the same name says that there is a new one
--   :run     ZSET    leased id -> when its attempt began             :seen ZSET  leased id -> when its worker last named it
--   :own:<w> SET     ids that worker w holds                         :cx:<w> LIST  ids it has to cancel, its own doorbell
--   :alive   ZSET    worker -> last heard of at                      :states HASH  worker -> what it said of itself
--   :delayed ZSET    id -> retry at                                  :due  ZSET  waiting id -> start deadline
--   :wait    STRING  predicted microseconds that wait                :wake LIST  one token for each job somebody may lease
--   :out     STREAM  outcomes for the ledger, consumer group `recorder`
--   :tomb    ZSET    ended id -> acked at                            :past ZSET  ended id -> its events are kept from here on
-- The order of the queue itself is in order.lua.

local P = KEYS[1]
local now = ARGV[1]
local now_s = tonumber(now)

local RUN, SEEN, ALIVE, STATES = P .. ':run', P .. ':seen', P .. ':alive', P .. ':states'
local DELAYED, DUE, WAIT, WAKE = P .. ':delayed', P .. ':due', P .. ':wait', P .. ':wake'
local OUT, TOMB, PAST = P .. ':out', P .. ':tomb', P .. ':past'
local WAKE_CAP = 64  -- more sleeping workers than that are woken by the next lease, which tops the tokens up

local QUEUED, IN_PROGRESS, CANCELLING = 'queued', 'in_progress', 'cancelling'
local COMPLETED, FAILED, CANCELLED, EXPIRED = 'completed', 'failed', 'cancelled', 'expired'
local TERMINAL = {completed = true, failed = true, cancelled = true, expired = true}

local function job_key(id) return P .. ':j:' .. id end
local function own_key(worker) return P .. ':own:' .. worker end
local function cancel_key(worker) return P .. ':cx:' .. worker end

-- A job as a table, or nil where it is not known.
local function load_job(id)
  local v = redis.call('HMGET', job_key(id), 's', 'a', 'mx', 'pr', 'q', 'c', 'd', 'o', 'b')
  if not v[1] then return nil end
  return {id = id, key = job_key(id), s = v[1], a = tonumber(v[2]), mx = tonumber(v[3]), pr = v[4], q = v[5], c = v[6],
          d = v[7] or '', o = v[8] or '', b = v[9] or ''}
end

-- The job, if `worker` holds `attempt` of it; else nil and the job as it stands.
local function load_held(id, worker, attempt)
  local job = load_job(id)
  if job and job.o == worker and job.a == tonumber(attempt) and (job.s == IN_PROGRESS or job.s == CANCELLING) then
    return job
  end
  return nil, job
end

-- Add a live event. Ids follow the caller's clock and never run backwards. Beyond EVENTS_PER_JOB the second-oldest goes:
-- the first one is always kept.
local function add_event(id, kind, attempt, extra, at)
  at = at or now
  local key = P .. ':e:' .. id
  local fields = {'k', kind, 't', at, 'a', attempt}
  for _, value in ipairs(extra or {}) do fields[#fields + 1] = value end
  local ms = string.format('%.0f', math.floor(tonumber(at) * 1000))
  local added = redis.pcall('XADD', key, ms .. '-*', unpack(fields))
  if type(added) == 'table' and added.err then
    local last = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
    if not last then error(added.err) end
    redis.call('XADD', key, string.match(last[1], '^%d+') .. '-*', unpack(fields))
  end
  if redis.call('XLEN', key) > EVENTS_PER_JOB then
    redis.call('XDEL', key, redis.call('XRANGE', key, '-', '+', 'COUNT', 2)[2][1])
  end
  redis.call('PUBLISH', key, '')
end

local outcomes_added = false

-- Put on the record-to-be that an attempt, or the job with it, has ended. extra: u run_s, r result, e error.
local function add_outcome(job, status, extra)
  local fields = {'i', job.id, 's', status, 'a', job.a, 'n', now, 'w', job.o, 'b', job.b}
  for _, value in ipairs(extra or {}) do fields[#fields + 1] = value end
  redis.call('XADD', OUT, '*', unpack(fields))
  if not outcomes_added then
    outcomes_added = true
    redis.call('PUBLISH', OUT, '')
  end
end

-- One token for each of `n` jobs: each wakes one worker that waits.
local function ring(n)
  for _ = 1, math.min(n, WAKE_CAP - redis.call('LLEN', WAKE)) do redis.call('RPUSH', WAKE, '1') end
end
