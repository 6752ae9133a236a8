#include "tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/require.h"
#include "tls_private.h"

#define CIPHERS_TLS12                                                                              \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                                   \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"                                   \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define CIPHERS_TLS13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS        "X25519:P-256:P-384"
#define RECORD_BYTES  16384

static void explain(char *error, size_t len, const char *what, struct bytes file) {
    unsigned long code = ERR_peek_last_error();
    const char *why = code != 0 ? ERR_reason_error_string(code) : NULL;
    snprintf(error, len, "%s '%.*s': %s", what, (int)file.len, file.at,
             why != NULL ? why : "cannot be used");
    ERR_clear_error();
}

static SSL_CTX *profile(const SSL_METHOD *method) {
    SSL_CTX *ctx = SSL_CTX_new(method);
    if (ctx == NULL)
        return NULL;
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ctx, 0);
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
        SSL_CTX_set_cipher_list(ctx, CIPHERS_TLS12) == 1 &&
        SSL_CTX_set_ciphersuites(ctx, CIPHERS_TLS13) == 1 &&
        SSL_CTX_set1_groups_list(ctx, GROUPS) == 1)
        return ctx;
    SSL_CTX_free(ctx);
    return NULL;
}

/* ALPN on the listener: http/1.1 or, when the client offers only what we do not speak, an alert. */
static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *outlen,
                       const unsigned char *in, unsigned inlen, void *cookie) {
    static const unsigned char ours[] = "\x08http/1.1";
    (void)ssl, (void)cookie;
    return SSL_select_next_proto((unsigned char **)out, outlen, ours, sizeof(ours) - 1, in,
                                 inlen) == OPENSSL_NPN_NEGOTIATED
               ? SSL_TLSEXT_ERR_OK
               : SSL_TLSEXT_ERR_ALERT_FATAL;
}

struct tls_context *tls_server_context(const struct tls_server_files *f, char *error, size_t len) {
    SSL_CTX *ctx = profile(TLS_server_method());
    require(ctx != NULL);
    if (SSL_CTX_use_certificate_chain_file(ctx, f->cert.at) != 1)
        explain(error, len, "certificate", f->cert);
    else if (SSL_CTX_use_PrivateKey_file(ctx, f->key.at, SSL_FILETYPE_PEM) != 1)
        explain(error, len, "private key", f->key);
    else if (f->client_ca.len > 0 && !tls_ask_clients(ctx, f))
        explain(error, len, "certificate authority of clients", f->client_ca);
    else if (f->client_crl.len > 0 && !tls_check_revocation(ctx, f->client_crl))
        explain(error, len, "revocation list", f->client_crl);
    else {
        SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, NULL);
        return (struct tls_context *)ctx;
    }
    SSL_CTX_free(ctx);
    return NULL;
}

struct tls_context *tls_client_context(struct bytes ca, char *error, size_t len) {
    SSL_CTX *ctx = profile(TLS_client_method());
    require(ctx != NULL);
    int ok =
        ca.len > 0 ? SSL_CTX_load_verify_file(ctx, ca.at) : SSL_CTX_set_default_verify_paths(ctx);
    if (ok != 1) {
        explain(error, len, "certificate authority", ca);
        SSL_CTX_free(ctx);
        return NULL;
    }
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    return (struct tls_context *)ctx;
}

bool tls_client_identify(struct tls_context *c, struct bytes cert, struct bytes key, char *error,
                         size_t len) {
    SSL_CTX *ctx = (SSL_CTX *)c;
    if (SSL_CTX_use_certificate_chain_file(ctx, cert.at) != 1)
        explain(error, len, "certificate", cert);
    else if (SSL_CTX_use_PrivateKey_file(ctx, key.at, SSL_FILETYPE_PEM) != 1)
        explain(error, len, "private key", key);
    else
        return true;
    return false;
}

void tls_context_free(struct tls_context *c) {
    SSL_CTX_free(ctx_of(c));
}

static bool start(struct sock *s, struct tls_context *c) {
    SSL *ssl = SSL_new(ctx_of(c));
    if (ssl == NULL || SSL_set_fd(ssl, s->fd) != 1) {
        SSL_free(ssl);
        return false;
    }
    s->tls = (struct tls *)ssl;
    return true;
}

