/* Shortest decimals.  A candidate of so many digits comes from a 64 x 64 bit product and, when it
 * lies halfway between two, may be the other one; whether it reads back as the same number is
 * decided by the reader's own exact conversion, so what is printed is always right.  What the
 * tables cannot decide goes the C library's way: print, read back, one digit more. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "../proxy/base/require.h"
#include "../proxy/base/utf8.h"
#include "json.h"
#include "json_number.h"

#define NUMBER_ROOM 64   /* no number prints longer, with the zeros written ahead */
#define ZEROS       24   /* as many at once: a constant, so that it is two stores */
#define PLAIN_MIN   (-5) /* 10^-5 is the first power printed as 0.00001, 10^16 the last as digits */
#define PLAIN_MAX   16

/* digits x 10^exponent */
struct decimal {
    uint64_t digits;
    int exponent;
};

static const char pairs[] = "0001020304050607080910111213141516171819202122232425262728293031323334"
                            "3536373839404142434445464748495051525354555657585960616263646566676869"
                            "707172737475767778798081828384858687888990919293949596979899";

static int count_digits(uint64_t v) {
    int bits = 64 - __builtin_clzll(v | 1);
    int n = (bits * 1233) >> 12; /* log10(2) */
    return n + (n < 20 && v >= json_power_u64[n]) + (v == 0);
}

/* The last n digits of v. */
static void put_digits(char *to, uint64_t v, int n) {
    for (; n >= 2; n -= 2, v /= 100)
        memcpy(to + n - 2, pairs + v % 100 * 2, 2);
    if (n == 1)
        *to = (char)('0' + v % 10);
}

static void strip_zeros(struct decimal *d) {
    while (d->digits % 10 == 0 && d->digits != 0) {
        d->digits /= 10;
        d->exponent++;
    }
}

/* 0.00123, 12.3, 12300 */
static char *put_plain(char *to, uint64_t digits, int n, int exponent) {
    int point = n + exponent; /* digits before it */
    if (exponent >= 0) {
        put_digits(to, digits, n);
        memset(to + n, '0', ZEROS);
        return to + point;
    }
    if (point > 0) {
        put_digits(to, digits / json_power_u64[-exponent], point);
        to[point] = '.';
        put_digits(to + point + 1, digits, -exponent);
        return to + n + 1;
    }
    memcpy(to, "0.", 2);
    memset(to + 2, '0', ZEROS);
    put_digits(to + 2 - point, digits, n);
    return to + 2 - point + n;
}

/* 1.23e-7 */
static char *put_scientific(char *to, uint64_t digits, int n, int exponent) {
    int power = n - 1 + exponent;
    put_digits(to + 1, digits, n);
    to[0] = to[1];
    to[1] = '.';
    to += n > 1 ? n + 1 : 1;
    *to++ = 'e';
    if (power < 0)
        *to++ = '-';
    power = abs(power);
    int length = count_digits((uint64_t)power);
    put_digits(to, (uint64_t)power, length);
    return to + length;
}

static char *put_decimal(char *to, bool negative, struct decimal d) {
    int n = count_digits(d.digits), power = n - 1 + d.exponent;
    if (negative)
        *to++ = '-';
    if (power >= PLAIN_MIN && power <= PLAIN_MAX)
        return put_plain(to, d.digits, n, d.exponent);
    return put_scientific(to, d.digits, n, d.exponent);
}

/* Whether d reads back as v.  *decided: false, and no. */
static bool reads_back(struct decimal d, enum dtype type, double v, bool *decided) {
    float f;
    double same = 0;
    uint16_t half, want;
    switch (type) {
    case DTYPE_FP64:
        *decided = json_decimal_fp64(d.digits, d.exponent, false, &same);
        break;
    case DTYPE_FP32:
        *decided = json_decimal_fp32(d.digits, d.exponent, &f);
        same = *decided ? (double)f : 0;
        break;
    default:
        *decided = json_decimal_16(d.digits, d.exponent, type, &half);
        dtype_write(type, v, &want);
        return *decided && half == want;
    }
    return *decided && same == v;
}

