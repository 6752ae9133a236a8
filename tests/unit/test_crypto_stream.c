#include "../../proxy/crypto_stream.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const unsigned char zeros[KEY_BYTES];

/* RFC 8439, A.1: test vectors 1 and 2 (key 0, counters 0 and 1), and 2.3.2 without its nonce. */
static void keystream_is_chacha20(void **unused) {
    (void)unused;
    static const unsigned char first[8] = {0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90};
    static const unsigned char second[8] = {0x9f, 0x07, 0xe7, 0xbe, 0x55, 0x51, 0x38, 0x7a};
    unsigned char out[2 * BLOCK], alone[BLOCK];
    EVP_CIPHER_CTX *ctx = context_new();
    keystream(ctx, zeros, 0, 0, out, sizeof(out));
    assert_memory_equal(out, first, 8);
    assert_memory_equal(out + BLOCK, second, 8);
    keystream(ctx, NULL, 1, 0, alone, sizeof(alone));
    assert_memory_equal(alone, out + BLOCK, BLOCK);
    keystream(ctx, NULL, 1, 1, alone, sizeof(alone));
    assert_memory_not_equal(alone, out + BLOCK, BLOCK);
    EVP_CIPHER_CTX_free(ctx);
}

static void elements_do_not_depend_on_the_order(void **unused) {
    (void)unused;
    enum { ELEMENTS = 70, TAKEN = 300 };
    static unsigned char up[ELEMENTS][TAKEN], down[ELEMENTS][TAKEN];
    struct keyed_stream *s = keyed_stream_new();
    struct keyed_source k;
    keyed_source_init(&k, s, BYTES_LITERAL("a key of some length"));
    struct bits *b = k.source.open(&k.source, BYTES_LITERAL("context"));
    for (uint32_t i = 0; i < ELEMENTS; i++) {
        bits_seek(b, i);
        b->fill(b, up[i], TAKEN);
    }
    b = k.source.open(&k.source, BYTES_LITERAL("context"));
    for (uint32_t i = ELEMENTS; i-- > 0;) {
        bits_seek(b, i);
        for (int at = 0; at < TAKEN; at += 100)
            b->fill(b, down[i] + at, 100);
    }
    assert_memory_equal(up, down, sizeof(up));
    for (uint32_t i = 1; i < ELEMENTS; i++)
        assert_memory_not_equal(up[i], up[0], 16);
    for (int at = BLOCK; at + BLOCK <= TAKEN; at += BLOCK) /* a block is not handed out twice */
        assert_memory_not_equal(up[0] + at, up[0], BLOCK);
    keyed_stream_free(s);
}

/* HMAC and ChaCha20 computed apart from this program. */
static void streams_are_as_specified(void **unused) {
    (void)unused;
    unsigned char key[32], expected[2 * BLOCK], got[BLOCK + 8];
    EVP_CIPHER_CTX *ctx = context_new();
    crypto_hmac_sha256(BYTES_LITERAL("Jefe"), BYTES_LITERAL("what do ya want for nothing?"), key);
    assert_int_equal(key[0], 0x5b); /* RFC 4231, test case 2 */
    keystream(ctx, key, 3, 0, expected, BLOCK);
    keystream(ctx, key, 3, 1, expected + BLOCK, BLOCK);
    struct keyed_stream *s = keyed_stream_new();
    struct keyed_source k;
    keyed_source_init(&k, s, BYTES_LITERAL("Jefe"));
    struct bits *b = k.source.open(&k.source, BYTES_LITERAL("what do ya want for nothing?"));
    (void)bits_take(b, 7);
    bits_seek(b, 3);
    b->fill(b, got, sizeof(got));
    assert_memory_equal(got, expected, sizeof(got));
    keyed_stream_free(s);
    EVP_CIPHER_CTX_free(ctx);
}

static uint64_t first_word(const char *key, const char *context) {
    struct keyed_stream *s = keyed_stream_new();
    struct keyed_source k;
    keyed_source_init(&k, s, bytes_str(key));
    uint64_t v = bits_take(k.source.open(&k.source, bytes_str(context)), 64);
    keyed_stream_free(s);
    return v;
}

static void key_and_context_choose_the_stream(void **unused) {
    (void)unused;
    uint64_t v = first_word("key", "context");
    assert_true(v == first_word("key", "context"));
    assert_true(v != first_word("Key", "context"));
    assert_true(v != first_word("key", "Context"));
}

static void fresh_streams_differ_and_go_on(void **unused) {
    (void)unused;
    static unsigned char a[3 * REFILL], b[3 * REFILL];
    struct bits *one = fresh_stream_new(), *other = fresh_stream_new();
    one->fill(one, a, sizeof(a));
    other->fill(other, b, sizeof(b));
    assert_memory_not_equal(a, b, 32);
    for (size_t at = 32; at + 32 <= sizeof(a); at += 32) {
        assert_memory_not_equal(a + at, a, 32);
        assert_memory_not_equal(a + at, a + at - 32, 32);
    }
    int ones = 0;
    for (size_t i = 0; i < sizeof(a); i++)
        ones += __builtin_popcount(a[i]);
    assert_true(abs(ones - (int)sizeof(a) * 4) < 6 * 111); /* sd of 49152 bits: 111 */
    fresh_stream_free(one);
    fresh_stream_free(other);
}

/* What was handed out is gone, and the key that follows says nothing of it. */
static void used_bytes_are_wiped(void **unused) {
    (void)unused;
    unsigned char out[100];
    struct bits *b = fresh_stream_new();
    struct fresh_stream *s = list_object(b, struct fresh_stream, bits);
    b->fill(b, out, sizeof(out));
    for (size_t i = 0; i < sizeof(out); i++)
        assert_int_equal(s->made[KEY_BYTES + i], 0);
    fresh_stream_free(b);
}

static void a_child_draws_its_own(void **unused) {
    (void)unused;
    uint64_t mine[2], childs[2];
    int pipe_ends[2];
    struct bits *b = fresh_stream_new();
    b->fill(b, mine, sizeof(mine));
    assert_int_equal(pipe(pipe_ends), 0);
    pid_t child = fork();
    if (child == 0) {
        b->fill(b, childs, sizeof(childs));
        _exit(write(pipe_ends[1], childs, sizeof(childs)) == sizeof(childs) ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(read(pipe_ends[0], childs, sizeof(childs)), sizeof(childs));
    b->fill(b, mine, sizeof(mine));
    assert_memory_not_equal(mine, childs, sizeof(mine));
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    fresh_stream_free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keystream_is_chacha20),
        cmocka_unit_test(elements_do_not_depend_on_the_order),
        cmocka_unit_test(streams_are_as_specified),
        cmocka_unit_test(key_and_context_choose_the_stream),
        cmocka_unit_test(fresh_streams_differ_and_go_on),
        cmocka_unit_test(used_bytes_are_wiped),
        cmocka_unit_test(a_child_draws_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
