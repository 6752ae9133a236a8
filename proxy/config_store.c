#include <stdio.h>

#include "base/limits.h"
#include "config_private.h"

/* ---- The options ---- */

static const char *const on_failure_words[] = {
    [STORE_LOCAL] = "local", [STORE_CLOSED] = "closed", [STORE_OPEN] = "open", NULL};

static const struct option tls_rows[] = {
    {.name = "ca",
     .type = OPTION_FILE,
     .offset = offsetof(struct tls_files, ca),
     .says = "PEM file of the authorities that may vouch for the server. Absent: the system's."},
    {.name = "name",
     .type = OPTION_STRING,
     .offset = offsetof(struct tls_files, name),
     .says = "Name the server's certificate must bear. Absent: the URL's host."},
    {.name = "cert",
     .type = OPTION_FILE,
     .offset = offsetof(struct tls_files, cert),
     .says = "PEM file of the gate's own certificate, where the server asks for one."},
    {.name = "key",
     .type = OPTION_FILE,
     .offset = offsetof(struct tls_files, key),
     .says = "PEM file of its private key; refused when others may read it."},
    {.type = OPTION_END},
};

const struct option config_store_rows[] = {
    {.name = "url",
     .type = OPTION_STRING,
     .offset = offsetof(struct store_conf, url),
     .fallback = "memory:",
     .says = "Where counters live. `memory:`: the process itself, shared by its workers; "
             "`memory:/PATH`: there, and kept in that file across restarts and crashes; "
             "`redis://HOST[:PORT][/DATABASE]`, with TLS `rediss://...`: a Redis 7, shared by all "
             "gates that name it; `redis+sentinel://HOST,HOST,.../MASTER[/DATABASE]`: the one that "
             "Sentinels watch under this name; `redis+cluster://HOST,HOST,...`: a Cluster "
             "(`rediss+...`: with TLS)."},
    {.name = "timeout",
     .type = OPTION_DURATION,
     .offset = offsetof(struct store_conf, timeout),
     .min = (double)MS(1),
     .max = (double)SECONDS(10),
     .fallback = "5ms",
     .says = "How long a decision waits for the shared store; then on_failure decides."},
    {.name = "on_failure",
     .type = OPTION_WORD,
     .offset = offsetof(struct store_conf, on_failure),
     .words = on_failure_words,
     .fallback = "local",
     .says = "While the store does not answer, for rules that say nothing of it: count in this "
             "process, each gate its share (local; where not even that is possible, closed), "
             "refuse with 503 (closed), or admit uncounted (open)."},
    {.name = "expected_gates",
     .type = OPTION_COUNT,
     .offset = offsetof(struct store_conf, expected_gates),
     .min = 1,
     .max = 10000,
     .fallback = "1",
     .says = "How many gates share the store: under `on_failure: local` each gives out the rate "
             "and the burst divided by this, at least one token."},
    {.name = "user",
     .type = OPTION_STRING,
     .offset = offsetof(struct store_conf, user),
     .says = "The ACL user to be at Redis; needs `password`. Absent: the default user."},
    {.name = "password",
     .type = OPTION_FILE,
     .offset = offsetof(struct store_conf, password_file),
     .says = "File of the password for Redis, a newline at its end not counted; refused when "
             "others may read it. It is read at each connection, so that it can be changed."},
    {.name = "tls",
     .type = OPTION_SECTION,
     .offset = offsetof(struct store_conf, tls_files),
     .rows = tls_rows,
     .says = "How a `rediss` server is verified, and what the gate shows it."},
    {.type = OPTION_END},
};

/* ---- The URL ---- */

#define REDIS_PORT    "6379"
#define SENTINEL_PORT "26379"

static const struct scheme {
    const char *text;
    enum store_kind kind;
    bool tls;
    const char *port;
} schemes[] = {
    {"redis://", STORE_REDIS, false, REDIS_PORT},
    {"rediss://", STORE_REDIS, true, REDIS_PORT},
    {"redis+sentinel://", STORE_SENTINEL, false, SENTINEL_PORT},
    {"rediss+sentinel://", STORE_SENTINEL, true, SENTINEL_PORT},
    {"redis+cluster://", STORE_CLUSTER, false, REDIS_PORT},
    {"rediss+cluster://", STORE_CLUSTER, true, REDIS_PORT},
};
enum { SCHEMES = sizeof(schemes) / sizeof(schemes[0]) };

