/* A tensor's text is read row by row: a row is an innermost array, and reading it is a loop over
 * one kind of leaf, made once for each kind by inlining.  The loop looks at a byte and moves on
 * without asking whether the text has ended, as far as its padding allows; a number is followed by
 * something in any array that is whole, so one look behind each is enough. */
#include "../proxy/base/limits.h"
#include "json_number.h"
#include "json_scan.h"

#define STORE_SLACK 8 /* integers of all widths are stored as eight bytes */

struct filling {
    struct json_reader *r;
    const char *text, *end;
    struct json_tensor *t;
    enum dtype type;
    size_t size; /* of an element; of BYTES: the length in front */
    uint64_t most;
    size_t room_max;      /* where `most` elements end; of BYTES there is no telling */
    uint64_t integer_max; /* of integers: what fits beside the sign */
    bool is_signed;
    bool check_only; /* of floats: data is not wanted */
    char *at;
    size_t len, room; /* STORE_SLACK bytes more are there */
    uint64_t elements;
    uint64_t open[JSON_DEPTH_MAX]; /* elements so far in the open array of each level */
    bool known[JSON_DEPTH_MAX];    /* nested_shape of that level is */
};

typedef const char *read_leaf(struct filling *f, const char *p, char *to);
typedef const char *read_row(struct filling *f, const char *p);

static const char *fail(struct filling *f, enum json_failure failure, const char *p,
                        const char *error) {
    json_fail(f->r, failure, p, error);
    return NULL;
}

/* What stands at p cannot be there; says which way. */
static const char *fail_value(struct filling *f, const char *p, const char *expected) {
    enum json_type type = p < f->end ? json_type_of(*p) : JSON_BAD;
    if (type == JSON_BAD)
        return fail(f, JSON_MALFORMED, p, "expected a value");
    return fail(f, JSON_TYPE, p, type == JSON_ARRAY ? "arrays nested unevenly" : expected);
}

static bool set_room(struct filling *f, size_t room) {
    char *at = room <= SIZE_MAX - STORE_SLACK ? arena_alloc(f->r->arena, room + STORE_SLACK) : NULL;
    if (at == NULL)
        return json_fail(f->r, JSON_NO_MEMORY, f->text, "out of memory");
    if (f->len > 0)
        memcpy(at, f->at, f->len);
    f->at = at;
    f->room = room;
    return true;
}

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Enough for numbers of 15 characters to the end of the text, and no more than the elements that
 * could be there. */
static bool first_room(struct filling *f) {
    size_t left = (size_t)(f->end - f->text);
    size_t elements = smaller(left / 2 + 1, left / 16 < 1024 ? 1024 : left / 16);
    return set_room(f, smaller(elements * f->size, f->room_max));
}

/* Room for `need` more bytes, and as many as the text ahead will fill if it goes on as it has; but
 * no more than four times what it was, for it may not. */
static bool grow(struct filling *f, const char *p, size_t need) {
    double ahead = (double)(f->end - p) / (double)(p - f->text + 1);
    double guess = (double)f->len * (1 + 1.1 * ahead);
    double least = 1.25 * (double)f->room, most = 4 * (double)f->room;
    size_t room = (size_t)(guess < least ? least : guess > most ? most : guess);
    return set_room(f, smaller(room > f->len + need ? room : f->len + need, f->room_max));
}

static const char *scan(struct filling *f, const char *p, struct json_number *n) {
    bool too_long;
    const char *behind = json_number_scan(p, f->end, n, &too_long);
    if (behind != NULL)
        return behind;
    if (too_long)
        return fail(f, JSON_LIMIT, p, "number too long");
    if (p < f->end && json_type_of(*p) == JSON_NUMBER)
        return fail(f, JSON_MALFORMED, p, "malformed number");
    return fail_value(f, p, "expected a number");
}

static inline const char *scan_quick(struct filling *f, const char *p, struct json_number *n) {
    const char *behind = json_number_quick(p, n);
    return behind != NULL && behind < f->end ? behind : scan(f, p, n);
}

