/* mask.c - scores whose order stays and whose values say less.
 *
 *   rank_swap    HAMP (Chen and Pattabiraman: NDSS 2024): the greatest score becomes the greatest
 *                of an answer to a random input, the second its second, and so on.
 *   model_guard  ModelGuard-W: the row within an L1 distance that misleads a copy most (mask_lp.h).
 *
 * Ranks are by value, and among equals by class, the lower first; so each row has one order, and
 * the best class, by any rule for ties, stays the best and has no equal. */
#include <math.h>
#include <stdio.h>

#include "../proxy/base/require.h"
#include "mask_lp.h"
#include "mask_pool.h"
#include "mask_rank.h"
#include "sticky.h"

#define GAP          1e-4 /* between the best and any other, as in the paper */
#define SUM_NEAR     0.02 /* what a row of probabilities may miss 1 by: half floats, few digits */
#define DISTANCE_MIN 0.02 /* leaves room for the rounding of BF16 */
#define TOP_DEFAULT  10

enum method { RANK_SWAP, MODEL_GUARD };
static const char *const method_words[] = {"rank_swap", "model_guard", NULL};

struct conf {
    int method;
    struct bytes file;
    struct mask_pool *pool;
    double distance;
    uint64_t top;
    struct sticky_conf sticky;
};

static const struct option options[] = {
    {.name = "method",
     .type = OPTION_WORD,
     .offset = offsetof(struct conf, method),
     .required = true,
     .words = method_words,
     .says = "rank_swap: the scores become those of an answer to a random input, in the order they "
             "had. model_guard: they move by at most `distance`, to where they mislead most."},
    {.name = "pool",
     .type = OPTION_FILE,
     .offset = offsetof(struct conf, file),
     .says = "rank_swap: file of the model's answers to random inputs, a JSON array of "
             "probabilities a line or a .npy matrix; deploy/mask-pool.sh makes one."},
    {.name = "distance",
     .type = OPTION_REAL,
     .offset = offsetof(struct conf, distance),
     .min = DISTANCE_MIN,
     .max = 2,
     .says = "model_guard: by how much a row changes at most, in L1: the sum of what its scores "
             "move."},
    {.name = "top",
     .type = OPTION_COUNT,
     .offset = offsetof(struct conf, top),
     .min = 2,
     .max = MASK_LP_MAX,
     .says = "model_guard: so many of a row's best scores are moved, among themselves; the others "
             "stay as they are. Absent: 10."},
    STICKY_OPTIONS(struct conf, sticky),
    {.type = OPTION_END},
};

/* ---- The configuration ---- */

static const char *wrong_rank_swap(const struct conf *conf, const char **option) {
    *option = NULL;
    if (conf->file.len == 0)
        return "rank_swap needs a 'pool': deploy/mask-pool.sh makes one";
    *option = conf->distance > 0 ? "distance" : "top";
    if (conf->distance > 0)
        return "rank_swap bounds no distance: a score may become anything that a random input got";
    if (conf->top > 0)
        return "rank_swap changes all scores of a row";
    *option = "bucket";
    if (conf->sticky.bucket > 0 && !conf->sticky.on)
        return "'bucket' has a meaning only with 'sticky: true'";
    return NULL;
}

static const char *wrong_model_guard(const struct conf *conf, const char **option) {
    *option = NULL;
    if (conf->distance == 0)
        return "model_guard needs a 'distance'";
    *option = "pool";
    if (conf->file.len > 0)
        return "model_guard draws from no pool";
    *option = !conf->sticky.on ? "sticky" : "bucket";
    if (!conf->sticky.on || conf->sticky.bucket > 0)
        return "model_guard draws nothing: the same scores give the same answer always";
    return NULL;
}

static bool check(void *at, struct conf_error *error) {
    struct conf *conf = at;
    const char *text = conf->method == RANK_SWAP ? wrong_rank_swap(conf, &error->option)
                                                 : wrong_model_guard(conf, &error->option);
    if (conf->top == 0)
        conf->top = TOP_DEFAULT;
    if (text != NULL)
        snprintf(error->text, sizeof(error->text), "%s", text);
    return text == NULL;
}

static bool load(void *at, struct loader *from, struct conf_error *error) {
    struct conf *conf = at;
    struct buf file;
    char why[LOADER_WHY_MAX];
    if (conf->method != RANK_SWAP)
        return true;
    buf_init(&file, MASK_POOL_BYTES_MAX);
    const char *wrong = from->file(from, conf->file, &file, why);
    if (wrong == NULL) {
        conf->pool = mask_pool_read(from->arena, buf_bytes(&file), why);
        wrong = conf->pool == NULL ? why : NULL;
    }
    buf_free(&file);
    if (wrong != NULL) {
        error->option = "pool";
        snprintf(error->text, sizeof(error->text), "cannot use the pool: %s", wrong);
    }
    return wrong == NULL;
}

