-- ARGV: now, worker, packed {id, attempt, retry at (0: at once, false: no further attempt), whether it stopped because it
-- was cancelled, ...}, then each error (opaque). Returns 1 for each that counts.
local worker, failed = ARGV[2], cmsgpack.unpack(ARGV[3])
local replies, ids = {}, {}
for n = 1, #failed / 4 do ids[n] = failed[4 * n - 3] end
load_jobs(ids)
for n, id in ipairs(ids) do
  local failure, retry_at = ARGV[3 + n], failed[4 * n - 1]
  local job = load_held(id, worker, failed[4 * n - 2])
  if job then
    let_go(job)
    if job[STATUS] == CANCELLING or failed[4 * n] then
      finish(job, CANCELLED)
    elseif retry_at and job[ATTEMPT] < job[MOST] then
      retry(job, retry_at > 0 and retry_at or nil, failure)
    else
      finish(job, FAILED, nil, nil, failure)
    end
  end
  replies[n] = job and 1 or 0
end
return replies