static __attribute__((noinline)) const char *slow_fp32(struct filling *f, const char *p, char *to) {
    struct json_number n;
    float v;
    const char *behind = scan(f, p, &n);
    if (behind == NULL)
        return NULL;
    if (!json_number_fp32(&n, &v))
        return fail(f, JSON_RANGE, p, "number out of range");
    memcpy(to, &v, sizeof(v));
    return behind;
}

static inline const char *leaf_fp32(struct filling *f, const char *p, char *to) {
    struct json_number n;
    float v;
    const char *behind = json_number_quick(p, &n);
    if (behind == NULL || behind >= f->end || !json_quick_fp32(n.digits, n.exponent, &v))
        return slow_fp32(f, p, to);
    uint32_t bits;
    memcpy(&bits, &v, sizeof(bits));
    bits |= (uint32_t)n.negative << 31;
    memcpy(to, &bits, sizeof(bits));
    return behind;
}

static inline const char *leaf_fp64(struct filling *f, const char *p, char *to) {
    struct json_number n;
    double v;
    const char *behind = scan_quick(f, p, &n);
    if (behind == NULL)
        return NULL;
    if (!json_number_fp64(&n, &v))
        return fail(f, JSON_RANGE, p, "number out of range");
    memcpy(to, &v, sizeof(v));
    return behind;
}

static inline const char *leaf_16(struct filling *f, const char *p, char *to) {
    struct json_number n;
    uint16_t v;
    const char *behind = scan_quick(f, p, &n);
    if (behind == NULL)
        return NULL;
    if (!json_number_16(&n, f->type, &v))
        return fail(f, JSON_RANGE, p, "number out of range");
    memcpy(to, &v, sizeof(v));
    return behind;
}

static __attribute__((noinline)) const char *slow_integer(struct filling *f, const char *p,
                                                          char *to) {
    struct json_number n;
    uint64_t v;
    const char *behind = scan(f, p, &n);
    if (behind == NULL)
        return NULL;
    if (!n.whole)
        return fail(f, JSON_TYPE, p, "expected an integer");
    if (!json_number_integer(&n, f->type, &v))
        return fail(f, JSON_RANGE, p, "number out of range");
    memcpy(to, &v, sizeof(v));
    return behind;
}

static inline const char *leaf_integer(struct filling *f, const char *p, char *to) {
    struct json_number n;
    const char *behind = json_number_quick(p, &n);
    if (behind == NULL || behind >= f->end || !n.whole || n.digits > f->integer_max ||
        (n.negative && !f->is_signed))
        return slow_integer(f, p, to);
    uint64_t v = n.negative ? -n.digits : n.digits;
    memcpy(to, &v, sizeof(v));
    return behind;
}

static inline const char *leaf_bool(struct filling *f, const char *p, char *to) {
    size_t left = p < f->end ? (size_t)(f->end - p) : 0;
    *to = 1;
    if (left >= 4 && memcmp(p, "true", 4) == 0)
        return p + 4;
    *to = 0;
    if (left >= 5 && memcmp(p, "false", 5) == 0)
        return p + 5;
    struct json_number n;
    if (left == 0 || json_type_of(*p) != JSON_NUMBER)
        return fail_value(f, p, "expected true, false, 0 or 1");
    if ((p = scan(f, p, &n)) == NULL)
        return NULL;
    if (!n.whole || n.negative)
        return fail(f, JSON_TYPE, n.at, "expected true, false, 0 or 1");
    if (n.digits > 1)
        return fail(f, JSON_RANGE, n.at, "expected true, false, 0 or 1");
    *to = (char)n.digits;
    return p;
}

/* p is behind an element.  At the next one; or, with *over, behind the row's end. */
static inline const char *next_leaf(struct filling *f, const char *p, bool *over) {
    if (p >= f->end || (*p != ',' && *p != ']'))
        p = json_space(p, f->end);
    if (p >= f->end || (*p != ',' && *p != ']'))
        return fail(f, JSON_MALFORMED, p, "expected , or ]");
    *over = *p++ == ']';
    return !*over && (unsigned char)*p <= ' ' ? json_space(p, f->end) : p;
}

/* Elements of f->size bytes until the row ends; p is behind its bracket.  Behind its end; NULL:
 * failed. */
