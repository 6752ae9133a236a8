/* value.c - the numbers of a regression: brought into a range, on a grid of 2^-k, with noise. */
#include <math.h>
#include <stdio.h>

#include "additive.h"

enum after { AFTER_NONE, AFTER_CLIP };
static const char *const after_words[] = {"none", "clip", NULL};

struct range {
    double low, high; /* equal: there is none */
};

struct conf {
    struct additive_conf noise;
    struct range range;
    int after;
};

static const struct option range_options[] = {
    {.name = "low",
     .type = OPTION_REAL,
     .offset = offsetof(struct range, low),
     .min = -1e9,
     .max = 1e9,
     .required = true,
     .says = "Lower values become this."},
    {.name = "high",
     .type = OPTION_REAL,
     .offset = offsetof(struct range, high),
     .min = -1e9,
     .max = 1e9,
     .required = true,
     .says = "Higher values become this."},
    {.type = OPTION_END},
};

static const struct option options[] = {
    ADDITIVE_OPTIONS(struct conf, noise),
    {.name = "range",
     .type = OPTION_SECTION,
     .offset = offsetof(struct conf, range),
     .rows = range_options,
     .says = "What values are brought into before the noise: needed with `epsilon`, whose noise "
             "is as wide as this."},
    {.name = "after",
     .type = OPTION_WORD,
     .offset = offsetof(struct conf, after),
     .fallback = "none",
     .words = after_words,
     .says = "What is done to the noisy values: none, or clip, brought into `range` again. No "
             "promise is weaker for it."},
    {.type = OPTION_END},
};

static bool has_range(const struct conf *conf) {
    return conf->range.low != conf->range.high;
}

static bool check(void *at, struct conf_error *error) {
    struct conf *conf = at;
    if (!additive_check(&conf->noise, true, error))
        return false;
    error->option = "range";
    if (conf->range.low > conf->range.high)
        snprintf(error->text, sizeof(error->text), "low %g is above high %g", conf->range.low,
                 conf->range.high);
    else if (conf->noise.epsilon > 0 && !has_range(conf))
        snprintf(error->text, sizeof(error->text),
                 "'epsilon' needs a 'range': without one a value may change by any amount, and no "
                 "noise hides that");
    else if (conf->after == AFTER_CLIP && !has_range(conf))
        snprintf(error->text, sizeof(error->text), "'after: clip' needs a 'range' to clip to");
    else
        return true;
    return false;
}

/* The range in grid units. */
struct bounds {
    int64_t low, high;
};

static struct bounds bounds_of(const struct conf *conf) {
    double unit = ldexp(1, (int)conf->noise.grid);
    return (struct bounds){(int64_t)rint(conf->range.low * unit),
                           (int64_t)rint(conf->range.high * unit)};
}

static struct sensitivity sensitivity_of(const struct conf *conf, uint32_t cols) {
    struct bounds b = bounds_of(conf);
    wide width = (wide)(b.high - b.low);
    return (struct sensitivity){cols * width, cols * width * width};
}

static void clip(const struct conf *conf, int64_t *units, uint32_t cols) {
    struct bounds b = bounds_of(conf);
    for (uint32_t i = 0; i < cols; i++)
        units[i] = units[i] < b.low ? b.low : units[i] > b.high ? b.high : units[i];
}

/* a NULL: no noise. */
static struct verdict change_rows(struct additive *a, const struct conf *conf, struct output *o,
                                  int64_t *units) {
    for (uint32_t r = 0; r < o->rows; r++) {
        if (!additive_units(o->values + (size_t)r * o->cols, o->cols, conf->noise.grid, units))
            return verdict_fault("answer holds a value that is not finite or too large");
        if (has_range(conf))
            clip(conf, units, o->cols);
        if (a != NULL && !additive_row(a, o, r, units, o->cols, bytes_of(NULL, 0)))
            return verdict_fault("out of memory");
        if (conf->after == AFTER_CLIP)
            clip(conf, units, o->cols);
        additive_release(o, r, conf->noise.grid, units);
    }
    additive_released(o, conf->noise.grid);
    return verdict_pass();
}

static struct verdict change(struct filter_call *call, const struct predictions *p,
                             struct output *o) {
    const struct conf *conf = call->conf;
    struct sensitivity s = sensitivity_of(conf, o->cols);
    struct additive_state *state = call->state;
    struct additive a;
    int64_t *units = arena_new_array(call->arena, int64_t, o->cols);
    if (o->classes != NULL)
        return verdict_fault("values came as a ranking");
    if (units == NULL || output_values(call->arena, o) == NULL)
        return verdict_fault("values could not be read");
    if (!additive_on(&conf->noise))
        return change_rows(NULL, conf, o, units);
    if (!additive_distribution(&conf->noise, &s, &state->from))
        return verdict_fault("too many values for noise on so fine a grid");
    if (!additive_begin(&a, call, &conf->noise, &state->from, p, "value"))
        return verdict_fault("out of memory");
    struct verdict v = change_rows(&a, conf, o, units);
    additive_end(&a);
    state->taken += conf->noise.sticky.on ? 0 : (uint64_t)o->rows * o->cols;
    return v;
}

static struct verdict on_query(struct filter_call *call) {
    const struct conf *conf = call->conf;
    return additive_on(&conf->noise) ? sticky_query(call, &conf->noise.sticky) : verdict_pass();
}

static struct verdict on_answer(struct filter_call *call, struct predictions *p) {
    return additive_answer(call, p, 1u << OUT_VALUE, change);
}

static bool privacy(const void *at, struct privacy *out) {
    const struct conf *conf = at;
    struct bounds b = bounds_of(conf);
    out->covers = 1u << OUT_VALUE;
    out->sensitivity = "the width of the range, in every column";
    return additive_privacy(&conf->noise, (double)(b.high - b.low), out);
}

static void explain(const void *at, struct buf *out) {
    const struct conf *conf = at;
    struct sensitivity s = sensitivity_of(conf, 1);
    if (has_range(conf))
        buf_printf(out, "- values are brought into [%g, %g] first\n", conf->range.low,
                   conf->range.high);
    if (!additive_on(&conf->noise)) {
        buf_printf(out, "- values are multiples of 2^-%d, and have no noise\n",
                   (int)conf->noise.grid);
        return;
    }
    additive_explain(&conf->noise, has_range(conf) ? &s : NULL, out);
    if (conf->noise.epsilon > 0)
        buf_add_str(out, "- the above is for one column; a row of n has n times the L1 "
                         "sensitivity, and noise to match\n");
}

const struct filter filter_value = {
    .name = "value",
    .says = "Puts regression values on a grid, within a range, and adds discrete noise.",
    .needs = NEEDS_QUERY | NEEDS_ANSWER,
    .options = options,
    .conf_size = sizeof(struct conf),
    .state_size = sizeof(struct additive_state),
    .check = check,
    .privacy = privacy,
    .explain = explain,
    .on_query = on_query,
    .on_answer = on_answer,
    .on_close = additive_close,
};