/* ---- Numbers of a datatype ---- */

/* Of each number the datatype may be off by this part of it, and besides by `least`. */
struct rounding {
    double part, least;
};

static struct rounding rounding_of(enum dtype type) {
    switch (type) {
    case DTYPE_FP16:
        return (struct rounding){0x1p-11, 0x1p-25};
    case DTYPE_BF16:
        return (struct rounding){0x1p-8, 0};
    case DTYPE_FP32: /* and its decimal text, of the model's answer and of this one */
        return (struct rounding){3 * 0x1p-24, 0};
    default:
        return (struct rounding){0x1p-53, 1e-15}; /* and sums of doubles */
    }
}

static double held_narrow(enum dtype type, double v) {
    char element[sizeof(double)];
    struct tensor t = {.dtype = type, .elements = 1, .data = {element, sizeof(element)}};
    dtype_write(type, v, element);
    return tensor_number(&t, 0);
}

static inline double held(enum dtype type, double v) {
    if (type == DTYPE_FP32)
        return (double)(float)v;
    return type == DTYPE_FP64 || type == DTYPE_BYTES ? v : held_narrow(type, v);
}

/* The number after v >= 0 that the datatype holds.  Formats are such that it is one bit pattern
 * further. */
static double next_above(enum dtype type, double v) {
    uint64_t pattern = 0;
    struct tensor t = {.dtype = type == DTYPE_BYTES ? DTYPE_FP64 : type,
                       .elements = 1,
                       .data = {(const char *)&pattern, sizeof(pattern)}};
    dtype_write(t.dtype, v, &pattern);
    pattern++;
    return tensor_number(&t, 0);
}

/* ---- Rows ---- */

/* Room for one row. */
struct room {
    struct mask_rank *rank, *spare;
    struct output_class *classes; /* of a ranking */
    double *values, *moved;
};

static bool make_room(struct arena *arena, const struct output *o, struct room *room) {
    room->rank = arena_new_array(arena, struct mask_rank, o->cols);
    room->spare = arena_new_array(arena, struct mask_rank, o->cols);
    room->values = arena_new_array(arena, double, o->cols);
    room->moved = arena_new_array(arena, double, o->cols);
    room->classes = arena_new_array(arena, struct output_class, o->cols);
    return room->rank != NULL && room->spare != NULL && room->values != NULL &&
           room->moved != NULL && room->classes != NULL;
}

/* A ranking's entries by class, as they stand in a tensor: then its ranks are a tensor's. */
static void order_by_class(const struct room *room, double *row, struct output_class *classes,
                           uint32_t cols) {
    for (uint32_t i = 0; i < cols; i++)
        room->moved[i] = -(double)classes[i].index;
    mask_rank_all(room->moved, cols, room->rank, room->spare);
    memcpy(room->values, row, cols * sizeof(*row));
    memcpy(room->classes, classes, cols * sizeof(*classes));
    for (uint32_t i = 0; i < cols; i++) {
        row[i] = room->values[room->rank[i].at];
        classes[i] = room->classes[room->rank[i].at];
    }
}

static void swap_row(const struct room *room, const float *from, struct output *o, uint32_t r) {
    double *row = o->values + (size_t)r * o->cols;
    struct output_class *classes = o->classes != NULL ? o->classes + (size_t)r * o->cols : NULL;
    enum dtype type = o->tensor.dtype;
    if (classes != NULL)
        order_by_class(room, row, classes, o->cols);
    mask_rank_all(row, o->cols, room->rank, room->spare);
    for (uint32_t i = 0; i < o->cols; i++)
        room->values[i] = held(type, (double)from[i]);
    if (o->cols > 1 && room->values[0] == room->values[1])
        room->values[0] = next_above(type, room->values[0]);
    if (classes != NULL) { /* in the order of the ranks: equal scores' own order would tell more */
        memcpy(room->classes, classes, o->cols * sizeof(*classes));
        for (uint32_t i = 0; i < o->cols; i++)
            classes[i] = room->classes[room->rank[i].at];
        memcpy(row, room->values, o->cols * sizeof(*row));
        return;
    }
    for (uint32_t i = 0; i < o->cols; i++)
        row[room->rank[i].at] = room->values[i];
}

static bool is_distribution(const double *row, uint32_t cols) {
    double sum = 0;
    for (uint32_t i = 0; i < cols; i++) {
        if (!(row[i] >= 0))
            return false;
        sum += row[i];
    }
    return fabs(sum - 1) <= SUM_NEAR;
}

