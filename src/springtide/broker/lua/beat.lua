-- ARGV: now, worker, what it says of itself (opaque), then for each attempt it holds: id, attempt. Returns {ids to cancel}, {ids it lost}.
local worker = ARGV[2]
local cancelled, lost = {}, {}
for i = 4, #ARGV, 2 do
  local id = ARGV[i]
  local job = load_held(id, worker, ARGV[i + 1])
  if not job then
    lost[#lost + 1] = id
  else
    redis.call('ZADD', SEEN, 'GT', now, id)
    if job.s == CANCELLING then cancelled[#cancelled + 1] = id end
  end
end
redis.call('ZADD', ALIVE, 'GT', now, worker)
redis.call('HSET', STATES, worker, ARGV[3])
return {cancelled, lost}
