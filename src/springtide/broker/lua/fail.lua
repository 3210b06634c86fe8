-- ARGV: now, worker, then for each failure: id, attempt, error, retry at ('': no further attempt; 'now': at once), cancelled 0|1.
local worker = ARGV[2]
local replies = {}
for i = 3, #ARGV, 5 do
  local id, attempt, failure, retry_at = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local job = load_held(id, worker, attempt)
  if job then
    let_go(job)
    if job.s == CANCELLING or ARGV[i + 4] == '1' then
      finish(job, CANCELLED)
    elseif retry_at ~= '' and job.a < job.mx then
      if retry_at == 'now' then retry_at = nil end
      retry(job, retry_at, failure)
    else
      finish(job, FAILED, {'e', failure})
    end
  end
  replies[#replies + 1] = job and 1 or 0
end
return replies
