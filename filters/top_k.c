/* top_k.c - the k best classes of each row, and nothing of the others.
 *
 * A row's order: greater value first; among equals the lower class index; NaN is never kept.  Each
 * row is treated by itself, so a batch of n equals n singles to the bit. */
#include <math.h>
#include <stdlib.h>

#include "../proxy/filter.h"

#define K_MAX 1000

enum scores { SCORES_HIDE, SCORES_KEEP };
static const char *const scores_words[] = {"hide", "keep", NULL};

struct conf {
    uint64_t k;
    int scores;
};

static const struct option options[] = {
    {.name = "k",
     .type = OPTION_COUNT,
     .offset = offsetof(struct conf, k),
     .min = 1,
     .max = K_MAX,
     .fallback = "1",
     .says = "How many classes of each row are kept: the best, ties to the lower class index. Of a "
             "single column the only class is kept always: declare such an output as value."},
    {.name = "scores",
     .type = OPTION_WORD,
     .offset = offsetof(struct conf, scores),
     .fallback = "hide",
     .words = scores_words,
     .says = "hide: kept classes get 1, all others 0, and rankings come in class order. keep: kept "
             "scores stay; the others become 0, or -32768 (the datatype's lowest, where that is "
             "higher) where 0 could beat a kept one: logits and negative scores."},
    {.type = OPTION_END},
};

struct entry {
    double value;
    uint32_t tie; /* the class: lower is better */
    uint32_t at;  /* the column */
    struct bytes label;
};

/* A heap of the best so far, the worst of them at the root. */
struct best {
    struct entry *at;
    uint32_t count, k;
};

static bool worse(const struct entry *a, const struct entry *b) {
    if (a->value != b->value)
        return a->value < b->value;
    return a->tie != b->tie ? a->tie > b->tie : a->at > b->at;
}

static void swap(struct entry *a, struct entry *b) {
    struct entry kept = *a;
    *a = *b;
    *b = kept;
}

static void sift_up(struct best *best) {
    for (uint32_t i = best->count - 1, up; i > 0; i = up) {
        up = (i - 1) / 2;
        if (!worse(&best->at[i], &best->at[up]))
            return;
        swap(&best->at[i], &best->at[up]);
    }
}

static void sift_down(struct best *best) {
    for (uint32_t i = 0, down; (down = 2 * i + 1) < best->count; i = down) {
        if (down + 1 < best->count && worse(&best->at[down + 1], &best->at[down]))
            down++;
        if (!worse(&best->at[down], &best->at[i]))
            return;
        swap(&best->at[i], &best->at[down]);
    }
}

static void offer(struct best *best, struct entry e) {
    if (best->count < best->k) {
        best->at[best->count++] = e;
        sift_up(best);
    } else if (worse(&best->at[0], &e)) {
        best->at[0] = e;
        sift_down(best);
    }
}

/* One row's k best into *best.  Columns come in ascending order, so that in the plain form, once k
 * are held, only a greater value than the root's can enter: one comparison each for nearly all. */
static void select_best(struct best *best, const double *row, const struct output_class *classes,
                        uint32_t cols) {
    best->count = 0;
    for (uint32_t c = 0; c < cols; c++) {
        double v = row[c];
        if (best->count == best->k) {
            double root = best->at[0].value;
            if (!(v > root || (classes != NULL && v == root)))
                continue;
        } else if (isnan(v)) {
            continue;
        }
        struct entry e = {.value = v, .tie = c, .at = c};
        if (classes != NULL) {
            e.tie = classes[c].index;
            e.label = classes[c].label;
        }
        offer(best, e);
    }
}

/* What stands for "not kept" where 0 could beat a kept score, and the least that a kept one is then
 * released as, so that it stays above.  Powers of two, which every float format holds exactly and
 * every decimal grid too. */
struct floor {
    double others, kept;
};

static struct floor floor_of(enum dtype type) {
    switch (type) {
    case DTYPE_BOOL:
    case DTYPE_UINT8:
    case DTYPE_UINT16:
    case DTYPE_UINT32:
    case DTYPE_UINT64:
        return (struct floor){0, 1};
    case DTYPE_INT8:
        return (struct floor){-128, -127};
    case DTYPE_INT16:
    case DTYPE_INT32:
    case DTYPE_INT64:
        return (struct floor){-32768, -32767};
    default:
        return (struct floor){-32768, -16384};
    }
}

/* The kept entries' values as they will be released, and in *others what all else becomes.
 * False: one is not a finite number. */
