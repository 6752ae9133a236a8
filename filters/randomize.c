/* randomize.c - a class drawn at random in place of the class that is best.
 *
 * Three mechanisms, each exact in integers and pure epsilon-private for a row:
 *   randomized_response  the best class with e^eps / (e^eps + K - 1), else any other, each alike;
 *   permute_and_flip     McKenna and Sheldon 2020: each class gets a coin that falls heads with
 *                        exp(eps (u - max) / 2 range); one of those with heads is drawn.  (The
 *                        paper flips in random order up to the first heads, which is the same; all
 *                        coins are flipped here, so that the time tells little.)
 *   exponential          class j with a probability like exp(eps u_j / 2 range). */
#include <math.h>
#include <stdio.h>

#include "../proxy/base/require.h"
#include "additive.h"

#define EPSILON_PARTS 1000000 /* epsilon is rounded down to a multiple of 1 / this */
#define GRID          16      /* binary digits of a score */
#define CLASSES_MAX   1000000

enum mechanism { RANDOMIZED_RESPONSE, PERMUTE_AND_FLIP, EXPONENTIAL };
static const char *const mechanism_words[] = {"randomized_response", "permute_and_flip",
                                              "exponential", NULL};

struct range {
    double low, high; /* equal: there is none */
};

struct conf {
    int mechanism;
    double epsilon;
    struct range range;
    uint64_t classes;
    struct sticky_conf sticky;
};

static const struct option range_options[] = {
    {.name = "low",
     .type = OPTION_REAL,
     .offset = offsetof(struct range, low),
     .min = -1e6,
     .max = 1e6,
     .required = true,
     .says = "Lower numbers count as this."},
    {.name = "high",
     .type = OPTION_REAL,
     .offset = offsetof(struct range, high),
     .min = -1e6,
     .max = 1e6,
     .required = true,
     .says = "Higher numbers count as this."},
    {.type = OPTION_END},
};

static const struct option options[] = {
    {.name = "mechanism",
     .type = OPTION_WORD,
     .offset = offsetof(struct conf, mechanism),
     .fallback = "randomized_response",
     .words = mechanism_words,
     .says = "randomized_response looks only at which class is best; permute_and_flip and "
             "exponential at all scores, the first of them errs less often."},
    {.name = "epsilon",
     .type = OPTION_REAL,
     .offset = offsetof(struct conf, epsilon),
     .min = 1e-3,
     .max = 30,
     .required = true,
     .says = "Differential privacy of each row of each output."},
    {.name = "range",
     .type = OPTION_SECTION,
     .offset = offsetof(struct conf, range),
     .rows = range_options,
     .says = "Bounds of the scores, for permute_and_flip and exponential. Absent: [0, 1], and "
             "logits are refused."},
    {.name = "classes",
     .type = OPTION_COUNT,
     .offset = offsetof(struct conf, classes),
     .min = 2,
     .max = CLASSES_MAX,
     .says = "How many classes outputs declared `labels` have, numbered from 0. Absent: an answer "
             "with such an output is refused."},
    STICKY_OPTIONS(struct conf, sticky),
    {.type = OPTION_END},
};

static bool has_range(const struct conf *conf) {
    return conf->range.low != conf->range.high;
}

static bool check(void *at, struct conf_error *error) {
    const struct conf *conf = at;
    const char *text = NULL;
    error->option = "range";
    if (conf->range.low > conf->range.high)
        text = "low is above high";
    else if (has_range(conf) && conf->mechanism == RANDOMIZED_RESPONSE)
        text = "randomized_response does not look at scores: 'range' has no use";
    else if (conf->classes > 0 && conf->mechanism != RANDOMIZED_RESPONSE) {
        error->option = "classes";
        text = "only randomized_response can randomize a label without its scores";
    } else if (conf->sticky.bucket > 0 && !conf->sticky.on) {
        error->option = "bucket";
        text = "'bucket' has a meaning only with 'sticky: true'";
    }
    if (text != NULL)
        snprintf(error->text, sizeof(error->text), "%s", text);
    return text == NULL;
}

