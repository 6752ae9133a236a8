/* What is passed over 64 bytes at a time is what the scanner of single numbers takes, wherever in a
 * block it stands. */
#include "../../proto/json_plain.c"

#include "json_harness.h"

/* Is text a list of numbers that may be passed over, each with its comma? */
static bool is_plain_list(struct bytes text, uint64_t *count) {
    const char *p = text.at, *end = text.at + text.len;
    *count = 0;
    while (p < end) {
        struct json_number n;
        bool too_long;
        const char *behind = json_number_scan(p, end, &n, &too_long);
        if (behind == NULL || behind == end || *behind != ',' || n.len >= 32 ||
            memchr(p, 'e', n.len) != NULL || memchr(p, 'E', n.len) != NULL)
            return false;
        p = behind + 1;
        p += p < end && *p == ' ';
        ++*count;
    }
    return true;
}

/* Passes over text and checks that it could; how far it came. */
static size_t passed(struct bytes text, uint64_t most, uint64_t *count) {
    struct bytes page = guarded(text, fillings[below(sizeof(fillings))]);
    *count = 0;
    const char *behind = json_plain_numbers(page.at, page.at + page.len, most, count);
    size_t n = (size_t)(behind - page.at);
    uint64_t plain = 0;
    assert_true(n <= page.len && *count <= most);
    if (!is_plain_list(bytes_of(page.at, n), &plain))
        fail_msg("passed over: %.*s", (int)n, page.at);
    assert_int_equal(plain, *count);
    return n;
}

static struct buf text;

static void add_number(void) {
    static const char *const odd[] = {"0", "-0", "-0.5", "7", "-12", "100", "255", "1234567890123"};
    uint64_t kind = below(4);
    if (kind == 0)
        buf_add_str(&text, odd[below(sizeof(odd) / sizeof(odd[0]))]);
    else if (kind == 1)
        buf_printf(&text, "%.*f", (int)below(12), (double)below(1000000) / 37 - 9000);
    else
        buf_printf(&text, "0.%0*llu", 1 + (int)below(18), (unsigned long long)below(10000000));
}

static void make_list(size_t n) {
    uint64_t spaced = below(3);
    buf_clear(&text);
    for (size_t i = 0; i < n; i++) {
        add_number();
        buf_add_str(&text, spaced == 0 || (spaced == 1 && below(2) == 0) ? ", " : ",");
    }
    assert_false(text.failed);
}

static void plain_lists_are_passed_over(void **state) {
    (void)state;
    for (int i = 0; i < 3000; i++) {
        uint64_t n = below(60), count;
        make_list(n);
        size_t trailing = text.len > 0 && text.at[text.len - 1] == ' ';
        assert_int_equal(passed(buf_bytes(&text), UINT64_MAX, &count), text.len - trailing);
        assert_int_equal(count, n);
    }
}

/* One byte changed or dropped: all before the number it is in is still passed over, but for the
 * block where two numbers have become one that is too long. */
static void one_flaw_stops_at_its_number(void **state) {
    static const char bytes[] = "0123456789.,-+eE ][}\"\t\nx\x80";
    (void)state;
    for (int i = 0; i < 60000; i++) {
        uint64_t count;
        make_list(1 + below(25));
        size_t at = (size_t)below(text.len);
        if (below(4) == 0)
            buf_consume(&text, 1), at = 0;
        else
            text.at[at] = bytes[below(sizeof(bytes) - 1)];
        size_t n = passed(buf_bytes(&text), UINT64_MAX, &count), start = at;
        while (start > 0 && text.at[start - 1] != ',' && text.at[start - 1] != ' ')
            start--;
        assert_true(n + 66 >= start);
    }
}

/* list(length): numbers of 3 bytes, one of `length` at every place in two blocks. */
static void long_numbers_are_left(void **state) {
    (void)state;
    for (size_t before = 0; before < 40; before++)
        for (size_t length = 28; length < 80; length++) {
            uint64_t count;
            buf_clear(&text);
            for (size_t i = 0; i < before; i++)
                buf_add_str(&text, i % 3 == 0 ? "0.5," : "12,");
            for (size_t i = 0; i < length; i++)
                buf_add_char(&text, '1');
            buf_add_str(&text, ",1,");
            passed(buf_bytes(&text), UINT64_MAX, &count);
            assert_int_equal(count == before + 2, length < 32);
        }
}

/* Each at every place in two blocks. */
static void flaws_are_found_everywhere(void **state) {
    static const char *const flaws[] = {
        "01", "00",  "-01", "-00.5", "1.",  "-",   "",    ".5",  "-.5", "1.2.3", "0..5", "--1",
        "1-", "1-2", "+1",  "1 ",    "1 2", "- 1", "  1", "\t1", "1e5", "1E-5",  "a",    "[1",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(flaws) / sizeof(flaws[0]); i++)
        for (size_t place = 2; place < 140; place++) { /* as many bytes of good numbers before */
            uint64_t count;
            buf_clear(&text);
            for (size_t left = place; left > 0; left -= left % 2 == 0 ? 2 : 3)
                buf_add_str(&text, left % 2 == 0 ? "1," : "12,");
            buf_add_str(&text, flaws[i]);
            buf_add_str(&text, ",1,1,");
            passed(buf_bytes(&text), UINT64_MAX, &count);
            assert_int_equal(count, place / 2);
        }
}

static void no_more_than_most(void **state) {
    (void)state;
    for (uint64_t most = 0; most < 70; most++) {
        uint64_t count;
        make_list(50);
        passed(buf_bytes(&text), most, &count);
        assert_true(count <= most);
        assert_int_equal(count == 50, most >= 50);
    }
}

static int make_buf(void **state) {
    (void)state;
    buf_init(&text, KIB(64));
    return 0;
}

static int free_buf(void **state) {
    (void)state;
    buf_free(&text);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_lists_are_passed_over),
        cmocka_unit_test(one_flaw_stops_at_its_number),
        cmocka_unit_test(long_numbers_are_left),
        cmocka_unit_test(flaws_are_found_everywhere),
        cmocka_unit_test(no_more_than_most),
    };
    return cmocka_run_group_tests(tests, make_buf, free_buf);
}
