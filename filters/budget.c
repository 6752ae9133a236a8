/* budget.c - a privacy budget: so much differential privacy for a client and a model, and no more.
 *
 * Each row is one answer of each output.  Before the upstream is asked, the whole query is paid for
 * in one step of the store, or refused; what was paid is never given back, whatever happens next.
 * What a row costs is what the mechanisms behind this filter in its policy say that they lose, and
 * of those that act on an output the first counts: the others see only what it let through.
 *
 * Where all draws are sticky, an exact repeat is the same answer and costs nothing: its mark, under
 * the noise's key, is of the mechanisms, the account, the model and its version, and the question.
 * The version is known when the answer comes; until then it is taken to be the last one seen.  If
 * that was wrong the answer is withheld, paid for or not: so what a mark stands for was paid for,
 * and left under no other version, at whichever gate. */
#include "budget.h"

#include <math.h>
#include <pthread.h>

#include "../proxy/base/require.h"
#include "sticky.h"

#define VERSIONS 1024 /* models whose version is known; two in one place charge repeats */

/* ---- Versions ---- */

struct version {
    uint64_t model, hash;
};

static struct {
    pthread_mutex_t lock;
    struct version at[VERSIONS];
} versions = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct state {
    struct filter_call *call;
    bool pending;
    bool marked;             /* the query has marks, made under: */
    struct version presumed; /* hash 0: not known */
    struct store_spending what;
};

static uint64_t hash_of(struct bytes b) {
    static const struct hash_key key = {0x7665727369, 0x6f6e73};
    return hash_bytes(&key, b) | 1;
}

static struct version known_version(struct bytes model) {
    uint64_t hash = hash_of(model);
    pthread_mutex_lock(&versions.lock);
    struct version v = versions.at[hash % VERSIONS];
    pthread_mutex_unlock(&versions.lock);
    return v.model == hash ? v : (struct version){.model = hash};
}

/* The one that answered.  True: the one that was presumed, or none was. */
static bool learn_version(const struct version *presumed, struct bytes version) {
    uint64_t hash = hash_of(version);
    if (presumed->hash == hash)
        return true;
    pthread_mutex_lock(&versions.lock);
    versions.at[presumed->model % VERSIONS] = (struct version){presumed->model, hash};
    pthread_mutex_unlock(&versions.lock);
    return presumed->hash == 0;
}

/* ---- What is paid for ---- */

static void append(struct buf *b, struct bytes part) {
    uint64_t len = part.len;
    buf_add(b, &len, sizeof(len));
    buf_add_bytes(b, part);
}

/* Whose account: the limits are not part of it, so that no reload gives anything back. */
static void add_account(struct buf *b, const struct filter_call *call) {
    const struct budget_conf *conf = call->conf;
    struct bytes who = call->client->key;
    char kind = 'c';
    if (conf->per == BUDGET_PER_TIER && call->client->tier.len > 0) {
        who = call->client->tier;
        kind = 't';
    } else if (conf->per == BUDGET_PER_EVERYONE) {
        who = bytes_of(NULL, 0);
        kind = 'e';
    }
    buf_add_str(b, "privacy budget ");
    buf_add_char(b, kind);
    append(b, who);
    append(b, call->model_name);
}

static bool make_marks(struct filter_call *call, struct bytes account, struct sticky *s,
                       struct hash128 *marks, struct buf *context) {
    const struct budget_conf *conf = call->conf;
    const struct state *state = call->state;
    struct bit_source *source = call->random->sticky;
    for (uint32_t i = 0; i < s->items; i++) {
        buf_clear(context);
        buf_add_str(context, "budget mark");
        buf_add(context, &conf->draws, sizeof(conf->draws));
        append(context, account);
        append(context, call->client->key); /* an embedding's draws are its tenant's own */
        append(context, call->client->tier);
        buf_add(context, &state->presumed, sizeof(state->presumed));
        buf_add(context, s->digests[i], sizeof(*s->digests));
        struct bits *bits = context->failed ? NULL : source->open(source, buf_bytes(context));
        if (bits == NULL)
            return false;
        marks[i].lo = bits_take(bits, 64);
        marks[i].hi = bits_take(bits, 64);
    }
    return true;
}

