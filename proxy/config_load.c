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