static bool release(struct best *best, const struct output *o, const struct conf *conf,
                    double *others) {
    struct floor floor = floor_of(o->tensor.dtype);
    bool low = o->kind == OUT_LOGITS;
    *others = 0;
    for (uint32_t i = 0; i < best->count && conf->scores == SCORES_KEEP; i++)
        low = low || best->at[i].value < 0;
    if (low && conf->scores == SCORES_KEEP)
        *others = floor.others;
    for (uint32_t i = 0; i < best->count; i++) {
        double *v = &best->at[i].value;
        if (conf->scores == SCORES_HIDE)
            *v = 1;
        else if (low && *v < floor.kept)
            *v = floor.kept;
        if (!isfinite(*v))
            return false;
    }
    return true;
}

static bool plain_row(struct best *best, const struct output *o, const struct conf *conf,
                      uint32_t r) {
    double *row = o->values + (size_t)r * o->cols, others;
    select_best(best, row, NULL, o->cols);
    if (!release(best, o, conf, &others))
        return false;
    for (uint32_t c = 0; c < o->cols; c++)
        row[c] = others;
    for (uint32_t i = 0; i < best->count; i++)
        row[best->at[i].at] = best->at[i].value;
    return true;
}

static int by_rank(const void *a, const void *b) {
    return worse(a, b) - worse(b, a);
}

static int by_class(const void *at, const void *bt) {
    const struct entry *a = at, *b = bt;
    if (a->tie != b->tie)
        return a->tie < b->tie ? -1 : 1;
    return (a->at > b->at) - (a->at < b->at);
}

/* A ranking's order is an answer too: where scores are hidden it must not tell who came first. */
static bool ranking_row(struct best *best, const struct output *o, const struct conf *conf,
                        uint32_t r) {
    size_t from = (size_t)r * o->cols, to = (size_t)r * best->k;
    double others;
    select_best(best, o->values + from, o->classes + from, o->cols);
    if (best->count < best->k)
        return false;
    qsort(best->at, best->count, sizeof(*best->at),
          conf->scores == SCORES_HIDE ? by_class : by_rank);
    if (!release(best, o, conf, &others))
        return false;
    for (uint32_t i = 0; i < best->count; i++) {
        o->values[to + i] = best->at[i].value;
        o->classes[to + i] = (struct output_class){best->at[i].tie, best->at[i].label};
    }
    return true;
}

/* False: a score that is kept is not a finite number, or a ranking's row has too few. */
static bool all_rows(struct best *best, struct output *o, const struct conf *conf) {
    bool ranking = o->classes != NULL;
    for (uint32_t r = 0; r < o->rows; r++)
        if (!(ranking ? ranking_row : plain_row)(best, o, conf, r))
            return false;
    if (ranking)
        o->cols = best->k;
    return true;
}

static struct verdict cut(struct filter_call *call, struct output *o) {
    const struct conf *conf = call->conf;
    if (o->rows == 0 || o->cols == 0)
        return verdict_pass();
    struct best best = {.k = conf->k < o->cols ? (uint32_t)conf->k : o->cols};
    best.at = arena_alloc(call->arena, best.k * sizeof(*best.at));
    if (best.at == NULL || output_values(call->arena, o) == NULL)
        return verdict_fault("scores could not be read");
    if (!all_rows(&best, o, conf))
        return verdict_fault("answer holds a score that is not a finite number");
    o->changed = true;
    if (conf->scores == SCORES_HIDE)
        o->grid_digits = 0;
    return verdict_pass();
}

static struct verdict on_answer(struct filter_call *call, struct predictions *p) {
    for (uint32_t i = 0; i < p->count; i++) {
        struct output *o = &p->outputs[i];
        if (o->dropped || (o->kind != OUT_SCORES && o->kind != OUT_LOGITS))
            continue;
        struct verdict v = cut(call, o);
        if (v.kind != VERDICT_PASS)
            return v;
    }
    return verdict_pass();
}

static void explain(const void *at, struct buf *out) {
    const struct conf *conf = at;
    bool hide = conf->scores == SCORES_HIDE;
    if (conf->k == 1)
        buf_printf(out, "- of each row of scores only the best class is shown, %s\n",
                   hide ? "without its score" : "with its score");
    else
        buf_printf(out, "- of each row of scores only the best %llu classes are shown, %s\n",
                   (unsigned long long)conf->k,
                   hide ? "without their scores and without their order" : "with their scores");
    if (!hide)
        buf_add_str(out, "- kept scores tell how sure the model is, which membership tests and "
                         "model copying live on: at least round them\n");
    buf_add_str(out, "- the answer still shows the predicted class; exact top-1 labels still leak "
                     "the train-test gap, and no filter of answers changes that\n");
    buf_add_str(out, "- outputs declared labels, value, embedding, text, tokens or opaque are not "
                     "touched\n");
}

const struct filter filter_top_k = {
    .name = "top_k",
    .says = "Keeps the k best classes of each row of scores or logits.",
    .needs = NEEDS_ANSWER,
    .options = options,
    .conf_size = sizeof(struct conf),
    .explain = explain,
    .on_answer = on_answer,
};
