#include "../../proxy/options.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <jansson.h>

struct part {
    struct bytes name;
    uint64_t size;
};

struct sample {
    bool flag;
    uint64_t count, size, time;
    double real;
    struct rate rate;
    struct bytes text, path;
    int word;
    struct {
        uint64_t a;
        struct bytes must;
    } inner;
    struct option_list parts, numbers, named, words;
    const struct yaml_node *custom;
};

static const char *const words[] = {"red", "green", "blue", NULL};
static const struct option part_rows[] = {
    {.name = "size",
     .type = OPTION_COUNT,
     .offset = offsetof(struct part, size),
     .max = 9,
     .fallback = "3",
     .says = "s"},
    {.type = OPTION_END},
};
static const struct option inner_rows[] = {
    {.name = "a", .type = OPTION_COUNT, .offset = 0, .fallback = "7", .says = "s"},
    {.name = "must",
     .type = OPTION_STRING,
     .offset = sizeof(uint64_t),
     .required = true,
     .says = "s"},
    {.type = OPTION_END},
};
#define FIELD(f) .name = #f, .offset = offsetof(struct sample, f), .says = "Says " #f "."
static const struct option rows[] = {
    {FIELD(flag), .type = OPTION_BOOL, .fallback = "true"},
    {FIELD(count), .type = OPTION_COUNT, .min = 2, .max = 10, .fallback = "5"},
    {FIELD(size), .type = OPTION_SIZE, .min = 1, .max = 1 << 20, .fallback = "2KiB"},
    {FIELD(time), .type = OPTION_DURATION, .min = 1000, .fallback = "90s"},
    {FIELD(real), .type = OPTION_REAL, .min = -1, .max = 1, .fallback = "0.25"},
    {FIELD(rate), .type = OPTION_RATE},
    {FIELD(text), .type = OPTION_STRING},
    {FIELD(path), .type = OPTION_FILE},
    {FIELD(word), .type = OPTION_WORD, .words = words, .fallback = "green"},
    {FIELD(inner), .type = OPTION_SECTION, .rows = inner_rows},
    {FIELD(parts), .type = OPTION_MAP, .rows = part_rows, .element_size = sizeof(struct part),
     .max = 2},
    {FIELD(numbers), .type = OPTION_LIST, .scalar = OPTION_REAL, .element_size = sizeof(double),
     .min = 2, .max = 3},
    {FIELD(named), .type = OPTION_MAP, .scalar = OPTION_STRING,
     .element_size = sizeof(struct option_pair)},
    {FIELD(words), .type = OPTION_MAP, .scalar = OPTION_WORD, .words = words,
     .element_size = sizeof(struct option_pair)},
    {FIELD(custom), .type = OPTION_CUSTOM},
    {.type = OPTION_END},
};

static struct arena *arena;
static struct diagnostics d;
static struct sample got;

static int set_up(void **state) {
    (void)state;
    return (arena = arena_new(MIB(64))) == NULL;
}

static int tear_down(void **state) {
    (void)state;
    arena_free(arena);
    return 0;
}

/* Reads YAML as a struct sample; true: no error. */
static bool read_sample(const char *text) {
    struct option_reader r = {arena, &d, "/etc/q"};
    arena_reset(arena);
    diagnostics_init(&d, arena);
    memset(&got, 0, sizeof(got));
    struct yaml_node *root = yaml_parse(arena, "f", bytes_str(text), &d);
    assert_non_null(root);
    bool ok = options_read(&r, root, rows, "", &got);
    assert_int_equal(ok, d.count == 0);
    return ok;
}

static void test_defaults(void **state) {
    (void)state;
    assert_true(read_sample("{}"));
    assert_true(got.flag);
    assert_int_equal(got.count, 5);
    assert_int_equal(got.size, 2048);
    assert_int_equal(got.time, 90000000);
    assert_true(got.real == 0.25);
    assert_int_equal(got.rate.count, 0);
    assert_int_equal(got.text.len, 0);
    assert_int_equal(got.word, 1);
    assert_int_equal(got.inner.a, 7);
    assert_null(got.custom);
    assert_true(read_sample("~"));
    assert_int_equal(got.count, 5);
}

