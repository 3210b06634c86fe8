-- ARGV: now, worker, packed {id, attempt, ...} of what is given back unspent. Returns 1 for each that counts.
local worker, held = ARGV[2], cmsgpack.unpack(ARGV[3])
local replies, ids = {}, {}
for n = 1, #held / 2 do ids[n] = held[2 * n - 1] end
load_jobs(ids)
for n, id in ipairs(ids) do
  local job = load_held(id, worker, held[2 * n])
  if job then
    let_go(job)
    if job[STATUS] == CANCELLING then
      finish(job, CANCELLED)
    else
      lay_down(job)
      job[ATTEMPT], job[RETURNED] = job[ATTEMPT] - 1, job[ATTEMPT]
      start_waiting(job)
      add_event(job, QUEUED, job[ATTEMPT], now)
    end
  end
  replies[n] = job and 1 or 0
end
return replies
