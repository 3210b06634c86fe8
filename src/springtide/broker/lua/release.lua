-- ARGV: now, worker, then for each attempt given back unspent: id, attempt. Returns 1 for each that counts.
local worker = ARGV[2]
local replies = {}
for i = 3, #ARGV, 2 do
  local job = load_held(ARGV[i], worker, ARGV[i + 1])
  if job then
    let_go(job)
    if job.s == CANCELLING then
      finish(job, CANCELLED)
    else
      job.a = job.a - 1
      redis.call('HSET', job.key, 's', QUEUED, 'a', job.a, 'n', job.a + 1)
      redis.call('HDEL', job.key, 'o', 'b', 'f', 'g')
      start_waiting(job)
      add_event(job.id, QUEUED, job.a, now)
    end
  end
  replies[#replies + 1] = job and 1 or 0
end
return replies
