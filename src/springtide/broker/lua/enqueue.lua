-- ARGV: now, error of spent attempts, packed {{id, class, enqueued_at_s, most attempts, predicted microseconds, start
-- deadline or nil, attempts begun, holder or '', when it began or nil, tenant}, ...}, then of each its ticket and its
-- checkpoint or ''. Returns 1 for each that is new.
local given, replies, ids, long = cmsgpack.unpack(ARGV[3]), {}, {}, {}
for n, one in ipairs(given) do ids[n] = one[1] end
load_jobs(ids)
for n, one in ipairs(given) do
  local id, ticket, holder = ids[n], ARGV[2 * n + 2], one[8]
  replies[n] = 0
  if not load_job(id) then
    replies[n] = 1
    local story = load_record(id)
    if story then redis.call('ZREM', PAST, id) end
    local job = new_job(id, story)
    job[STATUS], job[CLASS], job[SINCE], job[MOST], job[COST] = QUEUED, one[2], one[3], one[4], one[5]
    job[DEADLINE], job[ATTEMPT] = one[6] or false, one[7]
    job[TENANT], job[CHECKPOINT] = one[10], ARGV[2 * n + 3]
    if #ticket <= TICKET_BYTES then
      job[TICKET] = ticket
    else
      long[#long + 1], long[#long + 2] = ticket_key(id), ticket
    end
    if holder ~= '' then  -- rebuilding: it has one lease time to say that it still runs it
      begin(job, holder, one[9] or now)
      add_event(job, 'started', job[ATTEMPT], job[BEGUN])
    else
      add_event(job, QUEUED, job[ATTEMPT], now)
      if job[ATTEMPT] >= job[MOST] then
        finish(job, FAILED, nil, nil, ARGV[2])
      else
        start_waiting(job)
      end
    end
    save(job)
  end
end
if #long > 0 then redis.call('MSET', unpack(long)) end
return replies
