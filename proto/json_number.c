#include "json_number.h"

#include <fenv.h>
#include <math.h>
#include <stdlib.h>

const uint64_t json_power_significand[2 * JSON_POWER_MAX + 1] = {
    0xa87fea27a539e9a5, 0xd29fe4b18e88640e, 0x83a3eeeef9153e89, 0xa48ceaaab75a8e2b,
    0xcdb02555653131b6, 0x808e17555f3ebf11, 0xa0b19d2ab70e6ed6, 0xc8de047564d20a8b,
    0xfb158592be068d2e, 0x9ced737bb6c4183d, 0xc428d05aa4751e4c, 0xf53304714d9265df,
    0x993fe2c6d07b7fab, 0xbf8fdb78849a5f96, 0xef73d256a5c0f77c, 0x95a8637627989aad,
    0xbb127c53b17ec159, 0xe9d71b689dde71af, 0x9226712162ab070d, 0xb6b00d69bb55c8d1,
    0xe45c10c42a2b3b05, 0x8eb98a7a9a5b04e3, 0xb267ed1940f1c61c, 0xdf01e85f912e37a3,
    0x8b61313bbabce2c6, 0xae397d8aa96c1b77, 0xd9c7dced53c72255, 0x881cea14545c7575,
    0xaa242499697392d2, 0xd4ad2dbfc3d07787, 0x84ec3c97da624ab4, 0xa6274bbdd0fadd61,
    0xcfb11ead453994ba, 0x81ceb32c4b43fcf4, 0xa2425ff75e14fc31, 0xcad2f7f5359a3b3e,
    0xfd87b5f28300ca0d, 0x9e74d1b791e07e48, 0xc612062576589dda, 0xf79687aed3eec551,
    0x9abe14cd44753b52, 0xc16d9a0095928a27, 0xf1c90080baf72cb1, 0x971da05074da7bee,
    0xbce5086492111aea, 0xec1e4a7db69561a5, 0x9392ee8e921d5d07, 0xb877aa3236a4b449,
    0xe69594bec44de15b, 0x901d7cf73ab0acd9, 0xb424dc35095cd80f, 0xe12e13424bb40e13,
    0x8cbccc096f5088cb, 0xafebff0bcb24aafe, 0xdbe6fecebdedd5be, 0x89705f4136b4a597,
    0xabcc77118461cefc, 0xd6bf94d5e57a42bc, 0x8637bd05af6c69b5, 0xa7c5ac471b478423,
    0xd1b71758e219652b, 0x83126e978d4fdf3b, 0xa3d70a3d70a3d70a, 0xcccccccccccccccc,
    0x8000000000000000, 0xa000000000000000, 0xc800000000000000, 0xfa00000000000000,
    0x9c40000000000000, 0xc350000000000000, 0xf424000000000000, 0x9896800000000000,
    0xbebc200000000000, 0xee6b280000000000, 0x9502f90000000000, 0xba43b74000000000,
    0xe8d4a51000000000, 0x9184e72a00000000, 0xb5e620f480000000, 0xe35fa931a0000000,
    0x8e1bc9bf04000000, 0xb1a2bc2ec5000000, 0xde0b6b3a76400000, 0x8ac7230489e80000,
    0xad78ebc5ac620000, 0xd8d726b7177a8000, 0x878678326eac9000, 0xa968163f0a57b400,
    0xd3c21bcecceda100, 0x84595161401484a0, 0xa56fa5b99019a5c8, 0xcecb8f27f4200f3a,
    0x813f3978f8940984, 0xa18f07d736b90be5, 0xc9f2c9cd04674ede, 0xfc6f7c4045812296,
    0x9dc5ada82b70b59d, 0xc5371912364ce305, 0xf684df56c3e01bc6, 0x9a130b963a6c115c,
    0xc097ce7bc90715b3, 0xf0bdc21abb48db20, 0x96769950b50d88f4, 0xbc143fa4e250eb31,
    0xeb194f8e1ae525fd, 0x92efd1b8d0cf37be, 0xb7abc627050305ad, 0xe596b7b0c643c719,
    0x8f7e32ce7bea5c6f, 0xb35dbf821ae4f38b, 0xe0352f62a19e306e, 0x8c213d9da502de45,
    0xaf298d050e4395d6, 0xdaf3f04651d47b4c, 0x88d8762bf324cd0f, 0xab0e93b6efee0053,
    0xd5d238a4abe98068, 0x85a36366eb71f041, 0xa70c3c40a64e6c51, 0xd0cf4b50cfe20765,
    0x82818f1281ed449f, 0xa321f2d7226895c7, 0xcbea6f8ceb02bb39, 0xfee50b7025c36a08,
    0x9f4f2726179a2245, 0xc722f0ef9d80aad6, 0xf8ebad2b84e0d58b, 0x9b934c3b330c8577,
    0xc2781f49ffcfa6d5,
};
const double json_power_near[JSON_POWER_MAX + JSON_NEAR_MAX + 1] = {
    1e-64, 1e-63, 1e-62, 1e-61, 1e-60, 1e-59, 1e-58, 1e-57, 1e-56, 1e-55, 1e-54, 1e-53, 1e-52,
    1e-51, 1e-50, 1e-49, 1e-48, 1e-47, 1e-46, 1e-45, 1e-44, 1e-43, 1e-42, 1e-41, 1e-40, 1e-39,
    1e-38, 1e-37, 1e-36, 1e-35, 1e-34, 1e-33, 1e-32, 1e-31, 1e-30, 1e-29, 1e-28, 1e-27, 1e-26,
    1e-25, 1e-24, 1e-23, 1e-22, 1e-21, 1e-20, 1e-19, 1e-18, 1e-17, 1e-16, 1e-15, 1e-14, 1e-13,
    1e-12, 1e-11, 1e-10, 1e-9,  1e-8,  1e-7,  1e-6,  1e-5,  1e-4,  1e-3,  1e-2,  1e-1,  1e0,
    1e1,   1e2,   1e3,   1e4,   1e5,   1e6,   1e7,   1e8,   1e9,   1e10,  1e11,  1e12,  1e13,
    1e14,  1e15,  1e16,  1e17,  1e18,  1e19,  1e20,  1e21,  1e22,  1e23,  1e24,  1e25,  1e26,
    1e27,  1e28,  1e29,  1e30,  1e31,  1e32,  1e33,  1e34,  1e35,  1e36,  1e37,  1e38,
};
const uint64_t json_power_u64[20] = {
    1,
    10,
    100,
    1000,
    10000,
    100000,
    1000000,
    10000000,
    100000000,
    1000000000,
    10000000000,
    100000000000,
    1000000000000,
    10000000000000,
    100000000000000,
    1000000000000000,
    10000000000000000,
    100000000000000000,
    1000000000000000000,
    10000000000000000000u,
};

