/* Tokens: each row of the tables is one that somebody has forged, confused, or let grow old. */
#include "../../proxy/jwt.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "jwt_harness.h"

#define NOW 1700000000

static const char *const headers[] = {"{'alg':'RS256','kid':'rsa'}", "{'alg':'ES256','kid':'ec'}",
                                      "{'alg':'EdDSA','kid':'ed'}"};
/* Claims that are good at NOW, without their end. */
#define WHO  "{'iss':'https://issuer.example','aud':'gate','sub':'alice'"
#define GOOD WHO ",'exp':1700000600}"

static const struct jwt_tier tiers[] = {{BYTES_LITERAL("gold-plan"), BYTES_LITERAL("gold")},
                                        {BYTES_LITERAL("free"), BYTES_LITERAL("free")}};
static struct jwt_conf conf;
static struct arena *arena, *of_keys;

static int setup(void **state) {
    char why[JWT_WHY_MAX];
    const char *hint;
    (void)state;
    make_signers();
    arena = arena_new(KIB(64));
    of_keys = arena_new(MIB(1));
    conf = (struct jwt_conf){.algorithms = {true, true, true},
                             .issuer = BYTES_LITERAL("https://issuer.example"),
                             .audience = BYTES_LITERAL("gate"),
                             .subject = BYTES_LITERAL("sub"),
                             .leeway_s = 30,
                             .tier_claim = BYTES_LITERAL("plan"),
                             .tiers = tiers,
                             .tier_count = 2};
    assert_null(jwt_keys_read(&conf, of_keys, bytes_str(jwks_text), why, &hint));
    assert_int_equal(conf.key_count, 3);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    jwt_keys_free(&conf);
    arena_free(arena);
    arena_free(of_keys);
    free_signers();
    return 0;
}

static enum jwt_status check_at(const char *token, uint64_t now_s, struct jwt_claims *out) {
    *out = (struct jwt_claims){.not_before_s = 0};
    arena_reset(arena);
    enum jwt_status s = jwt_check(&conf, arena, bytes_str(token), now_s, out);
    /* The operator is told which check failed, whatever it was. */
    assert_int_equal(s == JWT_INVALID || s == JWT_EXPIRED,
                     out->why != NULL && strncmp(out->why, "token: ", 7) == 0);
    return s;
}

static enum jwt_status check(const char *token) {
    struct jwt_claims claims;
    return check_at(token, NOW, &claims);
}

static const char *const statuses[] = {"good", "invalid", "expired", "no memory"};

static unsigned expect(const char *what, const char *token, enum jwt_status want) {
    enum jwt_status s = check(token);
    if (s != want)
        print_error("%s: %s, not %s: %s\n", what, statuses[s], statuses[want], token);
    return s != want;
}

/* ---- What passes ---- */

static const struct {
    enum signer by;
    const char *header, *payload, *tier;
} good[] = {
    {BY_RSA, "{'alg':'RS256','kid':'rsa'}", GOOD, ""},
    {BY_EC, "{'alg':'ES256','kid':'ec'}", GOOD, ""},
    {BY_ED, "{'alg':'EdDSA','kid':'ed'}", GOOD, ""},
    {BY_RSA, "{'alg':'RS256'}", GOOD, ""},
    {BY_EC, "{'alg':'ES256','typ':'JWT'}", GOOD, ""},
    {BY_ED, "{'typ':'application/AT+jwt','alg':'EdDSA'}", GOOD, ""},
    {BY_ED, " {\t'alg' : 'EdDSA' , 'x5t':'abc', 'unknown':[{}]}\r\n", GOOD, ""},
    {BY_ED, "{'\\u0061lg':'EdDSA'}", GOOD, ""},
    {BY_ED, "{'alg':'EdDSA'}", " " WHO ", 'exp': 1700000600 }\n", ""},
    {BY_ED, "{'alg':'EdDSA'}", WHO ",'exp':1700000600,'x':'\\'[[[[[[[[[[[[[[[[[[[[','y':'\\\\'}",
     ""},
    {BY_ED, "{'alg':'EdDSA'}", WHO ",'exp':1700000000.5}", ""},
    {BY_ED, "{'alg':'EdDSA'}", WHO ",'exp':1.7000006e9}", ""},
    {BY_ED, "{'alg':'EdDSA'}", WHO ",'exp':253402300799}", ""},
    {BY_ED, "{'alg':'EdDSA'}", WHO ",'exp':1699999971}", ""},
    {BY_ED, "{'alg':'EdDSA'}", WHO ",'exp':1700000600,'nbf':1700000030}", ""},
    {BY_ED, "{'alg':'EdDSA'}", WHO ",'exp':1700000600,'iat':1700000030}", ""},
    {BY_ED, "{'alg':'EdDSA'}", WHO ",'exp':1700000600,'nbf':0,'iat':0}", ""},
    {BY_ED, "{'alg':'EdDSA'}",
     "{'iss':'https://issuer.example','aud':['x','gate'],'sub':'\\u00e9','exp':1700000600}", ""},
    {BY_ED, "{'alg':'EdDSA'}", WHO ",'exp':1700000600,'plan':'gold-plan'}", "gold"},
    {BY_ED, "{'alg':'EdDSA'}", WHO ",'exp':1700000600,'plan':'free'}", "free"},
    {BY_ED, "{'alg':'EdDSA'}", WHO ",'exp':1700000600,'plan':'gold'}", ""},
    {BY_ED, "{'alg':'EdDSA'}", WHO ",'exp':1700000600,'plan':'gold-plan2'}", ""},
    {BY_ED, "{'alg':'EdDSA'}", WHO ",'exp':1700000600,'plan':['free','gold-plan']}", "gold"},
    {BY_ED, "{'alg':'EdDSA'}", WHO ",'exp':1700000600,'plan':[]}", ""},
    {BY_ED, "{'alg':'EdDSA'}", WHO ",'exp':1700000600,'x':{'plan':'gold-plan'}}", ""},
};