/* The place of the URL in the file, for everything that is wrong with it. */
struct url {
    struct reading *r;
    const struct yaml_node *at;
    struct store_conf *conf;
    const struct scheme *scheme;
};

static void wrong(const struct url *u, const char *hint, const char *text) {
    diagnostics_add(&u->r->d, u->at->place, u->at->width, hint, "%s: '%s'", text, u->conf->url.at);
}

static const struct scheme *scheme_of(struct bytes url) {
    for (int i = 0; i < SCHEMES; i++)
        if (bytes_starts(url, schemes[i].text))
            return &schemes[i];
    return NULL;
}

static void refuse_scheme(const struct url *u) {
    const char *words[SCHEMES + 2] = {"memory:"};
    struct bytes url = u->conf->url;
    for (int i = 0; i < SCHEMES; i++)
        words[i + 1] = schemes[i].text;
    const char *colon = memchr(url.at, ':', url.len);
    size_t len = colon != NULL ? (size_t)(colon - url.at) + 1 : url.len;
    while (len < url.len && url.at[len] == '/')
        len++;
    wrong(u, diagnostics_hint(&u->r->d, bytes_of(url.at, len), words),
          "no store has a url like this");
}

/* HOST or HOST:PORT or [IPV6] or [IPV6]:PORT, the scheme's port where there is none. */
static bool read_server(const struct url *u, struct bytes text, struct endpoint_conf *out) {
    const char *last = text.len > 0 ? memrchr(text.at, ':', text.len) : NULL;
    const char *bracket = text.len > 0 ? memrchr(text.at, ']', text.len) : NULL;
    bool has_port = last != NULL && (bracket == NULL || last > bracket);
    struct arena *arena = u->r->c->arena;
    if (text.len == 0) {
        wrong(u, "redis://HOST:PORT/DATABASE", "a host is missing in the store's url");
        return false;
    }
    out->url = u->conf->url;
    out->tls = u->scheme->tls;
    out->address.text =
        has_port ? arena_copy(arena, text)
                 : arena_printf(arena, "%.*s:%s", (int)text.len, text.at, u->scheme->port);
    if (out->address.text.at == NULL) {
        config_no_memory(u->r);
        return false;
    }
    if (bytes_starts(text, "unix:")) {
        wrong(u, NULL, "a store is reached by HOST:PORT");
        return false;
    }
    return config_address(u->r, u->at, &out->address);
}

static bool read_servers(const struct url *u, struct bytes authority) {
    struct store_conf *s = u->conf;
    struct bytes rest = authority;
    uint32_t count = 1;
    for (size_t i = 0; i < authority.len; i++)
        count += authority.at[i] == ',';
    if (count > (s->kind == STORE_REDIS ? 1 : ENDPOINTS_MAX)) {
        wrong(u,
              s->kind == STORE_REDIS ? "redis+cluster:// and redis+sentinel:// take several" : NULL,
              "too many hosts in the store's url");
        return false;
    }
    s->servers = config_array(u->r, count, sizeof(*s->servers));
    if (s->servers == NULL)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!read_server(u, bytes_cut(&rest, ','), &s->servers[i]))
            return false;
    s->server_count = count;
    return true;
}

/* Behind the hosts: /MASTER for Sentinel, /DATABASE where there are databases. */
static void read_path(const struct url *u, struct bytes path) {
    struct store_conf *s = u->conf;
    struct bytes rest = path;
    if (s->kind == STORE_SENTINEL) {
        struct bytes master = bytes_cut(&rest, '/');
        s->master = arena_copy(u->r->c->arena, master);
        if (master.len == 0 || master.len > CONFIG_NAME_MAX)
            wrong(u, "redis+sentinel://HOST,HOST/MASTER",
                  "the store's url lacks the name that the Sentinels know the master by");
    }
    if (s->kind == STORE_CLUSTER && rest.len > 0)
        wrong(u, NULL, "a Cluster has one database: nothing stands behind its hosts");
    else if (rest.len > 0 && !bytes_to_u64(rest, 1000000, &s->database))
        wrong(u, "redis://HOST:PORT/0",
              "expected the number of a database at the end of the store's url");
}

static void read_redis(const struct url *u) {
    struct store_conf *s = u->conf;
    struct bytes path = bytes_skip(s->url, strlen(u->scheme->text));
    s->kind = u->scheme->kind;
    s->tls = u->scheme->tls;
    struct bytes authority = bytes_cut(&path, '/');
    if (read_servers(u, authority))
        read_path(u, path);
}

