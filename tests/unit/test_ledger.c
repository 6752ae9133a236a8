/* Lines of a ledger, what is read back from them, and what is found wrong. */
#include "../../proxy/ledger_line.c"
#include "../../proxy/ledger_verify.c"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

static struct charge charge;
static struct ledger_entry entry;
static struct ledger_chain chain;
static struct buf text;
static char path[] = "/tmp/test_ledger.XXXXXX";

static int setup(void **unused) {
    (void)unused;
    charge = (struct charge){
        .rows = 2, .cost = 0.25, .spent = 1.5, .limit = 10, .share = 0.15, .unit = "epsilon"};
    entry = (struct ledger_entry){.client = BYTES_LITERAL("k1:0123456789abcdef"),
                                  .model = BYTES_LITERAL("m"),
                                  .policy = BYTES_LITERAL("main"),
                                  .policy_sha256 = "0123",
                                  .charge = &charge,
                                  .time_us = 1700000000000000};
    chain = (struct ledger_chain){.keyed = false};
    buf_init(&text, KIB(256));
    return 0;
}

static int teardown(void **unused) {
    (void)unused;
    buf_free(&text);
    return 0;
}

static void add(int lines) {
    for (int i = 0; i < lines; i++)
        assert_true(ledger_line(&chain, &entry, &text));
}

static struct bytes line_at(int n) {
    struct bytes rest = buf_bytes(&text), line = rest;
    for (int i = 0; i <= n; i++)
        line = bytes_cut(&rest, '\n');
    return line;
}

static struct ledger_report verify(struct bytes all, const unsigned char *key) {
    struct ledger_report r;
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(all.at, 1, all.len, f), all.len);
    fclose(f);
    assert_true(ledger_verify(path, key, &r));
    return r;
}

static void test_a_chain_holds(void **unused) {
    (void)unused;
    add(3);
    charge.unit = "rho";
    add(2);
    struct ledger_report r = verify(buf_bytes(&text), NULL);
    assert_true(r.bad_line == 0 && r.lines == 5 && r.first == 1 && r.last == 5 && r.rows == 10);
    assert_true(r.epsilon == 0.75 && r.rho == 0.5);
    assert_string_equal(r.from, no_hash);
    assert_string_equal(r.to, chain.hash);
    assert_int_equal(verify(bytes_of("", 0), NULL).lines, 0);
}

/* Whatever bit is changed, some line does not hold, and it is the first one that was touched. */
static void test_every_bit_counts(void **unused) {
    (void)unused;
    add(3);
    for (size_t i = 0; i < text.len; i++)
        for (int bit = 0; bit < 8; bit += 3) {
            uint64_t line = 1;
            for (size_t k = 0; k < i; k++)
                line += text.at[k] == '\n';
            text.at[i] = (char)(text.at[i] ^ 1 << bit);
            struct ledger_report r = verify(buf_bytes(&text), NULL);
            text.at[i] = (char)(text.at[i] ^ 1 << bit);
            if (r.bad_line != line)
                fail_msg("byte %zu bit %d: line %llu", i, bit, (unsigned long long)r.bad_line);
        }
}

/* Lines that hold by themselves, but not one after the other. */
static void test_the_order_counts(void **unused) {
    (void)unused;
    add(1);
    struct ledger_chain other = {.keyed = false};
    struct buf aside;
    buf_init(&aside, KIB(8));
    charge.rows = 7;
    assert_true(ledger_line(&other, &entry, &aside) && ledger_line(&other, &entry, &text));
    assert_int_equal(verify(buf_bytes(&text), NULL).bad_line, 2); /* another's second line */
    buf_clear(&text);
    chain = (struct ledger_chain){.keyed = false};
    add(1);
    chain.number = 5;
    add(1);
    assert_int_equal(verify(buf_bytes(&text), NULL).bad_line, 2);
    buf_free(&aside);
}

