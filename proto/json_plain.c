/* json_plain.c - 64 bytes of numbers at a time.
 *
 * Every byte's kind is a bit, and what RFC 8259 asks of a number is asked of all of them at once:
 * what a byte may follow, by shifting; what ends a run of digits, by the carry of one addition.
 * Whatever is found bad counts at a byte of the offending number or at the comma behind it, so all
 * that ends before is good. */
#include "json_number.h"

struct kinds {
    uint64_t digits, points, commas;
    uint64_t minuses, spaces; /* looked for only where something is none of the above */
};

/* What the block before left behind: bits that are shifted into this one. */
struct carry {
    uint64_t begins, comma, minus, zero, point, digit;
    uint64_t fraction;  /* a fraction's digits reached the end */
    uint64_t in_number; /* all but commas */
};

static inline uint64_t shift(uint64_t kind, uint64_t *carry) {
    uint64_t behind = kind << 1 | *carry;
    *carry = kind >> 63;
    return behind;
}

static inline uint64_t runs_of_32(uint64_t x) {
    x &= x >> 1;
    x &= x >> 2;
    x &= x >> 4;
    x &= x >> 8;
    return x & x >> 16;
}

/* Digits behind a point end in a comma: adding one to their first bit carries to what ends them.
 * (Digits that fill a block are too long a number in any case.) */
static inline uint64_t bad_fractions(const struct kinds *k, uint64_t behind_point,
                                     struct carry *c) {
    uint64_t sum;
    bool over = __builtin_add_overflow(behind_point, k->digits, &sum);
    sum += c->fraction;
    c->fraction = over;
    return sum & ~k->digits & ~k->commas;
}

static inline struct kinds kinds_of(const struct os_block *b) {
    struct kinds k = {.digits = os_which(b, '0', 10),
                      .points = os_which(b, '.', 1),
                      .commas = os_which(b, ',', 1)};
    if (~(k.digits | k.points | k.commas) != 0) {
        k.minuses = os_which(b, '-', 1);
        k.spaces = os_which(b, ' ', 1);
    }
    return k;
}

/* Digits behind a zero that a number starts with. */
static inline uint64_t bad_zeros(const struct os_block *b, uint64_t first, uint64_t digits,
                                 struct carry *c) {
    bool look = (first << 1 & digits) != 0 || first >> 63 != 0;
    return shift(look ? first & os_which(b, '0', 1) : 0, &c->zero) & digits;
}

/* The bytes that may not stand where they do.  That of each kind what it follows is asked makes
 * what follows a comma, a minus or a point right as well. */
static inline uint64_t bad_bytes(const struct os_block *b, const struct kinds *k, struct carry *c) {
    uint64_t behind_comma = shift(k->commas, &c->comma);
    uint64_t begins = shift(k->commas | k->spaces, &c->begins);
    uint64_t behind_minus = shift(k->minuses, &c->minus);
    uint64_t behind_point = shift(k->points, &c->point);
    uint64_t behind_digit = shift(k->digits, &c->digit);
    uint64_t first = (begins | behind_minus) & k->digits;
    uint64_t bad = ~(k->digits | k->points | k->minuses | k->commas | k->spaces);
    bad |= k->spaces & ~behind_comma;
    bad |= k->minuses & ~begins;
    bad |= (k->points | k->commas) & ~behind_digit;
    bad |= bad_zeros(b, first, k->digits, c);
    return bad | bad_fractions(k, behind_point, c);
}

/* Is a number of 32 bytes or more in the block or at its start?  What is shorter and has no
 * exponent, any float holds. */
static inline bool has_long_number(uint64_t in_number, struct carry *c) {
    uint64_t across = c->in_number >> 32 | in_number << 32;
    c->in_number = in_number;
    return (runs_of_32(in_number) | runs_of_32(across)) != 0;
}

const char *json_plain_numbers(const char *p, const char *end, uint64_t most, uint64_t *count) {
    struct carry c = {.begins = 1};
    const char *behind = p;
    for (uint64_t bad = 0; bad == 0 && p < end; p += 64) {
        struct os_block b = os_load(p);
        struct kinds k = kinds_of(&b);
        bad = bad_bytes(&b, &k, &c);
        if (end - p < 64)
            bad |= UINT64_MAX << (end - p);
        uint64_t before = (bad & -bad) - 1; /* all, if none is bad */
        uint64_t good = k.commas & before, n = (uint64_t)__builtin_popcountll(good);
        if (has_long_number(~k.commas & before, &c) || n > most - *count)
            break;
        *count += n;
        if (good != 0)
            behind = p + 64 - __builtin_clzll(good);
    }
    return behind;
}
