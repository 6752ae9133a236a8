/* message.h - an HTTP message as a codec sees it: bytes, no sockets. */
#ifndef QG_MESSAGE_H
#define QG_MESSAGE_H

#include "../proxy/base/arena.h"

struct header {
    struct bytes name, value;
};

/* What came in.  Borrowed; the body has BODY_PADDING readable bytes behind it. */
struct message {
    struct bytes method, path; /* of a request: path is decoded, normal, without the query string */
    unsigned status;           /* of an answer */
    const struct header *headers;
    uint32_t header_count;
    struct bytes body; /* content decoding (gzip) is already undone */
};

/* The one header of that name (any case).  False: it is absent (*out is then empty) or there are
 * two. */
MUST bool message_header(const struct message *m, const char *name, struct bytes *out);

/* True if any header of that name is there. */
bool message_has(const struct message *m, const char *name);

/* What goes out: a body in pieces (written with one writev, so that large arrays are not copied)
 * and the headers that describe it.  Content-Length is the sender's work. */
struct outgoing {
    struct bytes path; /* requests only */
    struct bytes content_type;
    struct header *headers; /* besides Content-Type */
    uint32_t header_count;
    struct bytes *pieces; /* borrowed: from the arena, or from the message that was decoded */
    uint32_t piece_count;
    size_t body_len; /* the sum of the pieces */
};

#endif