static void test_good_tokens(void **state) {
    unsigned wrong = 0;
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct jwt_claims claims;
        char *token = token_of(good[i].by, good[i].header, good[i].payload);
        enum jwt_status s = check_at(token, NOW, &claims);
        if (s != JWT_GOOD || !bytes_is(claims.tier, good[i].tier) || claims.subject.len == 0) {
            print_error("row %zu: %s, tier '%.*s'\n", i, statuses[s], (int)claims.tier.len,
                        claims.tier.at);
            wrong++;
        }
        free(token);
    }
    assert_int_equal(wrong, 0);
}

/* ---- Headers and payloads that do not, however well they are signed ---- */

#define ED    "{'alg':'EdDSA','kid':'ed'}"
#define DEEP8 "[[[[[[[["
#define END8  "]]]]]]]]"
#define A16   "aaaaaaaaaaaaaaaa"
#define A128  A16 A16 A16 A16 A16 A16 A16 A16

static const struct {
    const char *what;
    enum signer by;
    const char *header, *payload;
    enum jwt_status want;
} bad[] = {
    /* Algorithms. */
    {"no signature", BY_NOBODY, "{'alg':'none'}", GOOD, JWT_INVALID},
    {"none, signed", BY_ED, "{'alg':'none'}", GOOD, JWT_INVALID},
    {"None", BY_ED, "{'alg':'None'}", GOOD, JWT_INVALID},
    {"NONE", BY_ED, "{'alg':'NONE','kid':'ed'}", GOOD, JWT_INVALID},
    {"nOnE", BY_ED, "{'alg':'nOnE'}", GOOD, JWT_INVALID},
    {"escaped none", BY_ED, "{'\\u0061lg':'n\\u006fne'}", GOOD, JWT_INVALID},
    {"no alg", BY_ED, "{'kid':'ed'}", GOOD, JWT_INVALID},
    {"empty alg", BY_ED, "{'alg':''}", GOOD, JWT_INVALID},
    {"alg is null", BY_ED, "{'alg':null}", GOOD, JWT_INVALID},
    {"alg is a list", BY_ED, "{'alg':['EdDSA']}", GOOD, JWT_INVALID},
    {"alg in capitals", BY_ED, "{'alg':'EDDSA'}", GOOD, JWT_INVALID},
    {"alg with a space", BY_ED, "{'alg':'EdDSA '}", GOOD, JWT_INVALID},
    {"a name in capitals", BY_ED, "{'ALG':'EdDSA'}", GOOD, JWT_INVALID},
    {"HS256 under the public PEM", BY_PEM, "{'alg':'HS256'}", GOOD, JWT_INVALID},
    {"HS256 under the PEM, kid", BY_PEM, "{'alg':'HS256','kid':'rsa'}", GOOD, JWT_INVALID},
    {"HS256 under the modulus", BY_JWK, "{'alg':'HS256','kid':'rsa'}", GOOD, JWT_INVALID},
    {"an HMAC that says RS256", BY_PEM, "{'alg':'RS256','kid':'rsa'}", GOOD, JWT_INVALID},
    {"HS384", BY_PEM, "{'alg':'HS384'}", GOOD, JWT_INVALID},
    {"RS384", BY_RSA, "{'alg':'RS384','kid':'rsa'}", GOOD, JWT_INVALID},
    {"PS256", BY_RSA, "{'alg':'PS256','kid':'rsa'}", GOOD, JWT_INVALID},
    {"RS1", BY_RSA, "{'alg':'RS1'}", GOOD, JWT_INVALID},
    {"ES384", BY_EC, "{'alg':'ES384'}", GOOD, JWT_INVALID},
    {"ES256K", BY_EC, "{'alg':'ES256K'}", GOOD, JWT_INVALID},
    {"ES256 that says RS256", BY_EC, "{'alg':'RS256','kid':'ec'}", GOOD, JWT_INVALID},
    {"ES256 by the RSA key", BY_RSA, "{'alg':'ES256','kid':'rsa'}", GOOD, JWT_INVALID},
    {"RS256 that says EdDSA", BY_RSA, "{'alg':'EdDSA','kid':'ed'}", GOOD, JWT_INVALID},
    {"EdDSA that says ES256", BY_ED, "{'alg':'ES256','kid':'ec'}", GOOD, JWT_INVALID},
    {"an encrypted token's alg", BY_RSA, "{'alg':'RSA-OAEP','enc':'A256GCM'}", GOOD, JWT_INVALID},
    /* Keys. */
    {"kid of another key", BY_ED, "{'alg':'EdDSA','kid':'ec'}", GOOD, JWT_INVALID},
    {"unknown kid", BY_ED, "{'alg':'EdDSA','kid':'nobody'}", GOOD, JWT_INVALID},
    {"kid with a tail", BY_ED, "{'alg':'EdDSA','kid':'ed2'}", GOOD, JWT_INVALID},
    {"empty kid", BY_ED, "{'alg':'EdDSA','kid':''}", GOOD, JWT_INVALID},
    {"kid is a number", BY_ED, "{'alg':'EdDSA','kid':1}", GOOD, JWT_INVALID},
    {"kid is null", BY_ED, "{'alg':'EdDSA','kid':null}", GOOD, JWT_INVALID},
    {"kid is a path", BY_ED, "{'alg':'EdDSA','kid':'../../dev/null'}", GOOD, JWT_INVALID},
    {"another RSA key", BY_OTHER_RSA, "{'alg':'RS256','kid':'rsa'}", GOOD, JWT_INVALID},
    {"another RSA key, no kid", BY_OTHER_RSA, "{'alg':'RS256'}", GOOD, JWT_INVALID},
    {"another EC key", BY_OTHER_EC, "{'alg':'ES256','kid':'ec'}", GOOD, JWT_INVALID},
    {"another Ed25519 key", BY_OTHER_ED, ED, GOOD, JWT_INVALID},
    {"jku", BY_OTHER_ED, "{'alg':'EdDSA','jku':'https://evil.example/jwks'}", GOOD, JWT_INVALID},
    {"jku, signed by us", BY_ED, "{'alg':'EdDSA','jku':'https://e.example'}", GOOD, JWT_INVALID},
    {"jwk, signed by us", BY_ED, "{'alg':'EdDSA','jwk':{}}", GOOD, JWT_INVALID},
    {"x5u", BY_ED, "{'alg':'EdDSA','x5u':'https://e.example'}", GOOD, JWT_INVALID},
    {"x5c", BY_ED, "{'alg':'EdDSA','x5c':['MII']}", GOOD, JWT_INVALID},
    /* Extensions. */
    {"crit", BY_ED, "{'alg':'EdDSA','crit':['exp'],'exp':1}", GOOD, JWT_INVALID},
    {"empty crit", BY_ED, "{'alg':'EdDSA','crit':[]}", GOOD, JWT_INVALID},
    {"crit is null", BY_ED, "{'alg':'EdDSA','crit':null}", GOOD, JWT_INVALID},
    {"b64", BY_ED, "{'alg':'EdDSA','b64':false,'crit':['b64']}", GOOD, JWT_INVALID},
    {"b64 alone", BY_ED, "{'alg':'EdDSA','b64':false}", GOOD, JWT_INVALID},
    {"another type", BY_ED, "{'alg':'EdDSA','typ':'dpop+jwt'}", GOOD, JWT_INVALID},
    {"a logout", BY_ED, "{'alg':'EdDSA','typ':'logout+jwt'}", GOOD, JWT_INVALID},
    {"type is a number", BY_ED, "{'alg':'EdDSA','typ':1}", GOOD, JWT_INVALID},
    {"empty type", BY_ED, "{'alg':'EdDSA','typ':'application/'}", GOOD, JWT_INVALID},
    /* JSON. */
    {"two algs", BY_ED, "{'alg':'none','alg':'EdDSA'}", GOOD, JWT_INVALID},
    {"two algs, one escaped", BY_ED, "{'alg':'EdDSA','\\u0061lg':'none'}", GOOD, JWT_INVALID},
    {"header is a list", BY_ED, "['alg','EdDSA']", GOOD, JWT_INVALID},
    {"header is text", BY_ED, "'alg'", GOOD, JWT_INVALID},
    {"header is cut", BY_ED, "{'alg':'EdDSA'", GOOD, JWT_INVALID},
    {"header and more", BY_ED, "{'alg':'EdDSA'}{}", GOOD, JWT_INVALID},
    {"byte order mark", BY_ED, "\xef\xbb\xbf{'alg':'EdDSA'}", GOOD, JWT_INVALID},
    {"no UTF-8", BY_ED, "{'alg':'EdDSA','x':'\xff'}", GOOD, JWT_INVALID},
    {"comment", BY_ED, "{'alg':'EdDSA'/**/}", GOOD, JWT_INVALID},
    {"deep header", BY_ED, "{'alg':'EdDSA','x':" DEEP8 DEEP8 END8 END8 "}", GOOD, JWT_INVALID},
    {"payload is a list", BY_ED, ED, "[" GOOD "]", JWT_INVALID},
    {"payload is text", BY_ED, ED, "'alice'", JWT_INVALID},
    {"payload is null", BY_ED, ED, "null", JWT_INVALID},
    {"payload is no JSON", BY_ED, ED, "alice", JWT_INVALID},
    {"payload is cut", BY_ED, ED, WHO ",'exp':1700000600", JWT_INVALID},
    {"payload and more", BY_ED, ED, GOOD "x", JWT_INVALID},
    {"deep payload", BY_ED, ED, WHO ",'exp':1700000600,'x':" DEEP8 DEEP8 END8 END8 "}",
     JWT_INVALID},
    {"two ends", BY_ED, ED, WHO ",'exp':1700000600,'exp':1700000600}", JWT_INVALID},
    {"two ends, one escaped", BY_ED, ED, WHO ",'exp':1700000600,'\\u0065xp':9}", JWT_INVALID},
    {"two subjects", BY_ED, ED, WHO ",'sub':'bob','exp':1700000600}", JWT_INVALID},
    /* Dates. */
    {"no end", BY_ED, ED, WHO "}", JWT_INVALID},
    {"end is text", BY_ED, ED, WHO ",'exp':'1700000600'}", JWT_INVALID},
    {"end is null", BY_ED, ED, WHO ",'exp':null}", JWT_INVALID},
    {"end is true", BY_ED, ED, WHO ",'exp':true}", JWT_INVALID},
    {"end is a list", BY_ED, ED, WHO ",'exp':[1700000600]}", JWT_INVALID},
    {"end is huge", BY_ED, ED, WHO ",'exp':1e300}", JWT_INVALID},
    {"end is infinite", BY_ED, ED, WHO ",'exp':1e999}", JWT_INVALID},
    {"end beyond 64 bits", BY_ED, ED, WHO ",'exp':99999999999999999999}", JWT_INVALID},
    {"end at 2^63 - 1", BY_ED, ED, WHO ",'exp':9223372036854775807}", JWT_INVALID},
    {"end in milliseconds", BY_ED, ED, WHO ",'exp':1700000600000}", JWT_INVALID},
    {"end is negative", BY_ED, ED, WHO ",'exp':-1}", JWT_INVALID},
    {"end is zero", BY_ED, ED, WHO ",'exp':0}", JWT_EXPIRED},
    {"ended", BY_ED, ED, WHO ",'exp':1699990000}", JWT_EXPIRED},
    {"ended by one second", BY_ED, ED, WHO ",'exp':1699999970}", JWT_EXPIRED},
    {"ended by half a second", BY_ED, ED, WHO ",'exp':1699999970.9}", JWT_EXPIRED},
    {"ended, forged", BY_OTHER_ED, ED, WHO ",'exp':1699990000}", JWT_INVALID},
    {"ended, another's", BY_ED, ED,
     "{'iss':'https://issuer.example','aud':'other','sub':'alice','exp':1699990000}", JWT_INVALID},
    {"ended, not begun", BY_ED, ED, WHO ",'exp':1,'nbf':1800000000}", JWT_INVALID},
    {"not begun", BY_ED, ED, WHO ",'exp':1800000000,'nbf':1700000031}", JWT_INVALID},
    {"not begun by a moment", BY_ED, ED, WHO ",'exp':1800000000,'nbf':1700000030.1}", JWT_INVALID},
    {"begin is text", BY_ED, ED, WHO ",'exp':1700000600,'nbf':'0'}", JWT_INVALID},
    {"begin is negative", BY_ED, ED, WHO ",'exp':1700000600,'nbf':-5}", JWT_INVALID},
    {"made in the future", BY_ED, ED, WHO ",'exp':1800000000,'iat':1700000031}", JWT_INVALID},
    {"made at no time", BY_ED, ED, WHO ",'exp':1700000600,'iat':{}}", JWT_INVALID},
    {"made at null", BY_ED, ED, WHO ",'exp':1700000600,'iat':null}", JWT_INVALID},
    /* Issuer, audience, subject. */
    {"no issuer", BY_ED, ED, "{'aud':'gate','sub':'a','exp':1700000600}", JWT_INVALID},
    {"issuer with a tail", BY_ED, ED,
     "{'iss':'https://issuer.example.evil','aud':'gate','sub':'a','exp':1700000600}", JWT_INVALID},
    {"issuer cut", BY_ED, ED, "{'iss':'https://issuer','aud':'gate','sub':'a','exp':1700000600}",
     JWT_INVALID},
    {"issuer with a slash", BY_ED, ED,
     "{'iss':'https://issuer.example/','aud':'gate','sub':'a','exp':1700000600}", JWT_INVALID},
    {"issuer is a list", BY_ED, ED,
     "{'iss':['https://issuer.example'],'aud':'gate','sub':'a','exp':1700000600}", JWT_INVALID},
    {"issuer in capitals", BY_ED, ED,
     "{'iss':'HTTPS://issuer.example','aud':'gate','sub':'a','exp':1700000600}", JWT_INVALID},
    {"no audience", BY_ED, ED, "{'iss':'https://issuer.example','sub':'a','exp':1700000600}",
     JWT_INVALID},
    {"another audience", BY_ED, ED,
     "{'iss':'https://issuer.example','aud':'door','sub':'a','exp':1700000600}", JWT_INVALID},
    {"audience with a tail", BY_ED, ED,
     "{'iss':'https://issuer.example','aud':'gateway','sub':'a','exp':1700000600}", JWT_INVALID},
    {"audience in a text", BY_ED, ED,
     "{'iss':'https://issuer.example','aud':'x gate','sub':'a','exp':1700000600}", JWT_INVALID},
    {"audiences of others", BY_ED, ED,
     "{'iss':'https://issuer.example','aud':['gat','egate'],'sub':'a','exp':1700000600}",
     JWT_INVALID},
    {"no audience in the list", BY_ED, ED,
     "{'iss':'https://issuer.example','aud':[],'sub':'a','exp':1700000600}", JWT_INVALID},
    {"audience beside a number", BY_ED, ED,
     "{'iss':'https://issuer.example','aud':['gate',1],'sub':'a','exp':1700000600}", JWT_INVALID},
    {"audience in a list in a list", BY_ED, ED,
     "{'iss':'https://issuer.example','aud':[['gate']],'sub':'a','exp':1700000600}", JWT_INVALID},
    {"audience in an object", BY_ED, ED,
     "{'iss':'https://issuer.example','aud':{'0':'gate'},'sub':'a','exp':1700000600}", JWT_INVALID},
    {"no subject", BY_ED, ED, "{'iss':'https://issuer.example','aud':'gate','exp':1700000600}",
     JWT_INVALID},
    {"empty subject", BY_ED, ED,
     "{'iss':'https://issuer.example','aud':'gate','sub':'','exp':1700000600}", JWT_INVALID},
    {"subject is a number", BY_ED, ED,
     "{'iss':'https://issuer.example','aud':'gate','sub':7,'exp':1700000600}", JWT_INVALID},
    {"subject is null", BY_ED, ED,
     "{'iss':'https://issuer.example','aud':'gate','sub':null,'exp':1700000600}", JWT_INVALID},
    {"subject too long", BY_ED, ED,
     "{'iss':'https://issuer.example','aud':'gate','sub':'" A128 "a','exp':1700000600}",
     JWT_INVALID},
    {"NUL in the subject", BY_ED, ED,
     "{'iss':'https://issuer.example','aud':'gate','sub':'a\\u0000b','exp':1700000600}",
     JWT_INVALID},
    {"line end in the subject", BY_ED, ED,
     "{'iss':'https://issuer.example','aud':'gate','sub':'a\\nb','exp':1700000600}", JWT_INVALID},
    {"delete in the subject", BY_ED, ED,
     "{'iss':'https://issuer.example','aud':'gate','sub':'a\\u007f','exp':1700000600}",
     JWT_INVALID},
    {"tier is a number", BY_ED, ED, WHO ",'exp':1700000600,'plan':1}", JWT_INVALID},
    {"tiers beside a number", BY_ED, ED, WHO ",'exp':1700000600,'plan':['free',1]}", JWT_INVALID},
    {"bound to a key", BY_ED, ED, WHO ",'exp':1700000600,'cnf':{'jkt':'x'}}", JWT_INVALID},
};

