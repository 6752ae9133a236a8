#include "predictions.h"

#include <math.h>

#include "../proxy/base/require.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are read where they lie");

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [DTYPE_NONE] = {"", 0},         [DTYPE_BOOL] = {"BOOL", 1},     [DTYPE_UINT8] = {"UINT8", 1},
    [DTYPE_UINT16] = {"UINT16", 2}, [DTYPE_UINT32] = {"UINT32", 4}, [DTYPE_UINT64] = {"UINT64", 8},
    [DTYPE_INT8] = {"INT8", 1},     [DTYPE_INT16] = {"INT16", 2},   [DTYPE_INT32] = {"INT32", 4},
    [DTYPE_INT64] = {"INT64", 8},   [DTYPE_FP16] = {"FP16", 2},     [DTYPE_BF16] = {"BF16", 2},
    [DTYPE_FP32] = {"FP32", 4},     [DTYPE_FP64] = {"FP64", 8},     [DTYPE_BYTES] = {"BYTES", 0},
};

#define DTYPE_COUNT (sizeof(dtypes) / sizeof(dtypes[0]))

const char *const output_kind_names[] = {"scores", "logits", "labels", "value", "embedding",
                                         "text",   "tokens", "opaque", NULL};

enum dtype dtype_named(struct bytes name) {
    for (unsigned i = DTYPE_NONE + 1; i < DTYPE_COUNT; i++)
        if (bytes_is(name, dtypes[i].name))
            return (enum dtype)i;
    return DTYPE_NONE;
}

const char *dtype_name(enum dtype type) {
    require((unsigned)type < DTYPE_COUNT);
    return dtypes[type].name;
}

size_t dtype_size(enum dtype type) {
    require((unsigned)type < DTYPE_COUNT);
    return dtypes[type].size;
}

bool dtype_is_float(enum dtype type) {
    return type >= DTYPE_FP16 && type <= DTYPE_FP64;
}

static float bf16_read(uint16_t bits) {
    uint32_t wide = (uint32_t)bits << 16;
    float f;
    memcpy(&f, &wide, sizeof(f));
    return f;
}

static double fp16_read(uint16_t bits) {
    int exponent = bits >> 10 & 31;
    int mantissa = bits & 1023;
    double v;
    if (exponent == 31)
        v = mantissa != 0 ? NAN : INFINITY;
    else if (exponent == 0)
        v = ldexp(mantissa, -24);
    else
        v = ldexp(mantissa + 1024, exponent - 25);
    return bits & 0x8000 ? -v : v;
}

/* v in a 16-bit format of that many mantissa bits.  Rounding a count of the format's own quanta
 * rounds once, where going through float would round twice; a carry out of the mantissa lands in
 * the exponent, which is the right answer. */
static uint16_t narrow(double v, int mantissa) {
    int bias = (1 << (14 - mantissa)) - 1;
    uint16_t infinite = (uint16_t)(0x7fffu >> mantissa << mantissa);
    uint16_t sign = signbit(v) ? 0x8000 : 0;
    if (isnan(v))
        return (uint16_t)(sign | infinite | 1u << (mantissa - 1));
    if (isinf(v))
        return sign | infinite;
    int exponent = v == 0 ? 1 - bias : ilogb(v);
    if (exponent < 1 - bias)
        exponent = 1 - bias;
    if (exponent > bias)
        return sign | infinite;
    uint32_t quanta = (uint32_t)nearbyint(ldexp(fabs(v), mantissa - exponent));
    return (uint16_t)(sign | (((uint32_t)(exponent + bias - 1) << mantissa) + quanta));
}

/* One element where it lies: packed, so that no alignment is assumed. */
union element {
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;
    int8_t i8;
    int16_t i16;
    int32_t i32;
    int64_t i64;
    float f32;
    double f64;
} __attribute__((packed, may_alias));

static double element_read(enum dtype type, const char *at) {
    const union element *e = (const union element *)at;
    switch (type) {
    case DTYPE_BOOL:
    case DTYPE_UINT8:
        return e->u8;
    case DTYPE_UINT16:
        return e->u16;
    case DTYPE_UINT32:
        return e->u32;
    case DTYPE_UINT64:
        return (double)e->u64;
    case DTYPE_INT8:
        return e->i8;
    case DTYPE_INT16:
        return e->i16;
    case DTYPE_INT32:
        return e->i32;
    case DTYPE_INT64:
        return (double)e->i64;
    case DTYPE_FP16:
        return fp16_read(e->u16);
    case DTYPE_BF16:
        return bf16_read(e->u16);
    case DTYPE_FP32:
        return e->f32;
    case DTYPE_FP64:
        return e->f64;
    case DTYPE_NONE:
    case DTYPE_BYTES:
        break;
    }
    return NAN;
}

