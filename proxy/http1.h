/* http1.h - HTTP/1.1 framing, both directions, strict.
 *
 * llhttp (strict mode, no leniency) does the grammar; what it lets through and RFC 9112 or our
 * profile does not is refused on top: bare CR, LF and NUL, folded lines, two of a framing header,
 * Transfer-Encoding with Content-Length, underscores in names, odd paths, and everything over
 * limits.h.  Pure functions of bytes: no sockets, no clock, no log. */
#ifndef QG_HTTP1_H
#define QG_HTTP1_H

#include "../proto/message.h"
#include "base/buf.h"
#include "base/limits.h"

enum http1_status {
    HTTP1_MORE, /* a true prefix: give more bytes */
    HTTP1_DONE,
    HTTP1_BAD, /* refused: the reply's status and reason are in the struct */
};

enum http1_framing {
    BODY_NONE,   /* no body, or one of 0 bytes; content_length may still say what HEAD would not */
    BODY_LENGTH, /* content_length bytes */
    BODY_CHUNKED,
    BODY_TO_EOF, /* answers only, and then refused as unsafe: see http1_answer_head */
};

struct http1_head {
    struct message message; /* slices into the bytes given, and the arena (decoded path) */
    struct bytes query;     /* behind the '?', undecoded; empty: none */
    struct header headers[HEADERS_MAX];
    enum http1_framing framing;
    uint64_t content_length;
    bool keep_alive;
    bool expect_continue;
    bool head_only; /* the request was HEAD */
    /* Of BAD.  A request: 400, 405, 413, 414, 417, 431, 501, 503 (no memory), 505.  An answer: 502
     * (its own status, when it is good, is in message). */
    unsigned status;
    const char *reason; /* static text */
};

/* Finds the end of the head in `in`, checking every byte seen for what no later byte can repair:
 * the first such fault decides, so that the verdict does not depend on how the bytes were cut.
 * *scanned (start it at 0, and again for the next head; its value is ours) remembers how far the
 * last call came, so that a head fed byte by byte costs linear time; between calls `in` may only
 * grow at its end, though it may move.  DONE: *head_len is its length with the empty line.  BAD:
 * status and reason are set in *head.  A request may be preceded by CRLF (at most 2): *skip says
 * how many bytes. */
enum http1_status http1_find_head(struct bytes in, bool request, size_t *scanned, size_t *skip,
                                  size_t *head_len, struct http1_head *head);

/* Reads a whole head (as found above).  On DONE its slices borrow from `text` and the arena. */
enum http1_status http1_request_head(struct arena *, struct bytes text, uint64_t max_body,
                                     struct http1_head *);

/* The same for an upstream's answer to `method`; 1xx are answers of their own (BODY_NONE).
 * BAD: the connection is of no more use. */
enum http1_status http1_answer_head(struct arena *, struct bytes text, struct bytes method,
                                    uint64_t max_answer, struct http1_head *);

/* A chunked body.  Feed bytes as they come; payload is appended to `out` (whose cap is the limit).
 * *used: bytes of `in` that belong to this message.  BAD: status (400, 413, 503) and reason are
 * set, and again by any later call.  Extensions and trailers are read, checked and dropped. */
struct http1_chunks;
struct http1_chunks *http1_chunks_new(struct arena *); /* NULL: out of memory */
enum http1_status http1_chunks_feed(struct http1_chunks *, struct bytes in, size_t *used,
                                    struct buf *out, unsigned *status, const char **reason);

/* "Bad Request" and so on. */
const char *http1_reason(unsigned status);

#endif
