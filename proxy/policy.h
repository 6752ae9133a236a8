/* policy.h - the snapshot: one version of the configuration, immutable once read.
 *
 * Everything in it lives in its own arena.  Workers hold references; an exchange takes one when it
 * is routed and keeps it to its end, so a reload never pulls rules from under a query. */
#ifndef QG_POLICY_H
#define QG_POLICY_H

#include <sys/socket.h>

#include "../proto/codec.h"
#include "base/limits.h"
#include "base/option.h"
#include "crypto.h"
#include "filter.h"
#include "forwarded.h"
#include "ledger.h"

/* host:port or unix:/path, resolved when the file is read. */
struct address {
    struct bytes text; /* as written */
    struct bytes host; /* without brackets or port; empty for unix: */
    struct sockaddr_storage at;
    socklen_t len;
};

struct jwt_conf;
struct tls_context;

struct tls_files {
    bool on;
    struct bytes cert, key; /* PEM paths; both or neither */
    struct bytes ca;        /* upstream: what verifies the server (system's when empty) */
    struct bytes name;      /* upstream: the name to verify (the URL's host when empty) */
    struct bytes client_ca, client_crl; /* listener: who vouches for clients, what is revoked */
    int client_certificate;             /* listener: enum client_certificate */
};

enum client_certificate { CERTIFICATE_UNSAID, CERTIFICATE_REQUIRED, CERTIFICATE_OPTIONAL };

struct listener_conf {
    struct bytes name;
    struct address address;
    int protocol; /* enum listener_protocol */
    struct tls_files tls;
    struct tls_context *context; /* made by gate_prepare; freed with the snapshot */
};
enum listener_protocol { LISTEN_HTTP };

struct limits_conf {
    uint64_t max_body, max_answer;
    uint64_t connections, connections_per_address;
    uint64_t head_timeout, body_timeout, idle_timeout, send_timeout, drain_timeout; /* us */
    bool compressed_bodies; /* false: a Content-Encoding is 415 */
};

struct endpoint_conf {
    struct bytes url;
    struct address address;
    bool tls;
    struct bytes authority; /* for the Host header */
};

struct upstream_conf {
    struct bytes name;
    uint32_t index; /* in config->upstreams */
    const struct codec *codec;
    struct endpoint_conf *endpoints;
    uint32_t endpoint_count;
    struct tls_files tls;
    struct tls_context *context; /* made by gate_prepare when tls.on; freed with the snapshot */
    uint64_t timeout, connect_timeout; /* us */
    uint64_t max_pending;
    struct bytes health_path; /* empty: no active checks */
    uint64_t health_interval; /* us */
};

/* One filter of a policy, configured. */
struct filter_slot {
    const struct filter *filter;
    void *conf;
    struct hash128 draws; /* tells two ways apart to come by what it draws on, in every process */
    uint32_t index;       /* unique in the snapshot */
    uint32_t series;      /* of its counters: stats.h; set by gate_prepare */
    struct place place;
};

struct policy {
    struct bytes name;
    bool observe;      /* decide, log and count, change nothing */
    bool relay;        /* bodies pass unread; no filter may need them */
    bool reads_inputs; /* a filter does; set by gate_prepare */
    struct filter_slot *slots;
    uint32_t slot_count;
};

struct tier_policy {
    struct bytes tier;
    const struct policy *policy;
};

struct model {
    struct bytes match; /* a name, or a prefix ending in '*' */
    const struct upstream_conf *upstream;
    const struct policy *policy;
    const struct tier_policy *tiers;
    uint32_t tier_count;
    struct declared declared;
    int rows;                         /* enum row_rule: how a query's batch size is told */
    uint32_t outputs[OUT_OPAQUE + 1]; /* declared ones of each kind */
    uint32_t index;
};
enum row_rule { ROWS_AUTO, ROWS_FIRST, ROWS_ONE };

struct api_key {
    unsigned char sha256[SHA256_BYTES];
    struct bytes id, tier;
    uint64_t not_after_s; /* last second it is good, since 1970; 0: never ends */
    struct client client; /* pseudonym made when the file is read */
};

/* What a client's certificate says: fields are enum tls_field of tls.h. */
struct mtls_conf {
    int name;                  /* whose value is the client */
    const struct bytes *match; /* names, or prefixes ending in '*', that are let in; none: all */
    uint32_t match_count;
    int tier_by;
    const struct option_pair
        *tiers; /* value (or prefix and '*') and its tier: the first that fits */
    uint32_t tier_count;
};

enum identify_by { BY_MTLS, BY_JWT, BY_API_KEY, BY_ADDRESS, BY_COUNT };

