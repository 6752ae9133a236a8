/* json_number.h - JSON's numbers: from decimal text to machine numbers, exactly.
 *
 * Private to proto/json*.c.  Floats are correctly rounded (to nearest, ties to even), which makes
 * them equal to strtof and strtod bit for bit.  Three steps, each for what the one before leaves:
 * one multiplication whose error is bounded and seen not to matter; a 64 x 64 bit product, likewise
 * (doubles only); the C library. */
#ifndef QG_JSON_NUMBER_H
#define QG_JSON_NUMBER_H

#include "../proxy/base/os.h"
#include "predictions.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the scanners read words of text");

/* Passes over numbers of less than 32 bytes without exponent, each with a comma behind it and
 * perhaps one space behind that: behind the last such comma, and their number is added to *count,
 * which stays within most.  p is where a number starts; what is returned is where the next one, or
 * its space, should.  What is not passed over may be good as well.  May look at BODY_PADDING bytes
 * behind end. */
const char *json_plain_numbers(const char *p, const char *end, uint64_t most, uint64_t *count);

/* digits x 10^exponent; when `dropped`, up to one unit of digits more. */
struct json_number {
    const char *at; /* its text */
    uint32_t len;   /* JSON_NUMBER_MAX at most */
    int32_t exponent;
    uint64_t digits; /* at least the first 19 that count */
    bool negative;
    bool whole;   /* neither point nor exponent */
    bool dropped; /* digits that did not fit were not all zero, or may not have been */
};

/* Reads the number at `at`; never past end.  NULL: not a number by RFC 8259, or longer than
 * JSON_NUMBER_MAX (*too_long). */
MUST const char *json_number_scan(const char *at, const char *end, struct json_number *n,
                                  bool *too_long);

/* False: it rounds to infinity. */
MUST bool json_number_fp64(const struct json_number *n, double *out);
MUST bool json_number_fp32(const struct json_number *n, float *out);
MUST bool json_number_16(const struct json_number *n, enum dtype type, uint16_t *out);

/* An integer of any width, two's complement.  False: out of range, or a sign on an unsigned type.
 * n must be whole. */
MUST bool json_number_integer(const struct json_number *n, enum dtype type, uint64_t *out);

/* Without the C library.  False: undecided, or outside the tables. */
MUST bool json_decimal_fp64(uint64_t digits, int exponent, bool dropped, double *out);
MUST bool json_decimal_fp32(uint64_t digits, int exponent, float *out);
MUST bool json_decimal_16(uint64_t digits, int exponent, enum dtype type, uint16_t *out);

/* 10^q's first 64 bits, rounded down: 10^q = (significand + [0, 1)) x 2^binary exponent. */
#define JSON_POWER_MAX 64 /* |q| */
extern const uint64_t json_power_significand[2 * JSON_POWER_MAX + 1];

static inline int json_power_exponent(int q) {
    return ((q * 217706) >> 16) - 63;
}

/* The double nearest to 10^q, q from -JSON_POWER_MAX to JSON_NEAR_MAX. */
#define JSON_NEAR_MAX 38
extern const double json_power_near[JSON_POWER_MAX + JSON_NEAR_MAX + 1];

extern const uint64_t json_power_u64[20]; /* 10^0 to 10^19 */

/* Eight bytes of text, ASCII digits made 0 to 9. */
static inline uint64_t json_eight(const char *p) {
    uint64_t w;
    memcpy(&w, p, sizeof(w));
    return w ^ 0x3030303030303030u;
}

/* The top bit of each byte that was no digit, right up to and including the first such byte. */
static inline uint64_t json_eight_stop(uint64_t w) {
    return ((w + 0x7676767676767676u) | w) & 0x8080808080808080u;
}

/* The number that eight digits make, the first in the lowest byte: pairs, fours, all. */
static inline uint64_t json_eight_value(uint64_t w) {
    w = (w * (1 + (10u << 8)) >> 8) & 0x00ff00ff00ff00ffu;
    w = (w * (1 + (100u << 16)) >> 16) & 0x0000ffff0000ffffu;
    return w * (1 + ((uint64_t)10000 << 32)) >> 32;
}

/* m x 10^k + the first k digits of w; k < 8. */
static inline uint64_t json_append(uint64_t m, uint64_t w, unsigned k) {
    return m * json_power_u64[k] + json_eight_value((w << (56 - 8 * k)) << 8);
}

/* The digits of a fraction, up to 23, whether 64 bits hold them or not.  NULL: more. */
static inline const char *json_quick_fraction(const char *p, uint64_t *m) {
    uint64_t w = json_eight(p), stop = json_eight_stop(w);
    if (stop == 0) {
        *m = *m * 100000000 + json_eight_value(w);
        p += 8;
        w = json_eight(p);
        stop = json_eight_stop(w);
    }
    if (stop == 0) {
        *m = *m * 100000000 + json_eight_value(w);
        p += 8;
        w = json_eight(p);
        stop = json_eight_stop(w);
    }
    if (stop == 0)
        return NULL;
    unsigned k = (unsigned)__builtin_ctzll(stop) / 8;
    *m = json_append(*m, w, k);
    return p + k;
}

