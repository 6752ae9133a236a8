/* noise.c - noise on scores and logits: discrete Laplace or Gaussian on a grid of 2^-k.
 *
 * What epsilon promises is made true before the noise: without a `range` a row's scores are made
 * nonnegative with a sum of at most 1, with one each number is brought into it, whatever the
 * upstream sent.  So no row can be further from another than the sensitivity says. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "../proxy/base/require.h"
#include "additive.h"

#define KINDS (1u << OUT_SCORES | 1u << OUT_LOGITS) /* of output that get noise */

enum after { AFTER_NONE, AFTER_CLIP, AFTER_SIMPLEX };
static const char *const after_words[] = {"none", "clip", "simplex", NULL};

struct range {
    double low, high; /* equal: there is none */
};

struct conf {
    struct additive_conf noise;
    struct range range;
    int after;
    bool keep_top1;
};

static const struct option range_options[] = {
    {.name = "low",
     .type = OPTION_REAL,
     .offset = offsetof(struct range, low),
     .min = -1e6,
     .max = 1e6,
     .required = true,
     .says = "Lower numbers become this."},
    {.name = "high",
     .type = OPTION_REAL,
     .offset = offsetof(struct range, high),
     .min = -1e6,
     .max = 1e6,
     .required = true,
     .says = "Higher numbers become this."},
    {.type = OPTION_END},
};

static const struct option options[] = {
    ADDITIVE_OPTIONS(struct conf, noise),
    {.name = "range",
     .type = OPTION_SECTION,
     .offset = offsetof(struct conf, range),
     .rows = range_options,
     .says = "What numbers are brought into before the noise, each by itself: needed for logits "
             "with `epsilon`, and for scores that are not one distribution. Absent: with `epsilon` "
             "a row of scores is nonnegative and sums to at most 1."},
    {.name = "after",
     .type = OPTION_WORD,
     .offset = offsetof(struct conf, after),
     .fallback = "none",
     .words = after_words,
     .says = "What is done to the noisy numbers: none; clip, brought into `range`, or [0, 1]; "
             "simplex, each row the nearest nonnegative one that sums to 1. No promise is weaker "
             "for it; clip makes ties, so put no top_k behind it."},
    {.name = "keep_top1",
     .type = OPTION_BOOL,
     .offset = offsetof(struct conf, keep_top1),
     .fallback = "false",
     .says = "The best class stays the best: the greatest noisy number becomes its. The top class "
             "is then exact, so this goes with `scale` only."},
    {.type = OPTION_END},
};

static bool has_range(const struct conf *conf) {
    return conf->range.low != conf->range.high;
}

static bool check(void *at, struct conf_error *error) {
    struct conf *conf = at;
    if (!additive_check(&conf->noise, false, error))
        return false;
    if (conf->range.low > conf->range.high) {
        error->option = "range";
        snprintf(error->text, sizeof(error->text), "low %g is above high %g", conf->range.low,
                 conf->range.high);
        return false;
    }
    if (conf->keep_top1 && conf->noise.epsilon > 0) {
        error->option = "keep_top1";
        snprintf(error->text, sizeof(error->text),
                 "an exact top class is not differentially private, whatever noise is around it: "
                 "give 'scale' instead of 'epsilon', or use 'randomize'");
        return false;
    }
    return true;
}

/* ---- What a row may be, before ---- */

/* The range in grid units. */
struct bounds {
    int64_t low, high;
};

static struct bounds bounds_of(const struct conf *conf) {
    double unit = ldexp(1, (int)conf->noise.grid);
    if (!has_range(conf))
        return (struct bounds){0, (int64_t)unit};
    return (struct bounds){(int64_t)rint(conf->range.low * unit),
                           (int64_t)rint(conf->range.high * unit)};
}

static struct sensitivity sensitivity_of(const struct conf *conf, uint32_t cols) {
    struct bounds b = bounds_of(conf);
    wide width = (wide)(b.high - b.low);
    wide apart = has_range(conf) ? cols : 2; /* two distributions: all of one, all of another */
    return (struct sensitivity){apart * width, apart * width * width};
}

static void clip(int64_t *units, uint32_t cols, struct bounds b) {
    for (uint32_t i = 0; i < cols; i++)
        units[i] = units[i] < b.low ? b.low : units[i] > b.high ? b.high : units[i];
}

/* Down to a sum of at most one, in proportion.  Two such rows have an L1 distance of at most 2. */
static void limit_sum(int64_t *units, uint32_t cols, int64_t one) {
    wide sum = 0;
    require(one > 0);
    for (uint32_t i = 0; i < cols; i++)
        sum += (wide)units[i];
    for (uint32_t i = 0; i < cols && sum > (wide)one; i++)
        units[i] = (int64_t)((wide)units[i] * (wide)one / sum);
}

