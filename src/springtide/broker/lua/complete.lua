-- ARGV: now, worker, packed {id, attempt, run_s, ...}, then each result (opaque). Returns 1 for each that counts.
local worker, done = ARGV[2], cmsgpack.unpack(ARGV[3])
local replies, ids = {}, {}
for n = 1, #done / 3 do ids[n] = done[3 * n - 2] end
load_jobs(ids)
for n, id in ipairs(ids) do
  local attempt = done[3 * n - 1]
  local job, other = load_held(id, worker, attempt)
  if job then
    let_go(job)
    succeed(job, done[3 * n], ARGV[3 + n])
  end
  -- A repeat after a lost reply: this very attempt has won already.
  local won = other and other[STATUS] == COMPLETED and other[ATTEMPT] == attempt and other[OWNER] == worker
  replies[n] = (job or won) and 1 or 0
end
return replies
