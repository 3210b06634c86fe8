-- ARGV: now, worker, packed {id, attempt, fraction, stage or '', ...}, then of each its checkpoint or ''. Returns 1 for
-- each that counts.
local worker, given = ARGV[2], cmsgpack.unpack(ARGV[3])
local replies, ids = {}, {}
for n = 1, #given / 4 do ids[n] = given[4 * n - 3] end
load_jobs(ids)
for n, id in ipairs(ids) do
  local fraction, stage, checkpoint = given[4 * n - 1], given[4 * n], ARGV[3 + n]
  local job = load_held(id, worker, given[4 * n - 2])
  if job then
    job[FRACTION], job[STAGE] = fraction, stage
    if checkpoint ~= '' then job[CHECKPOINT] = checkpoint end
    save(job)
    add_event(job, 'progress', job[ATTEMPT], now, fraction, stage)
    trim_events(job)
  end
  replies[n] = job and 1 or 0
end
return replies
