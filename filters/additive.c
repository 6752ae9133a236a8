#include "additive.h"

#include <math.h>
#include <stdio.h>

#include "../proxy/base/require.h"
#include "gaussian.h"

#define EPSILON_PARTS 1000000 /* epsilon is rounded down to a multiple of 1 / this */
#define SCALE_PARTS   1024    /* scale is rounded to one, sigma^2 up to one */
#define POOL_STEP     256     /* samples drawn at once when a pool is empty */
#define FP16_MAX      65504

const char *const additive_mechanisms[] = {"discrete_laplace", "discrete_gaussian", NULL};
const char *const additive_calibrations[] = {"zcdp", "analytic", NULL};

/* ---- Configuration ---- */

static bool wrong(struct conf_error *error, const char *option, const char *text) {
    error->option = option;
    snprintf(error->text, sizeof(error->text), "%s", text);
    return false;
}

bool additive_on(const struct additive_conf *conf) {
    return conf->epsilon > 0 || conf->scale > 0;
}

bool additive_check(struct additive_conf *conf, bool optional, struct conf_error *error) {
    bool gaussian = conf->mechanism == DISCRETE_GAUSSIAN;
    struct distribution from;
    if ((conf->epsilon > 0 && conf->scale > 0) || (!additive_on(conf) && !optional))
        return wrong(error, conf->epsilon > 0 ? "scale" : NULL,
                     "give either 'epsilon', for a promise, or 'scale', for noise without one");
    if (conf->epsilon > 0 && gaussian && conf->delta == 0)
        return wrong(error, "mechanism",
                     "Gaussian noise has no pure epsilon: give 'delta' too (such as 1e-6, well "
                     "below one in the number of people)");
    if (conf->delta > 0 && (conf->epsilon == 0 || !gaussian))
        return wrong(error, "delta", "only 'epsilon' with discrete_gaussian has a delta");
    if (conf->sticky.bucket > 0 && !conf->sticky.on)
        return wrong(error, "bucket", "'bucket' has a meaning only with 'sticky: true'");
    if (conf->epsilon > 0 && gaussian)
        conf->sigma = conf->calibration == 0 ? gaussian_sigma_zcdp(conf->epsilon, conf->delta)
                                             : gaussian_sigma_analytic(conf->epsilon, conf->delta);
    if (conf->scale > 0 && !additive_distribution(conf, NULL, &from))
        return wrong(error, "scale", "too wide for so fine a grid: lower 'grid'");
    return true;
}

static bool laplace(const struct additive_conf *conf, const struct sensitivity *s,
                    struct ratio *out) {
    if (conf->scale > 0) {
        double parts = rint(ldexp(conf->scale, (int)conf->grid) * SCALE_PARTS);
        *out = (struct ratio){parts >= 1 ? (uint64_t)parts : 1, SCALE_PARTS};
        return true;
    }
    require(s != NULL);
    if (s->l1 > LAPLACE_PART_MAX / EPSILON_PARTS)
        return false;
    *out = (struct ratio){(uint64_t)s->l1 * EPSILON_PARTS,
                          (uint64_t)floor(conf->epsilon * EPSILON_PARTS)};
    return true;
}

/* A double's error in sigma is smaller than what rounding up adds. */
static bool gaussian(const struct additive_conf *conf, const struct sensitivity *s,
                     struct ratio *out) {
    double square = pow(ldexp(conf->scale, (int)conf->grid), 2);
    if (conf->scale == 0) {
        require(s != NULL);
        square = (double)s->l2_squared * conf->sigma * conf->sigma;
    }
    double parts = ceil(square * SCALE_PARTS * (1 + 1e-9));
    if (!(parts <= (double)GAUSSIAN_NUM_MAX))
        return false;
    *out = (struct ratio){parts >= 1 ? (uint64_t)parts : 1, SCALE_PARTS};
    return true;
}

bool additive_distribution(const struct additive_conf *conf, const struct sensitivity *s,
                           struct distribution *out) {
    out->kind = (enum distribution_kind)conf->mechanism;
    if (!(conf->mechanism == DISCRETE_LAPLACE ? laplace : gaussian)(conf, s, &out->parameter))
        return false;
    out->parameter = ratio_reduce(out->parameter);
    return distribution_valid(out);
}

/* ---- Pools ---- */