static void test_bad_tokens(void **state) {
    unsigned wrong = 0;
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char *token = token_of(bad[i].by, bad[i].header, bad[i].payload);
        wrong += expect(bad[i].what, token, bad[i].want);
        free(token);
    }
    assert_int_equal(wrong, 0);
}

/* The attacker's own key, with a signature that holds under it. */
static void test_a_key_in_the_header(void **state) {
    char jwk[1000], header[1200];
    (void)state;
    for (int i = BY_OTHER_RSA; i <= BY_OTHER_ED; i++) {
        jwk_of(signers[i], "", jwk, sizeof(jwk));
        snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"jwk\":%s}", sign_names[i - 3], jwk);
        char *token = token_of((enum signer)i, header, GOOD);
        assert_int_equal(expect("jwk", token, JWT_INVALID), 0);
        free(token);
    }
}

/* ---- The spelling ---- */

static const char *const spellings[] = {
    "",       ".",      "..",      "...",         "a",         "a.b",     "h.p",     "h.p.s.",
    ".h.p.s", "h..s",   ".p.s",    "h.p.",        "h.p.s.x.y", "h.p.s.x", " h.p.s",  "h.p.s ",
    "h .p.s", "h.p.s=", "h=.p.s",  "h==.p.s",     "h.p=.s",    "h.p.s\n", "h.\np.s", "h.p.s/",
    "h.p.s+", "h,p,s",  "h.p.%73", "h.p.s,h.p.s", "h.h.s",     "p.p.s",   "p.h.s",   "h.p.h",
};