static uint64_t parts_of(double epsilon) {
    return (uint64_t)floor(epsilon * EPSILON_PARTS);
}

/* ---- The mechanisms ---- */

/* Any class is proposed; the best is always taken, another with exp(-eps).  How often a proposal
 * is turned down does not depend on the one that is taken, so neither does the time. */
static uint32_t respond(struct bits *b, const struct conf *conf, uint32_t classes, uint32_t best) {
    for (;;) {
        uint32_t class = (uint32_t)bits_below(b, classes);
        bool taken = draw_bernoulli_exp(b, parts_of(conf->epsilon), EPSILON_PARTS);
        if (taken || class == best)
            return class;
    }
}

/* A row's scores as integers in [0, width]. */
struct utilities {
    const int64_t *at;
    uint32_t count;
    int64_t most;
    uint64_t width;
};

static bool heads(struct bits *b, const struct conf *conf, const struct utilities *u, uint32_t i) {
    wide gap = (wide)(u->most - u->at[i]);
    return draw_bernoulli_exp(b, gap * parts_of(conf->epsilon), (wide)2 * EPSILON_PARTS * u->width);
}

/* The n-th of those with heads replaces the one held with 1 / n, so that each is as likely. */
static uint32_t permute_and_flip(struct bits *b, const struct conf *conf,
                                 const struct utilities *u) {
    uint32_t held = 0, count = 0;
    for (uint32_t i = 0; i < u->count; i++)
        if (heads(b, conf, u, i) && bits_below(b, ++count) == 0)
            held = i;
    require(count > 0); /* the best always has */
    return held;
}

static uint32_t exponential(struct bits *b, const struct conf *conf, const struct utilities *u) {
    for (;;) {
        uint32_t i = (uint32_t)bits_below(b, u->count);
        if (heads(b, conf, u, i))
            return i;
    }
}

/* ---- Rows ---- */

static bool is_scores(const struct output *o) {
    return o->kind == OUT_SCORES || o->kind == OUT_LOGITS;
}

/* Ties go to the lower class.  False: one is no number. */
static bool best_of(const double *values, uint32_t cols, uint32_t *best) {
    *best = 0;
    for (uint32_t i = 0; i < cols; i++) {
        if (isnan(values[i]))
            return false;
        if (values[i] > values[*best])
            *best = i;
    }
    return true;
}

/* False: one is no number. */
static bool read_utilities(const struct conf *conf, const double *values, int64_t *units,
                           struct utilities *u) {
    double low = has_range(conf) ? conf->range.low : 0,
           high = has_range(conf) ? conf->range.high : 1;
    u->at = units;
    u->width = (uint64_t)ceil(ldexp(high - low, GRID));
    u->most = 0;
    for (uint32_t i = 0; i < u->count; i++) {
        double v = values[i] < low ? low : values[i] > high ? high : values[i];
        if (isnan(v))
            return false;
        units[i] = (int64_t)floor(ldexp(v - low, GRID));
        u->most = units[i] > u->most ? units[i] : u->most;
    }
    return true;
}

static bool choose(struct bits *b, const struct conf *conf, const struct output *o,
                   const double *values, int64_t *units, uint32_t *class) {
    struct utilities u = {.count = o->cols};
    uint32_t best;
    if (conf->mechanism == RANDOMIZED_RESPONSE) {
        if (!best_of(values, o->cols, &best))
            return false;
        *class = respond(b, conf, o->cols, best);
        return true;
    }
    if (!read_utilities(conf, values, units, &u))
        return false;
    *class = (conf->mechanism == PERMUTE_AND_FLIP ? permute_and_flip : exponential)(b, conf, &u);
    return true;
}

