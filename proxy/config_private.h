/* config_private.h - one reading of a configuration, shared by config*.c. */
#ifndef QG_CONFIG_PRIVATE_H
#define QG_CONFIG_PRIVATE_H

#include "config.h"
#include "config_tables.h"
#include "options.h"

#define CONFIG_LOADED_MAX (POLICIES_MAX * FILTERS_MAX * SHA256_BYTES)

struct reading {
    const struct config_io *io;
    struct config *c;             /* being made */
    struct config_file *file;     /* c->file, while it may be written */
    const struct yaml_node *root; /* of the main file */
    struct option_reader options; /* arena: the snapshot's; folder: the main file's */
    struct diagnostics d;
    struct arena *scratch; /* trees, texts of errors */
    struct buf keys;       /* text of the key list, then of the JWKS, for the hash */
    struct buf loaded;     /* digests of the files that filters read, for the hash */
};

/* What the file says at `key` of `node`, or node itself: where an error points. */
const struct yaml_node *config_at(const struct yaml_node *node, const char *key);

/* Names of ours stand in metrics and logs, so they are plain words.  `at` is where: a map's child
 * whose key it is, or the value. */
void config_check_name(struct reading *r, const struct yaml_node *at, struct bytes name);

/* "did you mean" for a name of a map, whose elements start with their name. */
const char *config_name_hint(struct reading *r, const struct option_list *map, size_t element_size,
                             struct bytes name);

/* count zeroed elements of the snapshot, at least one.  NULL: said. */
void *config_array(struct reading *r, uint32_t count, size_t size);

/* "out of memory", at the top of the file. */
void config_no_memory(struct reading *r);

/* Fills out from out->text: "HOST:PORT", "[IPV6]:PORT", "unix:/PATH".  False: said at `at`. */
bool config_address(struct reading *r, const struct yaml_node *at, struct address *out);

/* Fills out from a URL http(s)://HOST:PORT.  False: said at `at`. */
bool config_url(struct reading *r, const struct yaml_node *at, struct bytes url,
                struct endpoint_conf *out);

/* Says at `at` when name, if given, is no header's name. */
void config_check_header(struct reading *r, const struct yaml_node *at, struct bytes name);

bool address_is_loopback(const struct address *a); /* or a local socket */

/* The parts of the file, from c->file into the snapshot; what is wrong is added to r->d. */
void config_link_store(struct reading *r);
void config_link_listeners(struct reading *r);
void config_link_alerts(struct reading *r);
void config_link_noise(struct reading *r);
void config_link_ledger(struct reading *r);
void config_link_upstreams(struct reading *r);
void config_link_policies(struct reading *r);
void config_link_models(struct reading *r);    /* after upstreams and policies */
void config_link_clients(struct reading *r);   /* after models: keys name their tiers */
void config_link_relations(struct reading *r); /* after all of them */
void config_link_forwarded(struct reading *r, const struct yaml_node *clients);
void config_link_mtls(struct reading *r, const struct yaml_node *clients);
void config_link_jwt(struct reading *r, const struct yaml_node *clients); /* after the key list */

/* A tier nobody names is a slip that would give the client another policy than was meant.  False:
 * said at `at`.  An empty one is none. */
bool config_check_tier(struct reading *r, const struct yaml_node *at, struct bytes tier);

/* Of config_link_clients: the list of API keys at path, named at `at`. */
void config_link_keys(struct reading *r, const struct yaml_node *at, const char *path);

/* Reads the files that the filter's options name, if it does.  False: *error says what is wrong. */
bool config_load_filter(struct reading *r, const struct filter *f, void *conf,
                        struct conf_error *error);

/* Fills in slot->draws, the policy's last; loaded: digests of the files it has read. */
void config_note_draws(struct reading *, const struct policy *, struct filter_slot *slot,
                       struct bytes loaded);

extern const struct config_io config_system_io;

/* The key of pseudonyms that have no key file: random, one a process. */
void config_process_key(unsigned char out[SHA256_BYTES]);

#endif
