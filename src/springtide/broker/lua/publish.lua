-- ARGV: now, worker, then for each progress: id, attempt, fraction, stage or ''.
local worker = ARGV[2]
local replies = {}
for i = 3, #ARGV, 4 do
  local id, fraction, stage = ARGV[i], ARGV[i + 2], ARGV[i + 3]
  local job = load_held(id, worker, ARGV[i + 1])
  if job then
    local extra = {'f', fraction}
    redis.call('HSET', job.key, 'f', fraction, 'g', stage)
    if stage ~= '' then extra[3], extra[4] = 'g', stage end
    add_event(id, 'progress', job.a, extra)
  end
  replies[#replies + 1] = job and 1 or 0
end
return replies
