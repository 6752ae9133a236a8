/* config_tables_clients.c - the options of `clients` and of the key list. */
#include "base/limits.h"
#include "config_tables.h"

const char *const config_identify_words[] = {"mtls", "jwt", "api_key", "address", NULL};
static const char *const forwarded_words[] = {"X-Forwarded-For", "Forwarded", NULL};
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

static const struct option previous_rows[] = {
    {.name = "file",
     .type = OPTION_FILE,
     .offset = offsetof(struct previous_file, file),
     .required = true,
     .says = "Its file."},
    {.name = "version",
     .type = OPTION_COUNT,
     .offset = offsetof(struct previous_file, version),
     .required = true,
     .min = 1,
     .max = 999999,
     .says = "Its number."},
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
    {.name = "previous",
     .type = OPTION_SECTION,
     .offset = offsetof(struct pseudonym_file, previous),
     .rows = previous_rows,
     .says = "The key before it: `querygate pseudonym` then prints both names of a client. "
             "Absent: there is none."},
    {.type = OPTION_END},
};

static const struct option forwarded_rows[] = {
    {.name = "header",
     .type = OPTION_WORD,
     .required = true,
     .min = FORWARDED_X_FOR,
     .words = forwarded_words,
     .says = "The header that the proxies write; the other is not looked at, and neither goes to "
             "the upstream. Read from the right, entries of trusted proxies passed over: the "
             "first that is none is the client. At an entry that is no address the client is the "
             "proxy that passed it on."},
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
     .says = "How clients are told apart, in this order: mtls, by their certificate; jwt, by a "
             "signed token; api_key, by a key in a header; address, those who show none of these "
             "by their address (IPv6: the /64), if `anonymous` allows it. The first of which "
             "something is shown decides: what does not hold is refused and never taken for "
             "nothing."},
    {.name = "api_keys",
     .type = OPTION_SECTION,
     .offset = offsetof(struct clients_file, api_keys),
     .rows = api_keys_rows,
     .says = "API keys: needed for, and only for, `identify: [api_key]`."},
    {.name = "mtls",
     .type = OPTION_SECTION,
     .offset = offsetof(struct clients_file, mtls),
     .rows = config_mtls_rows,
     .says = "Client certificates: needed for, and only for, `identify: [mtls]`; a listener's "
             "`tls.client_ca` says who vouches for them."},
    {.name = "jwt",
     .type = OPTION_SECTION,
     .offset = offsetof(struct clients_file, jwt),
     .rows = config_jwt_rows,
     .says = "Bearer tokens (JSON Web Tokens): needed for, and only for, `identify: [jwt]`."},
    {.name = "anonymous",
     .type = OPTION_WORD,
     .offset = offsetof(struct clients_file, anonymous),
     .words = anonymous_words,
     .fallback = "deny",
     .says = "Clients that show nothing: refused, or, with `address` in `identify`, let in."},
    {.name = "trusted_proxies",
     .type = OPTION_LIST,
     .offset = offsetof(struct clients_file, trusted_proxies),
     .min = 1,
     .max = TRUSTED_PROXIES_MAX,
     .scalar = OPTION_STRING,
     .element_size = sizeof(struct bytes),
     .says = "Addresses, networks (`10.0.0.0/8`) and `unix` for local sockets, of proxies that are "
             "believed when they say whose query they pass on. Their connections count by their "
             "own address: raise `limits.connections_per_address`. Absent: the peer of the "
             "connection is the client."},
    {.name = "forwarded",
     .type = OPTION_SECTION,
     .offset = offsetof(struct clients_file, forwarded_header),
     .rows = forwarded_rows,
     .says = "How trusted proxies say it: needed for, and only for, `trusted_proxies`."},
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
     .says =
         "Who the client is, at most 128 bytes. Leaves the process only as a pseudonym. Several "
         "keys may have one id: one client with one budget, so that a new key can be handed "
         "out before the old one ends."},
    {.name = "sha256",
     .type = OPTION_STRING,
     .offset = offsetof(struct key_file, sha256),
     .required = true,
     .says = "SHA-256 of the key, 64 hexadecimal digits (`querygate hash-key` prints it)."},
    {.name = "group",
     .type = OPTION_STRING,
     .offset = offsetof(struct key_file, group),
     .says = "Name of the group the key belongs to."},
    {.name = "tier",
     .type = OPTION_STRING,
     .offset = offsetof(struct key_file, tier),
     .says = "Tier of the client: one that some model names in `tiers`. Absent: the group's."},
    {.name = "not_after",
     .type = OPTION_STRING,
     .offset = offsetof(struct key_file, not_after),
     .says = "Last day the key is good, YYYY-MM-DD, to its end in UTC; the group's, if that is "
             "earlier. "
             "Absent in both: it does not expire."},
    {.type = OPTION_END},
};

static const struct option group_rows[] = {
    {.name = "tier",
     .type = OPTION_STRING,
     .offset = offsetof(struct group_file, tier),
     .says = "Tier of its keys that name none."},
    {.name = "not_after",
     .type = OPTION_STRING,
     .offset = offsetof(struct group_file, not_after),
     .says = "Last day its keys are good, YYYY-MM-DD."},
    {.type = OPTION_END},
};

const struct option config_key_rows[] = {
    {.name = "groups",
     .type = OPTION_MAP,
     .offset = offsetof(struct keys_file, groups),
     .max = KEY_GROUPS_MAX,
     .rows = group_rows,
     .element_size = sizeof(struct group_file),
     .says = "What keys have in common, by a name of your choice."},
    {.name = "keys",
     .type = OPTION_LIST,
     .offset = offsetof(struct keys_file, keys),
     .required = true,
     .rows = key_rows,
     .element_size = sizeof(struct key_file),
     .says = "The API keys."},
    {.type = OPTION_END},
};