static inline __attribute__((always_inline)) const char *row(struct filling *f, const char *p,
                                                             size_t size, read_leaf *leaf) {
    char *to = f->at + f->len, *full = f->at + f->room;
    p = json_space(p, f->end);
    if (p < f->end && *p == ']')
        return p + 1;
    for (bool over = false; !over && p != NULL;) {
        if ((size_t)(full - to) < size) {
            f->len = (size_t)(to - f->at);
            if (f->len == f->room_max)
                return fail(f, JSON_LIMIT, p, "too many elements");
            if (!grow(f, p, size))
                return NULL;
            to = f->at + f->len;
            full = f->at + f->room;
        }
        if ((p = leaf(f, p, to)) == NULL)
            return NULL;
        to += size;
        p = next_leaf(f, p, &over);
    }
    f->len = (size_t)(to - f->at);
    f->elements = f->len / size;
    return p;
}

static const char *row_fp32(struct filling *f, const char *p) {
    return row(f, p, sizeof(float), leaf_fp32);
}

static const char *row_fp64(struct filling *f, const char *p) {
    return row(f, p, sizeof(double), leaf_fp64);
}

static const char *row_16(struct filling *f, const char *p) {
    return row(f, p, sizeof(uint16_t), leaf_16);
}

static const char *row_integer(struct filling *f, const char *p) {
    return row(f, p, f->size, leaf_integer);
}

static const char *row_bool(struct filling *f, const char *p) {
    return row(f, p, 1, leaf_bool);
}

static __attribute__((noinline)) const char *check_slow(struct filling *f, const char *p) {
    struct json_number n;
    float single;
    double real;
    const char *behind = scan(f, p, &n);
    if (behind == NULL)
        return NULL;
    if (f->type == DTYPE_FP32 ? json_number_fp32(&n, &single) : json_number_fp64(&n, &real))
        return behind;
    return fail(f, JSON_RANGE, p, "number out of range");
}

/* The plain numbers that come next, once in 16 elements: where none are, looking is for nothing. */
static const char *skip_plain(struct filling *f, const char *p) {
    if (f->elements % 16 != 0)
        return p;
    return json_space(json_plain_numbers(p, f->end, f->most, &f->elements), f->end);
}

static const char *row_check(struct filling *f, const char *p) {
    p = json_space(p, f->end);
    if (p < f->end && *p == ']')
        return p + 1;
    for (bool over = false; !over && p != NULL;) {
        p = skip_plain(f, p);
        if (f->elements == f->most)
            return fail(f, JSON_LIMIT, p, "too many elements");
        f->elements++;
        const char *behind = json_number_skip_quick(p);
        if (behind == NULL || behind >= f->end)
            behind = check_slow(f, p);
        p = behind != NULL ? next_leaf(f, behind, &over) : NULL;
    }
    return p;
}

static const char *leaf_string(struct filling *f, const char *p) {
    struct json_raw raw;
    if (p >= f->end || *p != '"')
        return fail_value(f, p, "expected a string");
    if (f->elements >= f->most)
        return fail(f, JSON_LIMIT, p, "too many elements");
    const char *behind = json_raw_string(f->r, p, &raw);
    if (behind == NULL)
        return NULL;
    if (f->room - f->len < f->size + raw.text.len && !grow(f, p, f->size + raw.text.len))
        return NULL;
    char *to = f->at + f->len + f->size;
    uint32_t n = (uint32_t)raw.text.len;
    if (raw.escaped)
        n = (uint32_t)json_unescape(raw.text, to);
    else
        memcpy(to, raw.text.at, n);
    memcpy(to - f->size, &n, sizeof(n));
    f->len += f->size + n;
    f->elements++;
    return behind;
}

static const char *row_string(struct filling *f, const char *p) {
    p = json_space(p, f->end);
    if (p < f->end && *p == ']')
        return p + 1;
    for (bool over = false; !over && p != NULL;)
        if ((p = leaf_string(f, p)) != NULL)
            p = next_leaf(f, p, &over);
    return p;
}