static bool is_digit(const char *p, const char *end) {
    return p < end && (unsigned char)(*p - '0') < 10;
}

/* Takes the digits at p into n; leading zeros are none, and what 64 bits cannot hold is dropped.
 * `worth` is what a digit that is taken adds to the exponent, a dropped one adds one more. */
static const char *take_digits(const char *p, const char *end, struct json_number *n, int worth) {
    for (; is_digit(p, end); p++) {
        if (n->digits < 1000000000000000000u) {
            n->digits = n->digits * 10 + (unsigned)(*p - '0');
            n->exponent += worth;
        } else {
            n->dropped |= *p != '0';
            n->exponent += worth + 1;
        }
    }
    return p;
}

static const char *take_exponent(const char *p, const char *end, struct json_number *n) {
    bool negative = p < end && *p == '-';
    p += negative || (p < end && *p == '+');
    if (!is_digit(p, end))
        return NULL;
    int e = 0;
    for (; is_digit(p, end); p++)
        e = e < 100000 ? e * 10 + (*p - '0') : e; /* far outside every type either way */
    n->exponent += negative ? -e : e;
    return p;
}

const char *json_number_scan(const char *at, const char *end, struct json_number *n,
                             bool *too_long) {
    const char *p = at;
    *n = (struct json_number){.at = at, .whole = true};
    *too_long = false;
    if (p < end && *p == '-') {
        n->negative = true;
        p++;
    }
    const char *first = p;
    p = take_digits(p, end, n, 0);
    if (p == first || (*first == '0' && p - first > 1))
        return NULL;
    if (p < end && *p == '.') {
        n->whole = false;
        if (!is_digit(p + 1, end))
            return NULL;
        p = take_digits(p + 1, end, n, -1);
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        n->whole = false;
        if ((p = take_exponent(p + 1, end, n)) == NULL)
            return NULL;
    }
    *too_long = p - at > JSON_NUMBER_MAX;
    n->len = (uint32_t)(p - at);
    return *too_long ? NULL : p;
}

/* The 128-bit product of the digits (shifted up to 64 bits) and the power's 64 bits is too small by
 * less than one unit of its upper half for the power's cut, `slack` more for the digits dropped. */
static bool product_fp64(uint64_t digits, int exponent, bool dropped, double *out) {
    int up = __builtin_clzll(digits);
    unsigned __int128 product =
        (unsigned __int128)(digits << up) * json_power_significand[exponent + JSON_POWER_MAX];
    int power = json_power_exponent(exponent) + 127 - up;
    if (product >> 127 == 0) {
        product <<= 1;
        power--;
    }
    uint64_t high = (uint64_t)(product >> 64), slack = dropped ? 64 : 4;
    uint64_t low = high & 0x7ff, half = 0x400;
    bool above = low > half || (low == half && (uint64_t)product != 0);
    if (!above && low + slack > half)
        return false;
    if (power < -1022 || power > 1022)
        return false;
    uint64_t bits = ((uint64_t)(power + 1022) << 52) + (high >> 11) + above;
    memcpy(out, &bits, sizeof(bits));
    return true;
}

