-- What every script begins with. KEYS[1] is the model's hash tag, "{p:<model>}": every key below carries it, so a
-- script touches one Cluster slot. ARGV[1] is now_s. Numbers go to the server and into packed values as they are: only
-- where Lua itself prints one does it lose digits. The loader sets EVENTS_PER_JOB, TICKET_BYTES and the constants of
-- `policy.fairness`.
--
-- What a call costs is the number of commands it gives, not of bytes it moves. So a job is one packed value, and a
-- script reads all its jobs with one command (`load_jobs`), changes them as tables and writes them with one (`settle`).
--
--   :j:<id>   STRING  a job: its state, the beginning of its story and a short ticket (`pack_job`). Once it has ended
--                     this is its tombstone, and when that is dropped its story alone
--   :t:<id>   STRING  its ticket (opaque) where that is long, while it lives
--   :e:<id>   STRING  the rest of its story where that is long. A story is live events, oldest first, each with its length
--                     in 4 bytes before and behind it
--   :news     (a channel: the ids of jobs with a new event, between blanks)
--   :seen     ZSET    leased id -> when its worker last named it
--   :own:<w>  SET     ids that worker w holds
--   :cx:<w>   LIST    ids that worker w has to cancel: its own doorbell
--   :alive    ZSET    worker -> last heard of at            :states HASH   worker -> what it said of itself
--   :delayed  ZSET    id -> retry at                        :due    ZSET   waiting id -> start deadline
--   :wait     STRING  predicted microseconds that wait      :wake   LIST   a token for each job somebody may lease
--   :reaped   STRING  now_s of the last reap
--   :out      STREAM  outcomes for the ledger, as many in an entry as a script added; consumer group `recorder`
--   :half     HASH    entry of :out -> a letter for each of its outcomes, `x` where it is acked
--   :tomb     ZSET    ended id -> acked at                  :past   ZSET   id of which only the story is left -> since when
--
-- Opaque values (tickets, results, errors, checkpoints) are msgpack of the caller's: spliced into replies as they came.
-- The order of the queue and its keys are in order.lua, the moves of a job in moves.lua. The loader wraps each script in
-- `main`, and calls `settle` after it.

local P = KEYS[1]
local now = tonumber(ARGV[1])

local SEEN, ALIVE, STATES, OUT = P .. ':seen', P .. ':alive', P .. ':states', P .. ':out'
local DELAYED, DUE, WAIT, WAKE = P .. ':delayed', P .. ':due', P .. ':wait', P .. ':wake'
local TOMB, PAST, HALF, NEWS = P .. ':tomb', P .. ':past', P .. ':half', P .. ':news'
local WAKE_CAP = 64  -- more sleeping workers than that are woken by the next lease, which tops the tokens up
local STORY_BYTES = 256  -- of a story's beginning: four or five events, more than most jobs have
local UNTOLD = 2 ^ 31  -- added to the length of a story whose last event is not to be told yet
local NIL = '\192'  -- of msgpack

local QUEUED, IN_PROGRESS, CANCELLING = 'queued', 'in_progress', 'cancelling'
local COMPLETED, FAILED, CANCELLED, EXPIRED = 'completed', 'failed', 'cancelled', 'expired'
local TERMINAL = {completed = true, failed = true, cancelled = true, expired = true}

local function job_key(id) return P .. ':j:' .. id end
local function ticket_key(id) return P .. ':t:' .. id end
local function event_key(id) return P .. ':e:' .. id end
local function own_key(worker) return P .. ':own:' .. worker end
local function cancel_key(worker) return P .. ':cx:' .. worker end

-- An opaque value inside a packed one; '' is none.
local function spliced(value) return value and value ~= '' and value or NIL end

-- The head of a msgpack array of n values.
local function array_of(n) return '\220' .. struct.pack('>I2', n) end

local function values_of(key_of, ids)
  local keys = {}
  for n, id in ipairs(ids) do keys[n] = key_of(id) end
  return redis.call('MGET', unpack(keys))
end

local records = {}  -- id -> the job as this script has it, `s` is '' where only its story is known; false: nothing
local changed = {}  -- records to be written down
local told = {}     -- ids that have news

