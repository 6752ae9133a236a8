/* store_redis_budget.h - budgets in Redis 7: one script spends, and nothing else writes.
 *
 * Two keys an account, in one slot of a Cluster, of the bucket's name (store_source.h): `q{NAME}b`,
 * a hash of parts of a window (field: when the part ends, microseconds, or 0: never; value: its
 * amounts), and `q{NAME}m`, a set of marks: at most STORE_MARKS_MAX, the ones left out at random.
 * accounts.h says how parts count.  Amounts are whole numbers below 2^53, which Lua's doubles hold
 * exactly.  For any window w, by Redis' clock, and however many gates, restarts and lost answers:
 *     spent <= limit
 * as long as Redis forgets nothing: `appendonly yes` (and appendfsync always, where a loss of power
 * must not give back the last second), maxmemory-policy noeviction.
 *
 * ACL, beyond store_redis.h: +hgetall +hget +hset +hdel +persist +pexpire +pexpireat +sismember
 * +sadd +scard +spop. */
#ifndef QG_STORE_REDIS_BUDGET_H
#define QG_STORE_REDIS_BUDGET_H

#include "base/list.h"
#include "store_source.h"

struct redis;

/* The spendings of one connection that are under way. */
struct redis_budgets {
    struct redis *redis;
    struct list asked;
    char sha1[2 * SHA1_BYTES + 1];
};

void redis_budgets_init(struct redis_budgets *, struct redis *);
enum store_status redis_budgets_spend(struct redis_budgets *, const struct bucket *,
                                      const struct store_budget *, const struct store_spending *,
                                      store_done_fn *done, void *cookie, struct store_answer *out);
void redis_budgets_cancel(struct redis_budgets *, void *cookie);
void redis_budgets_free(struct redis_budgets *); /* after its connection */

#endif