/* Marks for each question, which then is the item, of as many rows as a question has.  False: out
 * of memory. */
static bool mark_questions(struct filter_call *call, struct bytes account) {
    static const struct sticky_conf exact = {.on = true};
    struct state *state = call->state;
    struct predictions none = {.count = 0};
    struct sticky s;
    struct buf context;
    if (!sticky_begin(&s, call, &exact, &none, bytes_of(NULL, 0)))
        return false;
    struct hash128 *marks = arena_new_array(call->arena, struct hash128, s.items);
    buf_init(&context, KIB(4));
    bool ok = marks != NULL && s.items <= STORE_ITEMS_MAX &&
              make_marks(call, account, &s, marks, &context);
    if (ok) {
        uint32_t each = (call->query->rows + s.items - 1) / s.items;
        for (int i = 0; i < STORE_AMOUNTS; i++)
            if (__builtin_mul_overflow(state->what.cost[i], each, &state->what.cost[i]) ||
                state->what.cost[i] > STORE_AMOUNT_MAX)
                state->what.cost[i] = STORE_AMOUNT_MAX;
        state->what.items = s.items;
        state->what.marks = marks;
        state->marked = true;
    }
    buf_free(&context);
    sticky_end(&s);
    return ok;
}

/* Of a row of all outputs. */
static void add_costs(const struct budget_conf *conf, const uint32_t *outputs, uint64_t *cost) {
    for (int k = 0; k < BUDGET_KINDS; k++)
        for (int i = 0; i < STORE_AMOUNTS; i++) {
            uint64_t more;
            if (__builtin_mul_overflow(conf->cost[k][i], (uint64_t)outputs[k], &more) ||
                more > STORE_AMOUNT_MAX - cost[i])
                more = STORE_AMOUNT_MAX - cost[i];
            cost[i] += more;
        }
}

/* ---- The verdict ---- */

static double in_unit(const struct budget_conf *conf, const uint64_t *units) {
    struct loss l;
    bool any = false;
    for (int i = 0; i < STORE_AMOUNTS; i++) {
        l.at[i] = loss_of_units(units[i]);
        any = any || units[i] > 0;
    }
    if (!any)
        return 0;
    return conf->accounting == ACCOUNT_ZCDP
               ? l.at[LOSS_ZCDP]
               : loss_epsilon(&l, (enum accounting)conf->accounting, conf->delta);
}

static double share_of(const struct budget_conf *conf, const uint64_t *spent) {
    double least = 1;
    for (int i = 0; i < STORE_AMOUNTS; i++)
        if (conf->budget.limit[i] > 0)
            least = fmin(least, (double)spent[i] / (double)conf->budget.limit[i]);
    return least;
}

static void note_charge(struct filter_call *call, const struct store_answer *answer) {
    const struct budget_conf *conf = call->conf;
    const struct state *state = call->state;
    const struct store_spending *what = &state->what;
    uint32_t each = (call->query->rows + what->items - 1) / what->items;
    uint64_t before[STORE_AMOUNTS];
    for (int i = 0; i < STORE_AMOUNTS; i++) {
        uint64_t paid;
        if (__builtin_mul_overflow(what->cost[i], (uint64_t)answer->charged, &paid) ||
            paid > answer->spent[i])
            paid = answer->spent[i];
        before[i] = answer->spent[i] - paid;
    }
    double spent = in_unit(conf, answer->spent);
    call->charge = (struct charge){
        .rows = answer->charged * each,
        .free_rows = (what->items - answer->charged) * each,
        .cost = spent - in_unit(conf, before),
        .spent = spent,
        .limit = conf->accounting == ACCOUNT_ZCDP ? conf->limit.at[LOSS_ZCDP] : conf->epsilon,
        .share = share_of(conf, answer->spent),
        .unit = conf->accounting == ACCOUNT_ZCDP ? "rho" : "epsilon",
        .denied = !answer->admitted};
    if (!answer->admitted)
        call->charge.free_rows = 0;
}

