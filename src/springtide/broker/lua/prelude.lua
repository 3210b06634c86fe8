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

local records = {}  -- id -> the job as this script has it, STATUS is '' where only its story is known; false: nothing
local changed = {}  -- records to be written down
local told = {}     -- ids that have news

-- A job is an array: what it is here, then what is packed of it. The loader puts the number of its place for each name
-- (a table with names would take a kilobyte, and its memory most of the time that a script takes).
--   ID  KEY where it is written  STORY its beginning  MORE to be added to the rest of it
--   IS_UNTOLD the story's last event is the end, and is told from the moment on that there is a tombstone  IS_CHANGED
--   STATUS '' where only the story is known  ATTEMPT  MOST attempts  TENANT  CLASS 0..2  SINCE when it waits
--   COST predicted microseconds  DEADLINE to start, or false  OWNER  BEGUN when, or false  FRACTION or false  STAGE
--   RETRY_AT or false  RETURNED the attempt given back last  CHECKPOINT (opaque)  TICKET where it is short
--   LAST_MS  LAST_PLACE  LAST_KIND  LAST_AT of the last event  REST events in the rest of the story, at most
local function made(id, key, story, is_untold, ...)
  return {id, key, story, '', is_untold, false, ...}
end

-- Whether two jobs are alike in these places.
local function are_alike(job, other, first, last)
  for n = first, last do
    if job[n] ~= other[n] then return false end
  end
  return true
end

local last_job, last_ended, last_held, last_told  -- the job that was packed before this one, and what that gave

