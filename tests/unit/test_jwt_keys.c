/* JWKS files: which keys are taken, passed over, refused; and the signatures of the standards. */
#include "../../proxy/jwt_keys.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "jwt_harness.h"

static struct arena *arena;

static int setup(void **state) {
    (void)state;
    arena = arena_new(MIB(4));
    make_signers();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    arena_free(arena);
    free_signers();
    return 0;
}

static const char *read_keys(struct jwt_conf *conf, const char *text, char why[JWT_WHY_MAX],
                             const char **hint) {
    *conf = (struct jwt_conf){.algorithms = {true, true, true}};
    *hint = NULL;
    return jwt_keys_read(conf, arena, bytes_str(text), why, hint);
}

/* ---- Examples of RFC 7515 (A.2, A.3) and RFC 8037 (A.4) ---- */

static const struct {
    enum sign_algorithm algorithm;
    const char *first, *second, *text, *signature;
} examples[] = {
    {SIGN_RS256,
     "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4"
     "d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5re"
     "xMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxX"
     "FvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
     "AQAB",
     "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLm"
     "NvbS9pc19yb290Ijp0cnVlfQ",
     "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5"
     "jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb"
     "1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QO"
     "YEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"},
    {SIGN_ES256, "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
     "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
     "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLm"
     "NvbS9pc19yb290Ijp0cnVlfQ",
     "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"},
    {SIGN_EDDSA, "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", NULL,
     "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
     "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"},
};

static void test_examples_of_the_standards(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
        const char *why;
        struct bytes first = jwt_base64url(arena, bytes_str(examples[i].first));
        struct bytes second = jwt_base64url(arena, bytes_str(examples[i].second));
        struct bytes signature = jwt_base64url(arena, bytes_str(examples[i].signature));
        struct sign_key *key = sign_key_new(examples[i].algorithm, first, second, &why);
        assert_non_null(key);
        assert_true(sign_verify(key, bytes_str(examples[i].text), signature));
        assert_false(sign_verify(key, bytes_str(examples[i].text + 1), signature));
        sign_key_free(key);
    }
}

/* ---- Whole files ---- */

#define EC_X "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
#define EC_Y "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
#define ED_X "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
#define EC   "'kty':'EC','crv':'P-256','x':'" EC_X "','y':'" EC_Y "'"
#define ED   "'kty':'OKP','crv':'Ed25519','x':'" ED_X "'"

