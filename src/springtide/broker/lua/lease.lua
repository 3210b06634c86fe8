-- ARGV: now, worker, most jobs, latest acceptance or ''. Returns packed {{id, attempt, ticket, checkpoint or nil}, ...}.
-- Turns are taken on a copy of the open lanes that stand first, which is written back at the end: picking n jobs moves
-- at most n of them, so the first n lanes are enough.
local worker, wanted, before = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local picked, classes, at_limit = {}, {}, {}
local virtual_at = {}  -- of each class, as it was

local function load_class(class)
  local looks = wanted + (before and SPARE_LOOKS or 0)
  local flat = redis.call('ZRANGE', open_key(class), 0, looks - 1, 'WITHSCORES')
  local lanes, tenants = {}, {}
  for i = 1, #flat, 2 do
    tenants[#tenants + 1] = flat[i]
    lanes[#lanes + 1] = {tenant = flat[i], tag = tonumber(flat[i + 1]), ids = {}, taken = {}}
  end
  if #tenants > 0 then load_shares(tenants) end
  classes[class] = {lanes = lanes, virtual = virtual_at[class], taken = {}, touched = {}}
  return classes[class]
end

-- The job that stands first in the lane, with what its lease needs; nil where the lane is empty. Ids are read as many
-- at once as will be the lane's share of what is left, and one more, which tells whether it is empty then.
local function first_job(class, lane, lanes)
  if lane.job then return lane.job end
  local at = #lane.taken
  if #lane.ids <= at + 1 and not lane.is_whole then
    local last = at + math.ceil((wanted - #picked) / lanes)
    lane.ids = redis.call('ZRANGE', lane_key(class, lane.tenant), 0, last)
    lane.is_whole = #lane.ids <= last
    load_jobs(lane.ids)
  end
  lane.job = lane.ids[at + 1] and load_job(lane.ids[at + 1])
  return lane.job
end

-- Put a lane that has moved on back in order; `at` is where it stood.
local function reorder(lanes, at)
  local lane = lanes[at]
  while at < #lanes and (lanes[at + 1].tag < lane.tag
                         or (lanes[at + 1].tag == lane.tag and lanes[at + 1].tenant < lane.tenant)) do
    lanes[at], at = lanes[at + 1], at + 1
  end
  lanes[at] = lane
end

local function take_from(class)
  local one = classes[class] or load_class(class)
  local lanes, at, passed = one.lanes, 1, 0
  while at <= #lanes and passed <= SPARE_LOOKS do
    local lane = lanes[at]
    local job = not at_limit[lane.tenant] and first_job(class, lane, #lanes)
    if not job then
      table.remove(lanes, at)
    elseif before and job[SINCE] > before then
      at, passed = at + 1, passed + 1  -- too young to be read ahead; it keeps its turn
    else
      local weight, most = share_of(lane.tenant)
      lane.job = nil
      one.virtual = math.max(one.virtual, lane.tag)
      lane.tag = lane.tag + math.max(job[COST] / 1e6, LEAST_COST_S) / weight
      one.taken[#one.taken + 1] = job[ID]
      lane.taken[#lane.taken + 1] = job[ID]
      one.touched[lane] = true
      running_more[lane.tenant] = (running_more[lane.tenant] or 0) + 1
      at_limit[lane.tenant] = most and running_of(lane.tenant) >= most
      reorder(lanes, at)
      return job
    end
  end
end

local function take_turns()
  local fair = redis.call('HMGET', FAIR, 'n', 'm', 'v0', 'v1', 'v2')
  model_most = fair[2] or ''
  local turn, most = tonumber(fair[1] or 0), model_limit()
  for class = 0, 2 do virtual_at[class] = tonumber(fair[3 + class] or 0) end
  if most then wanted = math.min(wanted, most - redis.call('ZCARD', SEEN)) end
  while #picked < wanted do
    local rest = (turn + 1) % TURNS
    local order = rest == 0 and {2, 0, 1} or rest == TURNS / 2 and {1, 0, 2} or {0, 1, 2}
    local job = take_from(order[1]) or take_from(order[2]) or take_from(order[3])
    if not job then break end
    picked[#picked + 1], turn = job, turn + 1
  end
  return turn
end

local function write_back(class, one, fair)
  redis.call('ZREM', class_key(class), unpack(one.taken))
  local open, closed = {}, {}
  for lane in pairs(one.touched) do
    redis.call('ZREM', lane_key(class, lane.tenant), unpack(lane.taken))
    local side = lane.is_whole and #lane.taken == #lane.ids and closed or open
    side[#side + 1], side[#side + 2] = lane.tag, lane.tenant
  end
  if redis.call('EXISTS', class_key(class)) == 0 then return forget_class(class) end
  if #open > 0 then redis.call('ZADD', open_key(class), unpack(open)) end
  if #closed > 0 then
    redis.call('ZADD', closed_key(class), unpack(closed))
    for n = 2, #closed, 2 do redis.call('ZREM', open_key(class), closed[n]) end
  end
  fair[#fair + 1], fair[#fair + 2] = 'v' .. class, one.virtual
end

promote(100)
expire(100)
settle_pushes()
local fair = {'n', take_turns()}
for class, one in pairs(classes) do
  if #one.taken > 0 then write_back(class, one, fair) end
end
if #picked > 0 then redis.call('HSET', FAIR, unpack(fair)) end
for tenant, is_there in pairs(at_limit) do
  for class = 0, 2 do
    if is_there then close_lane(class, tenant) end
  end
end

local reply, seen, ids, long = {array_of(#picked)}, {}, {}, {}
for n, job in ipairs(picked) do
  ids[n] = job[ID]
  local place = 2 * (#picked - n)  -- backwards: see enqueue_new.lua
  seen[place + 1], seen[place + 2] = ARGV[1], job[ID]
  if job[TICKET] == '' then long[#long + 1] = job[ID] end
end
if #ids > 0 then
  redis.call('ZADD', SEEN, unpack(seen))
  redis.call('SADD', own_key(worker), unpack(ids))
end
local tickets = {}
if #long > 0 then
  for n, ticket in ipairs(values_of(ticket_key, long)) do tickets[long[n]] = ticket end
end
for n, job in ipairs(picked) do
  job[STATUS], job[ATTEMPT], job[OWNER], job[BEGUN] = IN_PROGRESS, job[ATTEMPT] + 1, worker, now
  waiting_more = waiting_more - job[COST]
  count_waiting(job[TENANT], -1)
  if job[DEADLINE] then redis.call('ZREM', DUE, job[ID]) end
  add_event(job, 'started', job[ATTEMPT], now)
  save(job)
  local ticket = tickets[job[ID]] or job[TICKET]
  reply[n + 1] = '\148' .. cmsgpack.pack(job[ID], job[ATTEMPT]) .. ticket .. spliced(job[CHECKPOINT])
end
redis.call('ZADD', ALIVE, 'GT', now, worker)

-- No more tokens than jobs (each is a worker woken for nothing), and never a job that may start without a token.
if not has_turn() then
  redis.call('DEL', WAKE)
  woken = 0
else
  local ready, tokens = ready_count(), redis.call('LLEN', WAKE)
  if tokens > ready then
    redis.call('LTRIM', WAKE, 0, ready - 1)
  elseif tokens == 0 and woken == 0 then
    ring(1)
  end
  woken = math.min(woken, ready)
end
return table.concat(reply)
