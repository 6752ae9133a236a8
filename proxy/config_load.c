#include "base/limits.h"
#include "config_private.h"

/* The files of one filter: their digests join what the policy's version is the hash of. */
struct from {
    struct loader loader;
    struct reading *r;
};

static const char *load(struct loader *loader, struct bytes path, struct buf *out,
                        char why[LOADER_WHY_MAX]) {
    struct reading *r = ((struct from *)loader)->r;
    unsigned char digest[SHA256_BYTES];
    const char *wrong = r->io->load(path.at, false, out, why);
    if (wrong != NULL)
        return wrong;
    crypto_sha256(buf_bytes(out), digest);
    buf_add(&r->loaded, digest, sizeof(digest));
    return r->loaded.failed ? "too many files" : NULL;
}

bool config_load_filter(struct reading *r, const struct filter *f, void *conf,
                        struct conf_error *error) {
    struct from from = {{.arena = r->c->arena, .file = load}, r};
    return f->load == NULL || f->load(conf, &from.loader, error);
}

/* Changes with what a sampler makes of the same bits: then they are other draws, paid for anew. */
#define DRAWS "draws 2 "

static void add_part(struct buf *b, struct bytes part) {
    buf_add_u64(b, part.len);
    buf_add_char(b, ' ');
    buf_add_bytes(b, part);
}

/* By name, options and files, not by where these lie in memory: every gate finds the same. */
void config_note_draws(struct reading *r, const struct policy *p, struct filter_slot *slot,
                       struct bytes loaded) {
    static const struct hash_key key = {0x6d656368, 0x616e69736d};
    const struct hash128 before = slot > p->slots ? slot[-1].draws : (struct hash128){0, 0};
    struct buf text, options;
    slot->draws = before;
    if (slot->filter->on_answer == NULL || slot->filter->only_judges)
        return;
    buf_init(&options, CONFIG_BYTES_MAX);
    buf_init(&text, 2 * CONFIG_BYTES_MAX + CONFIG_LOADED_MAX);
    options_print(slot->filter->options, slot->conf, NULL, &options);
    buf_add_str(&text, DRAWS);
    buf_add(&text, &before, sizeof(before));
    add_part(&text, bytes_str(slot->filter->name));
    add_part(&text, buf_bytes(&options));
    add_part(&text, loaded);
    if (text.failed || options.failed)
        config_no_memory(r);
    else
        slot->draws = hash_bytes128(&key, buf_bytes(&text));
    buf_free(&options);
    buf_free(&text);
}
