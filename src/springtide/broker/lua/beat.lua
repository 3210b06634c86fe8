-- ARGV: now, worker, what it says of itself (opaque), packed {id, attempt, ...} of what it holds. Returns {ids to
-- cancel}, {ids it lost}.
local worker, held = ARGV[2], cmsgpack.unpack(ARGV[4])
local cancelled, lost, seen, ids = {}, {}, {}, {}
for n = 1, #held / 2 do ids[n] = held[2 * n - 1] end
load_jobs(ids)
for n, id in ipairs(ids) do
  local job = load_held(id, worker, held[2 * n])
  if not job then
    lost[#lost + 1] = id
  else
    seen[#seen + 1], seen[#seen + 2] = now, id
    if job[STATUS] == CANCELLING then cancelled[#cancelled + 1] = id end
  end
end
if #seen > 0 then redis.call('ZADD', SEEN, 'GT', unpack(seen)) end
redis.call('ZADD', ALIVE, 'GT', now, worker)
redis.call('HSET', STATES, worker, ARGV[3])
return {cancelled, lost}