-- The length of the story's beginning, with a mark where its last event is not to be told, the beginning itself, and what
-- else is kept: of a job that has ended less. Jobs of one call are much alike, so what is the same is packed once.
local function pack_job(job)
  local story = struct.pack('>I4', #job[STORY] + (job[IS_UNTOLD] and UNTOLD or 0)) .. job[STORY]
  local is_like = last_job and are_alike(job, last_job, LAST_MS, REST)
  if job[STATUS] == '' or TERMINAL[job[STATUS]] then
    is_like = is_like and last_ended and are_alike(job, last_job, STATUS, ATTEMPT) and job[OWNER] == last_job[OWNER]
    if not is_like then
      last_ended = cmsgpack.pack(job[STATUS], job[ATTEMPT], job[OWNER], unpack(job, LAST_MS, REST))
    end
    last_job, last_held, last_told = job, nil, nil
    return story .. last_ended
  end
  if not (is_like and last_told) then last_told = cmsgpack.pack(unpack(job, LAST_MS, REST)) end
  if not (last_held and are_alike(job, last_job, OWNER, CHECKPOINT)) then
    last_held = cmsgpack.pack(unpack(job, OWNER, CHECKPOINT))
  end
  last_job, last_ended = job, nil
  return story .. cmsgpack.pack(unpack(job, STATUS, DEADLINE)) .. last_held .. cmsgpack.pack(job[TICKET]) .. last_told
end

local function unpacked(id, key, story, is_untold, _, ...)
  local status, attempt, owner, ms, place, kind, at, rest, is_live = ...
  if is_live ~= nil then return made(id, key, story, is_untold, ...) end
  return made(id, key, story, is_untold, status, attempt, 0, '', 0, 0, 0, false, owner, false, false, '', false, 0, '', '',
              ms, place, kind, at, rest)
end

local function unpack_job(id, key, packed)
  local size = struct.unpack('>I4', packed)
  local is_untold = size >= UNTOLD
  if is_untold then size = size - UNTOLD end
  return unpacked(id, key, string.sub(packed, 5, size + 4), is_untold, cmsgpack.unpack_limit(packed, 21, size + 4))
end

-- A job of which nothing is known but perhaps `known`, its story.
local function new_job(id, known)
  local blank = {'', 0, 0, '', 0, 0, 0, false, '', false, false, '', false, 0, '', '', -1, 0, '', 0, 0}
  local job = known or made(id, job_key(id), '', false, unpack(blank))
  for n = STATUS, TICKET do job[n] = blank[n - STATUS + 1] end
  job[IS_UNTOLD] = false
  records[id] = job
  return job
end

-- Learn these jobs in one go.
local function load_jobs(ids)
  local fresh, keys = {}, {}
  for _, id in ipairs(ids) do
    if records[id] == nil then
      fresh[#fresh + 1], keys[#keys + 1], records[id] = id, job_key(id), false
    end
  end
  if #fresh == 0 then return end
  for n, packed in ipairs(redis.call('MGET', unpack(keys))) do
    if packed then records[fresh[n]] = unpack_job(fresh[n], keys[n], packed) end
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
  return job and job[STATUS] ~= '' and job or nil
end

local function save(job)
  if not job[IS_CHANGED] then changed[#changed + 1], job[IS_CHANGED] = job, true end
end

local event_before, ms_before, place_before, kind_before, at_before, attempt_before

-- A live event, its length before and behind it. Those of one call are mostly the same, and made once.
local function event_of(ms, place, kind, at, attempt, fraction, stage, failure)
  local is_plain = not fraction and not stage and not failure
  if is_plain and kind == kind_before and ms == ms_before and place == place_before and at == at_before
     and attempt == attempt_before then
    return event_before
  end
  local event = '\152' .. cmsgpack.pack(ms, place, kind, at, attempt, fraction or false, stage or '') .. spliced(failure)
  local size = struct.pack('>I4', #event)
  event = size .. event .. size
  if is_plain then
    event_before, ms_before, place_before, kind_before, at_before, attempt_before = event, ms, place, kind, at, attempt
  end
  return event
end

-- Add a live event. Ids and times follow the caller's clock and never run backwards; nothing follows a terminal event.
local function write_event(job, kind, attempt, at, fraction, stage, failure)
  if TERMINAL[job[LAST_KIND]] then return false end
  local ms, place = math.floor(at * 1000), 0
  if job[LAST_MS] >= ms then ms, place = job[LAST_MS], job[LAST_PLACE] + 1 end
  at = math.max(at, job[LAST_AT])
  local event = event_of(ms, place, kind, at, attempt, fraction, stage, failure)
  if job[REST] == 0 and (job[STORY] == '' or #job[STORY] + #event - 8 <= STORY_BYTES) then
    job[STORY] = job[STORY] .. event
  else
    job[MORE], job[REST] = job[MORE] .. event, job[REST] + 1
  end
  job[LAST_MS], job[LAST_PLACE], job[LAST_KIND], job[LAST_AT] = ms, place, kind, at
  save(job)
  return true
end

-- Add a live event and ring for it.
local function add_event(job, kind, attempt, at, fraction, stage, failure)
  if write_event(job, kind, attempt, at, fraction, stage, failure) then told[#told + 1] = job[ID] end
end

-- Keep a job's events few: of the rest of its story only the newest stay. Not with each event: that takes a walk.
local function trim_events(job)
  if job[REST] <= 1.25 * EVENTS_PER_JOB then return end
  local key = event_key(job[ID])
  local rest = (redis.call('GET', key) or '') .. job[MORE]
  local from = #rest + 1
  for _ = 2, EVENTS_PER_JOB do
    if from > 1 then from = from - struct.unpack('>I4', rest, from - 4) - 8 end
  end
  redis.call('SET', key, string.sub(rest, from))
  job[REST], job[MORE] = EVENTS_PER_JOB, ''
end

local outcomes = {}  -- to be added

-- Put on the record-to-be that an attempt, or the job with it, has ended: run_s, result, failure where there are such.
local function add_outcome(job, status, run_s, result, failure)
  local head = cmsgpack.pack(job[ID], status, job[ATTEMPT], now, job[BEGUN], job[OWNER], run_s or false)
  outcomes[#outcomes + 1] = '\156' .. head .. spliced(result) .. spliced(failure) .. spliced(job[CHECKPOINT])
                            .. cmsgpack.pack(job[TENANT], job[SINCE])
end

-- Write down the jobs and outcomes that were noted, and ring for them.
local function write_down()
  local written = {}
  for n, job in ipairs(changed) do
    written[2 * n - 1], written[2 * n] = job[KEY], pack_job(job)
    if job[MORE] ~= '' then redis.call('APPEND', event_key(job[ID]), job[MORE]) end
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
