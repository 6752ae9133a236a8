/* utf8.h - UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef QG_UTF8_H
#define QG_UTF8_H

#include "bytes.h"

/* Length of the well-formed sequence s starts with, 1 to 4; 0: there is none. */
static inline size_t utf8_length(struct bytes s) {
    if (s.len == 0)
        return 0;
    unsigned char a = (unsigned char)s.at[0];
    if (a < 0x80)
        return 1;
    size_t n = a >= 0xf0 ? 4 : a >= 0xe0 ? 3 : 2;
    if (a < 0xc2 || a > 0xf4 || s.len < n)
        return 0;
    unsigned char b = (unsigned char)s.at[1];
    unsigned char low = a == 0xe0 ? 0xa0 : a == 0xf0 ? 0x90 : 0x80;
    unsigned char high = a == 0xed ? 0x9f : a == 0xf4 ? 0x8f : 0xbf;
    if (b < low || b > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if (((unsigned char)s.at[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

#endif
