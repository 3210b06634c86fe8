-- ARGV: now (unused), packed ids. Returns packed {{status, attempt, owner, begun at, fraction, stage, retry at,
-- checkpoint, jobs ahead}, ...}, false or '' where there is none; nil for a job that is not known.
local open_weights = {}
local NO_ATTEMPT = cmsgpack.pack(false, false, '', false)

-- The weights of all tenants that have a turn in the class; of many, by the mean of the first.
local function open_weight(class)
  if not open_weights[class] then
    local some, sum = redis.call('ZRANGE', open_key(class), 0, 127), 0
    for _, tenant in ipairs(some) do sum = sum + share_of(tenant) end
    open_weights[class] = #some > 0 and sum * redis.call('ZCARD', open_key(class)) / #some or 0
  end
  return open_weights[class]
end

-- About how many jobs are leased before this one (`policy.fairness.jobs_ahead`); false where it is not ready.
local function ready_rank(id, class, tenant)
  local lane = lane_key(class, tenant)
  local ahead = redis.call('ZRANK', lane, id)
  if not ahead then return false end
  local others = redis.call('ZCARD', class_key(class)) - redis.call('ZCARD', lane)
  if others > 0 then
    local weight = share_of(tenant)
    local mine = redis.call('ZSCORE', open_key(class), tenant) and weight or 0
    ahead = ahead + math.min(others, math.floor((ahead + 0.5) * (open_weight(class) - mine) / weight))
  end
  for higher = 0, class - 1 do ahead = ahead + redis.call('ZCARD', class_key(higher)) end
  return ahead
end

local ids = cmsgpack.unpack(ARGV[2])
local reply = {array_of(#ids)}
load_jobs(ids)
for n, id in ipairs(ids) do
  local job = load_job(id)
  if not job then
    reply[n + 1] = NIL
  else
    local is_over = TERMINAL[job[STATUS]]
    local ahead = job[STATUS] == QUEUED and not job[RETRY_AT] and ready_rank(id, job[CLASS], job[TENANT])
    local begun = cmsgpack.pack(job[BEGUN], job[FRACTION], job[STAGE], job[RETRY_AT])
    reply[n + 1] = '\153' .. cmsgpack.pack(job[STATUS], job[ATTEMPT], job[OWNER]) .. (is_over and NO_ATTEMPT or begun)
                   .. spliced(not is_over and job[CHECKPOINT]) .. cmsgpack.pack(ahead)
  end
end
return table.concat(reply)
