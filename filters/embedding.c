/* embedding.c - representations: shortened, bounded, rotated for each tenant, on a grid, with
 * noise.
 *
 * In this order, a row x of n numbers:
 *   1. dims: the first d of them are kept.
 *   2. norm: x is scaled down to an L2 norm of at most `norm`.
 *   3. rotate: x = R x, R orthogonal and the tenant's own: three times over, signs are flipped,
 *      places exchanged, and a Walsh-Hadamard transform of size p (the greatest power of two that
 *      is not above d), divided by sqrt(p), is applied to the first p places and then to the last
 *      p.  Signs and places come from the keyed stream of tenant, model, output and d.
 *   4. Numbers become multiples of 2^-grid, and noise is added. */
#include <math.h>
#include <stdio.h>

#include "additive.h"

#define ROUNDS 3

enum rotate { ROTATE_OFF, ROTATE_CLIENT, ROTATE_TIER };
static const char *const rotate_words[] = {"off", "client", "tier", NULL};

struct conf {
    struct additive_conf noise;
    uint64_t dims;
    double norm;
    int rotate;
};

static const struct option options[] = {
    {.name = "dims",
     .type = OPTION_COUNT,
     .offset = offsetof(struct conf, dims),
     .min = 1,
     .max = 1e6,
     .says = "So many of the first numbers of each row are released. Absent: all."},
    {.name = "norm",
     .type = OPTION_REAL,
     .offset = offsetof(struct conf, norm),
     .min = 1e-6,
     .max = 1e6,
     .says = "Rows with a greater L2 norm are scaled down to it: needed with `epsilon`."},
    {.name = "rotate",
     .type = OPTION_WORD,
     .offset = offsetof(struct conf, rotate),
     .fallback = "off",
     .words = rotate_words,
     .says = "Each client's, or each tier's, embeddings are turned by a rotation of its own under "
             "`noise_key`. Distances within one stay; between two nothing matches."},
    ADDITIVE_OPTIONS(struct conf, noise),
    {.type = OPTION_END},
};

static bool check(void *at, struct conf_error *error) {
    struct conf *conf = at;
    if (!additive_check(&conf->noise, true, error))
        return false;
    if (conf->noise.epsilon > 0 && conf->norm == 0) {
        error->option = "epsilon";
        snprintf(error->text, sizeof(error->text),
                 "'epsilon' needs a 'norm': without one an embedding may change by any amount, and "
                 "no noise hides that");
        return false;
    }
    return true;
}

/* ---- The rotation ---- */

struct rotation {
    uint32_t dims, block; /* d and p */
    double scale;         /* 1 / sqrt(p) */
    unsigned char *flips; /* ROUNDS x dims: 1, the sign changes */
    uint32_t *places;     /* ROUNDS x dims: where a number comes from */
    double *spare;        /* dims */
};

static void add_part(struct buf *b, struct bytes part) {
    uint64_t len = part.len;
    buf_add(b, &len, sizeof(len));
    buf_add_bytes(b, part);
}

/* NULL: out of memory. */
static struct bits *rotation_bits(const struct filter_call *call, const struct output *o,
                                  uint32_t dims, struct bytes who) {
    struct bits *bits = NULL;
    struct buf b;
    buf_init(&b, KIB(4));
    add_part(&b, BYTES_LITERAL("embedding rotation"));
    add_part(&b, who);
    add_part(&b, call->model_name);
    add_part(&b, o->tensor.name);
    buf_add(&b, &dims, sizeof(dims));
    if (!b.failed)
        bits = call->random->sticky->open(call->random->sticky, buf_bytes(&b));
    buf_free(&b);
    return bits;
}

/* Fisher and Yates. */
static void draw_places(struct bits *bits, uint32_t *places, uint32_t dims) {
    for (uint32_t i = 0; i < dims; i++)
        places[i] = i;
    for (uint32_t i = dims; i > 1; i--) {
        uint32_t k = (uint32_t)bits_below(bits, i), kept = places[i - 1];
        places[i - 1] = places[k];
        places[k] = kept;
    }
}

