/* stores.h - from the policy's `store` to what each worker counts with.
 *
 *   memory:          store_guard > store_memory, one for all workers
 *   memory:/PATH     store_guard > store_durable: debts survive a restart
 *   redis...://      store_guard > store_lease > store_redis > redis
 *
 * The part that all workers share (memory, leases, the state of the failure guard) is made once a
 * process; each worker opens its own on top. */
#ifndef QG_STORES_H
#define QG_STORES_H

#include "policy.h"
#include "store.h"

struct stores;
struct worker;

/* conf must outlive the stores.  NULL: *error (len bytes) says what is wrong with which file. */
struct stores *stores_new(const struct store_conf *conf, char *error, size_t len);
void stores_free(struct stores *s); /* after every store of it was freed */

/* The worker's own, used and freed in its thread.  NULL: out of memory. */
struct store *stores_open(struct stores *s, struct worker *w);

/* From any thread.  Does every worker have its store?  And: is there one that still waits for the
 * first answer? */
bool stores_up(const struct stores *s);
bool stores_starting(const struct stores *s);

#endif
