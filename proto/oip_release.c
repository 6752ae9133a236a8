#include "oip.h"

#include <math.h>

#include "../proxy/base/require.h"

#define GRID_DIGITS_MAX 15
static const double powers[GRID_DIGITS_MAX + 1] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                   1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};

/* v as a count of grid steps.  The tolerance is for a filter that computed n * 0.01 instead of
 * n / 100; anything further off is a value that was never put on the grid, and does not pass. */
static bool grid_steps(double v, int digits, int64_t *out) {
    double scaled = v * powers[digits];
    double n = nearbyint(scaled);
    if (!(fabs(n) < 9007199254740992.0) || fabs(scaled - n) > 1e-6)
        return false;
    *out = (int64_t)n;
    return true;
}

static size_t zero_run(const double *v, size_t n) {
    size_t i = 0;
    while (i < n && v[i] == 0)
        i++;
    return i;
}

/* Zeros are what a top-k answer mostly consists of. */
static void write_zeros(struct buf *b, size_t n) {
    static const char zeros[] = ",0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0";
    const size_t most = (sizeof(zeros) - 1) / 2;
    for (; n > most; n -= most)
        buf_add(b, zeros, 2 * most);
    buf_add(b, zeros, 2 * n);
}

static bool write_integer(struct buf *b, enum dtype type, double v) {
    char element[8];
    struct tensor t = {.dtype = type, .elements = 1, .data = {element, sizeof(element)}};
    dtype_write(type, v, element);
    if (type == DTYPE_UINT64) {
        uint64_t n;
        memcpy(&n, element, sizeof(n));
        buf_add_u64(b, n);
        return true;
    }
    /* Beyond 2^53 a double holds no more than this anyway. */
    double whole = tensor_number(&t, 0);
    if (whole < 0)
        buf_add_char(b, '-');
    buf_add_u64(b, (uint64_t)fabs(whole));
    return true;
}

static bool write_number(struct buf *b, const struct output *o, double v) {
    enum dtype type = o->tensor.dtype;
    int64_t steps;
    if (!isfinite(v))
        return false;
    if (!dtype_is_float(type))
        return write_integer(b, type, v);
    if (o->grid_digits >= 0) {
        if (!grid_steps(v, o->grid_digits, &steps))
            return false;
        json_write_grid(b, steps, o->grid_digits);
        return true;
    }
    if (type == DTYPE_FP64) {
        json_write_double(b, v);
        return true;
    }
    if (!isfinite((float)v))
        return false;
    json_write_float(b, (float)v);
    return true;
}

/* Every value with a comma in front; the first comma then becomes the bracket. */
static bool write_values(struct buf *b, const struct output *o) {
    size_t n = (size_t)o->rows * o->cols, start = b->len;
    for (size_t i = 0; i < n;) {
        size_t run = zero_run(o->values + i, n - i);
        if (run > 0) {
            write_zeros(b, run);
            i += run;
            continue;
        }
        buf_add_char(b, ',');
        if (!write_number(b, o, o->values[i++]))
            return false;
    }
    if (n == 0)
        buf_add_char(b, '[');
    if (!b->failed)
        b->at[start] = '[';
    buf_add_char(b, ']');
    return true;
}

/* The changed values in canonical form. */
static enum codec_status pack_values(struct arena *a, const struct output *o, struct bytes *out,
                                     struct codec_error *error) {
    enum dtype type = o->tensor.dtype;
    size_t size = dtype_size(type), n = (size_t)o->rows * o->cols;
    bool grid = o->grid_digits >= 0 && dtype_is_float(type);
    char *at = arena_alloc(a, n * size);
    int64_t steps;
    if (at == NULL)
        return oip_error(error, CODEC_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < n; i++) {
        double v = o->values[i] == 0 ? 0 : o->values[i]; /* the sign of a zero tells something */
        if (!isfinite(v) || (grid && !grid_steps(v, o->grid_digits, &steps)))
            return oip_error(error, CODEC_BAD, "a released value is not finite or off its grid");
        dtype_write(type, grid ? (double)steps / powers[o->grid_digits] : v, at + i * size);
    }
    *out = bytes_of(at, n * size);
    if (oip_has_nonfinite(type, *out))
        return oip_error(error, CODEC_BAD, "a released value does not fit its datatype");
    return CODEC_OK;
}

/* The data in canonical form: the tensor's own, or what the filters made of it. */
static enum codec_status canonical(struct arena *a, const struct output *o, struct bytes *out,
                                   struct codec_error *error) {
    *out = o->tensor.data;
    if (!o->changed)
        return CODEC_OK;
    return o->classes != NULL ? oip_write_ranking(a, o, out, error) : pack_values(a, o, out, error);
}

