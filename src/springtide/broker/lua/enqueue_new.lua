-- ARGV: now, packed {id, class, enqueued_at_s, predicted microseconds, start deadline or false, tenant, ...}, then of each
-- its whole record, as `pack_job` would make it of a job that was never begun. Returns 1 for each that is new, 0 for one
-- that is given twice, 2 for one of which something is known: nothing is done with it, enqueue.lua looks closer.
local given, replies, ids, written, is_given = cmsgpack.unpack(ARGV[2]), {}, {}, {}, {}
for n = 1, #given / 6 do ids[n] = given[6 * n - 5] end
local there = values_of(job_key, ids)
for n, id in ipairs(ids) do
  if is_given[id] then
    replies[n] = 0
  elseif there[n] then
    replies[n] = 2
  else
    local at = 6 * n - 5
    local class, since, cost, deadline, tenant = unpack(given, at + 1, at + 5)
    start_waiting(made(id, '', '', false, QUEUED, 0, 0, tenant, class, since, cost, deadline))
    written[#written + 1], written[#written + 2] = job_key(id), ARGV[2 + n]
    told[#told + 1] = id
    is_given[id], replies[n] = true, 1
  end
end
if #written > 0 then redis.call('MSET', unpack(written)) end
return replies