/* The program, with what rounding to the datatype may spoil set aside. */
static struct mask_lp program(const struct conf *conf, const struct output *o, const double *y,
                              uint32_t n, double other) {
    struct rounding rounding = rounding_of(o->tensor.dtype);
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += y[i];
    double aside = 1.01 * (rounding.part * sum + rounding.least * n);
    double gap = fmin(GAP, sum / 4) + aside;
    return (struct mask_lp){
        .y = y, .n = n, .distance = conf->distance - aside, .gap = gap, .floor = other + gap};
}

/* What was promised of the numbers that leave, computed from these. */
static bool keeps_promise(const struct conf *conf, const double *y, const double *x, uint32_t n,
                          double other) {
    double distance = 0;
    bool first = x[0] > other;
    for (uint32_t i = 0; i < n; i++) {
        distance += fabs(x[i] - y[i]);
        first = first && x[i] >= 0 && (i == 0 || x[i] < x[0]);
    }
    return first && distance <= conf->distance;
}

static struct verdict guard_row(const struct conf *conf, const struct room *room, struct output *o,
                                uint32_t r) {
    double *row = o->values + (size_t)r * o->cols, *y = room->values, *x = room->moved;
    uint32_t n = conf->top < o->cols ? (uint32_t)conf->top : o->cols, more = n < o->cols;
    for (uint32_t i = 0; i < o->cols; i++)
        row[i] = held(o->tensor.dtype, row[i]);
    if (!is_distribution(row, o->cols))
        return verdict_fault("scores are not probabilities that sum to 1");
    mask_rank_best(row, o->cols, n + more, room->rank, room->spare);
    for (uint32_t i = 0; i < n; i++)
        y[i] = row[room->rank[i].at];
    double other = more ? row[room->rank[n].at] : -1;
    if (n > 1) {
        struct mask_lp lp = program(conf, o, y, n, other);
        mask_lp_solve(&lp, x);
        for (uint32_t i = 0; i < n; i++)
            row[room->rank[i].at] = x[i] = held(o->tensor.dtype, x[i]);
        if (!keeps_promise(conf, y, x, n, other))
            return verdict_fault("scores could not be masked");
    }
    return verdict_pass();
}

/* ---- The filter ---- */

static bool all_finite(const double *values, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return false;
    return true;
}

static struct verdict swap_rows(struct filter_call *call, const struct predictions *p,
                                const struct room *room, struct output *o) {
    const struct conf *conf = call->conf;
    struct sticky s;
    char what[64];
    struct verdict v = verdict_pass();
    int n = snprintf(what, sizeof(what), "mask %u %u", conf->pool->rows, conf->pool->cols);
    require(n > 0 && (size_t)n < sizeof(what));
    if (!sticky_begin(&s, call, &conf->sticky, p, bytes_of(what, (size_t)n)))
        return verdict_fault("out of memory");
    for (uint32_t r = 0; r < o->rows && v.kind == VERDICT_PASS; r++) {
        struct bits *bits = sticky_row(&s, o, r, bytes_of(NULL, 0));
        if (bits == NULL)
            v = verdict_fault("out of memory");
        else
            swap_row(room,
                     conf->sticky.on ? mask_pool_pick(conf->pool, bits)
                                     : mask_pool_deal(conf->pool, bits),
                     o, r);
    }
    sticky_end(&s);
    return v;
}

/* NULL: it can. */
static const char *cannot(const struct conf *conf, const struct output *o) {
    bool ranking = o->classes != NULL;
    if (o->kind == OUT_LOGITS)
        return "logits cannot be masked: the filter needs probabilities";
    if (!ranking && !dtype_is_float(o->tensor.dtype))
        return "scores that are integers cannot be masked";
    if (ranking && conf->method == MODEL_GUARD)
        return "a ranking does not show all scores that are to be masked";
    if (conf->method == RANK_SWAP &&
        (ranking ? o->cols > conf->pool->cols : o->cols != conf->pool->cols))
        return "the pool has another number of classes than the answer";
    return NULL;
}

static struct verdict mask(struct filter_call *call, const struct predictions *p,
                           struct output *o) {
    const struct conf *conf = call->conf;
    struct room room = {.rank = NULL};
    struct verdict v = verdict_pass();
    const char *why = cannot(conf, o);
    if (why != NULL)
        return verdict_fault(why);
    if (!make_room(call->arena, o, &room) || output_values(call->arena, o) == NULL)
        return verdict_fault("scores could not be read");
    if (!all_finite(o->values, (size_t)o->rows * o->cols))
        return verdict_fault("answer holds a score that is not a finite number");
    if (conf->method == RANK_SWAP)
        v = swap_rows(call, p, &room, o);
    for (uint32_t r = 0; r < o->rows && conf->method == MODEL_GUARD && v.kind == VERDICT_PASS; r++)
        v = guard_row(conf, &room, o, r);
    o->changed = true;
    o->grid_digits = -1;
    return v;
}

