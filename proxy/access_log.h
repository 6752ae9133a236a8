/* access_log.h - one JSON line per request: who (a pseudonym), what call, which policy decided what,
 * how long.  Never a payload, a path, a key or an address.
 *
 * A worker writes lines into its own buffer; full buffers go to the main thread, which alone writes
 * to the file, so that a slow disk never stops a worker. */
#ifndef QG_ACCESS_LOG_H
#define QG_ACCESS_LOG_H

#include "base/buf.h"
#include "timers.h"

struct worker;
struct exchange;

struct access_log {
    struct worker *worker;
    struct buf lines;
    struct timer flush;
};

void access_log_init(struct access_log *l, struct worker *w);
void access_log_close(struct access_log *l); /* hands over what is left */
void access_log_add(struct access_log *l, const struct exchange *ex, uint64_t sent);

/* The writing side, used by the main thread only. */
/* (Re)opens it; "-": standard output; empty: off.  False: it cannot be, and was logged. */
MUST bool access_log_open_file(struct bytes path);
void access_log_close_file(void);

#endif
