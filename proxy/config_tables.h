/* config_tables.h - the file as it is written: one struct a section, filled by the option tables,
 * before names are linked.  Private to config*.c.
 *
 * Where a section's fields are those of policy.h, the struct begins with policy.h's own and the
 * table writes straight into it. */
#ifndef QG_CONFIG_TABLES_H
#define QG_CONFIG_TABLES_H

#include "policy.h"
#include "yaml.h"

struct listener_file {
    struct listener_conf conf;
};

struct alert_sink_file {
    struct alert_sink_conf file;
};

struct alerts_file {
    struct bytes instance;
    struct option_list sinks; /* struct alert_sink_file */
};

struct api_keys_file {
    struct bytes header, file;
};

struct previous_file {
    struct bytes file;
    uint64_t version;
};
struct pseudonym_file {
    struct bytes file;
    uint64_t version;
    struct previous_file previous;
};

struct jwt_tier_file {
    struct bytes claim;
    struct option_list values; /* struct option_pair: the claim's value and the tier */
};

struct jwt_file {
    struct bytes jwks, issuer, audience, header, subject;
    struct option_list algorithms; /* int: enum sign_algorithm */
    uint64_t leeway, max_age;      /* us */
    struct jwt_tier_file tier;
};

struct mtls_tier_file {
    int field;                 /* 0 ou, 1 o, 2 name */
    struct option_list values; /* struct option_pair */
};
struct mtls_file {
    int name;                 /* 1 + enum tls_field; 0: absent */
    struct option_list match; /* struct bytes */
    struct mtls_tier_file tier;
};

struct clients_file {
    struct option_list identify; /* int: enum identify_by */
    int anonymous;               /* 0 deny, 1 allow */
    struct api_keys_file api_keys;
    struct option_list trusted_proxies; /* struct bytes */
    int forwarded_header;               /* enum forwarded_header */
    struct mtls_file mtls;
    struct jwt_file jwt;
    struct pseudonym_file pseudonym_key;
};

struct noise_file {
    struct bytes file, previous, since;
};

struct ledger_file {
    struct bytes file, key;
};

struct upstream_file {
    struct upstream_conf conf;
    int protocol;            /* index into codecs_all */
    struct option_list http; /* struct bytes */
};

struct model_file {
    struct model conf;
    struct bytes upstream, policy;
    struct option_list tiers;   /* struct option_pair: tier and policy */
    struct option_list outputs; /* struct option_pair: name and enum output_kind */
};

struct policy_file {
    struct policy conf;
    int mode;   /* 0 enforce, 1 observe */
    int bodies; /* 0 decode, 1 relay */
    const struct yaml_node *filters;
};

struct config_file {
    uint64_t workers;
    struct option_list listeners; /* struct listener_file */
    struct address admin;
    struct store_conf store;
    struct limits_conf limits;
    struct bytes access_log;
    struct alerts_file alerts;
    struct clients_file clients;
    struct noise_file noise_key;
    struct ledger_file ledger;
    struct option_list upstreams; /* struct upstream_file */
    struct option_list models;    /* struct model_file */
    struct option_list policies;  /* struct policy_file */
};

/* keys.yaml */
struct key_file {
    struct bytes id, sha256, group, tier, not_after;
};
struct group_file {
    struct bytes name, tier, not_after;
};
struct keys_file {
    struct option_list groups; /* struct group_file */
    struct option_list keys;   /* struct key_file */
};

/* The table of struct config_file. */
const struct option *config_rows(void);

extern const struct option config_alert_rows[]; /* of struct alerts_file */

/* config_tables_clients.c */
extern const struct option config_client_rows[]; /* of struct clients_file */
extern const struct option config_mtls_rows[];   /* config_mtls.c: of struct mtls_file */
extern const struct option config_jwt_rows[];    /* config_jwt.c: of struct jwt_file */
extern const struct option config_key_rows[];    /* of struct keys_file */
extern const struct option config_store_rows[];  /* of struct store_conf */

extern const struct option config_noise_rows[];  /* of struct noise_file */
extern const struct option config_ledger_rows[]; /* of struct ledger_file */

/* The words of upstreams.*.protocol: the names of codecs_all, NULL-terminated. */
const char *const *config_protocols(void);

extern const char *const config_identify_words[]; /* by enum identify_by */

/* The names of filters_all, NULL-terminated. */
const char *const *config_filters(void);

#endif
