/* buf.h - a growing byte buffer with a cap given at birth.
 *
 * An append that does not fit, or runs out of memory, sets `failed` and changes nothing else; so a
 * writer may append many times and look once at the end.  The memory is the buffer's own (malloc)
 * until buf_free. */
#ifndef QG_BUF_H
#define QG_BUF_H

#include "bytes.h"

struct buf {
    char *at;
    size_t len, room, cap;
    bool failed;
};

void buf_init(struct buf *b, size_t cap);
void buf_free(struct buf *b);
void buf_clear(struct buf *b);             /* empty again, memory kept, failed reset */
void buf_consume(struct buf *b, size_t n); /* drops the first n bytes */

/* At least n writable bytes behind b->len.  NULL: over the cap or out of memory (failed is set). */
MUST char *buf_reserve(struct buf *b, size_t n);

/* Inline, so that a constant's length is one and a byte that fits costs a store. */
static inline void buf_add(struct buf *b, const void *at, size_t len) {
    if (len == 0)
        return;
    char *to = len <= b->room - b->len ? b->at + b->len : buf_reserve(b, len);
    if (to == NULL)
        return;
    memcpy(to, at, len);
    b->len += len;
}

static inline void buf_add_bytes(struct buf *b, struct bytes s) {
    buf_add(b, s.at, s.len);
}

static inline void buf_add_str(struct buf *b, const char *s) {
    buf_add(b, s, strlen(s));
}

static inline void buf_add_char(struct buf *b, char c) {
    buf_add(b, &c, 1);
}

void buf_add_u64(struct buf *b, uint64_t v);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* s as a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. */
void buf_add_json(struct buf *b, struct bytes s);

static inline struct bytes buf_bytes(const struct buf *b) {
    return bytes_of(b->at, b->len);
}

#endif
