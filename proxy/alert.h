/* alert.h - what an operator must know: one event, rendered by each sink in its own format.
 *
 * Raised from any thread, delivered by a thread of its own: the caller never waits.  No payload, no
 * raw client id and no raw address ever stands in an alert: clients are pseudonyms. */
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

#endif
