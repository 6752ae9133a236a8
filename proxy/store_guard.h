/* store_guard.h - what happens while the store does not answer: the rule's on_failure.
 *
 * A worker's guard is UP or LOST.  UP: each query asks the store, and one that gets no answer (it
 * waited for the deadline at most) is decided by on_failure.  After STORE_FAILURES of these in a
 * row the store is LOST: on_failure decides at once and nobody waits.  A store that nobody asks is
 * asked by the guard itself, so losing and finding it again is seen without queries.  While LOST
 * the guard asks every STORE_TICK; STORE_RECOVERIES answers in a row, and STORE_LOST_MIN over,
 * make it UP again: a quarter of a second behind the first answer, and a store that comes and goes
 * does not make the gate do so.  (Three answers over two seconds would be steadier, but then the
 * gate could not be back within a second of the store.)
 *
 * on_failure: local counts in this process: the rate and the burst divided by the expected gates,
 * at least one token.  closed fails the query (503), open admits it.  What local and open admit is
 * charged to the shared count when it is back, to a debt of the burst at most, so that nobody comes
 * out with a fresh burst: best effort, STORE_DEBTS_MAX buckets.
 *
 * The bound while the store is lost, for G gates and expected_gates >= G, under local: each bucket
 * has a local one beside it, so in any window w over all gates
 *     admitted(t, t + w) <= what the shared count and leases allow + rate * w + max(burst, G)
 * the right part being what the local ones allow.  One that is lost and empty when it comes back
 * adds a burst each time. */
#ifndef QG_STORE_GUARD_H
#define QG_STORE_GUARD_H

#include "stats.h"
#include "store_source.h"
#include "timers.h"

struct guards; /* the process's: local counts, what is owed, how many workers have lost the store */

/* expected_gates: how many share the store; 1 for one that is the gate's own.  as_configured: what
 * STORE_AS_CONFIGURED means.  local: counts while the store is lost, and is the guards' from then
 * on; NULL: nothing can, and local is closed.  NULL: out of memory (local is freed). */
struct guards *guards_new(uint64_t expected_gates, enum store_on_failure as_configured,
                          struct store *local);
void guards_free(struct guards *g);

/* Does every worker have its store?  (The gauge store_up.) */
bool guards_up(const struct guards *g);

/* Not yet: some worker neither has its store nor has given it up for lost. */
bool guards_starting(const struct guards *g);

/* A worker's guard over lower, which is its own from then on, as is source (freed after lower).
 * source NULL: a store in this process, which is not lost and found: each failure is decided by
 * on_failure, and that is all.  timers NULL: whoever owns the guard calls its tick.  NULL: out of
 * memory, lower and source are freed. */
struct guard_conf {
    struct guards *all;
    struct store *lower;
    struct source *source;
    uint64_t (*now_us)(void);
    struct timers *timers;
    struct stats *stats;
};
struct store *store_guard_new(const struct guard_conf *conf);

#endif
