/* The base: slices, arenas, buffers, hash, inflate, peers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include "../../proxy/base/arena.h"
#include "../../proxy/base/buf.h"
#include "../../proxy/base/hash.h"
#include "../../proxy/base/limits.h"
#include "../../proxy/inflate.h"
#include "../../proxy/peers.h"

static void numbers_are_digits_only(void **state) {
    static const struct {
        const char *text;
        uint64_t max, value;
        bool ok;
    } rows[] = {
        {"0", 10, 0, true},
        {"10", 10, 10, true},
        {"11", 10, 0, false},
        {"", 10, 0, false},
        {"+1", 10, 0, false},
        {"-1", 10, 0, false},
        {" 1", 10, 0, false},
        {"1 ", 10, 0, false},
        {"0x1", 10, 0, false},
        {"1_0", 99, 0, false},
        {"007", 10, 7, true},
        {"18446744073709551615", UINT64_MAX, UINT64_MAX, true},
        {"18446744073709551616", UINT64_MAX, 0, false},
        {"99999999999999999999", UINT64_MAX, 0, false},
        {"000000000000000000001", UINT64_MAX, 0, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t v = 0;
        assert_int_equal(bytes_to_u64(bytes_str(rows[i].text), rows[i].max, &v), rows[i].ok);
        if (rows[i].ok)
            assert_int_equal(v, rows[i].value);
    }
}

static void cutting(void **state) {
    struct bytes rest = BYTES_LITERAL("a,,b");
    (void)state;
    assert_true(bytes_is(bytes_cut(&rest, ','), "a"));
    assert_true(bytes_is(bytes_cut(&rest, ','), ""));
    assert_non_null(rest.at);
    assert_true(bytes_is(bytes_cut(&rest, ','), "b"));
    assert_null(rest.at);
    assert_true(bytes_is(bytes_trim(BYTES_LITERAL(" \tx y\t ")), "x y"));
    assert_true(bytes_is_nocase(BYTES_LITERAL("GzIp"), "gzip"));
}

static void arenas_keep_their_cap(void **state) {
    struct arena *a = arena_new(KIB(64));
    (void)state;
    for (int round = 0; round < 3; round++) {
        assert_null(arena_alloc(a, KIB(64) + 1));
        assert_non_null(arena_alloc(a, KIB(40)));
        assert_null(arena_alloc(a, KIB(40)));
        assert_null(arena_calloc(a, SIZE_MAX / 2, 3));
        char *zeroed = arena_calloc(a, 100, 10);
        for (int i = 0; i < 1000; i++)
            assert_int_equal(zeroed[i], 0);
        assert_int_equal((uintptr_t)zeroed % 16, 0);
        memset(zeroed, 1, 1000);
        arena_reset(a);
        assert_int_equal(arena_used(a), 0);
    }
    struct bytes s = arena_printf(a, "%s-%d", "x", 7);
    assert_true(bytes_is(s, "x-7") && s.at[s.len] == '\0');
    arena_free(a);
}

static void buffers_fail_whole(void **state) {
    struct buf b;
    (void)state;
    buf_init(&b, 10);
    buf_add_str(&b, "12345");
    buf_add_str(&b, "123456");
    assert_true(b.failed && b.len == 5);
    buf_clear(&b);
    buf_add_u64(&b, UINT64_MAX % 10000000000);
    assert_true(!b.failed && b.len == 10);
    buf_consume(&b, 4);
    assert_true(b.len == 6);
    buf_free(&b);
    buf_init(&b, 1000);
    buf_add_json(&b, BYTES_LITERAL("a\"\\\n\x01\xff\xc3\xa9"));
    assert_true(bytes_is(buf_bytes(&b), "\"a\\\"\\\\\\u000a\\u0001\xef\xbf\xbd\xc3\xa9\""));
    buf_free(&b);
}

static void hashes_depend_on_every_bit(void **state) {
    struct hash_key key = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};
    unsigned char in[64] = {0};
    (void)state;
    for (size_t len = 0; len <= 32; len++) {
        uint64_t before = hash_bytes(&key, bytes_of(in, len));
        struct hash128 wide = hash_bytes128(&key, bytes_of(in, len));
        assert_true(wide.lo != wide.hi && wide.lo != before);
        for (size_t bit = 0; bit < len * 8; bit++) {
            in[bit / 8] ^= (unsigned char)(1u << bit % 8);
            struct hash128 other = hash_bytes128(&key, bytes_of(in, len));
            assert_true(hash_bytes(&key, bytes_of(in, len)) != before);
            assert_true(other.lo != wide.lo && other.hi != wide.hi);
            in[bit / 8] ^= (unsigned char)(1u << bit % 8);
        }
        assert_true(hash_bytes(&key, bytes_of(in, len + 1)) != before);
    }
    struct hash_key other = {key.k0 ^ 1, key.k1};
    assert_true(hash_bytes(&key, BYTES_LITERAL("x")) != hash_bytes(&other, BYTES_LITERAL("x")));
}

/* text, coded by zlib with that window. */
static struct bytes deflated(struct arena *a, struct bytes text, int window) {
    z_stream z = {.next_in = (Bytef *)text.at, .avail_in = (uInt)text.len};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY), Z_OK);
    size_t room = deflateBound(&z, (uLong)text.len);
    char *out = arena_alloc(a, room);
    z.next_out = (Bytef *)out;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t len = room - z.avail_out;
    deflateEnd(&z);
    return bytes_of(out, len);
}

static enum inflate_status undo(const char *coding, struct bytes body, size_t cap,
                                struct buf *out) {
    bool coded;
    buf_init(out, cap);
    return inflate_body(bytes_str(coding), body, out, &coded);
}