/* Digits that always survive the type (FLT_DIG, DBL_DIG), and those that always suffice. */
static int digits_safe(enum dtype type) {
    return type == DTYPE_FP64 ? 15 : type == DTYPE_FP32 ? 6 : type == DTYPE_FP16 ? 3 : 2;
}

static int digits_enough(enum dtype type) {
    return type == DTYPE_FP64 ? 17 : type == DTYPE_FP32 ? 9 : type == DTYPE_FP16 ? 5 : 4;
}

static double smallest_normal(enum dtype type) {
    return type == DTYPE_FP64 ? 0x1p-1022 : type == DTYPE_FP16 ? 0x1p-14 : 0x1p-126;
}

/* v > 0 cut to its first 17 to 19 digits, the last of them perhaps two too small.  False: outside
 * the table. */
static bool first_digits(double v, struct decimal *d) {
    uint64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    int power = (int)(bits >> 52) - 1023;
    int q = 17 - ((power * 19728) >> 16); /* 19728 / 65536: log10(2) */
    if (power == -1023 || q < -JSON_POWER_MAX || q > JSON_POWER_MAX)
        return false;
    uint64_t mantissa = (bits << 11) | (uint64_t)1 << 63;
    unsigned __int128 product =
        (unsigned __int128)mantissa * json_power_significand[q + JSON_POWER_MAX];
    /* v x 10^q = product x 2^(power - 63 + the table's exponent) */
    int down = 63 - power - json_power_exponent(q);
    d->digits = (uint64_t)(product >> down);
    d->exponent = -q;
    return true;
}

/* d to n digits, rounded. */
static struct decimal shorten(struct decimal d, int n) {
    int more = count_digits(d.digits) - n;
    if (more <= 0)
        return d;
    uint64_t unit = json_power_u64[more], rest = d.digits % unit;
    return (struct decimal){d.digits / unit + (rest >= unit - rest), d.exponent + more};
}

/* False: the tables cannot tell. */
static bool shortest(double v, enum dtype type, struct decimal *d) {
    struct decimal from;
    bool decided = true, found = false;
    int n = v < smallest_normal(type) ? 1 : digits_safe(type);
    if (!first_digits(v, &from))
        return false;
    for (; decided && !found && n <= digits_enough(type); n++) {
        *d = shorten(from, n);
        found = reads_back(*d, type, v, &decided);
    }
    return found;
}

/* v > 0 to n digits, by the C library. */
static struct json_number printed(char *text, double v, int n) {
    struct json_number number;
    bool too_long;
    int length = snprintf(text, NUMBER_ROOM, "%.*e", n - 1, v);
    require(json_number_scan(text, text + length, &number, &too_long) != NULL);
    return number;
}

static bool same_number(const struct json_number *n, enum dtype type, double v) {
    float f;
    double d;
    uint16_t half, want;
    if (type == DTYPE_FP64)
        return json_number_fp64(n, &d) && d == v;
    if (type == DTYPE_FP32)
        return json_number_fp32(n, &f) && f == (float)v;
    dtype_write(type, v, &want);
    return json_number_16(n, type, &half) && half == want;
}

static struct decimal shortest_slow(double v, enum dtype type) {
    char text[NUMBER_ROOM];
    struct json_number number;
    int n = v < smallest_normal(type) ? 1 : digits_safe(type);
    do
        number = printed(text, v, n);
    while (n++ < digits_enough(type) && !same_number(&number, type, v));
    return (struct decimal){number.digits, number.exponent};
}

/* The room is there. */
static char *put_number(char *to, double v, enum dtype type) {
    double magnitude = fabs(v);
    struct decimal d = {0};
    require(isfinite(v));
    if (v == 0) {
        memcpy(to, "-0.0", 4);
        if (signbit(v))
            return to + 4;
        *to = '0';
        return to + 1;
    }
    if (magnitude < 0x1p53 && magnitude == (double)(uint64_t)magnitude &&
        (type == DTYPE_FP64 || magnitude < 1000000)) {
        d.digits = (uint64_t)magnitude;
        return put_decimal(to, v < 0, d);
    }
    if (!shortest(magnitude, type, &d))
        d = shortest_slow(magnitude, type);
    strip_zeros(&d);
    return put_decimal(to, v < 0, d);
}

