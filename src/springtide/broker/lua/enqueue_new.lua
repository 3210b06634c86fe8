-- ARGV: now, packed {id, class, enqueued_at_s, predicted microseconds, start deadline or false, tenant, ...}, then of each
-- its whole record, as `pack_job` would make it of a job that was never begun. Returns 1 for each that is new, 0 for one
-- that is given twice, 2 for one of which something is known: nothing is done with it, enqueue.lua looks closer.
local given, replies, ids, written, is_given = cmsgpack.unpack(ARGV[2]), {}, {}, {}, {}
for n = 1, #given / 6 do
  local id = given[6 * n - 5]
  ids[n], replies[n] = id, is_given[id] and 0 or 1
  if not is_given[id] then
    is_given[id] = true
    written[#written + 1], written[#written + 2] = job_key(id), ARGV[2 + n]
  end
end
if redis.call('MSETNX', unpack(written)) == 0 then  -- something is known of one or more
  written = {}
  for n, known in ipairs(values_of(job_key, ids)) do
    if known then
      replies[n] = 2
    elseif replies[n] == 1 then
      written[#written + 1], written[#written + 2] = job_key(ids[n]), ARGV[2 + n]
    end
  end
  if #written > 0 then redis.call('MSET', unpack(written)) end
end
-- The newest first: in a short sorted set the server looks for the place of a new element from the lowest on.
for n = #ids, 1, -1 do
  if replies[n] == 1 then
    local class, since, cost, deadline, tenant = unpack(given, 6 * n - 4, 6 * n)
    enter(ids[n], class, tenant, since, cost, deadline)
    told[#told + 1] = ids[n]
  end
end
return replies
