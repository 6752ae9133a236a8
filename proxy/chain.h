/* chain.h - runs a policy's filters over a query and its answer, and keeps the accounts: a filter
 * only decides.  In observe mode it decides too, but nothing follows from it. */
#ifndef QG_CHAIN_H
#define QG_CHAIN_H

#include "policy.h"
#include "stats.h"

struct chain {
    const struct policy *policy;
    struct filter_call *calls; /* one per slot */
    uint32_t entered;          /* slots whose on_query was called: on_close is owed to them */
    uint32_t at;
    const char *observed[FILTERS_MAX]; /* filters that would have refused, in observe mode */
    uint32_t observed_count;
    const char *refused_by; /* the filter whose verdict was not PASS */
};

/* proto: what all calls have in common.  False: out of memory. */
MUST bool chain_begin(struct chain *c, const struct policy *policy,
                      const struct filter_call *proto);

/* From where it stopped to the end or to a verdict that is not PASS.  After WAIT, chain_resume
 * with the verdict that came, then chain_query again. */
struct verdict chain_query(struct chain *c, struct stats *stats);
struct verdict chain_resume(struct chain *c, struct stats *stats, struct verdict v);

/* Over the answer, top to bottom.  In observe mode the filters see a copy. */
struct verdict chain_answer(struct chain *c, struct stats *stats, struct predictions *p);

/* on_close of every filter that was entered. */
void chain_close(struct chain *c);

#endif