static void test_values(void **state) {
    (void)state;
    assert_true(read_sample("flag: false\ncount: 10\nsize: 3KiB\ntime: 2min\nreal: -0.5e0\n"
                            "rate: 120/min\ntext: 'a b'\npath: x/y\nword: blue\n"
                            "inner: {must: m}\nparts: {p: {size: 1}, q: }\nnumbers: [1, -2.5]\n"
                            "named: {k: v}\nwords: {w: red}\ncustom: [1]\n"));
    assert_false(got.flag);
    assert_int_equal(got.count, 10);
    assert_int_equal(got.size, 3072);
    assert_int_equal(got.time, 120000000);
    assert_true(got.real == -0.5);
    assert_int_equal(got.rate.count, 120);
    assert_int_equal(got.rate.period_us, 60000000);
    assert_string_equal(got.text.at, "a b");
    assert_string_equal(got.path.at, "/etc/q/x/y");
    assert_int_equal(got.word, 2);
    assert_int_equal(got.inner.a, 7);
    assert_string_equal(got.inner.must.at, "m");
    const struct part *parts = got.parts.at;
    assert_int_equal(got.parts.count, 2);
    assert_string_equal(parts[0].name.at, "p");
    assert_int_equal(parts[0].size, 1);
    assert_string_equal(parts[1].name.at, "q");
    assert_int_equal(parts[1].size, 3);
    assert_int_equal(got.numbers.count, 2);
    assert_true(((const double *)got.numbers.at)[1] == -2.5);
    const struct option_pair *named = got.named.at, *coloured = got.words.at;
    assert_string_equal(named->name.at, "k");
    assert_string_equal(named->value.at, "v");
    assert_int_equal(named->place.column, 12);
    assert_int_equal(coloured->word, 0);
    assert_int_equal(got.custom->count, 1);
    assert_true(read_sample("path: /abs"));
    assert_string_equal(got.path.at, "/abs");
}

