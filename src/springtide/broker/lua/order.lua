-- Who waits, and whose turn it is: `policy.fairness` in the server. Nothing else knows the order. (The taking of turns
-- itself is in lease.lua.) Numbers go to the server as numbers: it writes them with 17 digits.
--   :q:<class>           ZSET  ready id -> enqueued_at_s      all of a class: how many, and since when
--   :l:<class>:<tenant>  ZSET  ready id -> order key          a tenant's lane (ids sort by creation, which breaks ties)
--   :a:<class>           ZSET  tenant -> tag                  open lanes: their tenants may start a job now
--   :f:<class>           ZSET  tenant -> tag                  where lanes stood that are empty, or whose tenant is at its
--                                                             limit; all forgotten once nobody waits in the class
--   :fair    HASH  n leases so far, v<class> its virtual time, m most leased of the model, d which discipline holds
--   :share   HASH  tenant -> "weight limit", for those that differ from weight 1 without limit
--   :queued  HASH  tenant -> jobs that wait                   :running  HASH  tenant -> jobs that are leased

local FAIR, SHARE, WAITING, RUNNING = P .. ':fair', P .. ':share', P .. ':queued', P .. ':running'
local OPEN = {P .. ':a:0', P .. ':a:1', P .. ':a:2'}

local class_keys, lane_keys = {}, {}  -- by class, and tenant: the same few are wanted for every job
local function class_key(class)
  class_keys[class] = class_keys[class] or P .. ':q:' .. class
  return class_keys[class]
end
local function lane_key(class, tenant)
  local of_class = lane_keys[class] or {}
  lane_keys[class] = of_class
  of_class[tenant] = of_class[tenant] or P .. ':l:' .. class .. ':' .. tenant
  return of_class[tenant]
end
local function open_key(class) return P .. ':a:' .. class end
local function closed_key(class) return P .. ':f:' .. class end

local shares, running, running_more, waiting_more_of = {}, {}, {}, {}
local full = {}  -- tenants that this script has brought to their limit; an attempt may be taken up and end in one call

-- Learn the weights and limits of these tenants in one go.
local function load_shares(tenants)
  for n, share in ipairs(redis.call('HMGET', SHARE, unpack(tenants))) do
    if share then
      local weight, most = string.match(share, '^(%S+) (%S*)$')
      shares[tenants[n]] = {tonumber(weight), tonumber(most)}
    else
      shares[tenants[n]] = {1}
    end
  end
end

-- A tenant's weight, and the most it may have leased or nil.
local function share_of(tenant)
  if not shares[tenant] then load_shares({tenant}) end
  return shares[tenant][1], shares[tenant][2]
end

-- How many it has leased now, this script's own doing included.
local function running_of(tenant)
  running[tenant] = running[tenant] or tonumber(redis.call('HGET', RUNNING, tenant) or 0)
  return running[tenant] + (running_more[tenant] or 0)
end

local function may_run(tenant)
  local _, most = share_of(tenant)
  return not most or running_of(tenant) < most
end

local model_most  -- '' where there is none

-- Most that the model may have leased, or nil.
local function model_limit()
  model_most = model_most or redis.call('HGET', FAIR, 'm') or ''
  return tonumber(model_most)
end

-- Whether some job may be leased now, within all limits.
local function has_turn()
  if redis.call('EXISTS', unpack(OPEN)) == 0 then return false end
  local most = model_limit()
  return not most or redis.call('ZCARD', SEEN) < most
end

local function close_lane(class, tenant)
  local tag = redis.call('ZSCORE', open_key(class), tenant)
  if tag then
    redis.call('ZREM', open_key(class), tenant)
    redis.call('ZADD', closed_key(class), tag, tenant)
  end
end

local function open_lane(class, tenant)
  local now_at = tonumber(redis.call('HGET', FAIR, 'v' .. class) or 0)
  local stood_at = tonumber(redis.call('ZSCORE', closed_key(class), tenant) or 0)
  redis.call('ZADD', open_key(class), math.max(now_at, stood_at), tenant)
  redis.call('ZREM', closed_key(class), tenant)
end

-- Jobs have come into the lane.
local function open_if_shut(class, tenant)
  if not redis.call('ZSCORE', open_key(class), tenant) and may_run(tenant) then open_lane(class, tenant) end
end

