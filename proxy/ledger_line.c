#include "ledger_line.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"

static const char no_hash[] = "0000000000000000000000000000000000000000000000000000000000000000";
static const char hash_key[] = ",\"hash\":\"", prev_key[] = ",\"prev\":\"";
enum { HEX = SHA256_HEX - 1, TAIL = sizeof(hash_key) - 1 + HEX + 2 }; /* ,"hash":"...64..."} */

void ledger_key(struct bytes secret, unsigned char out[SHA256_BYTES]) {
    crypto_hmac_sha256(secret, BYTES_LITERAL("querygate ledger"), out);
}

static void hash_text(const struct ledger_chain *c, struct bytes text, char out[SHA256_HEX]) {
    unsigned char digest[SHA256_BYTES];
    if (c->keyed)
        crypto_hmac_sha256(bytes_of(c->key, sizeof(c->key)), text, digest);
    else
        crypto_sha256(text, digest);
    crypto_hex(digest, sizeof(digest), out);
}

static void add_text(struct buf *b, const char *key, struct bytes v) {
    buf_add_str(b, key);
    buf_add_json(b, v);
}

bool ledger_line(struct ledger_chain *c, const struct ledger_entry *e, struct buf *out) {
    const struct charge *charge = e->charge;
    const uint64_t number = c->number + 1;
    size_t from = out->len;
    char when[CLOCK_TEXT];
    clock_text(e->time_us, when);
    buf_printf(out, "{\"number\":%llu", (unsigned long long)number);
    add_text(out, ",\"time\":", bytes_str(when));
    add_text(out, ",\"client\":", e->client);
    add_text(out, ",\"model\":", e->model);
    add_text(out, ",\"policy\":", e->policy);
    add_text(out, ",\"policy_sha256\":", bytes_str(e->policy_sha256));
    buf_printf(out, ",\"rows\":%u,\"unit\":\"%s\",\"cost\":%.12g,\"total\":%.12g,\"limit\":%.12g",
               charge->rows, charge->unit, charge->cost, charge->spent, charge->limit);
    buf_printf(out, "%s%s\"", prev_key, c->hash[0] != '\0' ? c->hash : no_hash);
    if (out->failed)
        return false;
    hash_text(c, bytes_of(out->at + from, out->len - from), c->hash);
    c->number = number;
    buf_printf(out, "%s%s\"}\n", hash_key, c->hash);
    return !out->failed;
}

/* ---- Reading ---- */

/* What stands behind the last `key` of text.  Numbers and hashes come behind all that a name could
 * have written. */
static bool find(struct bytes text, const char *key, struct bytes *out) {
    size_t len = strlen(key);
    for (size_t i = text.len; i >= len; i--)
        if (memcmp(text.at + i - len, key, len) == 0) {
            *out = bytes_skip(text, i);
            return true;
        }
    return false;
}

static bool read_number(struct bytes text, const char *key, double *out) {
    char copy[32], *end;
    struct bytes at;
    size_t len = 0;
    if (!find(text, key, &at))
        return false;
    while (len < at.len && len < sizeof(copy) - 1 && strchr("0123456789.e+-", at.at[len]) != NULL)
        len++;
    memcpy(copy, at.at, len);
    copy[len] = '\0';
    *out = strtod(copy, &end);
    return len > 0 && *end == '\0';
}

static bool read_hash(struct bytes at, char out[SHA256_HEX]) {
    if (at.len < HEX)
        return false;
    memcpy(out, at.at, HEX);
    out[HEX] = '\0';
    return strspn(out, "0123456789abcdef") == HEX;
}

static bool read_said(struct bytes body, struct ledger_said *out) {
    struct bytes prev, unit;
    double number, rows;
    if (!bytes_starts(body, "{\"number\":") || !find(body, prev_key, &prev) ||
        !read_hash(prev, out->prev) || prev.len != HEX + 1 || !find(body, ",\"unit\":\"", &unit) ||
        !read_number(bytes_of(body.at, body.len < 40 ? body.len : 40), "{\"number\":", &number) ||
        !read_number(body, ",\"rows\":", &rows) || !read_number(body, ",\"cost\":", &out->cost))
        return false;
    out->number = (uint64_t)number;
    out->rows = (uint64_t)rows;
    out->is_rho = bytes_starts(unit, "rho");
    return number >= 1 && number < 0x1p53 && rows >= 0 && rows < 0x1p53;
}

const char *ledger_read(const struct ledger_chain *c, struct bytes line, struct ledger_said *out) {
    char expected[SHA256_HEX];
    if (line.len <= TAIL || memcmp(line.at + line.len - 2, "\"}", 2) != 0)
        return "no line of a ledger";
    struct bytes body = bytes_of(line.at, line.len - TAIL),
                 tail = bytes_skip(line, line.len - TAIL);
    if (!bytes_starts(tail, hash_key) || !read_hash(bytes_skip(tail, TAIL - HEX - 2), out->hash) ||
        !read_said(body, out))
        return "no line of a ledger";
    hash_text(c, body, expected);
    return crypto_equal(expected, out->hash, HEX) ? NULL : "its hash is not that of its text";
}

bool ledger_take_up(struct ledger_chain *c, struct bytes line) {
    struct ledger_said said;
    if (ledger_read(c, line, &said) != NULL)
        return false;
    c->number = said.number;
    memcpy(c->hash, said.hash, sizeof(c->hash));
    return true;
}

/* The line begins as ledger_line makes it: number, time, client, model. */
void ledger_read_state(struct bytes line, struct bytes client, struct bytes model,
                       struct ledger_state *out) {
    struct ledger_state now = {.found = true};
    struct bytes at, unit, time;
    struct buf want;
    buf_init(&want, LEDGER_LINE_MAX);
    add_text(&want, ",\"client\":", client);
    add_text(&want, ",\"model\":", model);
    bool ok = !want.failed && bytes_starts(line, "{\"number\":") && line.len > want.len;
    at = line;
    time = bytes_of(NULL, 0);
    if (ok) {
        bytes_cut(&at, ',');
        ok = bytes_starts(at, "\"time\":\"");
        time = ok ? bytes_skip(at, sizeof("\"time\":\"") - 1) : at;
        bytes_cut(&at, ',');
    }
    ok = ok && at.at != NULL && at.len >= want.len && memcmp(at.at - 1, want.at, want.len) == 0 &&
         find(line, ",\"unit\":\"", &unit) && read_number(line, ",\"total\":", &now.total) &&
         read_number(line, ",\"limit\":", &now.limit);
    if (ok) {
        struct bytes when = bytes_cut(&time, '"');
        size_t len = when.len < sizeof(now.time) - 1 ? when.len : sizeof(now.time) - 1;
        if (len > 0)
            memcpy(now.time, when.at, len);
        now.is_rho = bytes_starts(unit, "rho");
        *out = now;
    }
    buf_free(&want);
}