static void test_each_error(void **state) {
    static const struct {
        const char *text;
        uint32_t column;
        const char *says, *hint;
    } bad[] = {
        {"{cuont: 3}", 2, "unknown option 'cuont'", "did you mean 'count'?"},
        {"{Count: 3}", 2, "unknown option 'Count'", "did you mean 'count'?"},
        {"{zzzzzzzz: 3}", 2, "unknown option 'zzzzzzzz'", "one of: flag, count, size, time"},
        {"{inner: {x: 1, must: m}}", 10, "unknown option 'x' in inner", "one of: a, must"},
        {"{inner: {a: 1}}", 2, "missing option 'must' in inner", NULL},
        {"{inner: }", 2, "missing option 'must' in inner", NULL},
        {"{inner: 3}", 9, "inner: expected a map of options, not text", "{must: ...}"},
        {"{inner: []}", 9, "inner: expected a map of options, not a list", "{must: ...}"},
        {"[1]", 1, "the file: expected a map of options, not a list", NULL},
        {"{flag: yes}", 8, "flag: expected true or false, not 'yes'", "did you mean 'true'?"},
        {"{flag: OFF}", 8, "flag: expected true or false, not 'OFF'", NULL},
        {"{flag: 0}", 8, "flag: expected true or false", "did you mean 'false'?"},
        {"{flag: 'true'}", 8, "flag: expected true or false", "without the quotes"},
        {"{count: 11}", 9, "count: expected a whole number, 2 to 10, not '11'", NULL},
        {"{count: 1}", 9, "count: expected a whole number, 2 to 10, not '1'", NULL},
        {"{count: -3}", 9, "count: expected a whole number", NULL},
        {"{count: 3.0}", 9, "count: expected a whole number", NULL},
        {"{count: 0x3}", 9, "count: expected a whole number", NULL},
        {"{count: 99999999999999999999}", 9, "count: expected a whole number", NULL},
        {"{count: '3'}", 9, "count: expected a whole number", "without the quotes"},
        {"{count: }", 9, "count: expected a whole number, 2 to 10", NULL},
        {"{count: [3]}", 9, "count: expected a single value, not a list", NULL},
        {"{size: 2MiB}", 8, "size: expected a size such as 512, 16KiB or 8MiB, 1 to 1MiB", NULL},
        {"{size: 2MB}", 8, "size: expected a size", "did you mean '2MiB'?"},
        {"{size: 2k}", 8, "size: expected a size", "did you mean '2KiB'?"},
        {"{size: 1.5KiB}", 8, "size: expected a size", NULL},
        {"{size: KiB}", 8, "size: expected a size", NULL},
        {"{size: 99999999999999GiB}", 8, "size: expected a size", NULL},
        {"{time: 10}", 8,
         "time: expected a duration such as 5ms, 10s, 2min, 24h or 30d, at least 1ms", NULL},
        {"{time: 10m}", 8, "time: expected a duration", "did you mean '10min'?"},
        {"{time: 10 s}", 8, "time: expected a duration", NULL},
        {"{time: 999us}", 8, "time: expected a duration", NULL},
        {"{time: 9seconds}", 8, "time: expected a duration", "did you mean '9s'?"},
        {"{real: 1.5}", 8, "real: expected a number, -1 to 1, not '1.5'", NULL},
        {"{real: nan}", 8, "real: expected a number", NULL},
        {"{real: .inf}", 8, "real: expected a number", NULL},
        {"{real: 0x1}", 8, "real: expected a number", NULL},
        {"{real: 1e999}", 8, "real: expected a number", NULL},
        {"{real: --1}", 8, "real: expected a number", NULL},
        {"{rate: 5}", 8, "rate: expected a rate such as 5/s, 120/min, 1000/h or 9/d", NULL},
        {"{rate: 0/s}", 8, "rate: expected a rate", NULL},
        {"{rate: 5/m}", 8, "rate: expected a rate", "did you mean '5/min'?"},
        {"{rate: 5/10s}", 8, "rate: expected a rate", NULL},
        {"{rate: 1000000001/s}", 8, "rate: expected a rate", NULL},
        {"{text: ''}", 8, "text: expected text that is not empty", NULL},
        {"{text: ~}", 8, "text: expected text that is not empty", NULL},
        {"{text: {}}", 8, "text: expected a single value, not a map", NULL},
        {"{path: ''}", 8, "path: expected text that is not empty", NULL},
        {"{word: grean}", 8, "word: unknown value 'grean'", "did you mean 'green'?"},
        {"{word: mauve}", 8, "word: unknown value 'mauve'", "one of: red, green, blue"},
        {"{parts: [a]}", 9, "parts: expected a map of names, not a list", NULL},
        {"{parts: {a: {sise: 1}}}", 14, "unknown option 'sise' in parts.a", "did you mean 'size'?"},
        {"{parts: {a: {size: 10}}}", 20, "parts.a.size: expected a whole number, 0 to 9", NULL},
        {"{parts: {'': {}}}", 10, "a name must not be empty", NULL},
        {"{parts: {a: , b: , c: }}", 9, "parts: expected at most 2, not 3", NULL},
        {"{numbers: 1}", 11, "numbers: expected a list, not text", "[1]"},
        {"{numbers: {}}", 11, "numbers: expected a list, not a map", NULL},
        {"{numbers: [1]}", 11, "numbers: expected at least 2, not 1", NULL},
        {"{numbers: [1, x]}", 15, "numbers[1]: expected a number, not 'x'", NULL},
        {"{numbers: [1, [2]]}", 15, "numbers[1]: expected a single value, not a list", NULL},
        {"{named: {a: []}}", 13, "named.a: expected a single value, not a list", NULL},
        {"{words: {a: gren}}", 13, "words.a: unknown value 'gren'", "did you mean 'green'?"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const struct diagnostic *e = &d.kept[0];
        if (read_sample(bad[i].text) || d.count != 1 || e->place.column != bad[i].column ||
            strstr(e->text, bad[i].says) == NULL)
            fail_msg("%s: %u errors, %u: %s", bad[i].text, d.count, e->place.column, e->text);
        if ((e->hint == NULL) != (bad[i].hint == NULL) ||
            (e->hint != NULL && strstr(e->hint, bad[i].hint) == NULL))
            fail_msg("%s: hint %s", bad[i].text, e->hint != NULL ? e->hint : "none");
    }
}

static void test_a_wrong_value_leaves_zero_and_the_rest_is_read(void **state) {
    (void)state;
    assert_false(read_sample("{size: 2MiB, count: 3, word: mauve}"));
    assert_int_equal(d.count, 2);
    assert_int_equal(got.size, 0);
    assert_int_equal(got.word, 0);
    assert_int_equal(got.count, 3);
    assert_int_equal(got.time, 90000000);
}

static void test_formats_read_back(void **state) {
    static const struct {
        enum option_type type;
        const char *text, *printed;
    } same[] = {
        {OPTION_SIZE, "1024", "1KiB"},
        {OPTION_SIZE, "1000", "1000"},
        {OPTION_SIZE, "3GiB", "3GiB"},
        {OPTION_SIZE, "0", "0"},
        {OPTION_DURATION, "90s", "90s"},
        {OPTION_DURATION, "120s", "2min"},
        {OPTION_DURATION, "24h", "1d"},
        {OPTION_DURATION, "1500us", "1500us"},
        {OPTION_DURATION, "0s", "0s"},
        {OPTION_RATE, "120/min", "120/min"},
        {OPTION_RATE, "9/d", "9/d"},
        {OPTION_REAL, "0.1", "0.1"},
        {OPTION_REAL, "1e-300", "1e-300"},
        {OPTION_REAL, "0.30000000000000004", "0.30000000000000004"},
        {OPTION_COUNT, "18446744073709551615", "18446744073709551615"},
        {OPTION_BOOL, "false", "false"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        struct option row = {.name = "x", .type = same[i].type};
        struct scalar_error error;
        struct rate value = {0, 0};
        struct buf out;
        buf_init(&out, 256);
        assert_true(option_parse(&row, bytes_str(same[i].text), true, &value, &error));
        option_format(&row, &value, &out);
        buf_add_char(&out, '\0');
        assert_string_equal(out.at, same[i].printed);
        assert_true(option_parse(&row, bytes_str(same[i].printed), true, &value, &error));
        buf_free(&out);
    }
}

static void print_custom(const struct option *row, const void *field_at, void *cookie,
                         struct buf *out) {
    (void)row, (void)field_at, (void)cookie;
    buf_add_str(out, "[1]");
}

static void schema_custom(const struct option *row, struct buf *out) {
    (void)row;
    buf_add_str(out, "\"type\": \"array\"");
}

static const struct option_custom custom = {.print = print_custom, .schema = schema_custom};

static void test_printed_values_read_back(void **state) {
    static const char *const texts[] = {
        "{}",
        "flag: false\ncount: 10\nsize: 3KiB\ntime: 2min\nreal: -0.5\nrate: 120/min\n"
        "text: \"a\\\"b\"\npath: x\nword: blue\ninner: {must: m}\nparts: {p: {size: 1}, q: }\n"
        "numbers: [1, -2.5]\nnamed: {k: v}\nwords: {w: red}\ncustom: [1]\n",
    };
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct buf first, second;
        buf_init(&first, KIB(16));
        buf_init(&second, KIB(16));
        assert_true(read_sample(texts[i]));
        options_print(rows, &got, &custom, &first);
        buf_add_char(&first, '\0');
        assert_true(read_sample(first.at));
        options_print(rows, &got, &custom, &second);
        buf_add_char(&second, '\0');
        assert_string_equal(first.at, second.at);
        if (i == 0)
            assert_string_equal(first.at,
                                "{\"flag\": true, \"count\": 5, \"size\": \"2KiB\", "
                                "\"time\": \"90s\", \"real\": 0.25, \"word\": \"green\"}");
        buf_free(&first);
        buf_free(&second);
    }
}

static void test_schema(void **state) {
    struct buf out;
    json_error_t error;
    (void)state;
    buf_init(&out, KIB(64));
    options_schema(rows, "All.", &custom, &out);
    json_t *s = json_loadb(out.at, out.len, JSON_REJECT_DUPLICATES, &error), *p;
    assert_non_null(s);
    p = json_object_get(s, "properties");
    assert_int_equal(json_object_size(p), 15);
    assert_true(json_is_false(json_object_get(s, "additionalProperties")));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(p, "count"), "maximum")),
                     10);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(p, "count"), "default")),
                     5);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(p, "numbers"), "minItems")),
                     2);
    assert_int_equal(json_array_size(json_object_get(json_object_get(p, "word"), "enum")), 3);
    assert_string_equal(json_string_value(json_object_get(json_object_get(p, "time"), "default")),
                        "90s");
    assert_string_equal(json_string_value(json_object_get(json_object_get(p, "inner"), "type")),
                        "object");
    assert_int_equal(json_array_size(json_object_get(json_object_get(p, "inner"), "required")), 1);
    json_decref(s);
    buf_free(&out);
}

