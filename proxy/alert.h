/* alert.h - what an operator must know: one event, rendered by each sink in its own format.
 *
 * Raised from any thread: the caller never waits.  The main thread gathers and renders, each file
 * is written by a thread of its own.  No payload, no raw client id and no raw address ever stands
 * in an alert: clients are pseudonyms.
 *
 * Alerts about a client can come as fast as its queries, so those alike in rule, text, client and
 * model are gathered: the first is delivered at once, those of the next ten seconds as one with
 * their count.  Alerts about the gate itself (no client) are all delivered at once. */
#ifndef QG_ALERT_H
#define QG_ALERT_H

#include "base/bytes.h"

enum alert_severity { ALERT_INFO, ALERT_LOW, ALERT_MEDIUM, ALERT_HIGH, ALERT_CRITICAL };
enum { ALERT_FACTS_MAX = 8 };

struct alert_fact {
    const char *name; /* static, a plain word */
    uint64_t value;
};

struct alert {
    const char *rule; /* static, what it is about: "store.fallback" */
    enum alert_severity severity;
    const char *text;    /* static: a sentence */
    struct bytes client; /* pseudonym; empty: none */
    struct bytes model;  /* empty: none */
    struct alert_fact facts[ALERT_FACTS_MAX];
    uint32_t fact_count;
};

/* Copied before this returns.  When no sink is configured it is only counted. */
void alert_raise(const struct alert *a);

/* ---- The process's side: main thread only ---- */

struct config;
struct worker;

/* Opens the sinks; before this, alerts are only counted.  False: a sink cannot be opened, which was
 * logged. */
MUST bool alert_open(struct worker *main, const struct config *c);

/* Takes over the sinks of c and opens their files again.  False: one cannot be opened, which was
 * logged, and the ones before stay. */
MUST bool alert_reload(const struct config *c);

/* Delivers what waits and closes; later alerts are only counted. */
void alert_close(void);

/* Since the start; dropped: lost because the queue was full or a file too slow. */
struct alert_counts {
    uint64_t raised, dropped;
};
struct alert_counts alert_counts(void);

#endif
