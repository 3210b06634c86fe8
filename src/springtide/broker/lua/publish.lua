-- ARGV: now, worker, then for each progress: id, attempt, fraction, stage or '', checkpoint or ''. Returns 1 for each
-- that counts.
local worker = ARGV[2]
local replies = {}
for i = 3, #ARGV, 5 do
  local id, fraction, stage = ARGV[i], ARGV[i + 2], ARGV[i + 3]
  local job = load_held(id, worker, ARGV[i + 1])
  if job then
    redis.call('HSET', job.key, 'f', fraction, 'g', stage)
    if ARGV[i + 4] ~= '' then redis.call('HSET', job.key, 'k', ARGV[i + 4]) end
    add_event(id, 'progress', job.a, now, fraction, 's' .. stage)
    trim_events(id)
  end
  replies[#replies + 1] = job and 1 or 0
end
return replies