-- Its story's beginning, behind its length; then s status, a attempt, mx most attempts, t tenant, pr class 0..2, q
-- enqueued_at_s, c predicted microseconds, d start deadline, o owner, b attempt begun at, f fraction, g stage, r retry
-- at, n the attempt given back last, k checkpoint (opaque), x short ticket; of the last event: ms and place in it,
-- kind, at; e events in the rest of the story, at most. Of a job that has ended s, a, o and what is of events. With the
-- length goes u: the story's last event is the end, and is told from the moment on that there is a tombstone.
local function pack_job(job)
  local story = struct.pack('>I4', #job.story + (job.u and UNTOLD or 0)) .. job.story
  if job.s == '' or TERMINAL[job.s] then
    return story .. cmsgpack.pack(job.s, job.a, job.o, job.ms, job.place, job.kind, job.at, job.e)
  end
  return story
         .. cmsgpack.pack(job.s, job.a, job.mx, job.t, job.pr, job.q, job.c, job.d or false, job.o, job.b or false,
                          job.f or false, job.g, job.r or false, job.n, job.k, job.x, job.ms, job.place, job.kind,
                          job.at, job.e)
end

local function unpack_job(id, packed)
  local size = struct.unpack('>I4', packed)
  local u = size >= UNTOLD
  if u then size = size - UNTOLD end
  local _, s, a, mx, t, pr, q, c, d, o, b, f, g, r, n, k, x, ms, place, kind, at, e =
    cmsgpack.unpack_limit(packed, 21, size + 4)
  local story = string.sub(packed, 5, size + 4)
  if not kind then  -- it has ended
    return {id = id, s = s, a = a, o = mx, ms = t, place = pr, kind = q, at = c, e = d, g = '', k = '', x = '', u = u,
            story = story, more = ''}
  end
  return {id = id, s = s, a = a, mx = mx, t = t, pr = pr, q = q, c = c, d = d, o = o, b = b, f = f, g = g, r = r, n = n,
          k = k, x = x, ms = ms, place = place, kind = kind, at = at, e = e, u = u, story = story, more = ''}
end

-- A job of which nothing is known but perhaps `before`, its story.
local function new_job(id, before)
  local job = before or {ms = -1, place = 0, kind = '', at = 0, e = 0, story = '', more = ''}
  job.id, job.s, job.a, job.mx, job.t, job.pr, job.q, job.c, job.d, job.o = id, '', 0, 0, '', 0, 0, 0, nil, ''
  job.b, job.f, job.g, job.r, job.n, job.k, job.x, job.u = nil, nil, '', nil, 0, '', '', nil
  records[id] = job
  return job
end

-- Learn these jobs in one go.
local function load_jobs(ids)
  local fresh = {}
  for _, id in ipairs(ids) do
    if records[id] == nil then fresh[#fresh + 1], records[id] = id, false end
  end
  if #fresh == 0 then return end
  for n, packed in ipairs(values_of(job_key, fresh)) do
    if packed then records[fresh[n]] = unpack_job(fresh[n], packed) end
  end
end

-- What there is of a job, though it be its story alone; else nil.
local function load_record(id)
  if records[id] == nil then load_jobs({id}) end
  return records[id] or nil
end

-- A job as a table, or nil where it is not known. Whoever changes it says so by `save`.
local function load_job(id)
  local job = load_record(id)
  return job and job.s ~= '' and job or nil
end

local function save(job)
  if not job.is_changed then changed[#changed + 1], job.is_changed = job, true end
end

-- Add a live event. Ids and times follow the caller's clock and never run backwards; nothing follows a terminal event.
local function write_event(job, kind, attempt, at, fraction, stage, failure)
  if TERMINAL[job.kind] then return false end
  local ms, place = math.floor(at * 1000), 0
  if job.ms >= ms then ms, place = job.ms, job.place + 1 end
  at = math.max(at, job.at)
  local event = '\152' .. cmsgpack.pack(ms, place, kind, at, attempt, fraction or false, stage or '') .. spliced(failure)
  local size = struct.pack('>I4', #event)
  if job.e == 0 and (job.story == '' or #job.story + #event <= STORY_BYTES) then
    job.story = job.story .. size .. event .. size
  else
    job.more, job.e = job.more .. size .. event .. size, job.e + 1
  end
  job.ms, job.place, job.kind, job.at = ms, place, kind, at
  save(job)
  return true
end

-- Add a live event and ring for it.
local function add_event(job, kind, attempt, at, fraction, stage, failure)
  if write_event(job, kind, attempt, at, fraction, stage, failure) then told[#told + 1] = job.id end
end

-- Keep a job's events few: of the rest of its story only the newest stay. Not with each event: that takes a walk.
local function trim_events(job)
  if job.e <= 1.25 * EVENTS_PER_JOB then return end
  local key = event_key(job.id)
  local rest = (redis.call('GET', key) or '') .. job.more
  local from = #rest + 1
  for _ = 2, EVENTS_PER_JOB do
    if from > 1 then from = from - struct.unpack('>I4', rest, from - 4) - 8 end
  end
  redis.call('SET', key, string.sub(rest, from))
  job.e, job.more = EVENTS_PER_JOB, ''
end

local outcomes = {}  -- to be added

-- Put on the record-to-be that an attempt, or the job with it, has ended: run_s, result, failure where there are such.
local function add_outcome(job, status, run_s, result, failure)
  local head = cmsgpack.pack(job.id, status, job.a, now, job.b or false, job.o, run_s or false)
  outcomes[#outcomes + 1] = '\156' .. head .. spliced(result) .. spliced(failure) .. spliced(job.k)
                            .. cmsgpack.pack(job.t, job.q)
end

-- Write down the jobs and outcomes that were noted, and ring for them.
local function write_down()
  local written = {}
  for n, job in ipairs(changed) do
    written[2 * n - 1], written[2 * n] = job_key(job.id), pack_job(job)
    if job.more ~= '' then redis.call('APPEND', event_key(job.id), job.more) end
  end
  for first = 1, #written, 2000 do  -- Lua passes on less than 8,000 arguments
    redis.call('MSET', unpack(written, first, math.min(first + 1999, #written)))
  end
  if #told > 0 then redis.call('PUBLISH', NEWS, table.concat(told, ' ')) end
  if #outcomes > 0 then
    redis.call('XADD', OUT, '*', 'o', array_of(#outcomes) .. table.concat(outcomes))
    redis.call('PUBLISH', OUT, '')
  end
end

-- One token for each of `n` jobs: each wakes one worker that waits.
local function ring(n)
  n = math.min(n, WAKE_CAP - redis.call('LLEN', WAKE))
  local tokens = {}
  for k = 1, n do tokens[k] = '1' end
  if n > 0 then redis.call('RPUSH', WAKE, unpack(tokens)) end
end