static read_row *row_of(const struct filling *f) {
    if (f->check_only)
        return row_check;
    switch (f->type) {
    case DTYPE_FP32:
        return row_fp32;
    case DTYPE_FP64:
        return row_fp64;
    case DTYPE_FP16:
    case DTYPE_BF16:
        return row_16;
    case DTYPE_BOOL:
        return row_bool;
    case DTYPE_BYTES:
        return row_string;
    default:
        return row_integer;
    }
}

/* Behind all the brackets the text starts with: how deep its leaves are. */
static const char *open_arrays(struct filling *f, const char *p) {
    for (; p < f->end && *p == '['; p = json_space(p + 1, f->end)) {
        if (f->r->depth + f->t->nested_rank == JSON_DEPTH_MAX)
            return fail(f, JSON_LIMIT, p, "nested too deep");
        f->t->nested_rank++;
    }
    return p;
}

/* An array of this level is closed: it must be as long as the others. */
static bool close_array(struct filling *f, const char *p, uint32_t level) {
    uint64_t length = f->open[level];
    f->open[level] = 0;
    if (f->known[level] && f->t->nested_shape[level] != length)
        return json_fail(f->r, JSON_TYPE, p, "arrays of unequal length");
    f->known[level] = true;
    f->t->nested_shape[level] = length;
    return true;
}

/* p is behind a row.  Closes the arrays that end there and opens those that follow, down to the
 * next row; or, with *over, behind the tensor's end. */
static const char *next_row(struct filling *f, const char *p, bool *over) {
    uint32_t level = f->t->nested_rank - 1;
    *over = false;
    do {
        if (!close_array(f, p, level))
            return NULL;
        *over = level == 0;
        if (*over)
            return p;
        f->open[--level]++;
        p = json_space(p, f->end);
        if (p >= f->end || (*p != ',' && *p != ']'))
            return fail(f, JSON_MALFORMED, p, "expected , or ]");
    } while (*p++ == ']');
    for (bool first = true; level < f->t->nested_rank - 1; level++, first = false) {
        p = json_space(p, f->end);
        if (!first && p < f->end && *p == ']')
            return fail(f, JSON_TYPE, p, "arrays nested unevenly");
        if (p >= f->end || *p != '[')
            return fail_value(f, p, "arrays nested unevenly");
        p++;
    }
    return p;
}

static bool fill(struct filling *f) {
    read_row *read = row_of(f);
    const char *p = open_arrays(f, f->text);
    if (p == NULL || (!f->check_only && !first_room(f)))
        return false;
    for (bool over = false; !over;) {
        uint64_t before = f->elements;
        if ((p = read(f, p)) == NULL)
            return false;
        f->open[f->t->nested_rank - 1] = f->elements - before;
        if ((p = next_row(f, p, &over)) == NULL)
            return false;
    }
    json_done(f->r, p);
    f->t->data = bytes_of(f->at, f->len);
    f->t->text = bytes_of(f->text, (size_t)(p - f->text));
    f->t->elements = f->elements;
    return true;
}

static bool tensor(struct json_reader *r, enum dtype type, uint64_t most, bool check_only,
                   struct json_tensor *t) {
    *t = (struct json_tensor){0};
    if (!json_begin(r, JSON_ARRAY))
        return false;
    struct filling f = {
        .r = r,
        .text = r->at,
        .end = r->end,
        .t = t,
        .type = type,
        .size = type == DTYPE_BYTES ? sizeof(uint32_t) : dtype_size(type),
        .most = most,
        .is_signed = type >= DTYPE_INT8 && type <= DTYPE_INT64,
        .check_only = check_only,
    };
    if (f.size == 0)
        return json_fail(r, JSON_TYPE, r->at, "no such datatype");
    if (type == DTYPE_BYTES || __builtin_mul_overflow(most, f.size, &f.room_max))
        f.room_max = SIZE_MAX;
    f.integer_max = UINT64_MAX >> (64 - 8 * f.size + f.is_signed);
    return fill(&f);
}

bool json_tensor(struct json_reader *r, enum dtype type, uint64_t most, struct json_tensor *t) {
    return tensor(r, type, most, false, t);
}

bool json_tensor_check(struct json_reader *r, enum dtype type, uint64_t most,
                       struct json_tensor *t) {
    return tensor(r, type, most, type == DTYPE_FP32 || type == DTYPE_FP64, t);
}