static void test_nearest_word(void **state) {
    static const char *const names[] = {"top_k", "round", "rate_limit", "input_limits", NULL};
    static const char *const none[] = {NULL};
    static const struct {
        const char *word, *hint;
    } cases[] = {
        {"topk", "did you mean 'top_k'?"},
        {"top-k", "did you mean 'top_k'?"},
        {"TOP_K", "did you mean 'top_k'?"},
        {"ruond", "did you mean 'round'?"},
        {"ratelimit", "did you mean 'rate_limit'?"},
        {"input_limit", "did you mean 'input_limits'?"},
        {"x", "one of: top_k, round, rate_limit, input_limits"},
        {"", "one of: top_k, round, rate_limit, input_limits"},
    };
    (void)state;
    diagnostics_init(&d, arena);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_string_equal(diagnostics_hint(&d, bytes_str(cases[i].word), names), cases[i].hint);
    assert_null(diagnostics_hint(&d, bytes_str("x"), none));
    static const char *const short_names[] = {"per", "name", NULL}; /* half of 'rate' is no slip */
    assert_string_equal(diagnostics_hint(&d, bytes_str("rate"), short_names), "one of: per, name");
}

static void test_printed_errors(void **state) {
    struct buf out;
    (void)state;
    diagnostics_init(&d, arena);
    diagnostics_source(&d, "a", bytes_str("one\n\ttwo \x1b[31m\nthree"));
    diagnostics_source(&d, "b", bytes_str("x"));
    diagnostics_add(&d, (struct place){"b", 1, 1}, 1, NULL, "last");
    diagnostics_add(&d, (struct place){"a", 2, 2}, 3, "a hint", "bad %s\x07", "two");
    diagnostics_add(&d, (struct place){"a", 1, 2}, 50, NULL, "first");
    diagnostics_add(&d, (struct place){"a", 9, 1}, 1, NULL, "no such line");
    buf_init(&out, KIB(4));
    diagnostics_print(&d, &out);
    buf_add_char(&out, '\0');
    assert_string_equal(out.at,
                        "a:1:2: error: first\n    one\n     ^~\n"
                        "a:2:2: error: bad two?\n    \ttwo ?[31m\n    \t^~~\n    hint: a hint\n"
                        "a:9:1: error: no such line\n"
                        "b:1:1: error: last\n    x\n    ^\n"
                        "4 errors\n");
    buf_free(&out);
}

