/* conn.h - one client connection that speaks HTTP/1.1, plain or over TLS.
 *
 *   HANDSHAKE -> IDLE -> HEAD -> BODY -> BUSY -> SENDING -> IDLE ...
 *                          |       |               |
 *                          +-------+--> SENDING ---+--> LINGER -> closed
 *
 * At most one request is under way; bytes of the next ones wait in `in`, whose cap stops the
 * reading.  Everything about a connection happens in its worker's thread. */
#ifndef QG_CONN_H
#define QG_CONN_H

#include <event2/event_struct.h>
#include <sys/socket.h>

#include "front.h"
#include "tls.h"
#include "worker.h"

enum conn_state {
    CONN_HANDSHAKE,
    CONN_IDLE,    /* between requests */
    CONN_HEAD,    /* part of a head is there */
    CONN_BODY,    /* reading a body */
    CONN_BUSY,    /* the handler has it */
    CONN_SENDING, /* an answer is being written */
    CONN_LINGER,  /* written side ended; reading until the peer has seen the answer */
    CONN_CLOSED,  /* parked */
};

struct conn {
    struct parked parked;
    uint32_t magic;
    enum conn_state state;
    struct list link; /* worker->conns */
    struct worker *worker;
    struct sock sock;
    struct event readable, writable;
    struct timer deadline;
    struct sockaddr_storage address;
    struct peer_name peer;
    const struct front_handler *handler;

    struct buf in;   /* read, not yet used */
    size_t scanned;  /* of in: where http1_find_head goes on */
    bool running;    /* conn_run is on the stack */
    bool paused;     /* not reading: in is full */
    bool got_eof;    /* the client will send no more */
    bool closing;    /* end after the answer */
    bool whole_body; /* the body of the current request is read */
    bool counted;    /* in the gate's peers (a client's, not an admin's) */
    bool served;     /* has had an answer */

    struct front front; /* arena != NULL: a request is under way */
    char *body;         /* BODY_LENGTH: in the arena */
    uint64_t body_len;
    struct buf chunked_body;
    struct http1_chunks *chunks;
    uint64_t began_us;            /* when the first byte of the current head came */
    uint64_t mark_us, mark_bytes; /* for the least rate of a body, or of an answer's reader */

    struct iovec *out; /* in the arena */
    uint32_t out_count, out_at;
    uint64_t sent;
};

/* Takes over fd, an accepted connection of the configuration's listener of that index (-1: the
 * admin listener).  On failure fd is closed. */
void conn_open(struct worker *w, int fd, const struct sockaddr *address, socklen_t len,
               int listener, const struct front_handler *handler);

/* Ends the connection now; a request under way is told by `gone`. */
void conn_close(struct conn *c);

/* When the process stops: what was sent is answered, then the connection ends. */
void conn_drain(struct conn *c);

/* For conn_write.c and conn_read.c. */
#define CONN_MAGIC       0x434f4e4eu
#define CONN_LINGER_TIME MS(1000)
void conn_run(struct conn *c); /* goes on with what is in `in` */
void conn_refuse(struct conn *c, unsigned status, const char *reason); /* without a handler */
void conn_set_deadline(struct conn *c, uint64_t after_us);
void conn_linger(struct conn *c); /* end the writing side, then wait for the peer's */
void conn_resume(struct conn *c); /* read again */
/* True, at most once in 10 s: fewer than `least` bytes a second passed since the last time. */
bool conn_too_slow(struct conn *c, uint64_t bytes, uint64_t least);
void conn_write(struct conn *c);        /* as much as the socket takes */
void conn_request_done(struct conn *c); /* the answer is out: next request, or end */
void conn_read(struct conn *c);

#endif