/* h, p and s stand for the parts of a good token. */
static void test_spelling(void **state) {
    unsigned wrong = 0;
    (void)state;
    for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++)
        for (int by = BY_RSA; by <= BY_ED; by++) {
            char *token = token_of((enum signer)by, headers[by], GOOD), out[4000] = "";
            struct bytes rest = bytes_str(token), part[3];
            for (int k = 0; k < 3; k++)
                part[k] = bytes_cut(&rest, '.');
            for (const char *c = spellings[i]; *c != '\0'; c++) {
                const char *hit = strchr("hps", *c);
                struct bytes add = hit != NULL ? part[hit - "hps"] : bytes_of(c, 1);
                strncat(out, add.at, add.len);
            }
            wrong += expect(spellings[i], out, JWT_INVALID);
            free(token);
        }
    assert_int_equal(wrong, 0);
}

static char next_digit(char c) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    return digits[(strchr(digits, c) - digits + 1) & 63];
}

/* Every character of a token counts, so no other text is that token; a prefix is none either. */
static void test_every_character_counts(void **state) {
    unsigned wrong = 0;
    (void)state;
    for (int by = BY_RSA; by <= BY_ED; by++) {
        char *token = token_of((enum signer)by, headers[by], GOOD);
        assert_int_equal(check(token), JWT_GOOD);
        for (char *c = token; *c != '\0'; c++) {
            char was = *c;
            *c = was == '.' ? 'A' : next_digit(was);
            wrong += expect("one character changed", token, JWT_INVALID);
            *c = '\0';
            wrong += expect("cut", token, JWT_INVALID);
            *c = was;
        }
        free(token);
    }
    assert_int_equal(wrong, 0);
}

