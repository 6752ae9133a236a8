#include <stdio.h>
#include <time.h>

#include "base/limits.h"
#include "config_private.h"

const struct option config_noise_rows[] = {
    {.name = "file",
     .type = OPTION_FILE,
     .offset = offsetof(struct noise_file, file),
     .required = true,
     .says = "File of 16 to 64 secret bytes, the same on every gate, a newline at the end not "
             "counted; refused when others may read it."},
    {.name = "previous",
     .type = OPTION_FILE,
     .offset = offsetof(struct noise_file, previous),
     .says = "File of the key before it, used until `since`: give it to all gates ahead of that "
             "day, and they change at the same moment."},
    {.name = "since",
     .type = OPTION_STRING,
     .offset = offsetof(struct noise_file, since),
     .says = "First day of the key in `file`, YYYY-MM-DD, from 00:00 UTC. Needed with `previous`."},
    {.type = OPTION_END},
};

/* The bytes are not part of the snapshot's hash: a hash in a log would confirm a guess. */
static size_t read_key(struct reading *r, const struct yaml_node *at, const char *path,
                       unsigned char out[64]) {
    char why[CONFIG_WHY_MAX];
    struct buf secret;
    buf_init(&secret, KIB(8));
    const char *wrong = r->io->load(path, true, &secret, why);
    size_t len = secret.len;
    if (len > 0 && secret.at[len - 1] == '\n')
        len--;
    if (wrong != NULL)
        diagnostics_add(&r->d, at->place, at->width, NULL, "cannot use '%s': %s", path, wrong);
    else if (len < SECRET_BYTES_MIN || len > 64)
        diagnostics_add(&r->d, at->place, at->width, "openssl rand -hex 32 makes a good one",
                        "'%s' holds %zu bytes: expected %d to 64", path, len, SECRET_BYTES_MIN);
    else
        memcpy(out, secret.at, len);
    if (secret.at != NULL)
        crypto_wipe(secret.at, secret.room);
    buf_free(&secret);
    return len;
}

/* The first second of a day, UTC.  False: no such day. */
static bool read_day(struct bytes text, uint64_t *out) {
    struct tm day = {.tm_mday = 0};
    char again[16];
    const char *end = strptime(text.at, "%Y-%m-%d", &day);
    if (end == NULL || *end != '\0' || text.len != 10)
        return false;
    time_t at = timegm(&day);
    if (at <= 0 || strftime(again, sizeof(again), "%Y-%m-%d", &day) != text.len)
        return false;
    *out = (uint64_t)at;
    return bytes_is(text, again); /* the 31st of February was made a day of March */
}

static void take_previous(struct reading *r, const struct yaml_node *section) {
    const struct noise_file *file = &r->file->noise_key;
    struct noise_conf *c = &r->c->noise;
    const struct yaml_node *since = config_at(section, "since");
    if ((file->previous.len > 0) != (file->since.len > 0)) {
        diagnostics_add(&r->d, section->place, section->width, NULL,
                        "noise_key: 'previous' and 'since' go together");
        return;
    }
    if (file->previous.len == 0)
        return;
    c->previous_len = read_key(r, config_at(section, "previous"), file->previous.at, c->previous);
    if (!read_day(file->since, &c->since_s))
        diagnostics_add(&r->d, since->place, since->width, NULL,
                        "since: expected a day as YYYY-MM-DD, not '%s'", file->since.at);
}

void config_link_noise(struct reading *r) {
    const struct noise_file *file = &r->file->noise_key;
    const struct yaml_node *section = yaml_get(r->root, "noise_key");
    struct noise_conf *c = &r->c->noise;
    if (section == NULL) {
        unsigned char process[SHA256_BYTES];
        config_process_key(process);
        crypto_hmac_sha256(bytes_of(process, sizeof(process)), BYTES_LITERAL("noise"), c->key);
        crypto_wipe(process, sizeof(process));
        c->key_len = SHA256_BYTES;
    } else if (file->file.len > 0) {
        c->lasting = true;
        c->key_len = read_key(r, config_at(section, "file"), file->file.at, c->key);
        take_previous(r, section);
    }
}