bool json_decimal_fp64(uint64_t digits, int exponent, bool dropped, double *out) {
    if (digits == 0) {
        *out = 0;
        return true;
    }
    /* Both numbers exact, one rounding. */
    if (!dropped && digits <= (uint64_t)1 << 53 && exponent >= -22 && exponent <= 22) {
        double v = (double)digits;
        *out = exponent < 0 ? v / json_power_near[JSON_POWER_MAX - exponent]
                            : v * json_power_near[JSON_POWER_MAX + exponent];
        return true;
    }
    return exponent >= -JSON_POWER_MAX && exponent <= JSON_POWER_MAX &&
           product_fp64(digits, exponent, dropped, out);
}

bool json_decimal_fp32(uint64_t digits, int exponent, float *out) {
    return json_quick_fp32(digits, exponent, out);
}

/* v > 0 to a 16-bit float.  *tie_distance: how far what is cut off is from one half, in units of
 * v's last place. */
static uint16_t round_16(double v, enum dtype type, uint64_t *tie_distance) {
    int mantissa = type == DTYPE_FP16 ? 10 : 7, bias = type == DTYPE_FP16 ? 15 : 127;
    uint64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    int exponent = (int)(bits >> 52) - 1023;
    bool normal = exponent >= 1 - bias;
    int cut = 52 - mantissa + (normal ? 0 : 1 - bias - exponent);
    *tie_distance = UINT64_MAX;
    if (exponent > bias)
        return (uint16_t)((2 * bias + 1) << mantissa);
    if (cut > 54)
        return 0;
    uint64_t whole = (bits & 0xfffffffffffff) | (uint64_t)1 << 52;
    uint64_t half = (uint64_t)1 << (cut - 1), rest = whole & (half * 2 - 1);
    *tie_distance = rest > half ? rest - half : half - rest;
    whole >>= cut;
    whole += rest > half || (rest == half && (whole & 1));
    /* A carry out of the mantissa is the next exponent, as it should be. */
    return (uint16_t)(whole + (normal ? (uint64_t)(exponent + bias - 1) << mantissa : 0));
}

static bool is_infinite_16(uint16_t bits, enum dtype type) {
    return bits >= (type == DTYPE_FP16 ? 0x7c00 : 0x7f80);
}

bool json_decimal_16(uint64_t digits, int exponent, enum dtype type, uint16_t *out) {
    double v;
    uint64_t distance;
    *out = 0;
    if (digits == 0)
        return true;
    if (!json_near(digits, exponent, &v))
        return false;
    *out = round_16(v, type, &distance);
    return distance > 8 || (exponent == 0 && digits <= (uint64_t)1 << 53);
}

/* The C library's answer, sign left out. */
static double read_text(const struct json_number *n, int rounding) {
    char text[JSON_NUMBER_MAX + 1];
    uint32_t sign = n->negative;
    memcpy(text, n->at + sign, n->len - sign);
    text[n->len - sign] = '\0';
    int before = fegetround();
    fesetround(rounding);
    double v = strtod(text, NULL);
    fesetround(before);
    return v;
}

/* Rounded to odd: cut off, and the last bit set when that lost anything.  Rounding such a double
 * again, to a shorter type, gives what rounding the number itself would. */
static double read_odd(const struct json_number *n) {
    double below = read_text(n, FE_TOWARDZERO), above = read_text(n, FE_UPWARD);
    uint64_t bits;
    memcpy(&bits, &below, sizeof(bits));
    bits |= below != above;
    memcpy(&below, &bits, sizeof(bits));
    return below;
}

bool json_number_fp64(const struct json_number *n, double *out) {
    double v;
    if (!json_decimal_fp64(n->digits, n->exponent, n->dropped, &v))
        v = read_text(n, FE_TONEAREST);
    *out = n->negative ? -v : v;
    return v <= 0x1.fffffffffffffp1023;
}

bool json_number_fp32(const struct json_number *n, float *out) {
    float v;
    if (!json_quick_fp32(n->digits, n->exponent, &v))
        v = (float)read_odd(n);
    *out = n->negative ? -v : v;
    return v <= 0x1.fffffep127f;
}

bool json_number_16(const struct json_number *n, enum dtype type, uint16_t *out) {
    uint64_t distance;
    uint16_t v;
    if (!json_decimal_16(n->digits, n->exponent, type, &v))
        v = round_16(read_odd(n), type, &distance);
    *out = (uint16_t)(v | (n->negative ? 0x8000 : 0));
    return !is_infinite_16(v, type);
}

bool json_number_integer(const struct json_number *n, enum dtype type, uint64_t *out) {
    unsigned bits = 8 * (unsigned)dtype_size(type);
    bool is_signed = type >= DTYPE_INT8 && type <= DTYPE_INT64;
    uint64_t max = UINT64_MAX >> (64 - bits + is_signed), v = n->digits;
    if (n->negative && !is_signed)
        return false;
    if (n->negative)
        max++;
    if (n->exponent != 0 &&
        !bytes_to_u64(bytes_of(n->at + n->negative, n->len - n->negative), max, &v))
        return false;
    *out = n->negative ? -v : v;
    return v <= max;
}
