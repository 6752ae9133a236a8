#include "oip.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "../proxy/base/require.h"

#define VALUE_MAX      48 /* characters of a value: "%f" of any FP32 fits */
#define VALUE_DECIMALS 6  /* what the extension's own std::to_string prints */

static size_t digits(struct bytes s) {
    size_t n = 0;
    while (n < s.len && s.at[n] >= '0' && s.at[n] <= '9')
        n++;
    return n;
}

/* [-]digits[.digits][e[+-]digits] and nothing else: strtod alone knows "inf", "nan" and "0x1p3". */
static bool is_number(struct bytes s) {
    size_t n;
    if (s.len > 0 && s.at[0] == '-')
        s = bytes_skip(s, 1);
    if ((n = digits(s)) == 0)
        return false;
    s = bytes_skip(s, n);
    if (s.len > 0 && s.at[0] == '.') {
        s = bytes_skip(s, 1);
        if ((n = digits(s)) == 0)
            return false;
        s = bytes_skip(s, n);
    }
    if (s.len > 0 && (s.at[0] == 'e' || s.at[0] == 'E')) {
        s = bytes_skip(s, 1);
        if (s.len > 0 && (s.at[0] == '-' || s.at[0] == '+'))
            s = bytes_skip(s, 1);
        if ((n = digits(s)) == 0)
            return false;
        s = bytes_skip(s, n);
    }
    return s.len == 0;
}

static bool read_value(struct bytes s, double *out) {
    char text[VALUE_MAX + 1];
    if (s.len > VALUE_MAX || !is_number(s))
        return false;
    memcpy(text, s.at, s.len);
    text[s.len] = '\0';
    *out = strtod(text, NULL);
    return fabs(*out) <= FLT_MAX; /* so that it prints within VALUE_MAX again */
}

static bool read_index(struct bytes s, uint32_t *out) {
    uint64_t v;
    if ((s.len > 1 && s.at[0] == '0') || !bytes_to_u64(s, UINT32_MAX, &v))
        return false;
    *out = (uint32_t)v;
    return true;
}

/* A label may hold ':' itself, so only the first two part the fields. */
static bool read_entry(struct bytes s, double *value, struct output_class *class) {
    struct bytes number = bytes_cut(&s, ':');
    if (s.at == NULL || !read_value(number, value))
        return false;
    struct bytes index = bytes_cut(&s, ':');
    class->label = s;
    return read_index(index, &class->index);
}

/* The next BYTES element; data is known to be well formed. */
static struct bytes next_element(struct bytes *data) {
    uint32_t len;
    memcpy(&len, data->at, sizeof(len));
    struct bytes element = bytes_of(data->at + sizeof(len), len);
    *data = bytes_skip(*data, sizeof(len) + len);
    return element;
}

bool oip_read_ranking(struct oip_reader *r, struct output *o, uint32_t most) {
    const struct tensor *t = &o->tensor;
    struct bytes data = t->data;
    r->field = "data";
    if (t->dtype != DTYPE_BYTES || t->rank < 1 || t->rank > 2)
        return oip_fail(r, CODEC_BAD, "is not a ranking");
    if (t->shape[t->rank - 1] > most)
        return oip_fail(r, CODEC_BAD, "more classes than were asked for");
    o->cols = (uint32_t)t->shape[t->rank - 1];
    o->rows = (uint32_t)(t->elements / o->cols);
    o->values = arena_new_array(r->arena, double, t->elements);
    o->classes = arena_new_array(r->arena, struct output_class, t->elements);
    if (o->values == NULL || o->classes == NULL)
        return oip_fail(r, CODEC_NO_MEMORY, "out of memory");
    for (uint64_t i = 0; i < t->elements; i++)
        if (!read_entry(next_element(&data), &o->values[i], &o->classes[i]))
            return oip_fail(r, CODEC_BAD, "element %llu is not value:index[:label]",
                            (unsigned long long)i);
    return true;
}

static size_t print_entry(const struct output *o, size_t i, char *to, size_t room) {
    int decimals = VALUE_DECIMALS;
    if (o->grid_digits >= 0 && o->grid_digits < decimals)
        decimals = o->grid_digits;
    double v = o->values[i] == 0 ? 0 : o->values[i]; /* the sign of a zero says something, too */
    int n = snprintf(to, room, "%.*f:%u", decimals, v, o->classes[i].index);
    require(n > 0 && (size_t)n < room);
    return (size_t)n;
}

static void write_entry(struct buf *b, const struct output *o, size_t i) {
    char head[400]; /* the longest %f of a double has 309 digits before the point */
    struct bytes label = o->classes[i].label;
    size_t n = print_entry(o, i, head, sizeof(head));
    uint32_t len = (uint32_t)(n + (label.len > 0 ? 1 + label.len : 0));
    buf_add(b, &len, sizeof(len));
    buf_add(b, head, n);
    if (label.len > 0)
        buf_add_char(b, ':');
    buf_add_bytes(b, label);
}

enum codec_status oip_write_ranking(struct arena *a, const struct output *o, struct bytes *out,
                                    struct codec_error *error) {
    enum codec_status status = CODEC_OK;
    struct buf b;
    buf_init(&b, ANSWER_BYTES_MAX);
    for (size_t i = 0; i < (size_t)o->rows * o->cols && status == CODEC_OK; i++) {
        if (isfinite(o->values[i]))
            write_entry(&b, o, i);
        else
            status = oip_error(error, CODEC_BAD, "a released value is not finite");
    }
    *out = b.failed ? bytes_of(NULL, 0) : arena_copy(a, buf_bytes(&b));
    if (status == CODEC_OK && out->at == NULL)
        status = oip_error(error, CODEC_NO_MEMORY, "out of memory");
    buf_free(&b);
    return status;
}