/* Rankings of different lengths would each be masked another way, and together show more. */
static struct verdict on_query(struct filter_call *call) {
    const struct conf *conf = call->conf;
    for (uint32_t i = 0; i < call->query->wanted_count && conf->method == MODEL_GUARD; i++)
        if (call->query->wanted[i].classification > 0)
            return verdict_deny(403, "the classification extension is not offered here");
    return conf->method == RANK_SWAP ? sticky_query(call, &conf->sticky) : verdict_pass();
}

static struct verdict on_answer(struct filter_call *call, struct predictions *p) {
    for (uint32_t i = 0; i < p->count; i++) {
        struct output *o = &p->outputs[i];
        if ((o->kind != OUT_SCORES && o->kind != OUT_LOGITS) || o->dropped || o->rows == 0 ||
            o->cols == 0)
            continue;
        struct verdict v = mask(call, p, o);
        if (v.kind != VERDICT_PASS)
            return v;
    }
    return verdict_pass();
}

/* ---- In words ---- */

static bool privacy(const void *at, struct privacy *out) {
    const struct conf *conf = at;
    out->sticky = conf->sticky.on;
    out->why = "mask shows the exact best class and adds no noise, so no epsilon bounds what its "
               "answers tell and no budget can add it up: put noise or randomize in its place";
    return false;
}

static bool after(void *at, const struct filter_use *behind, uint32_t count,
                  struct conf_error *error) {
    (void)at;
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(behind[i].filter->name, "randomize") == 0) {
            snprintf(
                error->text, sizeof(error->text),
                "randomize, behind it, shows a class and no scores, so there are none to mask: "
                "leave one of the two out");
            return false;
        }
    return true;
}

static void explain_swap(const struct conf *conf, struct buf *out) {
    buf_printf(out,
               "- each row of scores gets the values of one of %u answers to random inputs of %u "
               "classes, rank for rank: of the model's answer it shows the order of the classes, "
               "and nothing else\n",
               conf->pool->rows, conf->pool->cols);
    if (!conf->sticky.on)
        buf_add_str(out, "- every answer of the pool is used once before any comes again, in an "
                         "order drawn anew each time\n");
    else
        sticky_explain(&conf->sticky, out);
}

static void explain_guard(const struct conf *conf, struct buf *out) {
    buf_printf(out,
               "- the best %u scores of each row move among themselves, by at most %g in sum, to "
               "where they differ most from the model's (ModelGuard-W, solved exactly); the others "
               "stay as they are\n",
               (unsigned)conf->top, conf->distance);
    buf_add_str(out, "- the same scores give the same answer always, so repeats tell nothing; who "
                     "knows this filter can work back part of what it did, and scores that are "
                     "close to certain change least\n");
}

static void explain(const void *at, struct buf *out) {
    const struct conf *conf = at;
    (conf->method == RANK_SWAP ? explain_swap : explain_guard)(conf, out);
    buf_add_str(out, "- the best class stays the best in every answer, so whoever looks at labels "
                     "only sees what top_k with k: 1 would show: attacks that need no more than "
                     "that are not hindered\n");
    buf_add_str(out, "- promise: none of differential privacy, at no epsilon; this hinders tests "
                     "and copies that live on exact confidence\n");
    buf_add_str(out, "- probabilities only: logits and integer scores are refused; outputs "
                     "declared labels, value, embedding, text, tokens or opaque are not touched\n");
}

static bool fits(const void *conf, const uint32_t *outputs, struct conf_error *error) {
    (void)conf;
    if (outputs[OUT_LOGITS] == 0)
        return true;
    snprintf(error->text, sizeof(error->text),
             "logits cannot be masked: the filter needs probabilities, declared as scores");
    return false;
}

const struct filter filter_mask = {
    .name = "mask",
    .says = "Changes the values of scores and keeps their order, or at least the best class.",
    .needs = NEEDS_QUERY | NEEDS_ANSWER,
    .options = options,
    .conf_size = sizeof(struct conf),
    .check = check,
    .load = load,
    .privacy = privacy,
    .after = after,
    .fits = fits,
    .explain = explain,
    .on_query = on_query,
    .on_answer = on_answer,
};