/* Where the last dimension is columns, it follows the columns that are left. */
static uint64_t last_dimension(const struct output *o) {
    bool columns = o->classes != NULL || o->kind == OUT_SCORES || o->kind == OUT_LOGITS ||
                   o->kind == OUT_VALUE || o->kind == OUT_EMBEDDING;
    return o->changed && columns && o->tensor.rank > 0 ? o->cols : 0;
}

/* A filter may change values and drop columns, never add or drop rows. */
static void check_changed(const struct output *o) {
    uint64_t last = last_dimension(o), elements = o->tensor.elements;
    if (!o->changed)
        return;
    if (last > 0)
        elements = elements / o->tensor.shape[o->tensor.rank - 1] * last;
    require(o->values != NULL && o->grid_digits <= GRID_DIGITS_MAX);
    require(elements == (uint64_t)o->rows * o->cols);
}

static enum codec_status write_json_data(struct oip_writer *w, const struct output *o,
                                         struct codec_error *error) {
    const struct tensor *t = &o->tensor;
    enum codec_status status;
    struct bytes data;
    if (t->dtype == DTYPE_FP16 || t->dtype == DTYPE_BF16)
        return oip_error(error, CODEC_BAD, "%s has no JSON form", dtype_name(t->dtype));
    buf_add_str(&w->json, ",\"data\":");
    if (!o->changed && t->text.len > 0) {
        oip_splice(w, t->text);
        return CODEC_OK;
    }
    if (o->changed && o->classes == NULL) {
        if (write_values(&w->json, o))
            return CODEC_OK;
        return oip_error(error, CODEC_BAD, "a released value is not finite or off its grid");
    }
    if ((status = canonical(w->arena, o, &data, error)) != CODEC_OK)
        return status;
    if (!json_write_tensor(&w->json, t->dtype, data, (uint64_t)o->rows * o->cols))
        return oip_error(error, CODEC_BAD, "a released value has no JSON form");
    return CODEC_OK;
}

static enum codec_status write_binary_data(struct oip_writer *w, const struct output *o,
                                           struct codec_error *error) {
    struct bytes data;
    enum codec_status status = canonical(w->arena, o, &data, error);
    if (status != CODEC_OK)
        return status;
    buf_add_str(&w->json, ",\"parameters\":{\"binary_data_size\":");
    buf_add_u64(&w->json, data.len);
    buf_add_char(&w->json, '}');
    oip_add_binary(w, data);
    return CODEC_OK;
}

static enum codec_status write_output(struct oip_writer *w, const struct output *o, bool binary,
                                      struct codec_error *error) {
    check_changed(o);
    buf_add_char(&w->json, '{');
    oip_key_string(w, "name", o->tensor.name);
    buf_add_char(&w->json, ',');
    oip_key_string(w, "datatype", bytes_str(dtype_name(o->tensor.dtype)));
    buf_add_char(&w->json, ',');
    oip_shape(w, &o->tensor, last_dimension(o));
    enum codec_status status =
        binary ? write_binary_data(w, o, error) : write_json_data(w, o, error);
    buf_add_char(&w->json, '}');
    return status;
}

static enum codec_status write_outputs(struct oip_writer *w, const struct query *q,
                                       const struct predictions *p, struct codec_error *error) {
    enum codec_status status = CODEC_OK;
    struct wanted_output wanted;
    bool first = true;
    buf_add_str(&w->json, "\"outputs\":[");
    for (uint32_t i = 0; i < p->count && status == CODEC_OK; i++) {
        const struct output *o = &p->outputs[i];
        if (o->dropped || !oip_wanted(q, o->tensor.name, &wanted))
            continue;
        if (!first)
            buf_add_char(&w->json, ',');
        first = false;
        status = write_output(w, o, wanted.binary, error);
    }
    buf_add_char(&w->json, ']');
    return status;
}

/* model_name and id are the client's own words; of the upstream's only the version can be shown. */
enum codec_status oip_encode_answer(struct arena *a, const struct query *q,
                                    const struct predictions *p, const struct declared *declared,
                                    struct outgoing *out, struct codec_error *error) {
    struct oip_writer w;
    oip_writer_init(&w, a);
    buf_add_char(&w.json, '{');
    oip_key_string(&w, "model_name", q->model);
    buf_add_char(&w.json, ',');
    if (declared->version_shown && p->version.len > 0) {
        oip_key_string(&w, "model_version", p->version);
        buf_add_char(&w.json, ',');
    }
    if (q->id.len > 0) {
        oip_key_string(&w, "id", q->id);
        buf_add_char(&w.json, ',');
    }
    enum codec_status status = write_outputs(&w, q, p, error);
    buf_add_char(&w.json, '}');
    return oip_finish(&w, status, out, error);
}
