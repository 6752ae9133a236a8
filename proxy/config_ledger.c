#include <stdio.h>

#include "base/limits.h"
#include "config_private.h"

const struct option config_ledger_rows[] = {
    {.name = "file",
     .type = OPTION_FILE,
     .offset = offsetof(struct ledger_file, file),
     .required = true,
     .says = "Where it is written. `querygate ledger verify FILE` checks it."},
    {.name = "key",
     .type = OPTION_FILE,
     .offset = offsetof(struct ledger_file, key),
     .says = "File of at least 16 secret bytes, a newline at the end not counted: hashes are then "
             "HMACs, which nobody without it can make. Refused when others may read it. Absent: "
             "plain SHA-256."},
    {.type = OPTION_END},
};

/* The bytes are not part of the snapshot's hash: a hash in a log would confirm a guess. */
static void read_key(struct reading *r, const struct yaml_node *at) {
    const struct bytes path = r->file->ledger.key;
    struct ledger_conf *c = &r->c->ledger;
    char why[CONFIG_WHY_MAX];
    struct buf secret;
    buf_init(&secret, KIB(8));
    const char *wrong = r->io->load(path.at, true, &secret, why);
    size_t len = secret.len;
    if (len > 0 && secret.at[len - 1] == '\n')
        len--;
    if (wrong != NULL)
        diagnostics_add(&r->d, at->place, at->width, NULL, "cannot use '%s': %s", path.at, wrong);
    else if (len < SECRET_BYTES_MIN)
        diagnostics_add(&r->d, at->place, at->width, "openssl rand -hex 32 makes a good one",
                        "'%s' holds %zu bytes: expected at least %d", path.at, len,
                        SECRET_BYTES_MIN);
    else
        ledger_key(bytes_of(secret.at, len), c->key);
    c->keyed = true;
    if (secret.at != NULL)
        crypto_wipe(secret.at, secret.room);
    buf_free(&secret);
}

void config_link_ledger(struct reading *r) {
    const struct yaml_node *section = yaml_get(r->root, "ledger");
    if (section == NULL)
        return;
    r->c->ledger.path = r->file->ledger.file;
    if (r->file->ledger.key.len > 0)
        read_key(r, config_at(section, "key"));
}
