-- The order in which waiting jobs are leased, and nothing else: priority class, then when they were accepted.
--   :q:<class>  ZSET  ready id -> enqueued_at_s   (ids sort by creation, which breaks ties)

local CLASSES = {P .. ':q:0', P .. ':q:1', P .. ':q:2'}

local function ready_key(job) return P .. ':q:' .. job.pr end

local function ready_push(job) redis.call('ZADD', ready_key(job), job.q, job.id) end

local function ready_remove(job) return redis.call('ZREM', ready_key(job), job.id) end

local function ready_count()
  local n = 0
  for _, key in ipairs(CLASSES) do n = n + redis.call('ZCARD', key) end
  return n
end

-- Ids of the next `n` jobs, taken off. `before` is '' or the latest time at which they may have been accepted.
local function ready_pop(n, before)
  local ids = {}
  for _, key in ipairs(CLASSES) do
    local left = n - #ids
    if left <= 0 then break end
    if before == '' then
      local popped = redis.call('ZPOPMIN', key, left)
      for i = 1, #popped, 2 do ids[#ids + 1] = popped[i] end
    else
      local found = redis.call('ZRANGEBYSCORE', key, '-inf', before, 'LIMIT', 0, left)
      for _, id in ipairs(found) do ids[#ids + 1] = id end
      if #found > 0 then redis.call('ZREM', key, unpack(found)) end
    end
  end
  return ids
end

-- How many ready jobs go before this one; false where it is not ready.
local function ready_rank(job)
  local rank = redis.call('ZRANK', ready_key(job), job.id)
  if not rank then return false end
  for _, key in ipairs(CLASSES) do
    if key == ready_key(job) then break end
    rank = rank + redis.call('ZCARD', key)
  end
  return rank
end

-- When the longest-waiting ready job was accepted, as text; '' where none waits.
local function ready_oldest()
  local oldest = ''
  for _, key in ipairs(CLASSES) do
    local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
    if first and (oldest == '' or tonumber(first) < tonumber(oldest)) then oldest = first end
  end
  return oldest
end
