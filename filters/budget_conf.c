/* budget_conf.c - a budget's options, what goes together with them, and what they mean in words. */
#include <math.h>
#include <stdio.h>

#include "budget.h"

#define WINDOW_MAX SECONDS(UINT64_C(3660) * 86400)
#define COUNTS     4

static const char *const accounting_words[] = {"pure", "zcdp", "renyi", NULL};
static const char *const per_words[] = {"client", "tier", "everyone", NULL};
static const char *const on_failure_words[] = {"closed", "open", NULL};

const struct option budget_options[] = {
    {.name = "epsilon",
     .type = OPTION_REAL,
     .offset = offsetof(struct budget_conf, epsilon),
     .min = 1e-3,
     .max = 1000,
     .required = true,
     .says = "What may be lost in all: (epsilon, delta)-differential privacy of all answers of the "
             "window together."},
    {.name = "delta",
     .type = OPTION_REAL,
     .offset = offsetof(struct budget_conf, delta),
     .max = 0.1,
     .says = "Needed with zcdp and renyi: well below one in the number of people in the training "
             "data, such as 1e-6."},
    {.name = "accounting",
     .type = OPTION_WORD,
     .offset = offsetof(struct budget_conf, accounting),
     .fallback = "pure",
     .words = accounting_words,
     .says = "How losses add up: pure, epsilons; zcdp, rhos of zero-concentrated privacy; renyi, "
             "Renyi divergences of 14 orders, of which the best counts. For the same promise the "
             "last two allow more answers, once there are many."},
    {.name = "window",
     .type = OPTION_STRING,
     .offset = offsetof(struct budget_conf, window),
     .fallback = "never",
     .says = "When what was spent is given back: never, or after so long (12h, 30d), when what "
             "was learnt is as good as before: the promise is then of each window only."},
    {.name = "when_spent",
     .type = OPTION_STRING,
     .offset = offsetof(struct budget_conf, when_spent),
     .fallback = "deny",
     .says = "deny: 403, or with a window 429 and Retry-After. Or the name of a policy that then "
             "applies in place of this one, from its first filter."},
    {.name = "per",
     .type = OPTION_WORD,
     .offset = offsetof(struct budget_conf, per),
     .fallback = "client",
     .words = per_words,
     .says = "Who shares a budget of each model: the queries of one client, of all clients of a "
             "tier (a client without one has its own), or everyone's."},
    {.name = "on_failure",
     .type = OPTION_WORD,
     .offset = offsetof(struct budget_conf, on_failure),
     .min = STORE_CLOSED,
     .fallback = "closed",
     .words = on_failure_words,
     .says = "While the store does not answer: closed, 503; open, answered without being counted, "
             "which no promise survives. There is no local: two gates that count apart spend "
             "twice."},
    {.type = OPTION_END},
};

static bool wrong(struct conf_error *error, const char *option, const char *text) {
    error->option = option;
    snprintf(error->text, sizeof(error->text), "%s", text);
    return false;
}