static void write_number(struct buf *b, double v, enum dtype type) {
    char *to = buf_reserve(b, NUMBER_ROOM);
    if (to != NULL)
        b->len += (size_t)(put_number(to, v, type) - to);
}

void json_write_double(struct buf *b, double v) {
    write_number(b, v, DTYPE_FP64);
}

void json_write_float(struct buf *b, float v) {
    write_number(b, (double)v, DTYPE_FP32);
}

void json_write_grid(struct buf *b, int64_t n, int digits) {
    require(digits >= 0 && digits <= 15 && n > -((int64_t)1 << 53) && n < (int64_t)1 << 53);
    char *to = buf_reserve(b, NUMBER_ROOM), *p = to;
    struct decimal d = {.digits = (uint64_t)(n < 0 ? -n : n), .exponent = -digits};
    if (to == NULL)
        return;
    if (n < 0)
        *p++ = '-';
    while (d.exponent < 0 && d.digits % 10 == 0) {
        d.digits /= 10;
        d.exponent++;
    }
    p = put_plain(p, d.digits, count_digits(d.digits), d.exponent);
    b->len += (size_t)(p - to);
}

static int64_t signed_element(enum dtype type, const char *at) {
    int8_t a;
    int16_t b;
    int32_t c;
    int64_t d;
    switch (type) {
    case DTYPE_INT8:
        memcpy(&a, at, sizeof(a));
        return a;
    case DTYPE_INT16:
        memcpy(&b, at, sizeof(b));
        return b;
    case DTYPE_INT32:
        memcpy(&c, at, sizeof(c));
        return c;
    default:
        memcpy(&d, at, sizeof(d));
        return d;
    }
}

static void write_integer(struct buf *b, enum dtype type, const char *at) {
    uint64_t v = 0;
    if (type >= DTYPE_INT8 && type <= DTYPE_INT64) {
        int64_t n = signed_element(type, at);
        if (n < 0)
            buf_add_char(b, '-');
        v = n < 0 ? -(uint64_t)n : (uint64_t)n;
    } else {
        memcpy(&v, at, dtype_size(type));
    }
    buf_add_u64(b, v);
}

static bool write_element(struct buf *b, enum dtype type, const char *at, double v) {
    if (type == DTYPE_BOOL) {
        buf_add_str(b, *at != 0 ? "true" : "false");
    } else if (!dtype_is_float(type)) {
        write_integer(b, type, at);
    } else {
        if (!isfinite(v))
            return false;
        write_number(b, v, type);
    }
    return true;
}

static bool write_string(struct buf *b, struct bytes *data) {
    uint32_t n;
    if (data->len < sizeof(n))
        return false;
    memcpy(&n, data->at, sizeof(n));
    *data = bytes_skip(*data, sizeof(n));
    if (n > data->len)
        return false;
    struct bytes text = bytes_of(data->at, n);
    for (struct bytes rest = text; rest.len > 0;) {
        size_t k = utf8_length(rest);
        if (k == 0)
            return false;
        rest = bytes_skip(rest, k);
    }
    buf_add_json(b, text);
    *data = bytes_skip(*data, n);
    return true;
}

bool json_write_tensor(struct buf *b, enum dtype type, struct bytes data, uint64_t elements) {
    size_t size = dtype_size(type);
    struct tensor t = {.dtype = type, .rank = 1, .elements = elements, .data = data};
    if (type != DTYPE_BYTES && (size == 0 || elements != data.len / size))
        return false;
    buf_add_char(b, '[');
    for (uint64_t i = 0; i < elements; i++) {
        if (i > 0)
            buf_add_char(b, ',');
        bool fine = type == DTYPE_BYTES
                        ? write_string(b, &data)
                        : write_element(b, type, data.at + i * size,
                                        dtype_is_float(type) ? tensor_number(&t, i) : 0);
        if (!fine)
            return false;
    }
    buf_add_char(b, ']');
    return data.len == 0 || type != DTYPE_BYTES;
}
