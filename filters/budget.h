/* budget.h - the configuration of a privacy budget, made before any query and explained after. */
#ifndef QG_BUDGET_H
#define QG_BUDGET_H

#include "../proxy/filter.h"

enum budget_per { BUDGET_PER_CLIENT, BUDGET_PER_TIER, BUDGET_PER_EVERYONE };
enum { BUDGET_KINDS = OUT_OPAQUE + 1 };

struct budget_conf {
    double epsilon, delta;
    int accounting; /* enum accounting */
    struct bytes window, when_spent;
    int per, on_failure;

    /* Made by budget_check. */
    struct loss limit;
    struct store_budget budget;
    struct policy_ref spent; /* name empty: deny */

    /* Made by budget_after. */
    uint32_t covers;                      /* 1 << enum output_kind */
    bool sticky;                          /* every draw is */
    struct hash128 draws;                 /* of the last mechanism: tells them from others */
    struct privacy privacy[BUDGET_KINDS]; /* of each output of the kind */
    uint64_t cost[BUDGET_KINDS][STORE_AMOUNTS];
};

extern const struct filter filter_budget;
extern const struct option budget_options[];
bool budget_check(void *at, struct conf_error *);
uint32_t budget_switches(void *at, struct policy_ref **refs);
bool budget_after(void *at, const struct filter_use *behind, uint32_t count, struct conf_error *);
bool budget_fits(const void *at, const uint32_t *outputs, struct conf_error *);
void budget_explain(const void *at, struct buf *out);
void budget_explain_for(const void *at, const uint32_t *outputs, struct buf *out);

#endif
