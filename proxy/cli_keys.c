#include "cli_keys.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "config.h"

#define NEW_KEY_BYTES 32

/* False, so that a caller may say why and be done. */
static bool refuse(const char *why) {
    fprintf(stderr, "querygate: %s\n", why);
    return false;
}

/* ---- hash-key ---- */

/* The file's own rules, so that what is printed can be pasted. */
static bool is_name(const char *s) {
    size_t len = strlen(s);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            return false;
    return len > 0 && len <= CLIENT_ID_MAX;
}

static bool is_day(const char *s) {
    static const char shape[] = "dddd-dd-dd";
    for (size_t i = 0; i < sizeof(shape); i++)
        if (shape[i] == 'd' ? s[i] < '0' || s[i] > '9' : s[i] != shape[i])
            return false;
    return true;
}

/* A header's value begins and ends with a visible character and holds no control characters. */
static bool fits_header(struct bytes key) {
    for (size_t i = 0; i < key.len; i++)
        if ((unsigned char)key.at[i] < 0x20 || (unsigned char)key.at[i] >= 0x7f)
            return false;
    return key.at[0] != ' ' && key.at[key.len - 1] != ' ';
}

static bool read_key(char *room, size_t size, struct bytes *out) {
    size_t len = fread(room, 1, size, stdin);
    if (len > 0 && room[len - 1] == '\n')
        len--;
    if (len > 0 && room[len - 1] == '\r')
        len--;
    *out = bytes_of(room, len);
    if (len < SECRET_BYTES_MIN)
        return refuse("a key needs at least 16 bytes");
    if (len > API_KEY_BYTES_MAX)
        return refuse("a key has at most 1024 bytes");
    return fits_header(*out) || refuse("a key must be visible ASCII, since a header carries it");
}

/* base64url (RFC 4648 section 5) without padding: 43 characters of 32 bytes. */
static struct bytes make_key(char *room) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned char random[NEW_KEY_BYTES];
    uint32_t bits = 0;
    int held = 0;
    size_t n = 0;
    crypto_random(random, sizeof(random));
    for (size_t i = 0; i < sizeof(random); i++) {
        bits = bits << 8 | random[i];
        for (held += 8; held >= 6; held -= 6)
            room[n++] = digits[bits >> (held - 6) & 63];
    }
    room[n++] = digits[bits << (6 - held) & 63];
    crypto_wipe(random, sizeof(random));
    return bytes_of(room, n);
}

static void print_entry(const char *id, const char *tier, const char *not_after, struct bytes key) {
    unsigned char digest[SHA256_BYTES];
    char hex[SHA256_HEX];
    struct buf out;
    buf_init(&out, KIB(4));
    crypto_sha256(key, digest);
    crypto_hex(digest, sizeof(digest), hex);
    buf_add_str(&out, "  - {id: ");
    buf_add_json(&out, bytes_str(id));
    buf_printf(&out, ", sha256: %s", hex);
    if (tier != NULL) {
        buf_add_str(&out, ", tier: ");
        buf_add_json(&out, bytes_str(tier));
    }
    if (not_after != NULL)
        buf_printf(&out, ", not_after: %s", not_after);
    printf("%.*s}\n", (int)out.len, out.at);
    buf_free(&out);
}

bool cli_hash_key(const char *id, const char *tier, const char *not_after, bool fresh) {
    char room[API_KEY_BYTES_MAX + 3];
    struct bytes key;
    if (!is_name(id) || (tier != NULL && !is_name(tier)))
        return refuse("an id and a tier have 1 to 128 bytes and no control characters");
    if (not_after != NULL && !is_day(not_after))
        return refuse("--not-after wants a day as YYYY-MM-DD");
    bool ok = true;
    if (fresh)
        key = make_key(room);
    else
        ok = read_key(room, sizeof(room), &key);
    if (ok && fresh)
        fprintf(stderr, "the key, shown this once: %.*s\n", (int)key.len, key.at);
    if (ok)
        print_entry(id, tier, not_after, key);
    crypto_wipe(room, sizeof(room));
    return ok;
}

/* ---- pseudonym ---- */

static bool is_kind(const char *kind) {
    static const char *const kinds[] = {"key", "mtls", "jwt", "address"};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(kind, kinds[i]) == 0)
            return true;
    return false;
}

bool cli_pseudonym(const struct config *c, const char *kind, const char *id) {
    char name[PSEUDONYM_MAX], peer[CONFIG_PEER_MAX];
    struct bytes text = bytes_str(id);
    if (!is_kind(kind))
        return refuse("--kind is key, mtls, jwt or address");
    if (c->clients.pseudonym_version == 0)
        return refuse("the file has no clients.pseudonym_key: pseudonyms change with every start");
    if (!is_name(id))
        return refuse("an id has 1 to 128 bytes and no control characters");
    if (strcmp(kind, "address") == 0) {
        if (!config_peer(text, peer))
            return refuse("--id is not an address");
        text = bytes_str(peer);
    }
    config_pseudonym(c, kind, text, name);
    printf("%s\n", name);
    if (config_previous_pseudonym(c, kind, text, name))
        printf("%s\n", name);
    return true;
}
