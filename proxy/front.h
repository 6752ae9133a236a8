/* front.h - the seam between a client's bytes and what answers them.
 *
 * A front (conn.c speaks HTTP/1.1) turns bytes into requests, one at a time, and hands each to a
 * handler: the gate's exchange, or the admin pages.  The handler answers once, now or later, by
 * front_reply(). */
#ifndef QG_FRONT_H
#define QG_FRONT_H

#include "base/hash.h"
#include "filter.h"
#include "http1.h"
#include "policy.h"

struct sock;
struct tls_peer;
struct worker;
struct front;

/* The credential that the connection's last request was found to have: see identity.h. */
struct credential_memo {
    uint64_t under; /* serial of the configuration it was checked under; 0: none */
    enum identify_by kind;
    struct hash128 mark; /* keyed: of its bytes */
    uint64_t not_before_s, not_after_s;
    struct client client; /* tier: the configuration's; pseudonym and key: */
    char pseudonym[PSEUDONYM_MAX];
};

/* The text that stands for an address, and its pseudonym. */
struct address_name {
    char text[IP_TEXT_MAX];        /* "192.0.2.1" or "2001:db8::/64"; never logged */
    char pseudonym[PSEUDONYM_MAX]; /* of it, made on first need */
    uint64_t made_under;           /* serial of the configuration whose key made it; 0: not made */
};

/* What a connection is known by. */
struct peer_name {
    struct address_name own;
    struct address_name forwarded; /* the last that a trusted proxy passed on */
    struct ip ip;
    bool local; /* a local socket: it has no ip */
    struct credential_memo memo;
    int listener;                 /* its index in the configuration; -1: the admin listener */
    const struct sock *sock;      /* over TLS; NULL: in clear text */
    struct tls_peer *certificate; /* NULL: none was shown; the connection's */
    uint64_t verified_under;      /* serial of the configuration that last found it to hold ... */
    uint64_t verified_s;          /* ... and when */
};

struct front_handler {
    /* A head has come.  True: read the body, then call `body`.  False: front_reply was called. */
    bool (*head)(struct front *);
    /* The whole body, decoded from chunks, BODY_PADDING readable bytes behind it; it lives as long
     * as the request's arena. */
    void (*body)(struct front *, struct bytes body);
    /* The request is over before it was answered: stop, front_reply must not be called any more.
     * status 0: the client went away.  Otherwise the front itself answers with it: the body was
     * malformed, too large or too slow.  reason is static.  `ended` follows. */
    void (*gone)(struct front *, unsigned status, const char *reason);
    /* The request is over (answer written, or gone); the arena goes away when this returns.
     * sent: bytes of the answer that left. */
    void (*ended)(struct front *, uint64_t sent);
};

/* One request of one client. */
struct front {
    struct worker *worker;
    const struct front_handler *handler;
    struct arena *arena;     /* of this request */
    struct http1_head *head; /* in the arena */
    struct peer_name *peer;
    uint64_t began_us;   /* first byte of the request */
    uint64_t body_bytes; /* as it came, before decoding */
    void *call;          /* the handler's own */
};

struct reply {
    unsigned status;
    struct bytes content_type; /* empty: the header is left out */
    const struct header *headers;
    uint32_t header_count;
    const struct bytes *pieces; /* live until `ended` */
    uint32_t piece_count;
    size_t body_len;
    uint32_t retry_after_s; /* 0: not said */
    bool close;             /* end the connection after it */
};

/* Its pseudonym under config's key. */
struct bytes front_pseudonym(struct address_name *n, const struct config *config);

/* Answers f's request.  Once only. */
void front_reply(struct front *f, const struct reply *r);

/* A whole answer whose body is text of ours. */
void front_reply_text(struct front *f, unsigned status, const char *type, struct bytes body);

#endif
