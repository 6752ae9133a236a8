/* store_durable.h - the memory store, with debts that outlive the process.
 *
 * The file holds for each bucket a debt that was reserved: at least the one in memory, always.
 * Tokens are admitted out of what is reserved already; a query that needs more waits until the file
 * says so, and more is reserved ahead of need.  So a crash, of the process or of the machine, gives
 * nothing back: the next life owes what was reserved, less what time has paid.  It may owe more
 * than it should by what was reserved in vain, an eighth of the burst; a clean stop writes the
 * debts as they are.
 *
 * Buckets whose burst refills within two seconds are not written while the gate runs: after a crash
 * they begin spent.
 *
 * Time goes on between two lives by the wall clock.  Put forward by more than a burst's refill it
 * gives each bucket one burst; put back it makes a bucket wait for one burst's refill at most.
 *
 * One thread writes.  SQLite's journal is a write-ahead log, synchronised at each commit; all that
 * waits is one commit.  When the file cannot be written (an error, or no answer within
 * STORE_DISK_TIMEOUT) a query is STORE_FAILED, but for rules whose on_failure is `local`: they go
 * on by the debts in memory, and only what they admit meanwhile is not safe from a crash. */
#ifndef QG_STORE_DURABLE_H
#define QG_STORE_DURABLE_H

#include "policy.h"
#include "store.h"

struct durable;
struct worker;

/* What all workers share.  The clocks are clock_ns and clock_wall_ns in the product.  NULL: *error
 * (len bytes) says what is wrong with the file. */
struct durable_clocks {
    uint64_t (*now_ns)(void);  /* never goes back */
    uint64_t (*wall_us)(void); /* since 1970 */
};
struct durable *durable_new(const struct store_conf *conf, const struct durable_clocks *clocks,
                            char *error, size_t len);

/* After every store of it was freed.  Writes what is owed. */
void durable_free(struct durable *d);

/* w's own, used and freed in its thread.  NULL: out of memory. */
struct store *durable_open(struct durable *d, struct worker *w);

#endif
