/* tls_peer.c - the certificates of clients: how they are verified, and what they say. */
#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/utf8.h"
#include "tls_private.h"

/* ---- Verification ---- */

bool tls_ask_clients(SSL_CTX *ctx, const struct tls_server_files *files) {
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(files->client_ca.at);
    if (names == NULL)
        return false;
    SSL_CTX_set_client_CA_list(ctx, names); /* Taken over. */
    SSL_CTX_set_verify(
        ctx, SSL_VERIFY_PEER | (files->required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), NULL);
    SSL_CTX_set_verify_depth(ctx, CLIENT_CHAIN_MAX);
    SSL_CTX_set_max_cert_list(ctx, CLIENT_CHAIN_BYTES_MAX);
    return SSL_CTX_load_verify_file(ctx, files->client_ca.at) == 1;
}

/* Lists only: a certificate in that file would otherwise be trusted. */
bool tls_check_revocation(SSL_CTX *ctx, struct bytes file) {
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
    return lookup != NULL && X509_load_crl_file(lookup, file.at, X509_FILETYPE_PEM) > 0 &&
           X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) == 1;
}

static const char *fault_of(long error) {
    static const struct {
        int error;
        const char *fault;
    } faults[] = {
        {X509_V_ERR_CERT_REVOKED, "certificate: revoked"},
        {X509_V_ERR_CERT_HAS_EXPIRED, "certificate: expired"},
        {X509_V_ERR_CERT_NOT_YET_VALID, "certificate: not yet good"},
        {X509_V_ERR_UNABLE_TO_GET_CRL, "certificate: no revocation list of its authority"},
        {X509_V_ERR_CRL_HAS_EXPIRED, "certificate: the revocation list has ended"},
        {X509_V_ERR_CRL_NOT_YET_VALID, "certificate: the revocation list is not yet good"},
        {X509_V_ERR_CRL_SIGNATURE_FAILURE, "certificate: the revocation list is forged"},
        {X509_V_ERR_INVALID_PURPOSE, "certificate: not for clients"},
        {X509_V_ERR_CERT_CHAIN_TOO_LONG, "certificate: chain too long"},
        {X509_V_ERR_EE_KEY_TOO_SMALL, "certificate: weak key"},
        {X509_V_ERR_CA_KEY_TOO_SMALL, "certificate: weak key"},
        {X509_V_ERR_CA_MD_TOO_WEAK, "certificate: weak hash"},
        {X509_V_ERR_CERT_SIGNATURE_FAILURE, "certificate: forged"},
        {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, "certificate: unknown authority"},
        {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "certificate: unknown authority"},
        {X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, "certificate: unknown authority"},
        {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, "certificate: unknown authority"},
        {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "certificate: unknown authority"},
    };
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        if (faults[i].error == error)
            return faults[i].fault;
    return "certificate: does not hold";
}

const char *tls_handshake_fault(const SSL *ssl) {
    long error = SSL_get_verify_result(ssl);
    if (error != X509_V_OK)
        return fault_of(error);
    return ERR_GET_REASON(ERR_peek_error()) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE
               ? "certificate: none"
               : NULL;
}

/* The same as in a handshake: ssl_verify_cert_chain() of OpenSSL, with the newer context. */
static const char *chain_fault(SSL *ssl, SSL_CTX *ctx, X509 *leaf) {
    X509_STORE_CTX *v = X509_STORE_CTX_new();
    const char *fault = NULL;
    bool ok = v != NULL && X509_STORE_CTX_init(v, SSL_CTX_get_cert_store(ctx), leaf,
                                               SSL_get_peer_cert_chain(ssl)) == 1;
    if (ok) {
        X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(v);
        X509_VERIFY_PARAM_set_auth_level(param, SSL_CTX_get_security_level(ctx));
        ok = X509_STORE_CTX_set_default(v, "ssl_client") == 1 &&
             X509_VERIFY_PARAM_set1(param, SSL_CTX_get0_param(ctx)) == 1 &&
             X509_verify_cert(v) == 1;
    }
    if (!ok)
        fault = fault_of(v != NULL ? X509_STORE_CTX_get_error(v) : X509_V_ERR_OUT_OF_MEM);
    X509_STORE_CTX_free(v);
    ERR_clear_error();
    return fault;
}