static void inflates_within_bounds(void **state) {
    struct arena *a = arena_new(MIB(64));
    struct buf out;
    (void)state;
    char *text = arena_alloc(a, 100000);
    for (uint32_t i = 0, random = 1; i < 100000; i++) {
        random = random * 1664525 + 1013904223;
        text[i] = "0123456789,."[random >> 28 & 7];
    }
    struct bytes plain = bytes_of(text, 100000);
    struct bytes gz = deflated(a, plain, 31), zl = deflated(a, plain, 15);
    assert_int_equal(undo("gzip", gz, MIB(1), &out), INFLATE_OK);
    assert_true(bytes_eq(buf_bytes(&out), plain));
    buf_free(&out);
    assert_int_equal(undo("Deflate", zl, MIB(1), &out), INFLATE_OK);
    assert_true(bytes_eq(buf_bytes(&out), plain));
    buf_free(&out);
    for (size_t cut = 0; cut < gz.len; cut += 1 + gz.len / 50) {
        assert_int_equal(undo("gzip", bytes_of(gz.at, cut), MIB(1), &out), INFLATE_BAD);
        buf_free(&out);
    }
    char *broken = (char *)arena_copy(a, gz).at;
    assert_non_null(broken);
    broken[gz.len - 6] ^= 1; /* The checksum. */
    assert_int_equal(undo("gzip", bytes_of(broken, gz.len), MIB(1), &out), INFLATE_BAD);
    buf_free(&out);
    assert_int_equal(undo("gzip", gz, 50000, &out), INFLATE_TOO_BIG);
    buf_free(&out);
    assert_int_equal(undo("gzip, gzip", gz, MIB(1), &out), INFLATE_UNSUPPORTED);
    assert_int_equal(undo("br", gz, MIB(1), &out), INFLATE_UNSUPPORTED);
    arena_free(a);
}

static void bombs_stop_at_the_ratio(void **state) {
    struct arena *a = arena_new(MIB(128));
    struct buf out;
    (void)state;
    struct bytes zeros = bytes_of(arena_calloc(a, 1, MIB(32)), MIB(32));
    struct bytes bomb = deflated(a, zeros, 31);
    assert_true(bomb.len * INFLATE_RATIO_MAX < MIB(1));
    assert_int_equal(undo("gzip", bomb, MIB(64), &out), INFLATE_TOO_BIG);
    assert_true(out.room <= 2 * (bomb.len * INFLATE_RATIO_MAX + INFLATE_SLACK) + KIB(64));
    buf_free(&out);
    /* Two members: the second would start over with a new ratio. */
    struct bytes one = deflated(a, BYTES_LITERAL("hello"), 31);
    char *two = arena_alloc(a, 2 * one.len);
    memcpy(two, one.at, one.len);
    memcpy(two + one.len, one.at, one.len);
    assert_int_equal(undo("gzip", bytes_of(two, 2 * one.len), MIB(1), &out), INFLATE_BAD);
    buf_free(&out);
    arena_free(a);
}

static struct sockaddr_storage address(const char *text) {
    struct sockaddr_storage s = {0};
    struct sockaddr_in *four = (struct sockaddr_in *)&s;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&s;
    if (inet_pton(AF_INET, text, &four->sin_addr) == 1)
        s.ss_family = AF_INET;
    else if (inet_pton(AF_INET6, text, &six->sin6_addr) == 1)
        s.ss_family = AF_INET6;
    return s;
}

static void peers_count_by_address(void **state) {
    struct peers *p = peers_new();
    struct sockaddr_storage a = address("192.0.2.1"), mapped = address("::ffff:192.0.2.1"),
                            six = address("2001:db8:1:2::3"), same64 = address("2001:db8:1:2:9::"),
                            other64 = address("2001:db8:1:3::3");
    (void)state;
    assert_true(peers_enter(p, (struct sockaddr *)&a, 2, 100));
    assert_true(peers_enter(p, (struct sockaddr *)&mapped, 2, 100));
    assert_false(peers_enter(p, (struct sockaddr *)&a, 2, 100));
    assert_true(peers_enter(p, (struct sockaddr *)&six, 1, 100));
    assert_false(peers_enter(p, (struct sockaddr *)&same64, 1, 100));
    assert_true(peers_enter(p, (struct sockaddr *)&other64, 1, 100));
    assert_int_equal(peers_total(p), 4);
    struct sockaddr_storage late = address("192.0.2.9");
    assert_false(peers_enter(p, (struct sockaddr *)&late, 2, 4));
    peers_leave(p, (struct sockaddr *)&a);
    assert_true(peers_enter(p, (struct sockaddr *)&a, 2, 100));
    peers_leave(p, (struct sockaddr *)&a);
    peers_leave(p, (struct sockaddr *)&mapped);
    peers_leave(p, (struct sockaddr *)&six);
    peers_leave(p, (struct sockaddr *)&other64);
    assert_int_equal(peers_total(p), 0);
    peers_free(p);
    char text[64];
    peer_text((struct sockaddr *)&mapped, text, sizeof(text));
    assert_string_equal(text, "192.0.2.1");
    peer_text((struct sockaddr *)&six, text, sizeof(text));
    assert_string_equal(text, "2001:db8:1:2::/64");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_digits_only),    cmocka_unit_test(cutting),
        cmocka_unit_test(arenas_keep_their_cap),      cmocka_unit_test(buffers_fail_whole),
        cmocka_unit_test(hashes_depend_on_every_bit), cmocka_unit_test(inflates_within_bounds),
        cmocka_unit_test(bombs_stop_at_the_ratio),    cmocka_unit_test(peers_count_by_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