static bool rotation_begin(struct rotation *r, const struct filter_call *call,
                           const struct output *o, uint32_t dims, struct bytes who) {
    struct bits *bits = rotation_bits(call, o, dims, who);
    *r = (struct rotation){.dims = dims,
                           .block = 1u << (31 - __builtin_clz(dims)),
                           .flips = arena_calloc(call->arena, dims, ROUNDS),
                           .places = arena_calloc(call->arena, dims, ROUNDS * sizeof(*r->places)),
                           .spare = arena_new_array(call->arena, double, dims)};
    if (bits == NULL || r->flips == NULL || r->places == NULL || r->spare == NULL)
        return false;
    r->scale = 1 / sqrt(r->block);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < dims; i++)
            r->flips[(size_t)round * dims + i] = (unsigned char)bits_take(bits, 1);
        draw_places(bits, r->places + (size_t)round * dims, dims);
    }
    return true;
}

/* Only sums and differences, and one product: the same on every machine. */
static void hadamard(double *x, uint32_t n, double scale) {
    for (uint32_t half = 1; half < n; half *= 2)
        for (uint32_t from = 0; from < n; from += 2 * half)
            for (uint32_t i = from; i < from + half; i++) {
                double a = x[i], b = x[i + half];
                x[i] = a + b;
                x[i + half] = a - b;
            }
    for (uint32_t i = 0; i < n; i++)
        x[i] *= scale;
}

static void rotate(const struct rotation *r, double *x) {
    for (uint32_t round = 0; round < ROUNDS; round++) {
        const unsigned char *flips = r->flips + (size_t)round * r->dims;
        const uint32_t *places = r->places + (size_t)round * r->dims;
        for (uint32_t i = 0; i < r->dims; i++)
            r->spare[i] = flips[i] ? -x[places[i]] : x[places[i]];
        memcpy(x, r->spare, r->dims * sizeof(*x));
        hadamard(x, r->block, r->scale);
        if (r->block < r->dims)
            hadamard(x + r->dims - r->block, r->block, r->scale);
    }
}

/* ---- The noise ---- */

/* Rounding moves each end by at most half a step a column; one unit is for the doubles' own. */
static struct sensitivity sensitivity_of(const struct conf *conf, uint32_t dims) {
    double root = sqrt(dims);
    double l2 = ceil(ldexp(2 * conf->norm, (int)conf->noise.grid) + root + 1);
    return (struct sensitivity){(wide)ceil(l2 * root), (wide)l2 * (wide)l2};
}

static struct bytes tenant(const struct filter_call *call) {
    const struct conf *conf = call->conf;
    if (conf->rotate == ROTATE_OFF)
        return bytes_of(NULL, 0);
    return conf->rotate == ROTATE_TIER ? call->client->tier : call->client->key;
}