-- The tenant's weight or its room to run has changed.
local function set_open(tenant)
  for class = 0, 2 do
    close_lane(class, tenant)
    if redis.call('EXISTS', lane_key(class, tenant)) == 1 and may_run(tenant) then open_lane(class, tenant) end
  end
end

-- Nobody waits in the class: everybody begins anew.
local function forget_class(class)
  redis.call('DEL', open_key(class), closed_key(class))
  redis.call('HDEL', FAIR, 'v' .. class)
end

local pushed = {}  -- key -> {score, id, ...}, not written yet
local pushed_lanes = {}

local function push_to(key, score, id)
  local some = pushed[key] or {}
  some[#some + 1], some[#some + 2] = score, id
  pushed[key] = some
end

local function ready_push(id, class, tenant, since, cost)
  local lane = lane_key(class, tenant)
  local predicted = cost / 1e6
  local delay = MOST_DELAY_S * predicted / (predicted + HALF_DELAY_AT_S)
  push_to(class_key(class), since, id)
  push_to(lane, since + delay, id)
  pushed_lanes[lane] = pushed_lanes[lane] or {class, tenant}
end

-- Write down what was pushed: many jobs of one lane at once. To be called before anything else looks at the order.
local function settle_pushes()
  for key, some in pairs(pushed) do redis.call('ZADD', key, unpack(some)) end
  for _, lane in pairs(pushed_lanes) do open_if_shut(lane[1], lane[2]) end
  pushed, pushed_lanes = {}, {}
end

-- A ready job is gone, other than by a lease. False where it was not ready.
local function ready_remove(job)
  settle_pushes()
  if redis.call('ZREM', class_key(job[CLASS]), job[ID]) == 0 then return false end
  local lane = lane_key(job[CLASS], job[TENANT])
  redis.call('ZREM', lane, job[ID])
  if redis.call('EXISTS', lane) == 0 then
    close_lane(job[CLASS], job[TENANT])
    if redis.call('EXISTS', class_key(job[CLASS])) == 0 then forget_class(job[CLASS]) end
  end
  return true
end

local function ready_count()
  local n = 0
  for class = 0, 2 do n = n + redis.call('ZCARD', class_key(class)) end
  return n
end

-- The tenant waits with this many jobs more, or holds this many leases more.
local function count_waiting(tenant, n) waiting_more_of[tenant] = (waiting_more_of[tenant] or 0) + n end

local function count_running(tenant, n)
  running_more[tenant] = (running_more[tenant] or 0) + n
  if n > 0 and not may_run(tenant) then
    full[tenant] = true
    for class = 0, 2 do close_lane(class, tenant) end
  end
end

-- Add to the counts of a hash, and drop those that are nothing. Returns {tenant, change, count after}, ... .
local function add_counts(key, more)
  local changes, names = {}, {}
  for tenant, n in pairs(more) do
    if n ~= 0 then
      changes[#changes + 1] = {tenant, n}
      names[#names + 1] = tenant
    end
  end
  if #changes == 0 then return changes end
  if #changes == 1 then
    local change = changes[1]
    change[3] = redis.call('HINCRBY', key, change[1], change[2])
    if change[3] <= 0 then redis.call('HDEL', key, change[1]) end
    return changes
  end
  local gone, kept = {}, {}
  for n, before in ipairs(redis.call('HMGET', key, unpack(names))) do
    local change = changes[n]
    change[3] = tonumber(before or 0) + change[2]
    if change[3] <= 0 then
      gone[#gone + 1] = change[1]
    else
      kept[#kept + 1], kept[#kept + 2] = change[1], change[3]
    end
  end
  if #gone > 0 then redis.call('HDEL', key, unpack(gone)) end
  if #kept > 0 then redis.call('HSET', key, unpack(kept)) end
  return changes
end

-- Write down what was counted. Returns how many jobs may start because an end made room under a tenant's limit.
local function settle_counts()
  add_counts(WAITING, waiting_more_of)
  local changes, room = add_counts(RUNNING, running_more), 0
  for tenant in pairs(full) do
    if running_more[tenant] == 0 then changes[#changes + 1] = {tenant, 0, running_of(tenant)} end
  end
  for _, change in ipairs(changes) do
    local tenant, n, left = unpack(change)
    local _, most = share_of(tenant)
    running[tenant], running_more[tenant] = left, 0
    if most and left < most and (left - n >= most or full[tenant]) then
      set_open(tenant)
      room = room + most - left
    end
  end
  return room
end