static void read_memory(const struct url *u) {
    struct store_conf *s = u->conf;
    struct bytes path = bytes_skip(s->url, strlen("memory:"));
    s->kind = path.len > 0 ? STORE_DURABLE : STORE_MEMORY;
    if (path.len == 0)
        return;
    s->path = arena_copy(u->r->c->arena, path);
    if (path.at[0] != '/')
        wrong(u, "memory:/var/lib/querygate/state",
              "the file of a memory store has an absolute path");
}

/* ---- What goes with it ---- */

static void look_at(const struct url *u, const char *option, struct bytes path, bool secret) {
    const struct yaml_node *store = config_at(u->r->root, "store"), *at = config_at(store, option);
    char why[CONFIG_WHY_MAX];
    if (at == store)
        at = config_at(config_at(store, "tls"), option);
    const char *bad = path.len > 0 ? u->r->io->load(path.at, secret, NULL, why) : NULL;
    if (bad != NULL)
        diagnostics_add(&u->r->d, at->place, at->width, NULL, "cannot use '%s': %s", path.at, bad);
}

static void useless(const struct url *u, const char *option, const char *why) {
    const struct yaml_node *n = yaml_get(config_at(u->r->root, "store"), option);
    if (n != NULL)
        diagnostics_add(&u->r->d, n->key_place, n->key_width, NULL, "'%s' has no use: %s", option,
                        why);
}

static void check_options(const struct url *u) {
    const struct store_conf *s = u->conf;
    if (s->kind == STORE_MEMORY || s->kind == STORE_DURABLE) {
        useless(u, "user", "nobody logs in to a memory store");
        useless(u, "password", "nobody logs in to a memory store");
    } else if (s->user.len > 0 && s->password_file.len == 0) {
        const struct yaml_node *at = config_at(config_at(u->r->root, "store"), "user");
        diagnostics_add(&u->r->d, at->place, at->width, "password: FILE",
                        "'user' needs 'password' in store");
    }
    if (!s->tls)
        useless(u, "tls", "only rediss:// urls have TLS");
    if ((s->tls_files.cert.len > 0) != (s->tls_files.key.len > 0)) {
        const struct yaml_node *at = config_at(config_at(u->r->root, "store"), "tls");
        diagnostics_add(&u->r->d, at->key_place, at->key_width, NULL,
                        "'cert' and 'key' belong together in store.tls");
    }
    look_at(u, "password", s->password_file, true);
    look_at(u, "ca", s->tls_files.ca, false);
    look_at(u, "cert", s->tls_files.cert, false);
    look_at(u, "key", s->tls_files.key, true);
}

/* Buckets are named by pseudonyms: by a key of this process alone, nobody else would find them. */
static void check_pseudonyms(const struct url *u) {
    if (u->conf->kind != STORE_MEMORY &&
        yaml_get(config_at(u->r->root, "clients"), "pseudonym_key") == NULL)
        wrong(u, "clients: {pseudonym_key: {file: FILE}}",
              "a store that outlives this process needs a pseudonym key that does");
}

static bool is_plain(struct bytes url) {
    for (size_t i = 0; i < url.len; i++)
        if ((unsigned char)url.at[i] <= ' ' || strchr("?#%", url.at[i]) != NULL)
            return false;
    return url.len > 0;
}

void config_link_store(struct reading *r) {
    struct store_conf *s = &r->c->store;
    *s = r->file->store;
    const struct url u = {.r = r,
                          .at = config_at(config_at(r->root, "store"), "url"),
                          .conf = s,
                          .scheme = scheme_of(s->url)};
    if (s->url.len == 0)
        return; /* said already */
    if (memchr(s->url.at, '@', s->url.len) != NULL)
        /* Without quoting it, for that is what must not be shown. */
        diagnostics_add(&r->d, u.at->place, 0, "user: NAME and password: FILE stand beside url",
                        "a store's url holds no user and no password: it is shown in /config");
    else if (!is_plain(s->url))
        wrong(&u, NULL, "a store's url has no spaces and no '?', '#' or '%'");
    else if (u.scheme != NULL)
        read_redis(&u);
    else if (bytes_starts(s->url, "memory:"))
        read_memory(&u);
    else
        refuse_scheme(&u);
    check_options(&u);
    check_pseudonyms(&u);
}