struct clients_conf {
    enum identify_by order[BY_COUNT]; /* clients.identify: each way at most once */
    uint32_t order_count;
    struct bytes wanted; /* what is said to clients without a credential: "an API key is needed" */
    bool anonymous;      /* BY_ADDRESS is in order: clients without a credential are let in */
    struct bytes key_header;
    struct forwarded_conf forwarded; /* of whose addresses; header FORWARDED_NONE: of none */
    struct mtls_conf *mtls;          /* BY_MTLS is in order */
    struct jwt_conf *jwt;            /* jwt.h; BY_JWT is in order; freed with the snapshot */
    const struct api_key *keys;      /* sorted by sha256 */
    uint32_t key_count;
    unsigned char pseudonym_key[SECRET_BYTES_MAX];
    size_t pseudonym_key_len;
    uint32_t pseudonym_version; /* 0: the key was made at this start and ends with the process */
    unsigned char previous_key[SECRET_BYTES_MAX]; /* the pseudonym key before it; version 0: none */
    size_t previous_key_len;
    uint32_t previous_version;
};

/* Does `identify` say so? */
static inline bool clients_by(const struct clients_conf *c, enum identify_by by) {
    for (uint32_t i = 0; i < c->order_count; i++)
        if (c->order[i] == by)
            return true;
    return false;
}

/* The key of sticky noise, and the one it replaces. */
struct noise_conf {
    unsigned char key[64], previous[64];
    size_t key_len, previous_len; /* previous_len 0: there is none */
    uint64_t since_s;             /* from then on key is used, before it previous; since 1970 */
    bool lasting;                 /* from a file: other gates and later starts have it too */
};

/* Where counters live; a change needs a restart. */
struct store_conf {
    int kind; /* enum store_kind */
    struct bytes url;
    struct endpoint_conf *servers; /* the server, the Sentinels, or the first Cluster nodes; only
                                      address and url of them are used */
    uint32_t server_count;
    struct bytes path;          /* memory:/PATH */
    struct bytes master;        /* Sentinel: the name of the master */
    struct bytes user;          /* ACL user; empty: none */
    struct bytes password_file; /* read at each (re)connection, so a rotated one is picked up */
    uint64_t database;
    bool tls;
    struct tls_files tls_files;
    struct tls_context *context; /* made by gate_prepare when tls; freed with the snapshot */
    uint64_t timeout;            /* us, of one command */
    uint64_t expected_gates;     /* on_failure: local gives each this share */
    int on_failure;              /* default of rules that say nothing; enum store_on_failure */
};
enum store_kind { STORE_MEMORY, STORE_DURABLE, STORE_REDIS, STORE_SENTINEL, STORE_CLUSTER };

struct alert_sink_conf {
    struct bytes path; /* no two sinks have the same */
    int format;        /* row of alert_formats.def */
};

struct alerts_conf {
    struct bytes instance; /* this gate's name in alerts; empty: the host's */
    struct alert_sink_conf *sinks;
    uint32_t sink_count;
};

struct config {
    _Atomic unsigned refs;
    uint64_t serial; /* no other snapshot of this process has it; from 1; set by gate_prepare */
    void (*release)(struct config *); /* called before the arena goes; may be NULL */
    struct arena *arena;
    char sha256[SHA256_HEX]; /* of the file, the key list and the JWKS, one after the other (`cat A
                                B C | sha256sum`): the policy version in the access log */
    struct bytes path;
    uint64_t workers; /* 0: one per core */
    struct ledger_conf ledger;
    struct bytes access_log; /* a path; "-": standard output; empty: none */
    struct listener_conf *listeners;
    uint32_t listener_count;
    struct address admin; /* len 0: no admin listener */
    struct limits_conf limits;
    struct store_conf store;
    struct alerts_conf alerts;
    struct clients_conf clients;
    struct noise_conf noise;
    struct upstream_conf *upstreams;
    uint32_t upstream_count;
    struct model *models; /* in file order: the first that matches is it */
    uint32_t model_count;
    struct policy *policies;
    uint32_t policy_count;
    uint32_t slot_total;            /* filter slots of all policies */
    const struct config_file *file; /* as read, defaults filled in: for config_print */
};

struct config *config_ref(struct config *c);
void config_unref(struct config *c);

/* Is it the name, or does it begin with what stands before the '*' at match's end? */
bool name_matches(struct bytes match, struct bytes name);

/* The first model whose match fits; NULL: unknown, which is refused. */
const struct model *config_model(const struct config *c, struct bytes name);

/* The policy that applies to this client on this model. */
const struct policy *model_policy(const struct model *m, const struct client *client);

/* False: its day is over. */
static inline bool api_key_valid(const struct api_key *k, uint64_t now_s) {
    return k->not_after_s == 0 || now_s <= k->not_after_s;
}

/* The key whose SHA-256 is that of `secret` and which has not ended at now_s.  NULL: none. */
const struct api_key *config_api_key(const struct config *c, struct bytes secret, uint64_t now_s);

/* kind ":" id under the pseudonym key: "k1:" and 16 hex digits, NUL-terminated. */
#define PSEUDONYM_MAX 32
void config_pseudonym(const struct config *c, const char *kind, struct bytes id,
                      char out[PSEUDONYM_MAX]);

/* The same under the key before it, for finding a client in logs of that time.  False: none. */
MUST bool config_previous_pseudonym(const struct config *c, const char *kind, struct bytes id,
                                    char out[PSEUDONYM_MAX]);

#endif
