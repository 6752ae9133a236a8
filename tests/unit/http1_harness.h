/* http1_harness.h - a front without a socket: feeds bytes through http1.h as a connection would,
 * pipelined messages included, and keeps what came of it.  Used by unit tests and fuzz targets. */
#ifndef QG_HTTP1_HARNESS_H
#define QG_HTTP1_HARNESS_H

#include <stdlib.h>

#include "../../proxy/http1.h"

struct harness {
    bool request;
    struct bytes method; /* of the request that the answers are for */
    uint64_t max_body;
    struct arena *arena;
    struct buf in, body; /* what no message has taken yet; the payload of the current message */
    size_t scanned;
    bool have_head;
    struct http1_head head;
    char *text;
    struct http1_chunks *chunks;
    void (*accepted)(const struct http1_head *); /* called for each head let in; or NULL */
    uint64_t digest;   /* of every message completed: head fields and payload */
    unsigned messages; /* complete ones */
    unsigned status;   /* the refusal; 0: none yet */
    const char *reason;
};

static inline void harness_open(struct harness *h, bool request, const char *method) {
    memset(h, 0, sizeof(*h));
    h->request = request;
    h->method = bytes_str(method);
    h->max_body = BODY_BYTES_MAX;
    h->arena = arena_new(MIB(1));
    buf_init(&h->in, MIB(1));
    buf_init(&h->body, BODY_BYTES_MAX);
    if (h->arena == NULL)
        abort();
}

static inline void harness_close(struct harness *h) {
    buf_free(&h->in);
    buf_free(&h->body);
    arena_free(h->arena);
    free(h->text);
}

/* FNV-1a: enough to tell two runs apart. */
static inline void harness_digest(struct harness *h, struct bytes s) {
    for (size_t i = 0; i < s.len; i++)
        h->digest = (h->digest ^ (unsigned char)s.at[i]) * 0x100000001b3u;
    h->digest = (h->digest ^ s.len) * 0x100000001b3u;
}

static inline enum http1_status harness_head(struct harness *h) {
    size_t skip, len;
    enum http1_status status =
        http1_find_head(buf_bytes(&h->in), h->request, &h->scanned, &skip, &len, &h->head);
    if (status != HTTP1_DONE)
        return status;
    /* An exact allocation, so that AddressSanitizer sees a read past the head. */
    if ((h->text = realloc(h->text, len)) == NULL)
        abort();
    memcpy(h->text, h->in.at + skip, len);
    struct bytes text = bytes_of(h->text, len);
    buf_consume(&h->in, skip + len);
    h->scanned = 0;
    h->have_head = true;
    if ((h->chunks = http1_chunks_new(h->arena)) == NULL)
        abort();
    status = h->request ? http1_request_head(h->arena, text, h->max_body, &h->head)
                        : http1_answer_head(h->arena, text, h->method, h->max_body, &h->head);
    if (status == HTTP1_DONE && h->accepted != NULL)
        h->accepted(&h->head);
    return status;
}

static inline enum http1_status harness_body(struct harness *h) {
    size_t used = (size_t)h->head.content_length;
    enum http1_status status = HTTP1_DONE;
    if (h->head.framing == BODY_NONE)
        return HTTP1_DONE;
    if (h->head.framing == BODY_CHUNKED) {
        status = http1_chunks_feed(h->chunks, buf_bytes(&h->in), &used, &h->body, &h->head.status,
                                   &h->head.reason);
    } else {
        if (h->in.len < used)
            return HTTP1_MORE;
        buf_add(&h->body, h->in.at, used);
    }
    buf_consume(&h->in, used);
    return status;
}

static inline void harness_complete(struct harness *h) {
    const struct message *m = &h->head.message;
    harness_digest(h, m->method);
    harness_digest(h, m->path);
    harness_digest(h, h->head.query);
    harness_digest(h, buf_bytes(&h->body));
    for (uint32_t i = 0; i < m->header_count; i++) {
        harness_digest(h, m->headers[i].name);
        harness_digest(h, m->headers[i].value);
    }
    h->messages++;
    h->have_head = false;
    buf_clear(&h->body);
    arena_reset(h->arena);
}

/* Feeds one piece. */
static inline void harness_feed(struct harness *h, struct bytes piece) {
    enum http1_status status = HTTP1_DONE;
    if (h->status != 0)
        return;
    buf_add_bytes(&h->in, piece);
    while (status == HTTP1_DONE) {
        bool in_body = h->have_head;
        status = in_body ? harness_body(h) : harness_head(h);
        if (status == HTTP1_DONE && in_body)
            harness_complete(h);
    }
    if (status == HTTP1_BAD) {
        h->status = h->head.status;
        h->reason = h->head.reason;
    }
}

/* Feeds text cut at `first`, then in pieces of `step` bytes. */
static inline void harness_play(struct harness *h, struct bytes text, size_t first, size_t step) {
    size_t n = first < text.len ? first : text.len;
    harness_feed(h, bytes_of(text.at, n));
    for (; n < text.len && h->status == 0; n += step) {
        step = step < text.len - n ? step : text.len - n;
        harness_feed(h, bytes_of(text.at + n, step));
    }
}

#endif