bool sock_tls_accept(struct sock *s, struct tls_context *c) {
    if (!start(s, c))
        return false;
    SSL_set_accept_state(ssl_of(s->tls));
    return true;
}

bool sock_tls_connect(struct sock *s, struct tls_context *c, struct bytes name) {
    char host[256];
    if (name.len >= sizeof(host) || !start(s, c))
        return false;
    memcpy(host, name.at, name.len);
    host[name.len] = '\0';
    SSL *ssl = ssl_of(s->tls);
    SSL_set_connect_state(ssl);
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    if (X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1)
        return true; /* An address is verified as one, and is no SNI. */
    return SSL_set_tlsext_host_name(ssl, host) == 1 && SSL_set1_host(ssl, host) == 1;
}

static enum io_status status_of(struct sock *s, int result) {
    switch (SSL_get_error(ssl_of(s->tls), result)) {
    case SSL_ERROR_WANT_READ:
        s->wants_write = false;
        return IO_AGAIN;
    case SSL_ERROR_WANT_WRITE:
        s->wants_write = true;
        return IO_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return IO_EOF;
    default:
        ERR_clear_error();
        return IO_ERROR;
    }
}

enum io_status sock_handshake(struct sock *s) {
    ERR_clear_error();
    int r = SSL_do_handshake(ssl_of(s->tls));
    if (r != 1)
        s->fault = tls_handshake_fault(ssl_of(s->tls));
    return r == 1 ? IO_OK : status_of(s, r);
}

enum io_status sock_read(struct sock *s, void *to, size_t room, size_t *n) {
    if (s->tls != NULL) {
        ERR_clear_error();
        int r = SSL_read_ex(ssl_of(s->tls), to, room, n);
        return r == 1 ? IO_OK : status_of(s, r);
    }
    ssize_t r;
    do
        r = recv(s->fd, to, room, 0);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK ? IO_AGAIN : IO_ERROR;
    *n = (size_t)r;
    return r > 0 ? IO_OK : IO_EOF;
}

/* Small pieces share a record: a head of 100 bytes and a body of 200 are one packet. */
static enum io_status write_record(struct sock *s, const struct iovec *iov, int count, size_t *n) {
    char record[RECORD_BYTES];
    size_t len = 0;
    const void *at = iov[0].iov_base;
    if (iov[0].iov_len >= RECORD_BYTES) {
        len = iov[0].iov_len;
    } else {
        for (int i = 0; i < count && len < sizeof(record); i++) {
            size_t part =
                iov[i].iov_len < sizeof(record) - len ? iov[i].iov_len : sizeof(record) - len;
            memcpy(record + len, iov[i].iov_base, part);
            len += part;
        }
        at = record;
    }
    ERR_clear_error();
    int r = SSL_write_ex(ssl_of(s->tls), at, len, n);
    return r == 1 ? IO_OK : status_of(s, r);
}

enum io_status sock_writev(struct sock *s, const struct iovec *iov, int count, size_t *n) {
    if (s->tls != NULL)
        return write_record(s, iov, count, n);
    struct msghdr m = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)count};
    ssize_t r;
    do
        r = count == 1 ? send(s->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL)
                       : sendmsg(s->fd, &m, MSG_NOSIGNAL);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK ? IO_AGAIN : IO_ERROR;
    *n = (size_t)r;
    return IO_OK;
}

bool sock_pending(const struct sock *s) {
    return s->tls != NULL && SSL_has_pending(ssl_of(s->tls));
}

void sock_shutdown_write(struct sock *s) {
    if (s->tls != NULL && SSL_is_init_finished(ssl_of(s->tls)))
        SSL_shutdown(ssl_of(s->tls));
    ERR_clear_error();
    shutdown(s->fd, SHUT_WR);
}

void sock_close(struct sock *s) {
    if (s->fd < 0)
        return;
    if (s->tls != NULL) {
        if (SSL_is_init_finished(ssl_of(s->tls)))
            SSL_shutdown(ssl_of(s->tls));
        SSL_free(ssl_of(s->tls));
        ERR_clear_error();
    }
    close(s->fd);
    *s = (struct sock){.fd = -1};
}