static struct pool *pool_of(const struct filter_call *call, const struct distribution *from) {
    struct pool_id id = {{(uint64_t)from->kind, from->parameter.num, from->parameter.den}};
    return pools_get(call->random->pools, &id);
}

static void pool_add(struct pool *pool, const struct filter_call *call,
                     const struct distribution *from, uint64_t n) {
    for (; n > 0 && pool->count < POOL_SAMPLES; n--)
        pool->samples[pool->count++] = distribution_draw(from, call->random->fresh);
}

void additive_close(struct filter_call *call) {
    const struct additive_state *state = call->state;
    struct pool *pool = state->taken > 0 ? pool_of(call, &state->from) : NULL;
    if (pool != NULL)
        pool_add(pool, call, &state->from, state->taken + POOL_STEP);
}

struct verdict additive_answer(struct filter_call *call, struct predictions *p, unsigned kinds,
                               additive_change_fn *change) {
    for (uint32_t i = 0; i < p->count; i++) {
        struct output *o = &p->outputs[i];
        if ((kinds >> o->kind & 1) == 0 || o->dropped || o->rows == 0 || o->cols == 0)
            continue;
        struct verdict v = change(call, p, o);
        if (v.kind != VERDICT_PASS)
            return v;
    }
    return verdict_pass();
}

/* ---- Noise ---- */

bool additive_begin(struct additive *a, const struct filter_call *call,
                    const struct additive_conf *conf, const struct distribution *from,
                    const struct predictions *p, const char *filter) {
    *a = (struct additive){.conf = conf, .from = *from};
    int n = snprintf((char *)a->what, sizeof(a->what), "%s %d %llx/%llx %d", filter,
                     (int)from->kind, (unsigned long long)from->parameter.num,
                     (unsigned long long)from->parameter.den, (int)conf->grid);
    require(n > 0 && (size_t)n < sizeof(a->what));
    if (!conf->sticky.on && (a->pool = pool_of(call, from)) == NULL)
        return false;
    return sticky_begin(&a->sticky, call, &conf->sticky, p, bytes_of(a->what, (size_t)n));
}

void additive_end(struct additive *a) {
    sticky_end(&a->sticky);
}

static int64_t sum_within(int64_t unit, int64_t noise) {
    const int64_t most = (int64_t)ADDITIVE_UNIT_MAX - 1;
    int64_t sum = unit + noise;
    return sum > most ? most : sum < -most ? -most : sum;
}

static void add_fresh(struct additive *a, int64_t *units, uint32_t cols) {
    for (uint32_t i = 0; i < cols; i++) {
        if (a->pool->count == 0)
            pool_add(a->pool, a->sticky.call, &a->from, POOL_STEP);
        units[i] = sum_within(units[i], a->pool->samples[--a->pool->count]);
    }
}

bool additive_row(struct additive *a, const struct output *o, uint32_t row, int64_t *units,
                  uint32_t cols, struct bytes who) {
    const struct output_class *classes =
        o->classes != NULL ? o->classes + (size_t)row * o->cols : NULL;
    if (a->pool != NULL) {
        add_fresh(a, units, cols);
        return true;
    }
    struct bits *bits = sticky_row(&a->sticky, o, row, who);
    if (bits == NULL)
        return false;
    for (uint32_t i = 0; i < cols; i++) {
        bits_seek(bits, classes != NULL ? classes[i].index : i);
        units[i] = sum_within(units[i], distribution_draw(&a->from, bits));
    }
    return true;
}

/* ---- Numbers and units ---- */

bool additive_units(const double *values, uint32_t cols, uint64_t grid, int64_t *units) {
    const double steps = (double)(1ull << grid);
    for (uint32_t i = 0; i < cols; i++) {
        double scaled = values[i] * steps; /* exact: a power of two */
        if (!(fabs(scaled) < ADDITIVE_UNIT_MAX - 1))
            return false;
        units[i] = (int64_t)rint(scaled);
    }
    return true;
}

static double held_narrow(enum dtype type, double v) {
    char element[sizeof(double)];
    struct tensor t = {.dtype = type, .elements = 1, .data = {element, sizeof(element)}};
    if (type == DTYPE_FP16)
        v = fmin(fmax(v, -FP16_MAX), FP16_MAX);
    dtype_write(type, v, element);
    return tensor_number(&t, 0);
}

/* What the datatype makes of it, so that every form of the answer shows the same number. */
static double held(enum dtype type, double v) {
    if (type == DTYPE_FP64 || type == DTYPE_BYTES)
        return v;
    return type == DTYPE_FP32 ? (float)v : held_narrow(type, v);
}

