/* identity.h - who asks: the ways in which a client can prove itself.
 *
 * One way is one file, identity_NAME.c, and one row of identity_methods.  They are tried in the
 * order of `clients.identify`; the first that finds a credential of its kind decides: a credential
 * that does not hold is refused and never taken for none, so that a forged token cannot fall
 * through to a weaker way.  Nothing of the body is read: the subject of budgets and limits comes
 * from the credential alone. */
#ifndef QG_IDENTITY_H
#define QG_IDENTITY_H

#include "filter.h"
#include "http1.h"
#include "policy.h"

enum identity_status {
    IDENTITY_ABSENT,  /* no credential of this kind: the next way is asked */
    IDENTITY_PROVEN,  /* *out is who asks */
    IDENTITY_REFUSED, /* there is one and it does not hold: 401, *why is set */
    IDENTITY_FAULT,   /* out of memory: 503 */
};

/* Why not; static texts. */
struct identity_refusal {
    const char
        *said; /* to the client: the class ("invalid token") and nothing that helps to forge */
    const char *logged; /* to the operator: which check failed ("token: wrong audience") */
    bool token;         /* it is a bearer token that does not hold */
};

struct tls_peer; /* tls.h: what the client's certificate says; NULL: none was shown */

struct identity_request {
    const struct config *config;
    const struct message *message; /* the head */
    const struct tls_peer *certificate;
    struct peer_name *peer; /* of the connection; remembers the last credential */
    struct bytes address;   /* pseudonym of the client's address (behind trusted proxies: of the
                               forwarded one) */
    const struct hash_key *marks; /* this worker's, for recognising a credential */
    struct arena *arena;          /* of the request */
    uint64_t now_s;               /* wall clock */
};

/* out->address is filled in by the caller.  Everything else that out points to lives as long as
 * the configuration, the connection's memory of it, or the arena. */
typedef enum identity_status identity_fn(const struct identity_request *, struct client *out,
                                         struct identity_refusal *why);

struct identity_method {
    const char *name; /* the word of `clients.identify` */
    identity_fn *prove;
    const char *wanted; /* what a client without credentials is told is missing */
};

extern const struct identity_method identity_methods[BY_COUNT]; /* by enum identify_by */

/* Asks the ways of `clients.identify` in their order: PROVEN, REFUSED or FAULT. */
enum identity_status identity_establish(const struct identity_request *, struct client *out,
                                        struct identity_refusal *why);

/* Pseudonym of the address that the query comes from: the peer's, or what a trusted proxy says of
 * it.  Good until the next call for this peer. */
struct bytes identity_client_address(struct peer_name *, const struct config *,
                                     const struct message *head);

/* The certificate that the connection was opened with goes into r->certificate, if it still holds
 * under the configuration of this request, and if that asks for certificates at all.  False: it
 * does not hold, or one is needed and there is none; the connection is of no more use. */
MUST bool identity_certificate(struct identity_request *r, struct identity_refusal *why);

/* What a way found of a credential is kept in the connection, so that the next request with the
 * same one costs a keyed hash.  The mark stands for the credential's bytes, the configuration's
 * serial for the keys it was checked by. */

/* False: these bytes are not known, or not good at this time. */
MUST bool identity_recall(const struct identity_request *, enum identify_by,
                          struct bytes credential, struct client *out);

/* who->tier is the configuration's.  Good from not_before_s to not_after_s, both included. */
void identity_remember(const struct identity_request *, enum identify_by, struct bytes credential,
                       uint64_t not_before_s, uint64_t not_after_s, const struct client *who);

identity_fn identity_mtls, identity_jwt, identity_api_key, identity_address;

#endif
