/* Tokens, claims, key files.  An accepted token is spelt in the one way there is; accepted claims
 * keep to their bounds; a key file has keys or a reason.
 *
 * The first byte chooses which of them the rest is. */
#include "../../proxy/jwt.c"

#include <stdlib.h>

#include "../../proxy/base/require.h"

#define NOW 1700000000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The public keys of RFC 8037 (A.2) and RFC 7515 (A.3). */
static const char jwks[] =
    "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"ed\","
    "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"},"
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}";
static const struct jwt_tier tiers[] = {{BYTES_LITERAL("gold-plan"), BYTES_LITERAL("gold")}};
static struct jwt_conf conf = {.algorithms = {true, true, true},
                               .issuer = BYTES_LITERAL("i"),
                               .audience = BYTES_LITERAL("a"),
                               .subject = BYTES_LITERAL("sub"),
                               .leeway_s = 30,
                               .tier_claim = BYTES_LITERAL("plan"),
                               .tiers = tiers,
                               .tier_count = 1};
static struct arena *arena, *of_keys;

static void finish(void) {
    jwt_keys_free(&conf);
    arena_free(arena);
    arena_free(of_keys);
}

static void prepare(void) {
    char why[JWT_WHY_MAX];
    const char *hint;
    if (arena != NULL) {
        arena_reset(arena);
        return;
    }
    arena = arena_new(MIB(16));
    of_keys = arena_new(MIB(1));
    require(arena != NULL && of_keys != NULL && atexit(finish) == 0);
    require(jwt_keys_read(&conf, of_keys, bytes_str(jwks), why, &hint) == NULL);
}

/* Encoded again, the decoded part is what was read. */
static void check_spelling(struct bytes part) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    struct bytes raw = jwt_base64url(arena, part);
    uint32_t bits = 0;
    size_t at = 0;
    unsigned have = 0;
    if (raw.at == NULL)
        return;
    for (size_t i = 0; i < raw.len; i++) {
        bits = bits << 8 | (unsigned char)raw.at[i];
        for (have += 8; have >= 6;) {
            have -= 6;
            require(part.at[at++] == digits[bits >> have & 63]);
        }
    }
    if (have > 0)
        require(part.at[at++] == digits[bits << (6 - have) & 63]);
    require(at == part.len);
}

static void check_accepted(const struct jwt_claims *c) {
    require(c->subject.len > 0 && c->subject.len <= CLIENT_ID_MAX);
    require(memchr(c->subject.at, '\0', c->subject.len) == NULL);
    require(c->tier.len == 0 || bytes_is(c->tier, "gold"));
    require(c->not_before_s <= NOW && NOW <= c->not_after_s);
    require(c->not_after_s < JWT_DATE_MAX + conf.leeway_s);
}

static void play_token(struct bytes text) {
    struct jwt_claims claims;
    struct bytes rest = text;
    enum jwt_status s = jwt_check(&conf, arena, text, NOW, &claims);
    require(s != JWT_NO_MEMORY);
    if (s == JWT_GOOD)
        check_accepted(&claims);
    while (rest.at != NULL)
        check_spelling(bytes_cut(&rest, '.'));
}

/* As if somebody had signed them. */
static void play_claims(struct bytes text) {
    struct jwt_claims claims;
    json_t *object =
        is_shallow(text) ? json_loadb(text.at, text.len, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (json_is_object(object) && check_claims(&conf, arena, object, NOW, &claims) == JWT_GOOD) {
        check_accepted(&claims);
        require(json_object_get(object, "exp") != NULL && json_object_get(object, "cnf") == NULL);
        require(bytes_eq(text_of(json_object_get(object, "iss")), conf.issuer));
    }
    json_decref(object);
}

static void play_keys(struct bytes text) {
    struct jwt_conf read = {.algorithms = {true, true, true}};
    char why[JWT_WHY_MAX];
    const char *hint = NULL;
    const char *wrong = jwt_keys_read(&read, arena, text, why, &hint);
    require(wrong != NULL ? wrong[0] != '\0' : read.key_count > 0);
    require(read.key_count <= JWKS_KEYS_MAX);
    for (uint32_t i = 0; i < read.key_count; i++)
        require(read.keys[i].key != NULL && read.keys[i].kid.len <= JWT_KID_MAX);
    jwt_keys_free(&read);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static void (*const plays[])(struct bytes) = {play_token, play_claims, play_keys};
    if (size < 1 || size > KIB(64))
        return 0;
    prepare();
    plays[data[0] % 3](bytes_of(data + 1, size - 1));
    return 0;
}
