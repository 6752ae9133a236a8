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

#endif