static struct verdict randomize_row(struct bits *b, const struct conf *conf, struct output *o,
                                    uint32_t r, int64_t *units) {
    double *row = o->values + (size_t)r * o->cols;
    uint32_t class;
    if (!is_scores(o)) {
        if (!(row[0] >= 0 && row[0] < (double)conf->classes))
            return verdict_fault("answer holds a label that is none of the classes");
        row[0] = respond(b, conf, (uint32_t)conf->classes, (uint32_t)row[0]);
        return verdict_pass();
    }
    if (!choose(b, conf, o, row, units, &class))
        return verdict_fault("answer holds a score that is not a number");
    memset(row, 0, o->cols * sizeof(*row));
    row[class] = 1;
    return verdict_pass();
}

static struct verdict randomize_rows(struct sticky *s, const struct conf *conf, struct output *o,
                                     int64_t *units) {
    struct verdict v = verdict_pass();
    for (uint32_t r = 0; r < o->rows && v.kind == VERDICT_PASS; r++) {
        struct bits *b = sticky_row(s, o, r, bytes_of(NULL, 0));
        v = b != NULL ? randomize_row(b, conf, o, r, units) : verdict_fault("out of memory");
    }
    o->changed = true;
    o->grid_digits = 0;
    return v;
}

/* ---- The filter ---- */

/* Is the last class a number that the datatype has? */
static bool holds_classes(enum dtype type, uint64_t classes) {
    char element[sizeof(double)];
    struct tensor t = {.dtype = type, .elements = 1, .data = {element, sizeof(element)}};
    dtype_write(type, (double)(classes - 1), element);
    return tensor_number(&t, 0) == (double)(classes - 1);
}

/* NULL: it can. */
static const char *cannot(const struct conf *conf, const struct output *o) {
    if (o->classes != NULL)
        return "a ranking shows exactly which classes are in it";
    if (o->kind == OUT_LABELS && conf->classes == 0)
        return "labels are not randomized without the policy saying how many classes there are";
    if (o->kind == OUT_LABELS && o->tensor.dtype == DTYPE_BYTES)
        return "labels that are text cannot be randomized";
    if (o->kind == OUT_LABELS && !holds_classes(o->tensor.dtype, conf->classes))
        return "the labels' datatype cannot hold that many classes";
    if (o->kind == OUT_LOGITS && conf->mechanism != RANDOMIZED_RESPONSE && !has_range(conf))
        return "logits have no bounds, and the policy gives no range";
    return NULL;
}

static struct verdict randomize(struct filter_call *call, const struct predictions *p,
                                struct output *o) {
    const struct conf *conf = call->conf;
    struct sticky s;
    char what[96];
    const char *why = cannot(conf, o);
    if (why != NULL)
        return verdict_fault(why);
    int64_t *units = arena_new_array(call->arena, int64_t, o->cols);
    int n = snprintf(what, sizeof(what), "randomize %d %llu %llu %a %a", conf->mechanism,
                     (unsigned long long)parts_of(conf->epsilon), (unsigned long long)conf->classes,
                     conf->range.low, conf->range.high);
    require(n > 0 && (size_t)n < sizeof(what));
    if (units == NULL || output_values(call->arena, o) == NULL)
        return verdict_fault("scores could not be read");
    if (!sticky_begin(&s, call, &conf->sticky, p, bytes_of(what, (size_t)n)))
        return verdict_fault("out of memory");
    struct verdict v = randomize_rows(&s, conf, o, units);
    sticky_end(&s);
    return v;
}

static bool fits(const void *at, const uint32_t *outputs, struct conf_error *error) {
    const struct conf *conf = at;
    if (outputs[OUT_LOGITS] == 0 || conf->mechanism == RANDOMIZED_RESPONSE || has_range(conf))
        return true;
    snprintf(error->text, sizeof(error->text),
             "logits have no bounds, so %s needs a 'range' that they are brought into",
             conf->mechanism == PERMUTE_AND_FLIP ? "permute_and_flip" : "exponential");
    return false;
}

