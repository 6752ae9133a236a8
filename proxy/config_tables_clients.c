/* config_tables_clients.c - the options of `clients` and of the key list. */
#include "base/limits.h"
#include "config_tables.h"

const char *const config_identify_words[] = {"mtls", "jwt", "api_key", "address", NULL};
static const char *const anonymous_words[] = {"deny", "allow", NULL};

static const struct option api_keys_rows[] = {
    {.name = "header",
     .type = OPTION_STRING,
     .offset = offsetof(struct api_keys_file, header),
     .fallback = "X-API-Key",
     .says = "Header that carries the key; it does not go to the upstream."},
    {.name = "file",
     .type = OPTION_FILE,
     .offset = offsetof(struct api_keys_file, file),
     .required = true,
     .says = "The list of keys, described at the end."},
    {.type = OPTION_END},
};

static const struct option pseudonym_rows[] = {
    {.name = "file",
     .type = OPTION_FILE,
     .offset = offsetof(struct pseudonym_file, file),
     .required = true,
     .says = "File of 16 to 64 secret bytes, a newline at the end not counted; refused when others "
             "may read it."},
    {.name = "version",
     .type = OPTION_COUNT,
     .offset = offsetof(struct pseudonym_file, version),
     .min = 1,
     .max = 999999,
     .fallback = "1",
     .says = "Number of the key, the `1` of pseudonyms that begin with `k1:`; raise it with every "
             "new key."},
    {.type = OPTION_END},
};

const struct option config_client_rows[] = {
    {.name = "identify",
     .type = OPTION_LIST,
     .offset = offsetof(struct clients_file, identify),
     .required = true,
     .min = 1,
     .max = BY_COUNT,
     .words = config_identify_words,
     .scalar = OPTION_WORD,
     .element_size = sizeof(int),
     .says = "How clients are told apart: api_key, by a key in a header (an unknown or expired one "
             "is refused, not taken for none); address, those without a key by their address "
             "(IPv6: the /64), if `anonymous` allows it."},
    {.name = "api_keys",
     .type = OPTION_SECTION,
     .offset = offsetof(struct clients_file, api_keys),
     .rows = api_keys_rows,
     .says = "API keys: needed for, and only for, `identify: [api_key]`."},
    {.name = "anonymous",
     .type = OPTION_WORD,
     .offset = offsetof(struct clients_file, anonymous),
     .words = anonymous_words,
     .fallback = "deny",
     .says = "Clients without a key: refused, or, with `address` in `identify`, let in."},
    {.name = "pseudonym_key",
     .type = OPTION_SECTION,
     .offset = offsetof(struct clients_file, pseudonym_key),
     .rows = pseudonym_rows,
     .says = "The key that turns client ids into the pseudonyms of logs and alerts. Absent: a "
             "random one, so pseudonyms begin with `k0:` and change with every start."},
    {.type = OPTION_END},
};

static const struct option key_rows[] = {
    {.name = "id",
     .type = OPTION_STRING,
     .offset = offsetof(struct key_file, id),
     .required = true,
     .says = "Who the client is, at most 128 bytes. Leaves the process only as a pseudonym."},
    {.name = "sha256",
     .type = OPTION_STRING,
     .offset = offsetof(struct key_file, sha256),
     .required = true,
     .says = "SHA-256 of the key, 64 hexadecimal digits (`querygate hash-key` prints it)."},
    {.name = "tier",
     .type = OPTION_STRING,
     .offset = offsetof(struct key_file, tier),
     .says = "Tier of the client: one that some model names in `tiers`."},
    {.name = "not_after",
     .type = OPTION_STRING,
     .offset = offsetof(struct key_file, not_after),
     .says =
         "Last day the key is good, YYYY-MM-DD, to its end in UTC. Absent: it does not expire."},
    {.type = OPTION_END},
};

const struct option config_key_rows[] = {
    {.name = "keys",
     .type = OPTION_LIST,
     .offset = offsetof(struct keys_file, keys),
     .required = true,
     .rows = key_rows,
     .element_size = sizeof(struct key_file),
     .says = "The API keys."},
    {.type = OPTION_END},
};