static bool is_finite(const double *x, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

/* By the largest first, so that no square overflows. */
static void limit_norm(double *x, uint32_t n, double norm) {
    double most = 0, sum = 0;
    for (uint32_t i = 0; i < n; i++)
        most = fmax(most, fabs(x[i]));
    for (uint32_t i = 0; i < n && most > 0; i++)
        sum += (x[i] / most) * (x[i] / most);
    double length = most * sqrt(sum);
    for (uint32_t i = 0; i < n && length > norm; i++)
        x[i] = x[i] / most * (norm / sqrt(sum));
}

/* What a row goes through; NULL: not that. */
struct work {
    const struct rotation *rotation;
    struct additive *noise;
    uint32_t before; /* columns that came */
    double *x;       /* dims */
    int64_t *units;
};

static const char *change_row(const struct filter_call *call, const struct work *w,
                              struct output *o, uint32_t r) {
    const struct conf *conf = call->conf;
    memcpy(w->x, o->values + (size_t)r * w->before, o->cols * sizeof(*w->x));
    if (!is_finite(w->x, o->cols))
        return "answer holds an embedding that is not finite";
    if (conf->norm > 0)
        limit_norm(w->x, o->cols, conf->norm);
    if (w->rotation != NULL)
        rotate(w->rotation, w->x);
    if (!additive_units(w->x, o->cols, conf->noise.grid, w->units))
        return "answer holds an embedding that is too large for the grid";
    if (w->noise != NULL && !additive_row(w->noise, o, r, w->units, o->cols, tenant(call)))
        return "out of memory";
    additive_release(o, r, conf->noise.grid, w->units);
    return NULL;
}

/* Rows grow shorter, so that what is written never reaches what is still to be read. */
static struct verdict change_rows(const struct filter_call *call, const struct work *w,
                                  struct output *o) {
    const struct conf *conf = call->conf;
    for (uint32_t r = 0; r < o->rows; r++) {
        const char *wrong = change_row(call, w, o, r);
        if (wrong != NULL)
            return verdict_fault(wrong);
    }
    additive_released(o, conf->noise.grid);
    return verdict_pass();
}

static struct verdict add_noise(struct filter_call *call, const struct predictions *p,
                                struct work *w, struct output *o) {
    const struct conf *conf = call->conf;
    struct sensitivity s = sensitivity_of(conf, o->cols);
    struct additive_state *state = call->state;
    struct additive a;
    if (!additive_distribution(&conf->noise, &s, &state->from))
        return verdict_fault("too many dimensions for noise on so fine a grid");
    if (!additive_begin(&a, call, &conf->noise, &state->from, p, "embedding"))
        return verdict_fault("out of memory");
    w->noise = &a;
    struct verdict v = change_rows(call, w, o);
    additive_end(&a);
    w->noise = NULL;
    state->taken += conf->noise.sticky.on ? 0 : (uint64_t)o->rows * o->cols;
    return v;
}

static struct verdict change(struct filter_call *call, const struct predictions *p,
                             struct output *o) {
    const struct conf *conf = call->conf;
    uint32_t dims = conf->dims > 0 && conf->dims < o->cols ? (uint32_t)conf->dims : o->cols;
    struct work w = {.before = o->cols,
                     .x = arena_new_array(call->arena, double, dims),
                     .units = arena_new_array(call->arena, int64_t, dims)};
    struct rotation rotation;
    if (o->classes != NULL)
        return verdict_fault("an embedding came as a ranking");
    if (w.x == NULL || w.units == NULL || output_values(call->arena, o) == NULL)
        return verdict_fault("embeddings could not be read");
    if (conf->rotate != ROTATE_OFF) {
        if (!rotation_begin(&rotation, call, o, dims, tenant(call)))
            return verdict_fault("out of memory");
        w.rotation = &rotation;
    }
    o->cols = dims;
    return additive_on(&conf->noise) ? add_noise(call, p, &w, o) : change_rows(call, &w, o);
}

static struct verdict on_query(struct filter_call *call) {
    const struct conf *conf = call->conf;
    return additive_on(&conf->noise) ? sticky_query(call, &conf->noise.sticky) : verdict_pass();
}

static struct verdict on_answer(struct filter_call *call, struct predictions *p) {
    return additive_answer(call, p, 1u << OUT_EMBEDDING, change);
}

static bool privacy(const void *at, struct privacy *out) {
    const struct conf *conf = at;
    out->covers = 1u << OUT_EMBEDDING;
    out->sensitivity = "L2 2 x norm: opposite embeddings of the greatest length";
    return additive_privacy(&conf->noise, (double)sensitivity_of(conf, 1).l1, out);
}

static void explain(const void *at, struct buf *out) {
    const struct conf *conf = at;
    if (conf->dims > 0)
        buf_printf(out, "- of each embedding the first %llu numbers are released\n",
                   (unsigned long long)conf->dims);
    if (conf->norm > 0)
        buf_printf(out, "- embeddings are scaled down to an L2 norm of at most %g\n", conf->norm);
    if (conf->rotate != ROTATE_OFF)
        buf_printf(out,
                   "- each %s's embeddings are turned by a rotation of its own: two of them cannot "
                   "be joined, and inverters trained on the open model do not fit; whoever knows "
                   "as many true embeddings as there are dimensions can compute the rotation\n",
                   conf->rotate == ROTATE_TIER ? "tier" : "client");
    buf_printf(out, "- numbers are multiples of 2^-%d\n", (int)conf->noise.grid);
    if (!additive_on(&conf->noise)) {
        buf_add_str(out, "- there is no noise: an embedding still tells most of what was put in\n");
        return;
    }
    additive_explain(&conf->noise, NULL, out);
    if (conf->noise.epsilon > 0)
        buf_printf(out,
                   "- L2 sensitivity: 2 x %g and the grid's rounding; L1: that times the root of "
                   "the dimensions\n",
                   conf->norm);
    buf_add_str(out, "- an inverter trained on noisy embeddings reads through some of the noise\n");
}

const struct filter filter_embedding = {
    .name = "embedding",
    .says = "Shortens, bounds, rotates and blurs embeddings.",
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