double tensor_number(const struct tensor *t, uint64_t i) {
    require(i < t->elements);
    return element_read(t->dtype, t->data.at + i * dtype_size(t->dtype));
}

/* The nearest integer of `size` bytes; what is no number becomes 0. */
static void write_unsigned(double v, size_t size, uint64_t most, void *out) {
    double n = nearbyint(v);
    uint64_t whole = 0;
    if (n >= (double)most)
        whole = most;
    else if (n > 0)
        whole = (uint64_t)n;
    memcpy(out, &whole, size);
}

static void write_signed(double v, size_t size, int64_t most, void *out) {
    double n = nearbyint(v);
    int64_t whole = 0;
    if (n >= (double)most)
        whole = most;
    else if (n <= -(double)most - 1)
        whole = -most - 1;
    else if (!isnan(n))
        whole = (int64_t)n;
    memcpy(out, &whole, size);
}

void dtype_write(enum dtype type, double v, void *out) {
    size_t size = dtype_size(type);
    uint64_t most = size > 0 ? UINT64_MAX >> (64 - 8 * size) : 0;
    float single = (float)v;
    uint16_t half;
    switch (type) {
    case DTYPE_BOOL:
        write_unsigned(v, size, 1, out);
        return;
    case DTYPE_UINT8:
    case DTYPE_UINT16:
    case DTYPE_UINT32:
    case DTYPE_UINT64:
        write_unsigned(v, size, most, out);
        return;
    case DTYPE_INT8:
    case DTYPE_INT16:
    case DTYPE_INT32:
    case DTYPE_INT64:
        write_signed(v, size, (int64_t)(most >> 1), out);
        return;
    case DTYPE_FP16:
    case DTYPE_BF16:
        half = narrow(v, type == DTYPE_FP16 ? 10 : 7);
        memcpy(out, &half, sizeof(half));
        return;
    case DTYPE_FP32:
        memcpy(out, &single, sizeof(single));
        return;
    case DTYPE_FP64:
        memcpy(out, &v, sizeof(v));
        return;
    case DTYPE_NONE:
    case DTYPE_BYTES:
        break;
    }
    require(!"a datatype of fixed size");
}

/* The common case without a switch for each element. */
static void floats_read(const char *at, uint64_t n, double *values) {
    for (uint64_t i = 0; i < n; i++)
        values[i] = ((const union element *)(at + i * sizeof(float)))->f32;
}

double *output_values(struct arena *a, struct output *o) {
    if (o->values != NULL)
        return o->values;
    enum dtype type = o->tensor.dtype;
    if (o->kind == OUT_OPAQUE || type == DTYPE_BYTES || type == DTYPE_NONE)
        return NULL;
    uint64_t n = (uint64_t)o->rows * o->cols;
    size_t size = dtype_size(type);
    require(n == o->tensor.elements && n <= o->tensor.data.len / size);
    double *values = arena_alloc(a, n * sizeof(*values));
    if (values == NULL)
        return NULL;
    if (type == DTYPE_FP32)
        floats_read(o->tensor.data.at, n, values);
    else if (type == DTYPE_FP64)
        memcpy(values, o->tensor.data.at, n * size);
    else
        for (uint64_t i = 0; i < n; i++)
            values[i] = element_read(type, o->tensor.data.at + i * size);
    return o->values = values;
}

static bool output_copy(struct arena *a, struct output *o) {
    size_t n = (size_t)o->rows * o->cols;
    if (o->values != NULL) {
        double *values = arena_alloc(a, n * sizeof(*values));
        if (values == NULL)
            return false;
        o->values = memcpy(values, o->values, n * sizeof(*values));
    }
    if (o->classes != NULL) {
        struct output_class *classes = arena_alloc(a, n * sizeof(*classes));
        if (classes == NULL)
            return false;
        o->classes = memcpy(classes, o->classes, n * sizeof(*classes));
    }
    return true;
}

bool predictions_copy(struct arena *a, const struct predictions *p, struct predictions *out) {
    *out = *p;
    out->outputs = arena_new_array(a, struct output, p->count);
    if (out->outputs == NULL)
        return false;
    for (uint32_t i = 0; i < p->count; i++) {
        out->outputs[i] = p->outputs[i];
        if (!output_copy(a, &out->outputs[i]))
            return false;
    }
    return true;
}