static void bring_in(const struct conf *conf, int64_t *units, uint32_t cols) {
    if (conf->noise.epsilon == 0 && !has_range(conf))
        return;
    clip(units, cols, bounds_of(conf));
    if (!has_range(conf))
        limit_sum(units, cols, bounds_of(conf).high);
}

/* ---- And after ---- */

struct entry {
    int64_t value;
    uint32_t class, at;
    struct bytes label;
};

static int by_value(const void *at, const void *bt) {
    const struct entry *a = at, *b = bt;
    if (a->value != b->value)
        return a->value > b->value ? -1 : 1;
    if (a->class != b->class)
        return a->class < b->class ? -1 : 1;
    return (a->at > b->at) - (a->at < b->at);
}

/* Those above the floor, the best first; how many. */
static uint32_t sort_row(struct entry *row, const int64_t *units,
                         const struct output_class *classes, uint32_t cols, int64_t floor) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < cols; i++) {
        if (units[i] <= floor)
            continue;
        row[count] = (struct entry){.value = units[i], .class = i, .at = i};
        if (classes != NULL) {
            row[count].class = classes[i].index;
            row[count].label = classes[i].label;
        }
        count++;
    }
    qsort(row, count, sizeof(*row), by_value);
    return count;
}

/* The nearest point of the simplex: the same is taken from each number and what falls below zero
 * is zero.  On the grid that leaves fewer than `kept` units, which go to the greatest.  No number
 * is kept that is as low as the greatest less one, so only those above it need sorting. */
static void project(struct entry *row, int64_t *units, const struct output_class *classes,
                    uint32_t cols, int64_t one) {
    __int128 sum = 0, excess = 0;
    uint32_t kept = 0, best = 0;
    for (uint32_t i = 1; i < cols; i++)
        best = units[i] > units[best] ? i : best;
    uint32_t count = sort_row(row, units, classes, cols, units[best] - one);
    memset(units, 0, cols * sizeof(*units));
    for (uint32_t i = 0; i < count; i++) {
        sum += row[i].value;
        if ((__int128)row[i].value * (i + 1) <= sum - one)
            break;
        kept = i + 1;
        excess = sum - one;
    }
    require(kept > 0); /* the greatest always is */
    __int128 each = excess / kept + (excess % kept > 0), left = one;
    for (uint32_t i = 0; i < kept; i++) {
        units[row[i].at] = (int64_t)(row[i].value - each);
        left -= units[row[i].at];
    }
    for (uint32_t i = 0; i < kept && left > 0; i++, left--)
        units[row[i].at]++;
}

static uint32_t top_of(const double *values, const struct output_class *classes, uint32_t cols) {
    uint32_t top = 0;
    for (uint32_t i = 1; i < cols; i++)
        if (values[i] > values[top] ||
            (values[i] == values[top] && classes != NULL && classes[i].index < classes[top].index))
            top = i;
    return top;
}

static void put_on_top(int64_t *units, uint32_t cols, uint32_t top) {
    uint32_t best = top;
    for (uint32_t i = 0; i < cols; i++)
        if (units[i] > units[best])
            best = i;
    int64_t value = units[top];
    units[top] = units[best];
    units[best] = value;
    for (uint32_t i = 0; i < cols; i++) /* a tie might go to the other */
        if (i != top && units[i] == units[top])
            units[i]--;
}

/* The order of a ranking tells what the noise hides. */
static void order_row(struct entry *row, struct output *o, uint32_t r, int64_t *units) {
    struct output_class *classes = o->classes + (size_t)r * o->cols;
    sort_row(row, units, classes, o->cols, INT64_MIN);
    for (uint32_t i = 0; i < o->cols; i++) {
        units[i] = row[i].value;
        classes[i] = (struct output_class){row[i].class, row[i].label};
    }
}

/* ---- The filter ---- */

/* Room for one row. */
struct room {
    int64_t *units;
    struct entry *row;
};

static void finish_row(const struct conf *conf, const struct room *room, struct output *o,
                       uint32_t r, uint32_t top) {
    struct output_class *classes = o->classes != NULL ? o->classes + (size_t)r * o->cols : NULL;
    struct bounds b = bounds_of(conf);
    if (conf->keep_top1)
        put_on_top(room->units, o->cols, top);
    if (conf->after == AFTER_CLIP && (o->kind == OUT_SCORES || has_range(conf)))
        clip(room->units, o->cols, b);
    if (conf->after == AFTER_SIMPLEX && o->kind == OUT_SCORES)
        project(room->row, room->units, classes, o->cols, (int64_t)1 << conf->noise.grid);
    if (conf->keep_top1 && conf->after == AFTER_CLIP)
        put_on_top(room->units, o->cols, top);
    if (classes != NULL)
        order_row(room->row, o, r, room->units);
    additive_release(o, r, conf->noise.grid, room->units);
}

