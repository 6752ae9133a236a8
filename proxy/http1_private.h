/* http1_private.h - what the http1_*.c files share. */
#ifndef QG_HTTP1_PRIVATE_H
#define QG_HTTP1_PRIVATE_H

#include "http1.h"

/* What a byte may be part of. */
enum {
    CLASS_TOKEN = 1, /* RFC 9110 tchar */
    CLASS_NAME = 2,  /* tchar but '_': some servers take X_Y and X-Y for one header */
    CLASS_PATH = 4,  /* RFC 3986 pchar and '/', without '%' */
    CLASS_HOST = 8,  /* a registered name or an IPv4 address */
    CLASS_HEX = 16,
};
extern const uint8_t http1_class[256];

static inline bool http1_is(char c, unsigned class) {
    return (http1_class[(unsigned char)c] & class) != 0;
}

/* Value of a hexadecimal digit; -1: it is none. */
static inline int http1_hex(char c) {
    if (!http1_is(c, CLASS_HEX))
        return -1;
    return c <= '9' ? c - '0' : ascii_lower(c) - 'a' + 10;
}

/* A tab is no control byte here: values may hold one. */
static inline bool http1_is_control(char c) {
    return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f;
}

/* At least one byte, all of that class. */
bool http1_all(struct bytes s, unsigned class);

/* Names that frame, route, or identify a message: never in a trailer, nor named by Connection. */
bool http1_is_guarded(struct bytes name);

struct request_line {
    struct bytes method, target, version;
};

/* Two single spaces and something that calls itself HTTP/; the parts are still unchecked. */
MUST bool http1_split_request_line(struct bytes line, struct request_line *out);

/* Checks the target and sets message.path (decoded) and query. */
enum http1_status http1_target(struct arena *, struct bytes target, struct http1_head *);

/* Sets status and reason; returns HTTP1_BAD. */
enum http1_status http1_refuse(struct http1_head *, unsigned status, const char *reason);

#endif
