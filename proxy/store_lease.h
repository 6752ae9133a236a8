/* store_lease.h - tokens had in advance, so that a hot bucket does not cost a round trip a query.
 *
 * Who is asked for often is leased tokens beyond the query's own, as many as the next quarter of a
 * second is expected to need, and more before they run out.  All workers of the process share the
 * leases.  A lease is at most a quarter of the burst (everything out, asked for or held, of all
 * workers together); what is left of it LEASE_TIME after it was last renewed goes back.  A bucket
 * asked for rarely costs one exact question each time; an `exact` rate, or one whose burst is below
 * 4, always does.  After a refusal that names a time, the same or more is refused here until then
 * (a second at most, for others may give tokens back).
 *
 * The bound.  Let B(t) be what the shared bucket holds and L(t) what all G gates hold or have asked
 * for.  Admitting takes from B or L, leasing and giving back move tokens between them (giving back
 * stops at B = burst: then tokens are lost), and only time adds any: rate * w in a window w, to B.
 * So in any window, by the time tokens are had,
 *     admitted(t, t + w) <= B(t) + L(t) + rate * w <= burst + G * floor(burst / 4) + rate * w
 * It is tight where the bucket refills within a lease's life: G gates lease their quarters from a
 * full bucket, it fills up again, and then everything is spent at once.  `exact` means L = 0:
 *     admitted(t, t + w) <= burst + rate * w
 * A gate that dies, or an answer that comes too late, loses its lease; nothing is admitted twice.
 * Nothing is withheld for long: a client that asks all the time has all that is due but for what
 * lies in gates it does not ask, LEASE_TIME at most. */
#ifndef QG_STORE_LEASE_H
#define QG_STORE_LEASE_H

#include "store_source.h"

struct leases; /* the process's */

struct leases *leases_new(void); /* NULL: out of memory */
void leases_free(struct leases *l);

/* A worker's way to them, over its own source, which it does not own but uses to its end.  now_us:
 * the monotonic clock, the same for all.  Its tick gives back what has expired.  NULL: out of
 * memory.  The last of them to be freed gives back all that is held. */
struct store *store_lease_new(struct leases *l, struct source *source, uint64_t (*now_us)(void));

#endif
