/* config_harness.h - a configuration whose files and names live in the test. */
#ifndef QG_CONFIG_HARNESS_H
#define QG_CONFIG_HARNESS_H

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../proxy/config.h"

static const char good_text[] =
    "workers: 2\n"
    "listeners:\n"
    "  - {name: rest, address: \"127.0.0.1:8080\"}\n"
    "  - {name: open, address: \"[::]:8443\", protocol: http, tls: {cert: c.pem, key: k.pem}}\n"
    "admin: {address: localhost:9901}\n"
    "store: {url: \"memory:\"}\n"
    "limits: {max_body: 1MiB, idle_timeout: 2min, compressed_bodies: false}\n"
    "log: {access: logs/access.jsonl}\n"
    "clients:\n"
    "  identify: [api_key, address]\n"
    "  api_keys: {header: X-Key, file: keys.yaml}\n"
    "  anonymous: allow\n"
    "  pseudonym_key: {file: p.key, version: 7}\n"
    "upstreams:\n"
    "  digits: {protocol: open-inference, http: [http://10.0.0.1:9000, \"https://[::1]:9443/\"],\n"
    "           tls: {ca: ca.pem, name: model}, health: {path: /ready, interval: 1s}}\n"
    "models:\n"
    "  - {match: digits, upstream: digits, policy: guarded, tiers: {gold: free},\n"
    "     rows: first, show_version: true,\n"
    "     outputs: {probabilities: scores, label: labels}}\n"
    "  - {match: \"raw*\", upstream: digits, policy: raw}\n"
    "policies:\n"
    "  guarded:\n"
    "    filters:\n"
    "      - rate_limit: {queries: 120/min}\n"
    "      - top_k:\n"
    "      - round: {digits: 3}\n"
    "  free: {mode: observe, filters: [top_k: {k: 5, scores: keep}]}\n"
    "  raw: {bodies: relay, filters: []}\n";

/* Hashes of "alice-has-a-long-key" and "bob-has-one-that-ended". */
static const char good_keys[] = "keys:\n"
                                "  - {id: alice, sha256: @ALICE@, tier: gold}\n"
                                "  - {id: bob, sha256: @BOB@, not_after: 2020-02-29}\n";

static const char *keys_text;      /* NULL: keys.yaml is not there */
static const char *pseudonym_text; /* of p.key */
static const char *jwks_json;      /* of jwks.json */
static const char *unsafe_path;    /* a secret that others may read */

static void hash_hex(const char *key, char out[SHA256_HEX]) {
    unsigned char digest[SHA256_BYTES];
    crypto_sha256(bytes_str(key), digest);
    crypto_hex(digest, sizeof(digest), out);
}

/* text with the first `from` in it become `to`; the caller frees. */
static char *replaced(const char *text, const char *from, const char *to) {
    char *out = malloc(strlen(text) + strlen(to) + 1);
    const char *at = strstr(text, from);
    if (out == NULL || at == NULL) {
        fprintf(stderr, "'%s' is not in the text\n", from);
        abort();
    }
    sprintf(out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    return out;
}

static char *keys_with_hashes(const char *text) {
    char alice[SHA256_HEX], bob[SHA256_HEX];
    hash_hex("alice-has-a-long-key", alice);
    hash_hex("bob-has-one-that-ended", bob);
    char *first = replaced(text, "@ALICE@", alice), *both = replaced(first, "@BOB@", bob);
    free(first);
    return both;
}

static const char *fake_load(const char *path, bool secret, struct buf *out,
                             char why[CONFIG_WHY_MAX]) {
    const char *name = strrchr(path, '/'), *text = "pem";
    if (unsafe_path != NULL && strcmp(path, unsafe_path) == 0 && secret) {
        snprintf(why, CONFIG_WHY_MAX, "it is a secret that others may read (mode 0644): chmod 600");
        return why;
    }
    if (strncmp(path, "/etc/q/", 7) != 0 || strstr(path, "missing") != NULL)
        return "No such file or directory";
    if (strcmp(name, "/keys.yaml") == 0)
        text = keys_text;
    if (strcmp(name, "/p.key") == 0)
        text = pseudonym_text;
    if (strcmp(name, "/jwks.json") == 0)
        text = jwks_json;
    if (text == NULL)
        return "No such file or directory";
    if (out != NULL)
        buf_add_str(out, text);
    return NULL;
}

static const char *fake_resolve(const char *host, const char *port, struct sockaddr_storage *at,
                                socklen_t *len) {
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(port))};
    if (inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, &four.sin_addr)) {
        memcpy(at, &four, *len = sizeof(four));
        return NULL;
    }
    if (inet_pton(AF_INET6, host, &six.sin6_addr)) {
        memcpy(at, &six, *len = sizeof(six));
        return NULL;
    }
    return "Name or service not known";
}

static const struct config_io fake_io = {.load = fake_load, .resolve = fake_resolve};

/* Reads text as /etc/q/policy.yaml; *errors is NUL-terminated, the caller frees it. */
static struct config *read_text(const char *text, struct buf *errors) {
    buf_init(errors, MIB(1));
    struct config *c = config_read_text(bytes_str(text), "/etc/q/policy.yaml", &fake_io, errors);
    buf_add_char(errors, '\0');
    return c;
}

static char *hashed;

/* Before each test: the good keys, a good pseudonym key, nothing unsafe. */
static int reset(void **state) {
    (void)state;
    if (hashed == NULL)
        hashed = keys_with_hashes(good_keys);
    keys_text = hashed;
    pseudonym_text = "0123456789abcdef\n";
    unsafe_path = NULL;
    return 0;
}

static struct config *must_read(const char *text) {
    struct buf errors;
    struct config *c = read_text(text, &errors);
    if (c == NULL)
        fail_msg("%s", errors.at);
    assert_int_equal(errors.len, 1); /* its NUL */
    buf_free(&errors);
    return c;
}

#endif
