/* All workers check tokens by the same keys at the same time, from the first use of each key on. */
#include "../../proxy/crypto_sign.c"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "jwt_harness.h"

enum { THREADS = 4, ROUNDS = 20 };

static struct jwt_conf conf = {.algorithms = {true, true, true},
                               .issuer = BYTES_LITERAL("i"),
                               .audience = BYTES_LITERAL("a"),
                               .subject = BYTES_LITERAL("sub")};
static char *tokens[SIGNERS];
static pthread_barrier_t start;

/* wrong: how many were judged wrongly. */
static void *check_all(void *wrong) {
    struct arena *arena = arena_new(KIB(64));
    struct jwt_claims claims;
    unsigned *count = wrong;
    pthread_barrier_wait(&start);
    for (int i = 0; i < ROUNDS * SIGNERS; i++) {
        enum jwt_status want = i % SIGNERS < SIGN_COUNT ? JWT_GOOD : JWT_INVALID;
        arena_reset(arena);
        *count += jwt_check(&conf, arena, bytes_str(tokens[i % SIGNERS]), 1, &claims) != want;
    }
    arena_free(arena);
    return NULL;
}

static void test_threads_share_keys(void **state) {
    static const char *const headers[] = {"{'alg':'RS256'}", "{'alg':'ES256'}", "{'alg':'EdDSA'}"};
    struct arena *arena = arena_new(MIB(1));
    pthread_t threads[THREADS];
    unsigned wrong[THREADS] = {0};
    char why[JWT_WHY_MAX];
    const char *hint;
    (void)state;
    make_signers();
    for (int i = 0; i < SIGNERS; i++)
        tokens[i] = token_of((enum signer)i, headers[i % SIGN_COUNT],
                             "{'iss':'i','aud':'a','sub':'alice','exp':9}");
    assert_null(jwt_keys_read(&conf, arena, bytes_str(jwks_text), why, &hint));
    pthread_barrier_init(&start, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, check_all, &wrong[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(wrong[i], 0);
    }
    pthread_barrier_destroy(&start);
    jwt_keys_free(&conf);
    for (int i = 0; i < SIGNERS; i++)
        free(tokens[i]);
    arena_free(arena);
    free_signers();
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads_share_keys)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
