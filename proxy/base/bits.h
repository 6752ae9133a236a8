/* bits.h - a stream of random bits, whoever makes them.
 *
 * Filters draw from it and know no cryptography; proxy/crypto_stream.h makes streams.  A stream
 * belongs to one thread. */
#ifndef QG_BITS_H
#define QG_BITS_H

#include "bytes.h"

struct bits {
    void (*fill)(struct bits *, void *to, size_t len); /* the stream's next bytes */
    /* From here on the bits are those of this element's own part of the stream: what an element
     * gets does not depend on which others are drawn, or in which order.  NULL: the stream is one
     * part, and every bit of it is fresh. */
    void (*seek)(struct bits *, uint32_t element);
    uint64_t word; /* bits that were filled in and not yet taken */
    unsigned left; /* so many of them, the low ones */
};

/* Streams by context: the same context gives the same stream, to whoever holds the key. */
struct bit_source {
    /* Good until the next open. */
    struct bits *(*open)(struct bit_source *, struct bytes context);
    /* What stands for long data in a context: no two data have the same. */
    void (*digest)(struct bit_source *, struct bytes data, unsigned char out[32]);
};

static inline void bits_seek(struct bits *b, uint32_t element) {
    if (b->seek == NULL)
        return;
    b->word = b->left = 0;
    b->seek(b, element);
}

/* The next n bits, 1 to 64. */
static inline uint64_t bits_take(struct bits *b, unsigned n) {
    uint64_t v = 0;
    unsigned have = 0;
    if (b->left < n) {
        have = b->left;
        v = b->word;
        b->fill(b, &b->word, sizeof(b->word));
        b->left = 64;
    }
    unsigned more = n - have;
    uint64_t taken = b->word & ~0ull >> (-more & 63); /* more is 1 to 64 */
    b->word = b->word >> 1 >> ((more - 1) & 63);
    b->left -= more;
    return v | taken << have;
}

/* Uniform in [0, m); m at least 1. */
static inline uint64_t bits_below(struct bits *b, uint64_t m) {
    unsigned n = m > 1 ? 64 - (unsigned)__builtin_clzll(m - 1) : 0;
    uint64_t v = 0;
    if (n == 0)
        return 0;
    do
        v = bits_take(b, n);
    while (v >= m);
    return v;
}

#endif
