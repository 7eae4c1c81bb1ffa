-- tend: ends what is over, grants what that sets free, and tells which waiters nobody is in.
--
-- KEYS[1]  prefix
-- Result   tended, grants, the ids, a line each
-- O(requests that ended + waiters that nobody is in).

sweep()
return answer('tended', table.concat(redis.call('SMEMBERS', P .. 'unattended'), '\n'))