const char *sock_peer_fault(const struct sock *s, struct tls_context *c) {
    X509 *leaf = SSL_get0_peer_certificate(ssl_of(s->tls));
    return leaf != NULL ? chain_fault(ssl_of(s->tls), ctx_of(c), leaf) : "certificate: none";
}

/* ---- What it says ---- */

/* Alternative names are ASCII by their type, whose other bytes OpenSSL would take for Latin-1. */
static bool is_name(struct bytes s, bool ascii) {
    while (s.len > 0) {
        size_t n = utf8_length(s);
        unsigned char c = (unsigned char)s.at[0];
        bool c1 = c == 0xc2 && s.len > 1 && (unsigned char)s.at[1] < 0xa0;
        if (n == 0 || c < 0x20 || c == 0x7f || c1 || (ascii && n > 1))
            return false;
        s = bytes_skip(s, n);
    }
    return true;
}

/* Notes one more value.  False: out of memory. */
static bool add_value(struct tls_peer *p, enum tls_field field, const ASN1_STRING *s) {
    struct tls_value *v = &p->values[field];
    unsigned char *text = NULL;
    int len = ASN1_STRING_to_UTF8(&text, s);
    ERR_clear_error();
    bool ok = true, good = v->count++ == 0 && len > 0 && len <= CLIENT_ID_MAX &&
                           is_name(bytes_of(text, (size_t)len), field <= TLS_SAN_EMAIL);
    free((void *)v->text.at);
    v->text = bytes_of(NULL, 0);
    if (good) {
        char *copy = malloc((size_t)len + 1);
        ok = copy != NULL;
        for (int i = 0; ok && i < len; i++) /* Names of hosts have no case. */
            copy[i] = field == TLS_SAN_DNS ? ascii_lower((char)text[i]) : (char)text[i];
        if (ok) {
            copy[len] = '\0';
            v->text = bytes_of(copy, (size_t)len);
        }
    }
    OPENSSL_free(text);
    return ok;
}

static bool add_alternatives(struct tls_peer *p, X509 *cert) {
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    bool ok = true;
    for (int i = 0; ok && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_URI)
            ok = add_value(p, TLS_SAN_URI, name->d.uniformResourceIdentifier);
        else if (name->type == GEN_DNS)
            ok = add_value(p, TLS_SAN_DNS, name->d.dNSName);
        else if (name->type == GEN_EMAIL)
            ok = add_value(p, TLS_SAN_EMAIL, name->d.rfc822Name);
    }
    GENERAL_NAMES_free(names);
    ERR_clear_error();
    return ok;
}

static bool add_subject(struct tls_peer *p, X509 *cert) {
    static const struct {
        enum tls_field field;
        int nid;
    } wanted[] = {{TLS_CN, NID_commonName},
                  {TLS_OU, NID_organizationalUnitName},
                  {TLS_O, NID_organizationName}};
    const X509_NAME *subject = X509_get_subject_name(cert);
    for (size_t k = 0; k < sizeof(wanted) / sizeof(wanted[0]); k++)
        for (int i = -1; (i = X509_NAME_get_index_by_NID(subject, wanted[k].nid, i)) >= 0;)
            if (!add_value(p, wanted[k].field,
                           X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, i))))
                return false;
    return true;
}

/* Seconds since 1970; of a date before it, 0. */
static uint64_t seconds(const ASN1_TIME *t) {
    struct tm tm;
    if (ASN1_TIME_to_tm(t, &tm) != 1)
        return 0;
    time_t s = timegm(&tm);
    return s > 0 ? (uint64_t)s : 0;
}

bool sock_peer(const struct sock *s, struct tls_peer **out) {
    X509 *cert = s->tls != NULL ? SSL_get0_peer_certificate(ssl_of(s->tls)) : NULL;
    *out = NULL;
    if (cert == NULL)
        return true;
    struct tls_peer *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return false;
    p->not_before_s = seconds(X509_get0_notBefore(cert));
    p->not_after_s = seconds(X509_get0_notAfter(cert));
    if (!add_alternatives(p, cert) || !add_subject(p, cert)) {
        tls_peer_free(p);
        return false;
    }
    *out = p;
    return true;
}

void tls_peer_free(struct tls_peer *p) {
    for (int i = 0; p != NULL && i < TLS_FIELDS; i++)
        free((void *)p->values[i].text.at);
    free(p);
}