/* ---- Signatures ---- */

/* token with another signature; the caller frees. */
static char *resigned(const char *token, const unsigned char *signature, size_t len) {
    size_t head = (size_t)(strrchr(token, '.') - token) + 1;
    char *out = malloc(head + len * 2 + 3);
    assert_non_null(out);
    memcpy(out, token, head);
    encode(bytes_of(signature, len), out + head);
    return out;
}

static unsigned expect_signature(const char *what, const char *token,
                                 const unsigned char *signature, size_t len, enum jwt_status want) {
    char *other = resigned(token, signature, len);
    unsigned wrong = expect(what, other, want);
    free(other);
    return wrong;
}

static struct bytes signature_in(const char *token) {
    return jwt_base64url(of_keys, bytes_str(strrchr(token, '.') + 1));
}

static void test_lengths_of_signatures(void **state) {
    unsigned wrong = 0;
    (void)state;
    for (int by = BY_RSA; by <= BY_ED; by++) {
        unsigned char longer[600] = {0};
        char *token = token_of((enum signer)by, headers[by], GOOD);
        struct bytes s = signature_in(token);
        memcpy(longer + 1, s.at, s.len);
        wrong += expect_signature("as it is", token, longer + 1, s.len, JWT_GOOD);
        wrong += expect_signature("a zero before", token, longer, s.len + 1, JWT_INVALID);
        wrong += expect_signature("a zero behind", token, longer + 1, s.len + 1, JWT_INVALID);
        wrong += expect_signature("one byte less", token, longer + 1, s.len - 1, JWT_INVALID);
        wrong += expect_signature("half", token, longer + 1, s.len / 2, JWT_INVALID);
        wrong += expect_signature("twice", token, longer, 2 * s.len, JWT_INVALID);
        memset(longer, 0, sizeof(longer));
        wrong += expect_signature("zeros", token, longer, s.len, JWT_INVALID);
        memset(longer, 0xff, sizeof(longer));
        wrong += expect_signature("ones", token, longer, s.len, JWT_INVALID);
        free(token);
    }
    assert_int_equal(wrong, 0);
}