void additive_release(struct output *o, uint32_t row, uint64_t grid, const int64_t *units) {
    const double step = 1.0 / (double)(1ull << grid);
    double *values = o->values + (size_t)row * o->cols;
    for (uint32_t i = 0; i < o->cols; i++)
        values[i] = held(o->tensor.dtype, (double)units[i] * step);
}

/* n / 2^g is a number of g decimals, which prints fast while it is small enough. */
void additive_released(struct output *o, uint64_t grid) {
    size_t n = (size_t)o->rows * o->cols;
    double most = ADDITIVE_UNIT_MAX / pow(10, (double)grid);
    bool fits = true;
    for (size_t i = 0; i < n && fits; i++)
        fits = fabs(o->values[i]) < most;
    o->grid_digits = fits ? (int)grid : -1;
    o->changed = true;
}

/* ---- In words ---- */

/* What any test of membership, or of any other fact, can reach: Kairouz, Oh, Viswanath 2015. */
void additive_explain_bound(double epsilon, double delta, struct buf *out) {
    double e = exp(epsilon), caught = e * 0.001 + delta;
    double advantage = (e - 1 + 2 * delta) / (e + 1);
    buf_printf(out,
               "- so from one answer no membership test has more than %.3g %% true positives at "
               "0.1 %% false ones, nor an advantage above %.3g\n",
               100 * (caught < 1 ? caught : 1), advantage < 1 ? advantage : 1);
    buf_printf(out,
               "- it adds up over rows, outputs and different questions: n of them have epsilon "
               "n x %g at most, of which only a budget keeps account\n",
               epsilon);
    if (epsilon > 3)
        buf_add_str(out, "- an epsilon above 3 promises little on paper; what it does in practice "
                         "has to be measured\n");
}

static void explain_width(const struct additive_conf *conf, const struct distribution *d,
                          struct buf *out) {
    double p = (double)d->parameter.num / (double)d->parameter.den;
    double width = ldexp(d->kind == DISCRETE_LAPLACE ? p : sqrt(p), -(int)conf->grid);
    buf_printf(out, "- noise: %s, exact, on multiples of 2^-%d; %s %.4g\n",
               d->kind == DISCRETE_LAPLACE ? "discrete Laplace" : "discrete Gaussian",
               (int)conf->grid, d->kind == DISCRETE_LAPLACE ? "scale" : "sigma", width);
}

static void explain_promise(const struct additive_conf *conf, const struct sensitivity *s,
                            struct buf *out) {
    double grid = ldexp(1, -(int)conf->grid);
    buf_printf(out, "- promise: (%g, %g)-differential privacy of each row of each noisy output\n",
               conf->epsilon, conf->delta);
    if (conf->mechanism == DISCRETE_GAUSSIAN)
        buf_printf(out, "- sigma is %.6g times the L2 sensitivity, by %s\n", conf->sigma,
                   conf->calibration == 0
                       ? "zCDP, which is proven for this noise"
                       : "the analytic calibration, which is proven for the continuous Gaussian "
                         "and a limit for this one");
    if (s != NULL)
        buf_printf(out, "- sensitivity: L1 %g, L2 %.4g: the whole range of a row\n",
                   (double)s->l1 * grid, sqrt((double)s->l2_squared) * grid);
    buf_add_str(out, "- unit protected: any change of the training data, or of the whole model, "
                     "since to this gate the model is a black box that one record may change "
                     "in every way\n");
    additive_explain_bound(conf->epsilon, conf->delta, out);
}

void additive_explain(const struct additive_conf *conf, const struct sensitivity *s,
                      struct buf *out) {
    struct distribution d;
    if ((conf->scale > 0 || s != NULL) && additive_distribution(conf, s, &d))
        explain_width(conf, &d, out);
    if (conf->epsilon > 0)
        explain_promise(conf, s, out);
    else
        buf_add_str(out, "- a plain scale promises nothing: there is no epsilon, only noise\n");
    if (!conf->sticky.on)
        buf_add_str(out, "- samples are drawn ahead of answers, so how long an answer takes does "
                         "not tell its noise\n");
    else
        buf_add_str(out, "- noise is drawn while the answer waits, in a number of steps that does "
                         "not depend on its size, but for the one draw in 3000 that is largest\n");
    sticky_explain(&conf->sticky, out);
}
