/* access_log.h - one JSON line per request: who (a pseudonym), what call, which policy decided
 * what, how long.  Never a payload, a path, a key or an address.
 *
 * A worker writes lines into its own buffer; full buffers go to the log file's thread. */
#ifndef QG_ACCESS_LOG_H
#define QG_ACCESS_LOG_H

#include "base/buf.h"
#include "timers.h"

struct config;
struct worker;
struct exchange;

struct access_log {
    struct worker *worker;
    struct buf lines;
    uint64_t count; /* of them */
    struct timer flush;
};

void access_log_init(struct access_log *l, struct worker *w);
void access_log_close(struct access_log *l); /* hands over what is left */
void access_log_add(struct access_log *l, const struct exchange *ex, uint64_t took_us,
                    uint64_t sent);

/* A request that never became one: refused by the framing rules, or too slow. */
void access_log_refusal(struct access_log *l, const struct config *config, struct bytes client,
                        unsigned status, const char *reason);

#endif
