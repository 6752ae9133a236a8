/* tls_private.h - shared by tls.c and tls_peer.c. */
#ifndef QG_TLS_PRIVATE_H
#define QG_TLS_PRIVATE_H

#include <openssl/ssl.h>

#include "tls.h"

/* Opaque to everybody else: no other file sees an OpenSSL type. */
static inline SSL_CTX *ctx_of(struct tls_context *c) {
    return (SSL_CTX *)c;
}
static inline SSL *ssl_of(struct tls *t) {
    return (SSL *)t;
}

/* Makes a server's context ask for certificates that client_ca vouches for.  False: the file holds
 * none (OpenSSL's error queue says why). */
MUST bool tls_ask_clients(SSL_CTX *ctx, const struct tls_server_files *files);

/* Every certificate of a client's chain must be on no list of the file, and there must be a current
 * list of each authority.  False: the file holds none. */
MUST bool tls_check_revocation(SSL_CTX *ctx, struct bytes file);

/* What was wrong with the client's certificate, if that ended the handshake; else NULL. */
const char *tls_handshake_fault(const SSL *ssl);

#endif
