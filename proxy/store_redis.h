/* store_redis.h - the shared count in Redis 7: GCRA in one atomic call, Redis' time the only clock.
 *
 * One key a bucket: `q{`, eleven characters of base64url (store_source.h) and `}`.  The braces are
 * the hash tag of a Cluster: what may join a bucket later stands on the same node.  Whoever shares
 * a Redis with others gives us the keys `q{*` (ACL: ~q{* +eval +evalsha +get +set +del +time
 * +pexpiretime, and what the connection itself needs; for budgets store_redis_budget.h has more).
 *
 * A bucket is its theoretical arrival time (TAT), when its debt is paid; one that is paid is no
 * key.  The TAT lies in the key's own expiry, in milliseconds and 2 more, and the value is the rest
 * of it in count-ths of a microsecond (count: the rate's, fraction reduced).  So the value of a
 * plain rate is a number below 1000, which Redis keeps once for all keys, and the key of 14 bytes
 * fits an allocation of 16: 80 bytes and 16 to 32 for the two tables' slots (another 16 where the
 * rate is no whole number of microseconds), as `INFO memory` and 64-bit glibc or jemalloc count.
 *
 * Arithmetic is exact: everything is a whole number below 2^53, which rate_limit sees to, so that
 * nothing is lost or won however often a bucket is used.  For any window w, by Redis' clock:
 *     taken <= rate * w + burst
 * When that clock jumps back, a TAT is drawn in to a burst from now: nobody waits longer than for
 * the burst to refill, nobody is given any.  When it jumps on, buckets are full: one burst.
 *
 * Eviction would forget debts: the server's maxmemory-policy must be noeviction. */
#ifndef QG_STORE_REDIS_H
#define QG_STORE_REDIS_H

#include "store_source.h"

struct redis;

enum { STORE_REDIS_KEY = BUCKET_NAME + 3 };

/* Over r, which it owns from then on.  now_us is the monotonic clock; timeout_us r's deadline.
 * NULL: out of memory, r freed. */
struct source *store_redis_new(struct redis *r, uint64_t (*now_us)(void), uint64_t timeout_us);

/* Can this rate be counted exactly?  (store_source's ask fails on others.) */
bool store_redis_counts(const struct store_rate *rate);

#endif