static struct verdict add_rows(struct additive *a, const struct conf *conf, struct output *o,
                               const struct room *room) {
    for (uint32_t r = 0; r < o->rows; r++) {
        size_t from = (size_t)r * o->cols;
        const double *values = o->values + from;
        uint32_t top = top_of(values, o->classes != NULL ? o->classes + from : NULL, o->cols);
        if (!additive_units(values, o->cols, conf->noise.grid, room->units))
            return verdict_fault("answer holds a score that is not a finite number");
        bring_in(conf, room->units, o->cols);
        if (!additive_row(a, o, r, room->units, o->cols, bytes_of(NULL, 0)))
            return verdict_fault("out of memory");
        finish_row(conf, room, o, r, top);
    }
    additive_released(o, conf->noise.grid);
    return verdict_pass();
}

static struct verdict add_noise(struct filter_call *call, const struct predictions *p,
                                struct output *o) {
    const struct conf *conf = call->conf;
    struct sensitivity s = sensitivity_of(conf, o->cols);
    struct additive_state *state = call->state;
    struct additive a;
    if (conf->noise.epsilon > 0 && o->classes != NULL)
        return verdict_fault("a ranking shows exactly which classes are in it");
    if (conf->noise.epsilon > 0 && o->kind == OUT_LOGITS && !has_range(conf))
        return verdict_fault("logits have no bounds, and the policy gives no range");
    if (!additive_distribution(&conf->noise, &s, &state->from))
        return verdict_fault("too many classes for noise on so fine a grid");
    struct room room = {.units = arena_new_array(call->arena, int64_t, o->cols),
                        .row = arena_new_array(call->arena, struct entry, o->cols)};
    if (output_values(call->arena, o) == NULL)
        return verdict_fault("scores could not be read");
    if (room.units == NULL || room.row == NULL ||
        !additive_begin(&a, call, &conf->noise, &state->from, p, "noise"))
        return verdict_fault("out of memory");
    struct verdict v = add_rows(&a, conf, o, &room);
    additive_end(&a);
    state->taken += conf->noise.sticky.on ? 0 : (uint64_t)o->rows * o->cols;
    return v;
}

static struct verdict on_query(struct filter_call *call) {
    const struct conf *conf = call->conf;
    for (uint32_t i = 0; i < call->query->wanted_count && conf->noise.epsilon > 0; i++)
        if (call->query->wanted[i].classification > 0)
            return verdict_deny(403, "the classification extension is not offered here");
    return sticky_query(call, &conf->noise.sticky);
}

static struct verdict on_answer(struct filter_call *call, struct predictions *p) {
    return additive_answer(call, p, KINDS, add_noise);
}

static bool privacy(const void *at, struct privacy *out) {
    const struct conf *conf = at;
    struct bounds b = bounds_of(conf);
    out->covers = KINDS;
    out->sensitivity = has_range(conf) ? "the width of the range, in every column"
                                       : "L1 2: two distributions that share no class";
    return additive_privacy(&conf->noise, (double)(b.high - b.low) * (has_range(conf) ? 1 : 2),
                            out);
}

/* Known before any answer comes, so it need not be found out by refusing each. */
static bool fits(const void *at, const uint32_t *outputs, struct conf_error *error) {
    const struct conf *conf = at;
    if (outputs[OUT_LOGITS] == 0 || conf->noise.epsilon <= 0 || has_range(conf))
        return true;
    snprintf(error->text, sizeof(error->text),
             "logits have no bounds, so 'epsilon' needs a 'range' that they are brought into");
    return false;
}

static void explain(const void *at, struct buf *out) {
    const struct conf *conf = at;
    struct sensitivity s = sensitivity_of(conf, 0);
    additive_explain(&conf->noise, has_range(conf) ? NULL : &s, out);
    if (has_range(conf))
        buf_printf(out,
                   "- each number is brought into [%g, %g] first; a row of n columns has the L1 "
                   "sensitivity n x %g\n",
                   conf->range.low, conf->range.high, conf->range.high - conf->range.low);
    else if (conf->noise.epsilon > 0)
        buf_add_str(out, "- rows of scores are made nonnegative with a sum of at most 1 first; an "
                         "answer with logits is refused, since they have no bounds\n");
    if (conf->keep_top1)
        buf_add_str(out, "- the best class is kept, so no differential privacy remains: label-only "
                         "membership tests work as if there were no noise\n");
    buf_add_str(out, "- outputs declared labels, value, embedding, text, tokens or opaque are not "
                     "touched: a label released beside noisy scores is exact, and voids what is "
                     "promised of them\n");
}

const struct filter filter_noise = {
    .name = "noise",
    .says = "Adds discrete noise to scores and logits.",
    .needs = NEEDS_QUERY | NEEDS_ANSWER,
    .options = options,
    .conf_size = sizeof(struct conf),
    .state_size = sizeof(struct additive_state),
    .check = check,
    .privacy = privacy,
    .fits = fits,
    .explain = explain,
    .on_query = on_query,
    .on_answer = on_answer,
    .on_close = additive_close,
};
