#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/limits.h"
#include "config_private.h"

const struct yaml_node *config_at(const struct yaml_node *node, const char *key) {
    const struct yaml_node *child = yaml_get(node, key);
    return child != NULL ? child : node;
}

const char *config_name_hint(struct reading *r, const struct option_list *map, size_t element_size,
                             struct bytes name) {
    const char **names = arena_new_array(r->scratch, const char *, map->count + 1);
    if (names == NULL)
        return NULL;
    for (uint32_t i = 0; i < map->count; i++) {
        const struct bytes *n = (const void *)((const char *)map->at + i * element_size);
        names[i] = n->at != NULL ? n->at : "";
    }
    return diagnostics_hint(&r->d, name, names);
}

void config_check_name(struct reading *r, const struct yaml_node *at, struct bytes name) {
    bool key = at->key_width > 0 && bytes_eq(at->key, name), ok = name.len <= CONFIG_NAME_MAX;
    for (size_t i = 0; i < name.len && ok; i++) {
        char c = ascii_lower(name.at[i]);
        ok = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr("._-", c) != NULL;
    }
    if (!ok)
        diagnostics_add(&r->d, key ? at->key_place : at->place, key ? at->key_width : at->width,
                        NULL, "a name has at most %d letters, digits, '.', '_' and '-'",
                        CONFIG_NAME_MAX);
}

void config_no_memory(struct reading *r) {
    diagnostics_add(&r->d, (struct place){r->c->path.at, 1, 1}, 0, NULL, "out of memory");
}

void *config_array(struct reading *r, uint32_t count, size_t size) {
    void *at = arena_calloc(r->c->arena, count > 0 ? count : 1, size);
    if (at == NULL)
        config_no_memory(r);
    return at;
}

/* ---- The sections without names in them ---- */

static void take_admin(struct reading *r) {
    struct config *c = r->c;
    const struct yaml_node *at = config_at(config_at(r->root, "admin"), "address");
    c->admin = r->file->admin;
    if (c->admin.text.len == 0 || !config_address(r, at, &c->admin))
        return;
    if (!address_is_loopback(&c->admin))
        diagnostics_add(&r->d, at->place, at->width, "127.0.0.1, [::1] or unix:/PATH",
                        "the admin listener must be on a loopback address, not '%s'",
                        c->admin.text.at);
}

/* Words that were meant to switch the log on, not to name a file. */
static bool is_switch(struct bytes path) {
    static const char *const words[] = {"on", "true", "yes", "stdout", "stderr"};
    bool found = false;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        found = found || bytes_is(path, words[i]);
    return found;
}

static void take_log(struct reading *r) {
    struct bytes path = r->file->access_log;
    if (is_switch(path)) {
        const struct yaml_node *at = config_at(config_at(r->root, "log"), "access");
        diagnostics_add(&r->d, at->place, at->width, "a file's name, or \"-\": standard output",
                        "log.access: '%s' is not the name of a log", path.at);
    } else if (bytes_is(path, "off")) {
        path = bytes_of(NULL, 0);
    } else if (path.len > 0 && !bytes_is(path, "-")) {
        path = options_path(&r->options, path);
    }
    r->c->access_log = path;
}

/* ---- The whole ---- */

/* Absolute, for a file named on the command line may be relative to where we stand. */
static const char *folder_of(struct reading *r, const char *path) {
    const char *slash = strrchr(path, '/');
    int len = slash != NULL ? (int)(slash - path) : 0;
    char here[4096] = "";
    if (slash != NULL && path[0] == '/')
        return arena_printf(r->c->arena, "%.*s", len, path).at;
    if (getcwd(here, sizeof(here)) == NULL)
        return NULL;
    return arena_printf(r->c->arena, "%s%s%.*s", here, slash != NULL ? "/" : "", len, path).at;
}

