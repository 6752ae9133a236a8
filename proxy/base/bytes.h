/* bytes.h - a borrowed slice of memory.
 *
 * A `struct bytes` never owns what it points at: whoever made the memory says how long it lives.
 * An empty slice may have at == NULL.  Slices are not NUL-terminated. */
#ifndef QG_BYTES_H
#define QG_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MUST __attribute__((warn_unused_result))

struct bytes {
    const char *at;
    size_t len;
};

#define BYTES_LITERAL(s) ((struct bytes){(s), sizeof(s) - 1})

static inline struct bytes bytes_of(const void *at, size_t len) {
    return (struct bytes){(const char *)at, len};
}

static inline struct bytes bytes_str(const char *s) {
    return (struct bytes){s, s != NULL ? strlen(s) : 0};
}

static inline bool bytes_eq(struct bytes a, struct bytes b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

static inline bool bytes_is(struct bytes a, const char *s) {
    return bytes_eq(a, bytes_str(s));
}

static inline char ascii_lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* Equal but for the case of ASCII letters: header names, codings, hosts. */
static inline bool bytes_is_nocase(struct bytes a, const char *s) {
    size_t n = strlen(s);
    if (a.len != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (ascii_lower(a.at[i]) != ascii_lower(s[i]))
            return false;
    return true;
}

static inline bool bytes_starts(struct bytes a, const char *prefix) {
    size_t n = strlen(prefix);
    return a.len >= n && memcmp(a.at, prefix, n) == 0;
}

static inline struct bytes bytes_skip(struct bytes a, size_t n) {
    return n >= a.len ? (struct bytes){a.at + a.len, 0} : (struct bytes){a.at + n, a.len - n};
}

/* Without leading and trailing spaces and tabs (HTTP's OWS). */
static inline struct bytes bytes_trim(struct bytes a) {
    while (a.len > 0 && (a.at[0] == ' ' || a.at[0] == '\t'))
        a = bytes_skip(a, 1);
    while (a.len > 0 && (a.at[a.len - 1] == ' ' || a.at[a.len - 1] == '\t'))
        a.len--;
    return a;
}

/* Cuts the part before the first sep off *rest and returns it; all of it when sep is absent, and
 * then *rest ends up empty with at == NULL. */
static inline struct bytes bytes_cut(struct bytes *rest, char sep) {
    const char *hit = rest->len > 0 ? memchr(rest->at, sep, rest->len) : NULL;
    struct bytes head = *rest;
    if (hit == NULL) {
        *rest = (struct bytes){NULL, 0};
        return head;
    }
    head.len = (size_t)(hit - rest->at);
    *rest = bytes_skip(*rest, head.len + 1);
    return head;
}

/* Decimal digits only, no sign, no spaces, at most `max`.  False: not that. */
static inline MUST bool bytes_to_u64(struct bytes a, uint64_t max, uint64_t *out) {
    uint64_t v = 0;
    if (a.len == 0 || a.len > 20)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        unsigned d = (unsigned)(unsigned char)a.at[i] - '0';
        if (d > 9 || __builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, d, &v))
            return false;
    }
    *out = v;
    return v <= max;
}

#endif
