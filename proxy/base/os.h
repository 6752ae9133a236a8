/* os.h - the only #if in the program: what one kind of machine does better than plain C. */
#ifndef QG_OS_H
#define QG_OS_H

#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Which of the 32 bytes at p are ASCII digits, which are points: bit i is byte i. */
static inline uint32_t os_digits_and_points(const char *p, uint32_t *points) {
    uint32_t digits = 0;
    *points = 0;
#ifdef __SSE2__
    for (int half = 0; half < 2; half++) {
        __m128i bytes, value, is_digit, is_point;
        memcpy(&bytes, p + 16 * half, sizeof(bytes));
        value = _mm_sub_epi8(bytes, _mm_set1_epi8('0'));
        is_digit = _mm_cmpeq_epi8(_mm_min_epu8(value, _mm_set1_epi8(9)), value);
        is_point = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('.'));
        digits |= (uint32_t)_mm_movemask_epi8(is_digit) << (16 * half);
        *points |= (uint32_t)_mm_movemask_epi8(is_point) << (16 * half);
    }
#else
    for (int i = 0; i < 32; i++) {
        digits |= (uint32_t)(p[i] >= '0' && p[i] <= '9') << i;
        *points |= (uint32_t)(p[i] == '.') << i;
    }
#endif
    return digits;
}

/* 64 bytes of text to ask about. */
struct os_block {
#ifdef __SSE2__
    __m128i part[4];
#else
    char part[64];
#endif
};

static inline struct os_block os_load(const char *p) {
    struct os_block b;
    memcpy(&b, p, sizeof(b));
    return b;
}

#ifdef __SSE2__
static inline uint64_t os_bits(__m128i a, __m128i b, __m128i c, __m128i d) {
    return (uint64_t)_mm_movemask_epi8(a) | (uint64_t)_mm_movemask_epi8(b) << 16 |
           (uint64_t)_mm_movemask_epi8(c) << 32 | (uint64_t)_mm_movemask_epi8(d) << 48;
}

static inline __m128i os_in_range(__m128i bytes, char first, char count) {
    __m128i value = _mm_sub_epi8(bytes, _mm_set1_epi8(first));
    return _mm_cmpeq_epi8(_mm_min_epu8(value, _mm_set1_epi8((char)(count - 1))), value);
}
#endif

/* Which of them are one of the `count` characters from `first` on: bit i is byte i. */
static inline uint64_t os_which(const struct os_block *b, char first, char count) {
#ifdef __SSE2__
    return os_bits(os_in_range(b->part[0], first, count), os_in_range(b->part[1], first, count),
                   os_in_range(b->part[2], first, count), os_in_range(b->part[3], first, count));
#else
    uint64_t bits = 0;
    for (int i = 0; i < 64; i++)
        bits |= (uint64_t)((unsigned char)(b->part[i] - first) < count) << i;
    return bits;
#endif
}

#endif
