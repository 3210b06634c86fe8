-- ARGV: now, worker, then for each result: id, attempt, run_s, result. Returns 1 for each that counts.
local worker = ARGV[2]
local replies = {}
for i = 3, #ARGV, 4 do
  local attempt = ARGV[i + 1]
  local job, other = load_held(ARGV[i], worker, attempt)
  if job then
    let_go(job)
    finish(job, COMPLETED, 'u', ARGV[i + 2], 'r', ARGV[i + 3])
  end
  -- A repeat after a lost reply: this very attempt has won already.
  local won = other and other.s == COMPLETED and other.a == tonumber(attempt) and other.o == worker
  replies[#replies + 1] = (job or won) and 1 or 0
end
return replies
