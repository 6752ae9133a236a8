#include "../../proxy/yaml.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct arena *arena;
static struct diagnostics d;

static struct yaml_node *parse(const char *text) {
    if (arena == NULL)
        arena = arena_new(MIB(256));
    arena_reset(arena);
    diagnostics_init(&d, arena);
    diagnostics_source(&d, "f.yaml", bytes_str(text));
    return yaml_parse(arena, "f.yaml", bytes_str(text), &d);
}

static int drop(void **state) {
    (void)state;
    arena_free(arena);
    arena = NULL;
    return 0;
}

/* One line a node: depth, place, width, what. */
static void describe(const struct yaml_node *n, unsigned depth, struct buf *out) {
    buf_printf(out, "%u %u:%u+%u ", depth, n->place.line, n->place.column, n->width);
    if (n->key_width > 0)
        buf_printf(out, "%s@%u:%u+%u=", n->key.at, n->key_place.line, n->key_place.column,
                   n->key_width);
    if (n->kind == YAML_SCALAR)
        buf_printf(out, "%s'%s'\n", n->plain ? "" : "quoted ", n->text.at);
    else
        buf_printf(out, "%s of %u\n", n->kind == YAML_MAP ? "map" : "list", n->count);
    for (const struct yaml_node *c = n->first; c != NULL; c = c->next)
        describe(c, depth + 1, out);
}