static const struct {
    const char *text; /* ' for " */
    const char *why;  /* its beginning; NULL: it is taken */
    const char *hint; /* a part of it; NULL: there is none */
    unsigned count;   /* of keys taken */
} files[] = {
    {"{'keys':[{" EC "}]}", NULL, NULL, 1},
    {"{'keys':[{" EC ",'kid':'a'},{" ED ",'kid':'b'}],'more':1}", NULL, NULL, 2},
    {"{'keys':[{" EC ",'use':'sig','alg':'ES256','key_ops':['verify']}]}", NULL, NULL, 1},
    {"{'keys':[{" ED ",'alg':'EdDSA','x5c':['MII'],'unknown':{}}]}", NULL, NULL, 1},
    {"{'keys':[{" EC "},{" ED "}]}", NULL, NULL, 2}, /* two without a kid */
    /* Passed over, so that an issuer's file can be taken as it is. */
    {"{'keys':[{" EC "},{'kty':'XYZ'}]}", NULL, NULL, 1},
    {"{'keys':[{" EC "},{" ED ",'use':'enc'}]}", NULL, NULL, 1},
    {"{'keys':[{" EC "},{" ED ",'use':7}]}", NULL, NULL, 1},
    {"{'keys':[{" EC "},{" ED ",'key_ops':['encrypt']}]}", NULL, NULL, 1},
    {"{'keys':[{" EC "},{" ED ",'key_ops':'verify'}]}", NULL, NULL, 1},
    {"{'keys':[{" EC "},{" ED ",'alg':'ES256'}]}", NULL, NULL, 1},
    {"{'keys':[{" EC "},{" ED ",'alg':null}]}", NULL, NULL, 1},
    {"{'keys':[{" EC "},{'kty':'RSA','alg':'PS256','n':'AQAB','e':'AQAB'}]}", NULL, NULL, 1},
    {"{'keys':[{" EC "},{'kty':'EC','crv':'P-384','x':'AA','y':'AA'}]}", NULL, NULL, 1},
    {"{'keys':[{" EC "},{'kty':'OKP','crv':'X25519','x':'" ED_X "'}]}", NULL, NULL, 1},
    {"{'keys':[{" EC "},{'kty':'ec','crv':'P-256'}]}", NULL, NULL, 1},
    /* Not a JWKS. */
    {"", "no JSON, line 1", NULL, 0},
    {"keys: []", "no JSON, line 1", NULL, 0},
    {"{'keys':[{" EC "}]}}", "no JSON, line 1", NULL, 0},
    {"{'keys':[{" EC "}],\n 'keys':[]}", "no JSON, line 2", NULL, 0},
    {"{'keys':[{" EC ",'kty':'EC'}]}", "no JSON, line 1", NULL, 0},
    {"[]", "it is no JWKS", "{\"keys\": [...]}", 0},
    {"{" EC "}", "it is no JWKS", "{\"keys\": [...]}", 0},
    {"{'keys':{}}", "it is no JWKS", "{\"keys\": [...]}", 0},
    {"{'keys':[]}", "none of its keys can check", "Ed25519", 0},
    {"{'keys':[{'kty':'XYZ'},{" EC ",'use':'enc'}]}", "none of its keys can check", "Ed25519", 0},
    /* Keys that are wrong. */
    {"{'keys':[{" EC "},7]}", "key 1 (without a kid): expected an object", NULL, 1},
    {"{'keys':[{'kid':'k'}]}", "key 0 (kid 'k'): 'kty' is missing", NULL, 0},
    {"{'keys':[{'kty':1}]}", "key 0 (without a kid): 'kty' is missing", NULL, 0},
    {"{'keys':[{" ED ",'kid':''}]}", "key 0 (kid ''): its kid is not 1 to 256 bytes", NULL, 0},
    {"{'keys':[{" ED ",'kid':9}]}", "key 0 (without a kid): its kid is not 1 to 256", NULL, 0},
    {"{'keys':[{" EC ",'kid':'a'},{" ED ",'kid':'a'}]}",
     "key 1 (kid 'a'): another key before it has this kid", NULL, 1},
    {"{'keys':[{" EC ",'d':'AA'}]}", "key 0 (without a kid): 'd' is a secret", "public keys", 0},
    {"{'keys':[{" ED ",'d':'AA','kid':'z'}]}", "key 0 (kid 'z'): 'd' is a secret", "public", 0},
    {"{'keys':[{" EC "},{'kty':'oct','k':'AA'}]}", "key 1 (without a kid): 'k' is a secret",
     "public", 1},
    {"{'keys':[{'kty':'RSA','n':'AQAB','e':'AQAB','p':'AQ'}]}", "key 0 (without a kid): 'p'",
     "public", 0},
    {"{'keys':[{'kty':'RSA','n':'AQAB','e':'AQAB'}]}",
     "key 0 (without a kid): its modulus is shorter than 2048 bits", NULL, 0},
    {"{'keys':[{'kty':'RSA','e':'AQAB'}]}", "key 0 (without a kid): 'n' is missing or no base64url",
     NULL, 0},
    {"{'keys':[{'kty':'RSA','n':'AQAB=','e':'AQAB'}]}", "key 0 (without a kid): 'n' is", NULL, 0},
    {"{'keys':[{'kty':'RSA','n':'AQAB'}]}", "key 0 (without a kid): 'e' is missing", NULL, 0},
    {"{'keys':[{'kty':'EC','crv':'P-256','x':'" EC_X "'}]}", "key 0 (without a kid): 'y' is", NULL,
     0},
    {"{'keys':[{'kty':'EC','crv':'P-256','x':'" EC_X "','y':'" EC_X "'}]}",
     "key 0 (without a kid): its coordinates are no point of P-256", NULL, 0},
    {"{'keys':[{'kty':'EC','crv':'P-256','x':'AAAA','y':'" EC_Y "'}]}",
     "key 0 (without a kid): its coordinates are not 32 bytes", NULL, 0},
    {"{'keys':[{'kty':'OKP','crv':'Ed25519','x':'AAAA'}]}",
     "key 0 (without a kid): its x is not 32 bytes", NULL, 0},
};

static void quote(char *text) {
    for (; *text != '\0'; text++)
        *text = *text == '\'' ? '"' : *text;
}