/* "never", or a number and s, min, h or d. */
static bool read_window(struct bytes text, uint64_t *out) {
    static const struct {
        const char *name;
        uint64_t us;
    } units[] = {
        {"s", SECONDS(1)}, {"min", SECONDS(60)}, {"h", SECONDS(3600)}, {"d", SECONDS(86400)}};
    uint64_t n = 0;
    *out = 0;
    if (bytes_is(text, "never"))
        return true;
    while (text.len > 0 && text.at[0] >= '0' && text.at[0] <= '9' && n < 1000000000) {
        n = n * 10 + (uint64_t)(text.at[0] - '0');
        text = bytes_skip(text, 1);
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (bytes_is(text, units[i].name) && n > 0 && n <= WINDOW_MAX / units[i].us)
            *out = n * units[i].us;
    return *out > 0;
}

bool budget_check(void *at, struct conf_error *error) {
    struct budget_conf *conf = at;
    if (conf->accounting == ACCOUNT_PURE && conf->delta > 0)
        return wrong(error, "delta",
                     "pure epsilons add up without a delta: leave it out, or choose "
                     "'accounting: zcdp' or renyi");
    if (conf->accounting != ACCOUNT_PURE && conf->delta == 0)
        return wrong(error, "accounting",
                     "zcdp and renyi promise (epsilon, delta): give 'delta' too (such as 1e-6, "
                     "well below one in the number of people)");
    if (conf->delta > 0 && conf->delta < 1e-15)
        return wrong(error, "delta", "expected at least 1e-15");
    if (!read_window(conf->window, &conf->budget.window_us))
        return wrong(error, "window", "expected never, or a time such as 12h or 30d");
    conf->spent = (struct policy_ref){.option = "when_spent"};
    if (!bytes_is(conf->when_spent, "deny"))
        conf->spent.name = conf->when_spent;
    conf->limit = loss_limit((enum accounting)conf->accounting, conf->epsilon, conf->delta);
    conf->budget.on_failure = (enum store_on_failure)conf->on_failure;
    for (int i = 0; i < STORE_AMOUNTS; i++)
        if (conf->limit.at[i] > 0)
            conf->budget.limit[i] = loss_units(conf->limit.at[i], false, STORE_AMOUNT_MAX - 1);
    return true;
}

uint32_t budget_switches(void *at, struct policy_ref **refs) {
    struct budget_conf *conf = at;
    *refs = &conf->spent;
    return conf->spent.name.len > 0 ? 1 : 0;
}

/* ---- The mechanisms behind it ---- */

static void take_mechanism(struct budget_conf *conf, const struct privacy *p) {
    for (int k = 0; k < BUDGET_KINDS; k++) {
        if ((p->covers & ~conf->covers & 1u << k) == 0)
            continue;
        conf->privacy[k] = *p;
        for (int i = 0; i < STORE_AMOUNTS; i++)
            conf->cost[k][i] = loss_units(p->loss.at[i], true, STORE_AMOUNT_MAX);
    }
    conf->covers |= p->covers;
    conf->sticky = conf->sticky && p->sticky;
}

static bool can_pay(const struct budget_conf *conf, const uint64_t *cost) {
    for (int i = 0; i < STORE_AMOUNTS; i++)
        if (conf->budget.limit[i] > 0 && cost[i] <= conf->budget.limit[i])
            return true;
    return false;
}

static bool check_pure(const struct budget_conf *conf, const struct privacy *p,
                       struct conf_error *error) {
    if (conf->accounting != ACCOUNT_PURE || p->delta == 0)
        return true;
    return wrong(error, "accounting",
                 "discrete_gaussian has no pure epsilon, so pure epsilons cannot add it up: choose "
                 "'accounting: zcdp' or renyi, and a 'delta'");
}

bool budget_after(void *at, const struct filter_use *behind, uint32_t count,
                  struct conf_error *error) {
    struct budget_conf *conf = at;
    const char *why = "a budget needs a mechanism behind it to spend on: noise, value or embedding "
                      "with an epsilon, or randomize; without one, answers are exact and no "
                      "budget bounds what they tell";
    conf->sticky = true;
    for (uint32_t i = 0; i < count; i++) {
        const struct filter *f = behind[i].filter;
        struct privacy p = {.why = NULL};
        if (f == &filter_budget)
            return wrong(error, NULL, "a policy has one budget: two would both be charged");
        if (f->privacy == NULL)
            continue;
        if (!f->privacy(behind[i].conf, &p)) {
            why = p.why;
            conf->sticky = conf->sticky && p.sticky;
            continue;
        }
        if (!check_pure(conf, &p, error))
            return false;
        take_mechanism(conf, &p);
        conf->draws = behind[i].draws; /* the last one's has the others in it */
    }
    if (conf->covers == 0)
        return wrong(error, NULL, why);
    for (int k = 0; k < BUDGET_KINDS; k++)
        if ((conf->covers & 1u << k) != 0 && !can_pay(conf, conf->cost[k]))
            return snprintf(error->text, sizeof(error->text),
                            "one answer costs epsilon %g, more than the whole budget of %g can "
                            "bear: lower the mechanism's epsilon, or raise this",
                            conf->privacy[k].epsilon, conf->epsilon),
                   error->option = "epsilon", false;
    return true;
}

/* ---- The model it is for ---- */

static struct loss row_loss(const struct budget_conf *conf, const uint32_t *outputs,
                            uint64_t *cost) {
    struct loss sum = {.at = {0}};
    memset(cost, 0, STORE_AMOUNTS * sizeof(*cost));
    for (int k = 0; k < BUDGET_KINDS; k++) {
        struct loss all = loss_times(&conf->privacy[k].loss, outputs[k]);
        sum = loss_sum(&sum, &all);
    }
    for (int i = 0; i < STORE_AMOUNTS; i++)
        cost[i] = loss_units(sum.at[i], true, STORE_AMOUNT_MAX);
    return sum;
}

bool budget_fits(const void *at, const uint32_t *outputs, struct conf_error *error) {
    const struct budget_conf *conf = at;
    uint64_t cost[STORE_AMOUNTS];
    error->option = NULL;
    for (int k = 0; k < BUDGET_KINDS; k++)
        if (outputs[k] > 0 && (conf->covers & 1u << k) == 0) {
            snprintf(error->text, sizeof(error->text),
                     "an output declared %s would leave exact beside the others, and void what the "
                     "budget promises: no mechanism behind it acts on %s%s",
                     output_kind_names[k], output_kind_names[k],
                     k == OUT_LABELS ? " (randomize with 'classes' does)" : "");
            return false;
        }
    row_loss(conf, outputs, cost);
    if (can_pay(conf, cost))
        return true;
    snprintf(error->text, sizeof(error->text),
             "one answer of all its outputs costs more than the whole budget of epsilon %g can "
             "bear",
             conf->epsilon);
    return false;
}

/* ---- In words ---- */

void budget_explain(const void *at, struct buf *out) {
    const struct budget_conf *conf = at;
    static const char *const whose[] = {"each client", "each tier", "everyone together"};
    buf_printf(out, "- %s has (%g, %g)-differential privacy for each model ", whose[conf->per],
               conf->epsilon, conf->delta);
    if (conf->budget.window_us == 0)
        buf_add_str(out, "in all, for good\n");
    else
        buf_printf(out, "in any %s; over n windows the promise is n times as weak\n",
                   conf->window.at);
    buf_printf(out, "- added up as %s\n",
               (const char *[]){"pure epsilons", "rhos of zero-concentrated privacy",
                                "Renyi divergences of 14 orders"}[conf->accounting]);
    buf_add_str(out, "- paid before the model is asked; a failed answer, a crash or a client that "
                     "leaves gets nothing back; an answer with more rows than were paid for is "
                     "withheld\n");
    buf_add_str(out, conf->sticky
                         ? "- an exact repeat gets the same answer and costs nothing, as long as "
                           "it is remembered; a changed bit is a new question\n"
                           "- the first answer of another version of the model is withheld, and "
                           "what was paid for it stays paid\n"
                         : "- repeats draw anew, and cost as much as the first\n");
    if (conf->spent.name.len > 0)
        buf_printf(out,
                   "- once spent, policy '%s' applies: what its answers tell is not covered by "
                   "this budget\n",
                   conf->spent.name.at);
    else
        buf_printf(out, "- once spent, queries are refused (%s)\n",
                   conf->budget.window_us == 0 ? "403" : "429");
    if (conf->on_failure == STORE_OPEN)
        buf_add_str(out, "- while the store does not answer, answers are not counted, and the "
                         "promise does not hold\n");
}

static void explain_answers(const struct budget_conf *conf, const struct loss *each, double n,
                            struct buf *out) {
    struct loss sum = loss_times(each, n);
    double delta = conf->delta, e = loss_epsilon(&sum, (enum accounting)conf->accounting, delta);
    buf_printf(out,
               "- %.0f %s: (%.6g, %g); of any membership attack, true positives at 0.1 %% false "
               "ones <= %.3g %%, advantage <= %.3g\n",
               n, n > 1 ? "answers" : "answer", e, delta,
               100 * attack_true_positives(e, delta, 0.001), attack_advantage(e, delta));
}

void budget_explain_for(const void *at, const uint32_t *outputs, struct buf *out) {
    const struct budget_conf *conf = at;
    static const double counts[COUNTS] = {1, 10, 100, 1000};
    uint64_t cost[STORE_AMOUNTS];
    struct loss each = row_loss(conf, outputs, cost);
    double paid = loss_count(&each, &conf->limit);
    for (int k = 0; k < BUDGET_KINDS; k++)
        if (outputs[k] > 0 && (conf->covers & 1u << k) != 0) {
            const struct privacy *p = &conf->privacy[k];
            buf_printf(out, "- %u of %s: epsilon %g, delta %g a row; sensitivity: %s; unit: %s\n",
                       outputs[k], output_kind_names[k], p->epsilon, p->delta, p->sensitivity,
                       p->unit);
        }
    buf_printf(out, "- it pays for %.0f different answers (rows)\n", paid);
    for (int i = 0; i < COUNTS; i++)
        if (counts[i] < paid)
            explain_answers(conf, &each, counts[i], out);
    explain_answers(conf, &each, paid, out);
    if (conf->epsilon > 3)
        buf_add_str(out, "- so large an epsilon promises little on paper; what an attack gains in "
                         "practice has to be measured\n");
    buf_add_str(out,
                "- not promised: that clients who pool their budgets learn no more than one; "
                "anything about another model of the same data, or a new version with the same "
                "people in it, beyond what is counted; that the model was not already known\n");
}
