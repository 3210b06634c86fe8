-- ARGV: now, worker, then for each failure: id, attempt, error, retry at ('': no further attempt; 'now': at once),
-- 1 where it stopped because it was cancelled. Returns 1 for each that counts.
local worker = ARGV[2]
local replies = {}
for i = 3, #ARGV, 5 do
  local failure, retry_at = ARGV[i + 2], ARGV[i + 3]
  local job = load_held(ARGV[i], worker, ARGV[i + 1])
  if job then
    let_go(job)
    if job.s == CANCELLING or ARGV[i + 4] == '1' then
      finish(job, CANCELLED)
    elseif retry_at ~= '' and job.a < job.mx then
      retry(job, retry_at ~= 'now' and retry_at or nil, failure)
    else
      finish(job, FAILED, 'e', failure)
    end
  end
  replies[#replies + 1] = job and 1 or 0
end
return replies
