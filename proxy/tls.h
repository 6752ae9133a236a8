/* tls.h - TLS on both sides: contexts and the byte stream under a connection.
 *
 * Profile (reference: Mozilla "intermediate" without CBC): TLS 1.2 and 1.3; ECDHE with AES-GCM or
 * ChaCha20-Poly1305; X25519, P-256, P-384; no tickets, no renegotiation, no compression. */
#ifndef QG_TLS_H
#define QG_TLS_H

#include <sys/uio.h>

#include "base/bytes.h"

struct tls_context; /* one certificate and profile; refcounted, shared by threads */
struct tls;         /* one connection */

/* What a listener shows and asks for: PEM files. */
struct tls_server_files {
    struct bytes cert, key;
    struct bytes
        client_ca; /* who may vouch for clients; empty: they are asked for no certificate */
    struct bytes client_crl; /* what these have revoked, a list of each of them; empty: unchecked */
    bool required;           /* a client without a certificate is refused in the handshake */
};

/* NULL: *error (static or OpenSSL's text, in the caller's buffer) says what is wrong with which
 * file. */
struct tls_context *tls_server_context(const struct tls_server_files *files, char *error,
                                       size_t len);
struct tls_context *tls_client_context(struct bytes ca, char *error, size_t len);
void tls_context_free(struct tls_context *c);

/* A client context's own certificate, for servers that ask.  False: *error says why not. */
MUST bool tls_client_identify(struct tls_context *c, struct bytes cert, struct bytes key,
                              char *error, size_t len);

enum io_status {
    IO_OK,
    IO_AGAIN, /* wait until the socket is readable (or, see sock_wants_write, writable) */
    IO_EOF,   /* the peer ended its side properly */
    IO_ERROR,
};

/* A stream: plain or TLS over fd. */
struct sock {
    int fd;
    struct tls *tls;   /* NULL: plain */
    bool wants_write;  /* TLS: the last IO_AGAIN waits for writable */
    const char *fault; /* the handshake failed for the client's certificate: static, for a log */
};

/* Starts TLS on s.  name: what the server's certificate must be for (client side only). */
MUST bool sock_tls_accept(struct sock *s, struct tls_context *c);
MUST bool sock_tls_connect(struct sock *s, struct tls_context *c, struct bytes name);
enum io_status sock_handshake(struct sock *s);

/* *n: bytes moved, with IO_OK only. */
enum io_status sock_read(struct sock *s, void *to, size_t room, size_t *n);
enum io_status sock_writev(struct sock *s, const struct iovec *iov, int count, size_t *n);

/* What a client's certificate says, which was verified in the handshake: purpose, chain, dates,
 * revocation. */
enum tls_field { TLS_SAN_URI, TLS_SAN_DNS, TLS_SAN_EMAIL, TLS_CN, TLS_OU, TLS_O, TLS_FIELDS };

struct tls_value {
    uint32_t count;    /* how many of the kind it has */
    struct bytes text; /* of the one; empty: there are none or several, or it cannot be a name:
                          control characters, no UTF-8, more than CLIENT_ID_MAX bytes */
};

struct tls_peer {
    uint64_t not_before_s, not_after_s; /* both included */
    struct tls_value values[TLS_FIELDS];
};

/* Of s, whose handshake is done.  *out == NULL: it showed none.  False: out of memory. */
MUST bool sock_peer(const struct sock *s, struct tls_peer **out);
void tls_peer_free(struct tls_peer *p);

/* Would the certificate that s showed be accepted now, by a context that may be newer?  NULL: yes;
 * otherwise static text, for a log, of what is wrong ("certificate: revoked"). */
const char *sock_peer_fault(const struct sock *s, struct tls_context *c);

/* Bytes were already read from the socket but not by the caller: read on before waiting. */
bool sock_pending(const struct sock *s);

void sock_shutdown_write(struct sock *s);
void sock_close(struct sock *s);

#endif
