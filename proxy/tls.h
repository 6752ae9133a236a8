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

/* NULL: *error (static or OpenSSL's text, in the caller's buffer) says what is wrong with which
 * file. */
struct tls_context *tls_server_context(struct bytes cert, struct bytes key, char *error,
                                       size_t len);
struct tls_context *tls_client_context(struct bytes ca, char *error, size_t len);
void tls_context_free(struct tls_context *c);

enum io_status {
    IO_OK,
    IO_AGAIN, /* wait until the socket is readable (or, see sock_wants_write, writable) */
    IO_EOF,   /* the peer ended its side properly */
    IO_ERROR,
};

/* A stream: plain or TLS over fd. */
struct sock {
    int fd;
    struct tls *tls;  /* NULL: plain */
    bool wants_write; /* TLS: the last IO_AGAIN waits for writable */
};

/* Starts TLS on s.  name: what the server's certificate must be for (client side only). */
MUST bool sock_tls_accept(struct sock *s, struct tls_context *c);
MUST bool sock_tls_connect(struct sock *s, struct tls_context *c, struct bytes name);
enum io_status sock_handshake(struct sock *s);

/* *n: bytes moved, with IO_OK only. */
enum io_status sock_read(struct sock *s, void *to, size_t room, size_t *n);
enum io_status sock_writev(struct sock *s, const struct iovec *iov, int count, size_t *n);

/* Bytes were already read from the socket but not by the caller: read on before waiting. */
bool sock_pending(const struct sock *s);

void sock_shutdown_write(struct sock *s);
void sock_close(struct sock *s);

#endif