static struct verdict judge(struct filter_call *call, const struct store_answer *answer) {
    const struct budget_conf *conf = call->conf;
    if (answer->status == STORE_FAILED)
        return verdict_fault("the privacy budget could not be checked");
    if (answer->admitted && answer->fallback)
        return verdict_pass();
    note_charge(call, answer);
    if (answer->admitted)
        return verdict_pass();
    if (conf->spent.policy != NULL)
        return verdict_switch(conf->spent.policy);
    if (answer->retry_after_us == UINT64_MAX)
        return verdict_deny(403, "the privacy budget is spent");
    struct verdict v = verdict_deny(429, "the privacy budget is spent");
    uint64_t ms = answer->retry_after_us / 1000 + 1;
    v.retry_after_ms = ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
    return v;
}

static void on_spent(void *cookie, const struct store_answer *answer) {
    struct state *state = cookie;
    state->pending = false; /* on_close must not cancel it any more */
    filter_resume(state->call->exchange, judge(state->call, answer));
}

static struct verdict spend(struct filter_call *call, struct bytes account) {
    const struct budget_conf *conf = call->conf;
    struct state *state = call->state;
    struct store_answer answer;
    enum store_status status =
        store_spend(call->store, account, &conf->budget, &state->what, on_spent, state, &answer);
    if (status == STORE_PENDING) {
        state->pending = true;
        return verdict_wait();
    }
    answer.status = status;
    return judge(call, &answer);
}

static struct verdict on_query(struct filter_call *call) {
    const struct budget_conf *conf = call->conf;
    struct state *state = call->state;
    struct buf account;
    state->call = call;
    state->what.items = call->query->rows > 0 ? call->query->rows : 1;
    add_costs(conf, call->outputs, state->what.cost);
    state->presumed = known_version(call->model_name);
    buf_init(&account, KIB(4));
    add_account(&account, call);
    /* More rows than can be marked are paid for each time. */
    bool marks = conf->sticky && state->presumed.hash != 0 && state->what.items <= STORE_ITEMS_MAX;
    struct verdict v;
    if (account.failed || (marks && !mark_questions(call, buf_bytes(&account))))
        v = verdict_fault("out of memory");
    else
        v = spend(call, buf_bytes(&account));
    buf_free(&account);
    return v;
}

/* ---- The answer ---- */

/* Is there no more in the answer than was paid for? */
static bool is_paid(const struct filter_call *call, const struct predictions *p) {
    const struct budget_conf *conf = call->conf;
    uint32_t outputs[BUDGET_KINDS] = {0};
    for (uint32_t i = 0; i < p->count; i++) {
        const struct output *o = &p->outputs[i];
        if (o->dropped)
            continue;
        if ((conf->covers & 1u << o->kind) == 0 || ++outputs[o->kind] > call->outputs[o->kind] ||
            o->rows > call->query->rows)
            return false;
    }
    return true;
}

static struct verdict on_answer(struct filter_call *call, struct predictions *p) {
    const struct budget_conf *conf = call->conf;
    struct state *state = call->state;
    struct bytes version = p->version.len > 0 ? p->version : call->query->version;
    if (!is_paid(call, p))
        return verdict_deny(502, "the answer has more in it than was paid for");
    if (conf->sticky && !learn_version(&state->presumed, version) && state->marked)
        return verdict_fault("the model's version has changed: ask again");
    return verdict_pass();
}

static void on_close(struct filter_call *call) {
    struct state *state = call->state;
    if (state->pending)
        call->store->ops->cancel(call->store, state);
    state->pending = false;
}

const struct filter filter_budget = {
    .name = "budget",
    .says = "Gives each client so much differential privacy on a model, and no more.",
    .needs = NEEDS_QUERY | NEEDS_ANSWER,
    .options = budget_options,
    .conf_size = sizeof(struct budget_conf),
    .state_size = sizeof(struct state),
    .lasting = true,
    .only_judges = true,
    .check = budget_check,
    .switches = budget_switches,
    .after = budget_after,
    .fits = budget_fits,
    .explain = budget_explain,
    .explain_for = budget_explain_for,
    .on_query = on_query,
    .on_answer = on_answer,
    .on_close = on_close,
};