static const char P256_ORDER[] = "FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551";

static void test_numbers_of_es256(void **state) {
    char *token = token_of(BY_EC, headers[BY_EC], GOOD);
    struct bytes s = signature_in(token);
    unsigned char zero[32] = {0}, one[32] = {0}, order[32], high[32], pair[64], der[80], *to = der;
    BIGNUM *n = NULL, *b = BN_bin2bn((const unsigned char *)s.at + 32, 32, NULL);
    unsigned wrong = 0;
    (void)state;
    one[31] = 1;
    BN_hex2bn(&n, P256_ORDER);
    BN_bn2binpad(n, order, 32);
    BN_sub(b, n, b);
    BN_bn2binpad(b, high, 32);
    const unsigned char *r = (const unsigned char *)s.at, *was = r + 32;
    const struct {
        const unsigned char *r, *s;
        enum jwt_status want;
    } rows[] = {
        {r, was, JWT_GOOD},          {r, high, JWT_GOOD}, /* s and n - s are both signatures */
        {zero, zero, JWT_INVALID},   {zero, was, JWT_INVALID},  {r, zero, JWT_INVALID},
        {order, order, JWT_INVALID}, {order, was, JWT_INVALID}, {r, order, JWT_INVALID},
        {one, one, JWT_INVALID},     {was, r, JWT_INVALID},     {order, zero, JWT_INVALID},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        memcpy(pair, rows[i].r, 32);
        memcpy(pair + 32, rows[i].s, 32);
        wrong += expect_signature("r and s", token, pair, 64, rows[i].want);
    }
    ECDSA_SIG *sig = ECDSA_SIG_new();
    ECDSA_SIG_set0(sig, BN_bin2bn(r, 32, NULL), BN_bin2bn(was, 32, NULL));
    int len = i2d_ECDSA_SIG(sig, &to);
    wrong += expect_signature("DER", token, der, (size_t)len, JWT_INVALID);
    assert_int_equal(wrong, 0);
    ECDSA_SIG_free(sig);
    BN_free(n);
    BN_free(b);
    free(token);
}