static void test_long_lines_are_cut(void **state) {
    struct buf line, out;
    (void)state;
    buf_init(&line, KIB(4));
    for (int i = 0; i < 300; i++)
        buf_add_str(&line, i == 249 ? "\xc3\xa9" : "-");
    diagnostics_init(&d, arena);
    diagnostics_source(&d, "a", buf_bytes(&line));
    diagnostics_add(&d, (struct place){"a", 1, 250}, 9, NULL, "here");
    buf_init(&out, KIB(4));
    diagnostics_print(&d, &out);
    buf_add_char(&out, '\0');
    char *quoted = strchr(out.at, '\n') + 1, *caret = strchr(quoted, '\n') + 1;
    assert_true(strncmp(quoted, "    ...-----", 12) == 0);
    assert_true(caret - quoted < 140);
    assert_int_equal(strstr(quoted, "\xc3\xa9") - quoted, strchr(caret, '^') - caret);
    buf_free(&line);
    buf_free(&out);
}

static void test_only_so_many_are_kept(void **state) {
    struct buf out;
    (void)state;
    diagnostics_init(&d, arena);
    for (uint32_t i = 0; i < CONFIG_ERRORS_MAX + 5; i++)
        diagnostics_add(&d, (struct place){"a", i + 1, 1}, 0, NULL, "x");
    buf_init(&out, KIB(64));
    diagnostics_print(&d, &out);
    buf_add_char(&out, '\0');
    assert_non_null(strstr(out.at, "a:100:1: error"));
    assert_null(strstr(out.at, "a:101:1: error"));
    assert_non_null(strstr(out.at, "\n105 errors, 100 shown\n"));
    buf_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_each_error),
        cmocka_unit_test(test_a_wrong_value_leaves_zero_and_the_rest_is_read),
        cmocka_unit_test(test_formats_read_back),
        cmocka_unit_test(test_printed_values_read_back),
        cmocka_unit_test(test_schema),
        cmocka_unit_test(test_nearest_word),
        cmocka_unit_test(test_printed_errors),
        cmocka_unit_test(test_long_lines_are_cut),
        cmocka_unit_test(test_only_so_many_are_kept),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
