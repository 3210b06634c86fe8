-- ARGV: now (unused), then ids. Returns for each: status or '', attempt, owner, begun at, fraction, stage, retry at,
-- checkpoint, jobs ahead or ''.
local open_weights = {}

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
  for higher = 0, tonumber(class) - 1 do ahead = ahead + redis.call('ZCARD', class_key(higher)) end
  return ahead
end

local replies = {}
for i = 2, #ARGV do
  local id = ARGV[i]
  local v = redis.call('HMGET', job_key(id), 's', 'a', 'o', 'b', 'f', 'g', 'r', 'k', 'pr', 't')
  local ahead = v[1] == QUEUED and not v[7] and ready_rank(id, v[9], v[10])
  local reply = {v[1] or '', v[2] or '0', v[3] or '', '', '', '', '', '', ahead or ''}
  if not TERMINAL[v[1]] then
    for n = 4, 8 do reply[n] = v[n] or '' end
  end
  replies[#replies + 1] = reply
end
return replies