static struct verdict on_query(struct filter_call *call) {
    const struct conf *conf = call->conf;
    for (uint32_t i = 0; i < call->query->wanted_count; i++)
        if (call->query->wanted[i].classification > 0)
            return verdict_deny(403, "the classification extension is not offered here");
    return sticky_query(call, &conf->sticky);
}

static struct verdict on_answer(struct filter_call *call, struct predictions *p) {
    for (uint32_t i = 0; i < p->count; i++) {
        struct output *o = &p->outputs[i];
        if ((!is_scores(o) && o->kind != OUT_LABELS) || o->dropped || o->rows == 0 || o->cols == 0)
            continue;
        struct verdict v = randomize(call, p, o);
        if (v.kind != VERDICT_PASS)
            return v;
    }
    return verdict_pass();
}

/* Two classes are the worst case: with more, each wrong one is the less likely. */
static bool privacy(const void *at, struct privacy *out) {
    const struct conf *conf = at;
    out->covers = 1u << OUT_SCORES | 1u << OUT_LOGITS;
    if (conf->classes > 0)
        out->covers |= 1u << OUT_LABELS;
    out->epsilon = conf->epsilon;
    out->delta = 0;
    out->loss = loss_response(conf->epsilon, 2);
    out->sticky = conf->sticky.on;
    out->sensitivity = conf->mechanism == RANDOMIZED_RESPONSE
                           ? "any class in place of any other"
                           : "the whole range of a score, in every class";
    out->unit = "any change of the training data, or of the whole model";
    out->why = conf->sticky.bucket > 0
                   ? "inputs of one 'bucket' share their draw, so two answers that differ tell "
                     "more than both epsilons: leave 'bucket' out, since a budget adds up "
                     "independent draws"
                   : NULL;
    return out->why == NULL;
}

static void explain(const void *at, struct buf *out) {
    const struct conf *conf = at;
    double e = exp(conf->epsilon);
    buf_printf(out,
               "- promise: %g-differential privacy of the class that each row of each output "
               "shows, by %s, exact in integers\n",
               conf->epsilon, mechanism_words[conf->mechanism]);
    if (conf->mechanism == RANDOMIZED_RESPONSE)
        buf_printf(out,
                   "- the model's class is kept in %.3g %% of answers of 2 classes, %.3g %% of 10, "
                   "%.3g %% of 100, %.3g %% of 1000\n",
                   100 * e / (e + 1), 100 * e / (e + 9), 100 * e / (e + 99), 100 * e / (e + 999));
    else
        buf_add_str(out,
                    "- sensitivity: the whole range of a score; how often the model's class is "
                    "kept depends on how sure it is\n");
    if (conf->mechanism == EXPONENTIAL)
        buf_add_str(out, "- a draw takes the longer the surer the model is, which is not hidden: "
                         "permute_and_flip takes the same time always, and errs less\n");
    buf_add_str(out, "- unit protected: any change of the training data, or of the whole model, of "
                     "which nothing but the class shown is told\n");
    additive_explain_bound(conf->epsilon, 0, out);
    if (conf->classes == 0)
        buf_add_str(out, "- an answer with an output declared labels is refused: give 'classes', "
                         "or do not declare it\n");
    sticky_explain(&conf->sticky, out);
    buf_add_str(out, "- outputs declared value, embedding, text, tokens or opaque are not "
                     "touched\n");
}

const struct filter filter_randomize = {
    .name = "randomize",
    .says = "Shows a class drawn at random in place of each row's best.",
    .needs = NEEDS_QUERY | NEEDS_ANSWER,
    .options = options,
    .conf_size = sizeof(struct conf),
    .check = check,
    .privacy = privacy,
    .fits = fits,
    .explain = explain,
    .on_query = on_query,
    .on_answer = on_answer,
};
