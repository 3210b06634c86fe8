-- ARGV: now, packed ids. Jobs that wait are here no longer, but for their stories. Returns packed what `peek` does of each
-- as it stood, without its place; nil for any other.
local ids = cmsgpack.unpack(ARGV[2])
local reply = {array_of(#ids)}
load_jobs(ids)
for n, id in ipairs(ids) do
  local job = load_job(id)
  if job and job[STATUS] == QUEUED then
    reply[n + 1] = '\153' .. cmsgpack.pack(job[STATUS], job[ATTEMPT], job[OWNER], false, false, '', job[RETRY_AT])
                   .. spliced(job[CHECKPOINT]) .. cmsgpack.pack(false)
    stop_waiting(job)
    close(job, '')
    save(new_job(id, job))
    redis.call('ZADD', PAST, now, id)
  else
    reply[n + 1] = NIL
  end
end
return table.concat(reply)
