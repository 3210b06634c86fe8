-- ARGV: now (unused), packed ids. Returns 1 for each that is known, also as a tombstone.
local ids, replies = cmsgpack.unpack(ARGV[2]), {}
load_jobs(ids)
for n, id in ipairs(ids) do replies[n] = load_job(id) and 1 or 0 end
return replies
