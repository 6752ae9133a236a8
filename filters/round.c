/* round.c - numbers of an answer on a decimal grid.
 *
 * Rounded is the exact binary value, to nearest, ties to even, once; nothing is renormalised
 * afterwards: making a row sum to 1 again would tell more about it than the grid does. */
#include <math.h>
#include <stdlib.h>

#include "../proxy/filter.h"

#define EXACT_MAX 0x1p53 /* integers below it are exact in a double */

struct conf {
    uint64_t digits;
};

static const struct option options[] = {
    {.name = "digits",
     .type = OPTION_COUNT,
     .offset = offsetof(struct conf, digits),
     .max = 9,
     .fallback = "2",
     .says = "Digits kept after the decimal point; half goes to even."},
    {.type = OPTION_END},
};

static double power_of_ten(uint64_t digits) {
    static const double powers[] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9};
    return powers[digits];
}

/* v * scale to the nearest integer.  The product may itself be rounded onto a half that the exact
 * one misses; fma says on which side it was. */
static double to_grid(double v, double scale) {
    double product = v * scale, n = rint(product);
    if (fabs(product - n) == 0.5) {
        double missing = fma(v, scale, -product);
        if (missing != 0)
            n = missing > 0 ? ceil(product) : floor(product);
    }
    return n + 0.0; /* -0 becomes 0 */
}

/* False: one of them is not finite, or too large to have that many digits. */
static bool round_values(double *values, size_t count, double scale) {
    for (size_t i = 0; i < count; i++) {
        if (values[i] == 0) { /* as most are behind a top_k */
            values[i] = 0;
            continue;
        }
        if (!(fabs(values[i] * scale) < EXACT_MAX))
            return false;
        values[i] = to_grid(values[i], scale) / scale;
    }
    return true;
}

struct ranked {
    double value;
    uint32_t at;
    struct output_class class;
};

static int by_rank(const void *at, const void *bt) {
    const struct ranked *a = at, *b = bt;
    if (a->value != b->value)
        return a->value > b->value ? -1 : 1;
    if (a->class.index != b->class.index)
        return a->class.index < b->class.index ? -1 : 1;
    return (a->at > b->at) - (a->at < b->at);
}

/* The upstream's order of scores that are now equal would tell which was greater. */
static bool sort_rankings(struct arena *arena, struct output *o) {
    struct ranked *row = arena_new_array(arena, struct ranked, o->cols);
    if (row == NULL)
        return false;
    for (uint32_t r = 0; r < o->rows; r++) {
        double *values = o->values + (size_t)r * o->cols;
        struct output_class *classes = o->classes + (size_t)r * o->cols;
        for (uint32_t c = 0; c < o->cols; c++)
            row[c] = (struct ranked){values[c], c, classes[c]};
        qsort(row, o->cols, sizeof(*row), by_rank);
        for (uint32_t c = 0; c < o->cols; c++) {
            values[c] = row[c].value;
            classes[c] = row[c].class;
        }
    }
    return true;
}

static bool is_integer(enum dtype type) {
    return type >= DTYPE_BOOL && type <= DTYPE_INT64;
}

static bool concerns(const struct output *o, uint64_t digits) {
    bool on_grid = (o->grid_digits >= 0 && (uint64_t)o->grid_digits <= digits) ||
                   (o->classes == NULL && is_integer(o->tensor.dtype));
    bool numbers = o->kind == OUT_SCORES || o->kind == OUT_LOGITS || o->kind == OUT_VALUE ||
                   o->kind == OUT_EMBEDDING;
    return numbers && !on_grid && !o->dropped && o->rows > 0 && o->cols > 0;
}

static struct verdict on_answer(struct filter_call *call, struct predictions *p) {
    const struct conf *conf = call->conf;
    double scale = power_of_ten(conf->digits);
    for (uint32_t i = 0; i < p->count; i++) {
        struct output *o = &p->outputs[i];
        if (!concerns(o, conf->digits))
            continue;
        double *values = output_values(call->arena, o);
        if (values == NULL)
            return verdict_fault("scores could not be read");
        if (!round_values(values, (size_t)o->rows * o->cols, scale))
            return verdict_fault("score too large to round");
        if (o->classes != NULL && !sort_rankings(call->arena, o))
            return verdict_fault("out of memory");
        o->changed = true;
        o->grid_digits = (int)conf->digits;
    }
    return verdict_pass();
}

static void explain(const void *at, struct buf *out) {
    const struct conf *conf = at;
    double values = power_of_ten(conf->digits) + 1;
    buf_printf(out,
               "- scores, logits, values and embeddings keep %llu digits after the point; they "
               "are not made to sum to 1 again\n",
               (unsigned long long)conf->digits);
    buf_printf(out,
               "- a score between 0 and 1 tells at most %.2f bits (%.0f values); an unbounded "
               "number also tells its size\n",
               log2(values), values);
    buf_add_str(out, "- rounding alone hides little: it does not stop a membership test that looks "
                     "at confidence, and averaging over varied inputs wins digits back\n");
}

const struct filter filter_round = {
    .name = "round",
    .says = "Rounds the numbers of an answer to a decimal grid.",
    .needs = NEEDS_ANSWER,
    .options = options,
    .conf_size = sizeof(struct conf),
    .explain = explain,
    .on_answer = on_answer,
};