/* S and S + L would both hold, were S not bounded. */
static void test_numbers_of_eddsa(void **state) {
    static const unsigned char order[32] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a,       0x63,
                                            0x12, 0x58, 0xd6, 0x9c, 0xf7,       0xa2,
                                            0xde, 0xf9, 0xde, 0x14, [31] = 0x10};
    char *token = token_of(BY_ED, headers[BY_ED], GOOD);
    struct bytes s = signature_in(token);
    unsigned char other[64];
    unsigned carry = 0;
    (void)state;
    memcpy(other, s.at, 64);
    for (int i = 0; i < 32; i++) {
        carry += other[32 + i] + order[i];
        other[32 + i] = (unsigned char)carry;
        carry >>= 8;
    }
    assert_int_equal(expect_signature("S + L", token, other, 64, JWT_INVALID), 0);
    free(token);
}

/* ---- What the policy says ---- */

static void test_when_it_is_good(void **state) {
    struct jwt_claims claims;
    char *token = token_of(BY_ED, ED, WHO ",'exp':1700000600,'nbf':1700000100,'iat':1700000050}");
    (void)state;
    assert_int_equal(check_at(token, 1700000100, &claims), JWT_GOOD);
    assert_int_equal(claims.not_before_s, 1700000070);
    assert_int_equal(claims.not_after_s, 1700000629);
    assert_true(bytes_is(claims.subject, "alice"));
    assert_int_equal(check_at(token, 1700000069, &claims), JWT_INVALID);
    assert_int_equal(check_at(token, 1700000070, &claims), JWT_GOOD);
    assert_int_equal(check_at(token, 1700000629, &claims), JWT_GOOD);
    assert_int_equal(check_at(token, 1700000630, &claims), JWT_EXPIRED);
    free(token);
}

static void test_max_age(void **state) {
    struct jwt_claims claims;
    char *token = token_of(BY_ED, ED, WHO ",'exp':1800000000,'iat':1700000000}");
    char *no_iat = token_of(BY_ED, ED, GOOD);
    (void)state;
    assert_int_equal(check_at(token, 1700001000, &claims), JWT_GOOD);
    conf.max_age_s = 600;
    assert_int_equal(check_at(token, 1700000600, &claims), JWT_GOOD);
    assert_int_equal(claims.not_after_s, 1700000630);
    assert_int_equal(check_at(token, 1700000630, &claims), JWT_GOOD);
    assert_int_equal(check_at(token, 1700000631, &claims), JWT_EXPIRED);
    assert_int_equal(check(no_iat), JWT_INVALID);
    conf.max_age_s = 0;
    free(token);
    free(no_iat);
}

static void test_algorithms_of_the_policy(void **state) {
    (void)state;
    for (int off = 0; off < SIGN_COUNT; off++) {
        conf.algorithms[off] = false;
        for (int by = BY_RSA; by <= BY_ED; by++) {
            char *token = token_of((enum signer)by, headers[by], GOOD);
            assert_int_equal(check(token), by == off ? JWT_INVALID : JWT_GOOD);
            free(token);
        }
        conf.algorithms[off] = true;
    }
}

static void test_another_claim_names_the_client(void **state) {
    struct jwt_claims claims;
    char *token = token_of(BY_ED, ED, WHO ",'exp':1700000600,'azp':'app'}");
    (void)state;
    conf.subject = BYTES_LITERAL("azp");
    assert_int_equal(check_at(token, NOW, &claims), JWT_GOOD);
    assert_true(bytes_is(claims.subject, "app"));
    conf.subject = BYTES_LITERAL("client_id");
    assert_int_equal(check(token), JWT_INVALID);
    conf.subject = BYTES_LITERAL("sub");
    free(token);
}

/* Without a kid the first eight of its algorithm are tried; with one, that one wherever it is. */
static void test_many_keys(void **state) {
    struct jwt_conf many = conf;
    struct jwk keys[12];
    char *plain = token_of(BY_ED, "{'alg':'EdDSA'}", GOOD), *named = token_of(BY_ED, ED, GOOD);
    (void)state;
    for (uint32_t at = 0; at < 12; at++) {
        for (uint32_t i = 0; i < 12; i++)
            keys[i] = (struct jwk){SIGN_EDDSA, BYTES_LITERAL("x"), NULL};
        /* Keys of other algorithms do not count. */
        keys[0] = conf.keys[0];
        for (uint32_t i = 1; i < 12; i++) {
            unsigned char raw[32];
            size_t len = sizeof(raw);
            const char *why;
            EVP_PKEY *key = signers[i == at ? BY_ED : BY_OTHER_ED];
            EVP_PKEY_get_raw_public_key(key, raw, &len);
            keys[i].key = sign_key_new(SIGN_EDDSA, bytes_of(raw, len), bytes_of(NULL, 0), &why);
            keys[i].kid = i == at ? BYTES_LITERAL("ed") : BYTES_LITERAL("x");
        }
        many.keys = keys;
        many.key_count = 12;
        struct jwt_claims out;
        enum jwt_status want = at >= 1 && at <= 8 ? JWT_GOOD : JWT_INVALID;
        assert_int_equal(jwt_check(&many, arena, bytes_str(plain), NOW, &out), want);
        want = at >= 1 ? JWT_GOOD : JWT_INVALID;
        assert_int_equal(jwt_check(&many, arena, bytes_str(named), NOW, &out), want);
        for (uint32_t i = 1; i < 12; i++)
            sign_key_free(keys[i].key);
    }
    free(plain);
    free(named);
}

