-- What every script begins with. KEYS[1] is the model's hash tag, "{p:<model>}": every key below carries it, so a
-- script touches one Cluster slot. ARGV[1] is now_s as text. Times are passed on as the text they came in: Lua prints a
-- number with 14 digits, too few for an epoch in microseconds. The loader sets EVENTS_PER_JOB and the constants of
-- `policy.fairness`.
--
--   :j:<id>   HASH    a job: s status, a attempt, mx most attempts, t tenant, pr class 0..2, q enqueued_at_s, c
--                     predicted microseconds, d start deadline, o owner, b attempt begun at, f fraction, g stage, r retry
--                     at, n the attempt given back last, k checkpoint (opaque) where one was made. All others are short,
--                     so that the server keeps it compact; once the job has ended it is its tombstone
--   :t:<id>   STRING  its ticket (opaque), while it lives
--   :e:<id>   LIST    its live events, oldest first; a PUBLISH of the same name says that there is a new one. A stream
--                     would take 4 KiB a job, however few its events
--   :seen     ZSET    leased id -> when its worker last named it
--   :own:<w>  SET     ids that worker w holds
--   :cx:<w>   LIST    ids that worker w has to cancel: its own doorbell
--   :alive    ZSET    worker -> last heard of at            :states HASH   worker -> what it said of itself
--   :delayed  ZSET    id -> retry at                        :due    ZSET   waiting id -> start deadline
--   :wait     STRING  predicted microseconds that wait      :wake   LIST   a token for each job somebody may lease
--   :reaped   STRING  now_s of the last reap
--   :out      STREAM  outcomes for the ledger, consumer group `recorder`
--   :tomb     ZSET    ended id -> acked at                  :past   ZSET   ended id -> its events are kept from here on
--
-- The order of the queue and its keys are in order.lua, the moves of a job in moves.lua. The loader wraps each script in
-- `main`, and calls `settle` after it.

local P = KEYS[1]
local now = ARGV[1]

local SEEN, ALIVE, STATES, OUT = P .. ':seen', P .. ':alive', P .. ':states', P .. ':out'
local DELAYED, DUE, WAIT, WAKE = P .. ':delayed', P .. ':due', P .. ':wait', P .. ':wake'
local TOMB, PAST = P .. ':tomb', P .. ':past'
local WAKE_CAP = 64  -- more sleeping workers than that are woken by the next lease, which tops the tokens up

local QUEUED, IN_PROGRESS, CANCELLING = 'queued', 'in_progress', 'cancelling'
local COMPLETED, FAILED, CANCELLED, EXPIRED = 'completed', 'failed', 'cancelled', 'expired'
local TERMINAL = {completed = true, failed = true, cancelled = true, expired = true}

local function job_key(id) return P .. ':j:' .. id end
local function ticket_key(id) return P .. ':t:' .. id end
local function event_key(id) return P .. ':e:' .. id end
local function own_key(worker) return P .. ':own:' .. worker end
local function cancel_key(worker) return P .. ':cx:' .. worker end

-- A job as a table, or nil where it is not known.
local function load_job(id)
  local key = job_key(id)
  local v = redis.call('HMGET', key, 's', 'a', 'o', 'b', 'mx', 'pr', 'q', 'c', 'd', 't', 'n', 'k')
  if not v[1] then return nil end
  return {id = id, key = key, s = v[1], a = tonumber(v[2]), o = v[3] or '', b = v[4] or '', mx = tonumber(v[5]),
          pr = v[6], q = v[7], c = v[8], d = v[9] or '', t = v[10], n = tonumber(v[11] or '0'), k = v[12]}
end

-- Add a live event and ring for it. Ids and times follow the caller's clock and never run backwards; nothing follows a
-- terminal event. `more` is 's' and the stage, or 'e' and the error. `is_first`: there is none yet, as is known.
local function add_event(id, kind, attempt, at, fraction, more, is_first)
  local key = event_key(id)
  local ms, n = math.floor(tonumber(at) * 1000), 0
  local last = not is_first and redis.call('LINDEX', key, -1)
  if last then
    local last_ms, last_n, last_kind, last_at = string.match(last, '^(%d+)-(%d+) (%S+) (%S+)')
    if TERMINAL[last_kind] then return end
    if tonumber(last_at) > tonumber(at) then at = last_at end
    if tonumber(last_ms) >= ms then ms, n = tonumber(last_ms), tonumber(last_n) + 1 end
  end
  local seq = string.format('%.0f-%d', ms, n)
  redis.call('RPUSH', key, table.concat({seq, kind, at, attempt, fraction or '-', more or 's'}, ' '))
  redis.call('PUBLISH', key, '')
end

-- Keep a job's events few: beyond EVENTS_PER_JOB the second-oldest goes, so that the first one always stays.
local function trim_events(id)
  local key = event_key(id)
  if redis.call('LLEN', key) > EVENTS_PER_JOB then
    redis.call('LPUSH', key, redis.call('LPOP', key, 2)[1])
  end
end

local outcomes_added = false

-- Put on the record-to-be that an attempt, or the job with it, has ended. Fields: u run_s, r result, e error,
-- k checkpoint.
local function add_outcome(job, status, ...)
  local fields = {'h', table.concat({job.id, status, job.a, now, job.b, job.o}, ' '), ...}
  if job.k then fields[#fields + 1], fields[#fields + 2] = 'k', job.k end
  redis.call('XADD', OUT, '*', unpack(fields))
  outcomes_added = true
end

-- One token for each of `n` jobs: each wakes one worker that waits.
local function ring(n)
  for _ = 1, math.min(n, WAKE_CAP - redis.call('LLEN', WAKE)) do redis.call('RPUSH', WAKE, '1') end
end