static void test_keys(void **unused) {
    (void)unused;
    unsigned char key[SHA256_BYTES], other[SHA256_BYTES];
    ledger_key(BYTES_LITERAL("0123456789abcdef"), key);
    ledger_key(BYTES_LITERAL("0123456789abcdeg"), other);
    chain.keyed = true;
    memcpy(chain.key, key, sizeof(key));
    add(2);
    assert_int_equal(verify(buf_bytes(&text), key).bad_line, 0);
    assert_int_equal(verify(buf_bytes(&text), other).bad_line, 1);
    assert_int_equal(verify(buf_bytes(&text), NULL).bad_line, 1);
}

/* A name may hold what looks like the ledger's own words. */
static void test_hostile_names(void **unused) {
    (void)unused;
    static const char *const names[] = {"\",\"rows\":99,\"cost\":1e9,\"unit\":\"rho\",\"prev\":\"",
                                        ",\"hash\":\"",
                                        "}\n{\"number\":1",
                                        "\\",
                                        "\\\"",
                                        "{\"number\":7",
                                        "\x01\x7f\xff"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        buf_clear(&text);
        chain = (struct ledger_chain){.keyed = false};
        entry.model = bytes_str(names[i]);
        add(2);
        struct ledger_report r = verify(buf_bytes(&text), NULL);
        assert_true(r.bad_line == 0 && r.lines == 2 && r.rows == 4 && r.epsilon == 0.5);
        struct ledger_state s = {.found = false};
        ledger_read_state(line_at(1), entry.client, entry.model, &s);
        assert_true(s.found && s.total == 1.5 && s.limit == 10 && !s.is_rho);
        s.found = false;
        ledger_read_state(line_at(1), entry.client, BYTES_LITERAL("m"), &s);
        assert_false(s.found);
    }
}

static void test_taking_up(void **unused) {
    (void)unused;
    add(4);
    struct ledger_chain again = {.keyed = false};
    assert_true(ledger_take_up(&again, line_at(3)));
    assert_true(again.number == 4 && strcmp(again.hash, chain.hash) == 0);
    struct bytes torn = line_at(3);
    for (size_t len = 0; len < torn.len; len++)
        assert_false(ledger_take_up(&again, bytes_of(torn.at, len)));
}

static void test_a_line_too_long_is_none(void **unused) {
    (void)unused;
    struct buf small;
    struct ledger_chain before = chain;
    buf_init(&small, 64);
    struct ledger_chain next = chain;
    assert_false(ledger_line(&next, &entry, &small));
    assert_memory_equal(&chain, &before, sizeof(chain));
    buf_free(&small);
}

static void test_states(void **unused) {
    (void)unused;
    struct ledger_state s;
    add(1);
    entry.client = BYTES_LITERAL("k1:bob");
    charge.spent = 7;
    add(1);
    charge.spent = 8;
    entry.model = BYTES_LITERAL("n");
    add(1);
    verify(buf_bytes(&text), NULL);
    assert_true(ledger_last(path, BYTES_LITERAL("k1:bob"), BYTES_LITERAL("m"), &s));
    assert_true(s.found && s.total == 7);
    assert_int_equal(strncmp(s.time, "2023-11-14T22:13:20", 19), 0);
    assert_true(ledger_last(path, BYTES_LITERAL("k1:bo"), BYTES_LITERAL("m"), &s));
    assert_false(s.found);
    assert_false(ledger_last("/nowhere/at/all", entry.client, entry.model, &s));
}

static int make_file(void **unused) {
    (void)unused;
    int fd = mkstemp(path);
    return fd >= 0 ? close(fd) : -1;
}

static int remove_file(void **unused) {
    (void)unused;
    return unlink(path);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_chain_holds),           TEST(test_every_bit_counts), TEST(test_keys),
        TEST(test_the_order_counts),        TEST(test_hostile_names),    TEST(test_taking_up),
        TEST(test_a_line_too_long_is_none), TEST(test_states),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