static void hash(struct reading *r, struct bytes text) {
    unsigned char digest[SHA256_BYTES];
    struct buf all;
    buf_init(&all, 2 * CONFIG_BYTES_MAX + JWKS_BYTES_MAX + CONFIG_LOADED_MAX);
    buf_add_bytes(&all, text);
    buf_add_bytes(&all, buf_bytes(&r->keys));
    buf_add_bytes(&all, buf_bytes(&r->loaded));
    if (all.failed)
        config_no_memory(r);
    crypto_sha256(buf_bytes(&all), digest);
    crypto_hex(digest, sizeof(digest), r->c->sha256);
    buf_free(&all);
}

static void read_sections(struct reading *r, struct bytes text) {
    struct config *c = r->c;
    r->root = yaml_parse(r->scratch, c->path.at, text, &r->d);
    if (r->root == NULL)
        return;
    if (yaml_is_null(r->root)) {
        diagnostics_add(&r->d, (struct place){c->path.at, 1, 1}, 0, NULL, "the file is empty");
        return;
    }
    options_read(&r->options, r->root, config_rows(), "", r->file);
    c->workers = r->file->workers;
    c->limits = r->file->limits;
    take_admin(r);
    config_link_store(r);
    take_log(r);
    config_link_listeners(r);
    config_link_alerts(r);
    config_link_upstreams(r);
    config_link_policies(r);
    config_link_models(r);
    config_link_clients(r);
    config_link_noise(r);
    config_link_ledger(r);
    config_link_relations(r);
    hash(r, text);
}

static struct config *config_new(const char *path) {
    struct arena *arena = arena_new(CONFIG_ARENA_MAX);
    struct config *c = arena != NULL ? arena_new_array(arena, struct config, 1) : NULL;
    if (c != NULL) {
        c->arena = arena;
        c->refs = 1;
        c->path = arena_copy(arena, bytes_str(path));
        c->file = arena_new_array(arena, struct config_file, 1);
    }
    if (c != NULL && c->path.at != NULL && c->file != NULL)
        return c;
    arena_free(arena);
    return NULL;
}

static struct reading *reading_new(struct arena *scratch, const char *path,
                                   const struct config_io *io) {
    struct reading *r = arena_new_array(scratch, struct reading, 1);
    if (r == NULL || (r->c = config_new(path)) == NULL)
        return NULL;
    r->io = io;
    r->scratch = scratch;
    r->file = (struct config_file *)r->c->file;
    buf_init(&r->keys, CONFIG_BYTES_MAX + JWKS_BYTES_MAX + KIB(8));
    buf_init(&r->loaded, CONFIG_LOADED_MAX);
    diagnostics_init(&r->d, scratch);
    r->options = (struct option_reader){r->c->arena, &r->d, folder_of(r, path)};
    if (r->options.folder == NULL)
        config_no_memory(r);
    return r;
}

struct config *config_read_text(struct bytes text, const char *path, const struct config_io *io,
                                struct buf *errors) {
    struct arena *scratch = arena_new(CONFIG_ARENA_MAX);
    struct reading *r = scratch != NULL ? reading_new(scratch, path, io) : NULL;
    struct config *c = NULL;
    if (r == NULL) {
        buf_printf(errors, "%s:1:1: error: out of memory\n1 error\n", path);
    } else {
        diagnostics_source(&r->d, r->c->path.at, text);
        if (r->d.count == 0)
            read_sections(r, text);
        diagnostics_print(&r->d, errors);
        c = r->c;
        if (r->d.count > 0) {
            config_unref(c);
            c = NULL;
        }
        buf_free(&r->keys);
        buf_free(&r->loaded);
    }
    arena_free(scratch);
    return c;
}

struct config *config_read(const char *path, struct buf *errors) {
    char why[CONFIG_WHY_MAX];
    struct config *c = NULL;
    struct buf text;
    buf_init(&text, CONFIG_BYTES_MAX + KIB(4));
    const char *wrong = config_system_io.load(path, false, &text, why);
    if (wrong != NULL)
        buf_printf(errors, "%s:1:1: error: cannot read the file: %s\n1 error\n", path, wrong);
    else
        c = config_read_text(buf_bytes(&text), path, &config_system_io, errors);
    buf_free(&text);
    return c;
}