static void test_files(void **state) {
    unsigned wrong = 0;
    (void)state;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char text[2000], buffer[JWT_WHY_MAX];
        struct jwt_conf conf;
        const char *hint, *want = files[i].why;
        snprintf(text, sizeof(text), "%s", files[i].text);
        quote(text);
        const char *why = read_keys(&conf, text, buffer, &hint);
        if ((why == NULL) != (want == NULL) || conf.key_count != files[i].count ||
            (why != NULL && strncmp(why, want, strlen(want)) != 0) ||
            (hint == NULL) != (files[i].hint == NULL) ||
            (hint != NULL && strstr(hint, files[i].hint) == NULL)) {
            print_error("row %zu: %s, hint %s, %u keys\n", i, why, hint, conf.key_count);
            wrong++;
        }
        jwt_keys_free(&conf);
    }
    assert_int_equal(wrong, 0);
}

static void test_only_algorithms_of_the_policy(void **state) {
    (void)state;
    for (int i = 0; i < SIGN_COUNT; i++) {
        struct jwt_conf conf = {.algorithms = {i == 0, i == 1, i == 2}};
        char why[JWT_WHY_MAX];
        const char *hint;
        assert_null(jwt_keys_read(&conf, arena, bytes_str(jwks_text), why, &hint));
        assert_int_equal(conf.key_count, 1);
        assert_int_equal(conf.keys[0].algorithm, i);
        jwt_keys_free(&conf);
    }
}

static void test_too_many(void **state) {
    (void)state;
    for (int count = JWKS_KEYS_MAX; count <= JWKS_KEYS_MAX + 1; count++) {
        struct jwt_conf conf;
        char text[KIB(16)] = "{\"keys\":[", why[JWT_WHY_MAX];
        const char *hint;
        for (int i = 0; i < count; i++) {
            char one[200];
            snprintf(one, sizeof(one), "%s{" ED "}", i > 0 ? "," : "");
            strcat(text, one);
        }
        strcat(text, "]}");
        quote(text);
        const char *wrong = read_keys(&conf, text, why, &hint);
        if (count == JWKS_KEYS_MAX)
            assert_null(wrong);
        else
            assert_string_equal(wrong, "it holds more than 64 keys");
        assert_int_equal(conf.key_count, count == JWKS_KEYS_MAX ? count : 0);
        jwt_keys_free(&conf);
    }
}

/* ---- RSA numbers ---- */

static void test_rsa_numbers(void **state) {
    static const struct {
        int bits;      /* of the modulus: 2^(bits-1) + 1; 0: a real one */
        const char *e; /* as bytes */
        size_t e_len;
        const char *why;
    } rows[] = {
        {0, "\1\0\1", 3, NULL},
        {0, "\0\1\0\1", 4, NULL},
        {0, "\3", 1, NULL},
        {0, "\1", 1, "its exponent is not"},
        {0, "\2", 1, "its exponent is not"},
        {0, "\0", 1, "its exponent is not"},
        {0, "\1\0\0\0\1", 5, "its exponent is not"},
        {2047, "\1\0\1", 3, "its modulus is shorter"},
        {1024, "\1\0\1", 3, "its modulus is shorter"},
        {8193, "\1\0\1", 3, "its modulus is longer"},
        {2048, "\1\0\1", 3, "its modulus is no product"}, /* 2^2047 + 1 has the factor 3 */
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        unsigned char raw[1100];
        const char *why;
        BIGNUM *n = NULL;
        if (rows[i].bits == 0) {
            assert_int_equal(EVP_PKEY_get_bn_param(signers[BY_RSA], "n", &n), 1);
        } else {
            n = BN_new();
            BN_set_bit(n, rows[i].bits - 1);
            BN_add_word(n, 1);
        }
        int len = BN_bn2bin(n, raw);
        struct sign_key *key = sign_key_new(SIGN_RS256, bytes_of(raw, (size_t)len),
                                            bytes_of(rows[i].e, rows[i].e_len), &why);
        assert_int_equal(key != NULL, rows[i].why == NULL);
        if (key == NULL)
            assert_memory_equal(why, rows[i].why, strlen(rows[i].why));
        sign_key_free(key);
        BN_free(n);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples_of_the_standards),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_only_algorithms_of_the_policy),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_rsa_numbers),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