static inline const char *json_quick_exponent(const char *p, int32_t *exponent) {
    bool negative = *++p == '-';
    p += negative || *p == '+';
    int32_t e = 0;
    const char *first = p;
    for (; p - first < 4 && (unsigned char)(*p - '0') < 10; p++)
        e = e * 10 + (*p - '0');
    if (p == first || p - first == 4)
        return NULL;
    *exponent += negative ? -e : e;
    return p;
}

/* The usual forms, fast: up to 7 digits before the point and 23 behind it, a short exponent.  Reads
 * fewer than BODY_PADDING bytes from `at`, perhaps past the text's end: whoever calls must look.
 * NULL: let json_number_scan decide. */
static inline __attribute__((always_inline)) const char *json_number_quick(const char *at,
                                                                           struct json_number *n) {
    const char *p = at;
    n->at = at;
    n->negative = *p == '-';
    p += n->negative;
    n->digits = (unsigned char)(*p - '0');
    ptrdiff_t digits = n->digits != 0; /* that count */
    if (n->digits < 10 && p[1] == '.') {
        p++;
    } else {
        uint64_t w = json_eight(p), stop = json_eight_stop(w);
        unsigned k = stop == 0 ? 8 : (unsigned)__builtin_ctzll(stop) / 8;
        if (k == 8 || k == 0 || (k > 1 && *p == '0'))
            return NULL;
        n->digits = json_append(0, w, k);
        digits = k;
        p += k;
    }
    n->exponent = 0;
    n->whole = true;
    n->dropped = false;
    if (*p == '.') {
        const char *fraction = p + 1;
        p = json_quick_fraction(fraction, &n->digits);
        if (p == NULL || p == fraction)
            return NULL;
        /* Zeros in front do not count: 0.00012345678901234568 is what a small score looks like. */
        bool small = digits == 0;
        digits += p - fraction;
        for (const char *z = fraction; small && digits > 19 && *z == '0'; z++)
            digits--;
        if (digits > 19)
            return NULL;
        n->exponent = (int32_t)(fraction - p);
        n->whole = false;
    }
    if ((*p | 32) == 'e') {
        n->whole = false;
        if ((p = json_quick_exponent(p, &n->exponent)) == NULL)
            return NULL;
    }
    n->len = (uint32_t)(p - at);
    return p;
}

/* Behind a number of the usual form without exponent, of less than 32 characters, so that any float
 * holds it.  Reads fewer than BODY_PADDING bytes from `at`, perhaps past the text's end.  NULL: let
 * json_number_scan decide. */
static inline const char *json_number_skip_quick(const char *at) {
    const char *p = at + (*at == '-');
    uint32_t points, digits = os_digits_and_points(p, &points), number = digits | points;
    if (number == UINT32_MAX)
        return NULL;
    unsigned len = (unsigned)__builtin_ctz(~number);
    points &= ((uint32_t)1 << len) - 1;
    unsigned whole = points != 0 ? (unsigned)__builtin_ctz(points) : len;
    bool ends_so = whole + 1 == len && points != 0; /* 1. */
    bool bad = whole == 0 || ends_so || (whole > 1 && *p == '0') || (points & (points - 1)) != 0;
    return bad || (p[len] | 32) == 'e' ? NULL : p + len;
}

/* digits x 10^exponent as a double with an error under 4 units in its last place: three roundings
 * of half a unit of 2^-52 each at most (digits, power, product), and dropped digits add less than
 * 10^-18 of the value.  False: outside the table. */
static inline bool json_near(uint64_t digits, int exponent, double *out) {
    if ((unsigned)(exponent + JSON_POWER_MAX) > JSON_POWER_MAX + JSON_NEAR_MAX || digits >> 63)
        return false;
    *out = (double)(int64_t)digits * json_power_near[exponent + JSON_POWER_MAX];
    return true;
}

/* FP32 drops 29 bits of a double: unless they lie within the error of a half, rounding the nearby
 * double rounds the number. */
static inline bool json_quick_fp32(uint64_t digits, int exponent, float *out) {
    double v;
    if (!json_near(digits, exponent, &v))
        return false;
    uint64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    bool tie = (uint32_t)(bits & 0x1fffffff) - 0x0ffffff8u <= 0x10;
    bool normal = (v >= 0x1p-126) & (v < 0x1.ffffffp127);
    *out = (float)v;
    return (normal | (digits == 0)) && !tie;
}

#endif