static void test_nodes_know_their_place(void **state) {
    static const struct {
        const char *text, *tree;
    } rows[] = {
        {"a: 1\n", "0 1:1+1 map of 1\n1 1:4+1 a@1:1+1='1'\n"},
        {"a: [x, 'y z', \"w\"]\nbb:\n  - {c: }\n",
         "0 1:1+1 map of 2\n"
         "1 1:4+1 a@1:1+1=list of 3\n2 1:5+1 'x'\n2 1:8+5 quoted 'y z'\n2 1:15+3 quoted 'w'\n"
         "1 3:3+1 bb@2:1+2=list of 1\n2 3:5+1 map of 1\n3 3:9+1 c@3:6+1=''\n"},
        {"\xc3\xa9\xc3\xa9: \xc3\xa4\n",
         "0 1:1+1 map of 1\n1 1:5+1 \xc3\xa9\xc3\xa9@1:1+2='\xc3\xa4'\n"},
        {"plain\n", "0 1:1+5 'plain'\n"},
        {"--- {}\n...\n", "0 1:5+1 map of 0\n"},
        {"a: []\n", "0 1:1+1 map of 1\n1 1:4+1 a@1:1+1=list of 0\n"},
        {"a: 1\r\nb: 2\r\n", "0 1:1+1 map of 2\n1 1:4+1 a@1:1+1='1'\n1 2:4+1 b@2:1+1='2'\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct yaml_node *root = parse(rows[i].text);
        struct buf out;
        buf_init(&out, KIB(64));
        assert_non_null(root);
        assert_int_equal(d.count, 0);
        describe(root, 0, &out);
        buf_add_char(&out, '\0');
        assert_string_equal(out.at, rows[i].tree);
        buf_free(&out);
    }
}

static void test_refusals(void **state) {
    static const struct {
        const char *text;
        uint32_t line, column;
        const char *says;
        bool tree; /* is there a tree all the same? */
    } rows[] = {
        {"a: &x 1\n", 1, 4, "anchors are not allowed: &x", true},
        {"a: *x\n", 1, 4, "aliases are not allowed: *x", true},
        {"a: !!str 1\n", 1, 4, "tags are not allowed: tag:yaml.org,2002:str", true},
        {"a: !x [1]\n", 1, 4, "tags are not allowed: !x", true},
        {"a: &y {b: 1}\n", 1, 4, "anchors are not allowed: &y", true},
        {"&k a: 1\n", 1, 1, "anchors are not allowed: &k", true},
        {"a: 1\nb: 2\na: 3\n", 3, 1, "duplicate key 'a', first given in line 1", true},
        {"l: [{x: 1, y: 2, x: 3}]\n", 1, 18, "duplicate key 'x', first given in line 1", true},
        {"a: \"x\\0y\"\n", 1, 4, "line breaks and control characters are not allowed", true},
        {"a: |\n  two\n  lines\n", 1, 4, "line breaks and control characters are not allowed",
         true},
        {"\"a\\tb\": 1\n", 1, 1, "line breaks and control characters are not allowed", true},
        {"a: 1\n---\nb: 2\n", 2, 1, "a second document", true},
        {"[a]: 1\n", 1, 1, "a key must be plain text", false},
        {"{x: y}: 1\n", 1, 1, "a key must be plain text", false},
        {"a:\n\tb: 1\n", 2, 1, "a tab cannot indent", false},
        {"a: [1, 2\n", 2, 1, "not valid YAML: did not find expected ',' or ']'", false},
        {"a: {b: *, c: 1}\n", 1, 9, "not valid YAML: did not find expected alphabetic", false},
        {"a: 1\n  b: 2\n", 2, 4, "not valid YAML: mapping values are not allowed", false},
        {"a: @x\n", 1, 4, "not valid YAML: found character that cannot start any token", false},
        {"ab: \xff\n", 1, 5, "not valid YAML: invalid leading UTF-8 octet", false},
        {"a: 1\nb: \x01\n", 2, 4, "not valid YAML: control characters are not allowed", false},
        {"", 1, 1, "the file is empty", false},
        {"# only a comment\n", 1, 1, "the file is empty", false},
        {"[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]", 1, 17, "nested more than 16 levels deep", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct yaml_node *root = parse(rows[i].text);
        const struct diagnostic *e = &d.kept[0];
        assert_int_equal(d.count, 1);
        if (strstr(e->text, rows[i].says) == NULL)
            fail_msg("row %zu: '%s' is not in '%s'", i, rows[i].says, e->text);
        if (e->place.line != rows[i].line || e->place.column != rows[i].column)
            fail_msg("row %zu: at %u:%u", i, e->place.line, e->place.column);
        assert_int_equal(root != NULL, rows[i].tree);
    }
}

static void test_a_star_needs_quotes(void **state) {
    (void)state;
    assert_null(parse("a: {b: *, c: 1}\n"));
    assert_string_equal(d.kept[0].hint, "text that begins with * needs quotes: \"*\"");
}

static void test_sixteen_levels_are_allowed(void **state) {
    (void)state;
    assert_non_null(parse("[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]"));
    assert_int_equal(d.count, 0);
}

static void test_more_errors_are_all_found(void **state) {
    (void)state;
    assert_non_null(parse("a: &x 1\nb: *x\nb: !t 2\n"));
    assert_int_equal(d.count, 4);
}

/* n times "k: 1", each key its own, or all of them the same. */
static struct buf long_map(uint32_t n, bool same) {
    struct buf b;
    buf_init(&b, CONFIG_BYTES_MAX * 2);
    for (uint32_t i = 0; i < n; i++)
        buf_printf(&b, "k%u: 1\n", same ? 0 : i);
    buf_add_char(&b, '\0');
    assert_false(b.failed);
    return b;
}

static void test_limits(void **state) {
    (void)state;
    struct buf b = long_map(CONFIG_NODES_MAX - 1, false);
    assert_non_null(parse(b.at));
    assert_int_equal(d.count, 0);
    buf_free(&b);
    b = long_map(CONFIG_NODES_MAX, false);
    assert_null(parse(b.at));
    assert_int_equal(d.count, 1);
    assert_non_null(strstr(d.kept[0].text, "more than 524288 values"));
    buf_free(&b);
    b = long_map(1000, true);
    assert_non_null(parse(b.at));
    assert_int_equal(d.count, 999);
    buf_free(&b);
    char *big = malloc(CONFIG_BYTES_MAX + 2);
    assert_non_null(big);
    memset(big, ' ', CONFIG_BYTES_MAX + 1);
    big[CONFIG_BYTES_MAX + 1] = '\0';
    assert_null(parse(big));
    assert_non_null(strstr(d.kept[0].text, "larger than"));
    free(big);
}

static void test_out_of_memory_is_said(void **state) {
    (void)state;
    struct arena *small = arena_new(2048), *other = arena_new(MIB(1));
    diagnostics_init(&d, other);
    assert_null(yaml_parse(small, "f",
                           BYTES_LITERAL("a: 1\nb: 2\nc: 3\nd: 4\ne: 5\nf: 6\n"
                                         "g: 1\nh: 2\ni: 3\nj: 4\nk: 5\nl: 6\n"),
                           &d));
    assert_int_equal(d.count, 1);
    assert_string_equal(d.kept[0].text, "out of memory");
    arena_free(small);
    arena_free(other);
}

static void test_get_and_kinds(void **state) {
    (void)state;
    struct yaml_node *root = parse("a: ~\nb: 'null'\nc: null\nd:\ne: [1]\nf: {}\n");
    assert_non_null(root);
    assert_null(yaml_get(root, "x"));
    assert_null(yaml_get(NULL, "a"));
    assert_null(yaml_get(yaml_get(root, "e"), "a"));
    assert_true(yaml_is_null(yaml_get(root, "a")));
    assert_false(yaml_is_null(yaml_get(root, "b")));
    assert_true(yaml_is_null(yaml_get(root, "c")));
    assert_true(yaml_is_null(yaml_get(root, "d")));
    assert_string_equal(yaml_kind_name(yaml_get(root, "a")), "nothing");
    assert_string_equal(yaml_kind_name(yaml_get(root, "b")), "text");
    assert_string_equal(yaml_kind_name(yaml_get(root, "e")), "a list");
    assert_string_equal(yaml_kind_name(yaml_get(root, "f")), "a map");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nodes_know_their_place),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_a_star_needs_quotes),
        cmocka_unit_test(test_sixteen_levels_are_allowed),
        cmocka_unit_test(test_more_errors_are_all_found),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_out_of_memory_is_said),
        cmocka_unit_test(test_get_and_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, drop);
}