/* A key without a kid is nobody's namesake. */
static void test_a_key_without_a_kid(void **state) {
    static const struct {
        const char *header;
        enum jwt_status want;
    } rows[] = {
        {"{'alg':'EdDSA'}", JWT_GOOD},
        {"{'alg':'EdDSA','kid':''}", JWT_INVALID},
        {"{'alg':'EdDSA','kid':1}", JWT_INVALID},
        {"{'alg':'EdDSA','kid':null}", JWT_INVALID},
        {"{'alg':'EdDSA','kid':'ed'}", JWT_INVALID},
    };
    struct bytes kid = conf.keys[BY_ED].kid;
    unsigned wrong = 0;
    (void)state;
    conf.keys[BY_ED].kid = bytes_of(NULL, 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *token = token_of(BY_ED, rows[i].header, GOOD);
        wrong += expect(rows[i].header, token, rows[i].want);
        free(token);
    }
    conf.keys[BY_ED].kid = kid;
    assert_int_equal(wrong, 0);
}

/* ---- Sizes ---- */

static char *padded(const char *before, size_t count, const char *after) {
    char *out = malloc(strlen(before) + count + strlen(after) + 1);
    assert_non_null(out);
    strcpy(out, before);
    memset(out + strlen(before), 'a', count);
    strcpy(out + strlen(before) + count, after);
    return out;
}

static void test_sizes(void **state) {
    static const struct {
        size_t header, payload;
        enum jwt_status want;
    } rows[] = {
        {900, 0, JWT_GOOD},    {1100, 0, JWT_INVALID},   {7000, 0, JWT_INVALID},
        {0, 5500, JWT_GOOD},   {0, 6200, JWT_INVALID},   {0, 60000, JWT_INVALID},
        {900, 4500, JWT_GOOD}, {900, 5500, JWT_INVALID},
    };
    unsigned wrong = 0;
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *header = padded("{'alg':'EdDSA','x':'", rows[i].header, "'}");
        char *payload = padded(WHO ",'exp':1700000600,'x':'", rows[i].payload, "'}");
        char *token = token_of(BY_ED, header, payload);
        if (check(token) != rows[i].want) {
            print_error("row %zu, %zu bytes\n", i, strlen(token));
            wrong++;
        }
        free(header);
        free(payload);
        free(token);
    }
    assert_int_equal(wrong, 0);
}

static void test_many_audiences(void **state) {
    (void)state;
    for (int count = JWT_CLAIM_LIST_MAX; count <= JWT_CLAIM_LIST_MAX + 1; count++) {
        char payload[4000] = "{'iss':'https://issuer.example','sub':'a','exp':1700000600,'aud':[";
        for (int i = 1; i < count; i++)
            strcat(payload, "'x',");
        strcat(payload, "'gate']}");
        char *token = token_of(BY_ED, ED, payload);
        assert_int_equal(check(token), count == JWT_CLAIM_LIST_MAX ? JWT_GOOD : JWT_INVALID);
        free(token);
    }
}

static void test_out_of_memory(void **state) {
    struct arena *small = arena_new(64);
    struct jwt_claims claims;
    char *token = token_of(BY_ED, ED, GOOD);
    (void)state;
    /* No room to decode it in looks like no base64url: refused all the same. */
    assert_int_not_equal(jwt_check(&conf, small, bytes_str(token), NOW, &claims), JWT_GOOD);
    arena_free(small);
    free(token);
}

static void test_base64url(void **state) {
    static const struct {
        const char *text, *want; /* NULL: refused */
    } rows[] = {
        {"Zg", "f"},      {"Zm8", "fo"},   {"Zm9v", "foo"}, {"Zm9vYg", "foob"},    {"-_-_", NULL},
        {"", NULL},       {"Z", NULL},     {"A", NULL},     {"Zm9vA", NULL},       {"Zg==", NULL},
        {"Zg=", NULL},    {"Zm9vY", NULL}, {"Zh", NULL},    {"Zm9", NULL},         {"Zm 9v", NULL},
        {"Zm9v\n", NULL}, {"+/+/", NULL},  {"Zm9v.", NULL}, {"Zm\xc3\xb6v", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct bytes out = jwt_base64url(arena, bytes_str(rows[i].text));
        if (strcmp(rows[i].text, "-_-_") == 0)
            assert_memory_equal(out.at, "\xfb\xff\xbf", 3);
        else if (rows[i].want == NULL)
            assert_null(out.at);
        else
            assert_true(bytes_is(out, rows[i].want));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_tokens),
        cmocka_unit_test(test_bad_tokens),
        cmocka_unit_test(test_a_key_in_the_header),
        cmocka_unit_test(test_spelling),
        cmocka_unit_test(test_every_character_counts),
        cmocka_unit_test(test_lengths_of_signatures),
        cmocka_unit_test(test_numbers_of_es256),
        cmocka_unit_test(test_numbers_of_eddsa),
        cmocka_unit_test(test_when_it_is_good),
        cmocka_unit_test(test_max_age),
        cmocka_unit_test(test_algorithms_of_the_policy),
        cmocka_unit_test(test_another_claim_names_the_client),
        cmocka_unit_test(test_many_keys),
        cmocka_unit_test(test_a_key_without_a_kid),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_many_audiences),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_base64url),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
