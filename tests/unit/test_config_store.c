/* The store section: each URL to what it means, each slip to where it is. */
#include "../../proxy/config_store.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "config_harness.h"

#define FROM "store: {url: \"memory:\"}\n"

static char *with_store(const char *section) {
    char text[1024];
    snprintf(text, sizeof(text), "store: %s\n", section);
    return replaced(good_text, FROM, text);
}

static struct config *read_store(const char *section, struct buf *errors) {
    char *text = with_store(section);
    struct config *c = read_text(text, errors);
    free(text);
    return c;
}

static void urls_mean(void **unused) {
    (void)unused;
    static const struct {
        const char *url, *first, *last, *master;
        int kind;
        uint32_t servers;
        bool tls;
        uint64_t database;
    } table[] = {
        {"redis://10.0.0.1", "10.0.0.1:6379", "10.0.0.1:6379", "", STORE_REDIS, 1, false, 0},
        {"redis://10.0.0.1/", "10.0.0.1:6379", "10.0.0.1:6379", "", STORE_REDIS, 1, false, 0},
        {"redis://10.0.0.1:7000/3", "10.0.0.1:7000", "10.0.0.1:7000", "", STORE_REDIS, 1, false, 3},
        {"redis://[::1]", "[::1]:6379", "[::1]:6379", "", STORE_REDIS, 1, false, 0},
        {"redis://[::1]:7000/15", "[::1]:7000", "[::1]:7000", "", STORE_REDIS, 1, false, 15},
        {"rediss://localhost", "localhost:6379", "localhost:6379", "", STORE_REDIS, 1, true, 0},
        {"redis+sentinel://10.0.0.1,10.0.0.2:5000/mymaster", "10.0.0.1:26379", "10.0.0.2:5000",
         "mymaster", STORE_SENTINEL, 2, false, 0},
        {"rediss+sentinel://10.0.0.1/m/7", "10.0.0.1:26379", "10.0.0.1:26379", "m", STORE_SENTINEL,
         1, true, 7},
        {"redis+cluster://10.0.0.1,10.0.0.2,[::1]:7", "10.0.0.1:6379", "[::1]:7", "", STORE_CLUSTER,
         3, false, 0},
        {"rediss+cluster://10.0.0.1", "10.0.0.1:6379", "10.0.0.1:6379", "", STORE_CLUSTER, 1, true,
         0},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char section[256];
        struct buf errors;
        snprintf(section, sizeof(section), "{url: \"%s\"}", table[i].url);
        struct config *c = read_store(section, &errors);
        if (c == NULL)
            fail_msg("%s", errors.at);
        const struct store_conf *s = &c->store;
        assert_int_equal(s->kind, table[i].kind);
        assert_int_equal(s->server_count, table[i].servers);
        assert_string_equal(s->servers[0].address.text.at, table[i].first);
        assert_string_equal(s->servers[s->server_count - 1].address.text.at, table[i].last);
        assert_true(s->servers[s->server_count - 1].address.len > 0);
        assert_int_equal(s->tls, table[i].tls);
        assert_int_equal(s->database, table[i].database);
        assert_true(bytes_is(s->master, table[i].master));
        buf_free(&errors);
        config_unref(c);
    }
}

static void defaults_and_options(void **unused) {
    (void)unused;
    struct buf errors;
    struct config *c = must_read(good_text);
    assert_int_equal(c->store.kind, STORE_MEMORY);
    assert_int_equal(c->store.on_failure, STORE_LOCAL);
    assert_int_equal(c->store.timeout, MS(5));
    assert_int_equal(c->store.expected_gates, 1);
    config_unref(c);
    c = read_store("{url: \"memory:/var/lib/q/state\"}", &errors);
    assert_non_null(c);
    assert_int_equal(c->store.kind, STORE_DURABLE);
    assert_true(bytes_is(c->store.path, "/var/lib/q/state"));
    config_unref(c);
    buf_free(&errors);
    c = read_store("{url: rediss://localhost, timeout: 20ms, on_failure: open, expected_gates: 3, "
                   "user: gate, password: redis.password, tls: {ca: ca.pem, name: r, cert: c.pem, "
                   "key: k.pem}}",
                   &errors);
    if (c == NULL)
        fail_msg("%s", errors.at);
    assert_int_equal(c->store.on_failure, STORE_OPEN);
    assert_int_equal(c->store.timeout, MS(20));
    assert_int_equal(c->store.expected_gates, 3);
    assert_string_equal(c->store.user.at, "gate");
    assert_string_equal(c->store.password_file.at, "/etc/q/redis.password");
    assert_string_equal(c->store.tls_files.key.at, "/etc/q/k.pem");
    config_unref(c);
    buf_free(&errors);
}

static void slips_are_shown(void **unused) {
    (void)unused;
    static const struct {
        const char *section, *error, *hint;
    } table[] = {
        {"{url: \"rediss:/h\"}", "6:14: error: no store has a url like this: 'rediss:/h'",
         "did you mean 'rediss://'?"},
        {"{url: \"redis+sentinal://h/m\"}", "6:14: error: no store has a url like this",
         "did you mean 'redis+sentinel://'?"},
        {"{url: \"http://h\"}", "6:14: error: no store has a url like this", "one of: memory:"},
        {"{url: \"memory\"}", "6:14: error: no store has a url like this",
         "did you mean 'memory:'?"},
        {"{url: \"memory:state\"}", "6:14: error: the file of a memory store has an absolute path",
         "memory:/var/lib/querygate/state"},
        {"{url: \"redis://nowhere\"}", "6:14: error: cannot resolve 'nowhere'", NULL},
        {"{url: \"redis://\"}", "6:14: error: a host is missing", NULL},
        {"{url: \"redis://10.0.0.1:0\"}", "6:14: error: expected HOST:PORT", NULL},
        {"{url: \"redis://10.0.0.1:x\"}", "6:14: error: expected HOST:PORT", NULL},
        {"{url: \"redis://[::1\"}", "6:14: error: expected HOST:PORT", NULL},
        {"{url: \"redis://unix:/x\"}", "6:14: error: a store is reached by HOST:PORT", NULL},
        {"{url: \"redis://10.0.0.1,10.0.0.2\"}", "6:14: error: too many hosts",
         "redis+cluster:// and redis+sentinel:// take several"},
        {"{url: \"redis+cluster://10.0.0.1,,10.0.0.2\"}", "6:14: error: a host is missing", NULL},
        {"{url: \"redis://10.0.0.1/x\"}", "6:14: error: expected the number of a database",
         "redis://HOST:PORT/0"},
        {"{url: \"redis://10.0.0.1/1/2\"}", "6:14: error: expected the number of a database", NULL},
        {"{url: \"redis+cluster://10.0.0.1/1\"}", "6:14: error: a Cluster has one database", NULL},
        {"{url: \"redis+sentinel://10.0.0.1\"}", "6:14: error: the store's url lacks the name",
         "redis+sentinel://HOST,HOST/MASTER"},
        {"{url: \"redis://10.0.0.1?db=1\"}", "6:14: error: a store's url has no spaces", NULL},
        {"{url: \"redis://10.0.0.1 \"}", "6:14: error: a store's url has no spaces", NULL},
        {"{url: \"memory:\", user: x}", "6:25: error: 'user' has no use", NULL},
        {"{url: \"memory:\", password: p.key}", "6:25: error: 'password' has no use", NULL},
        {"{url: \"redis://10.0.0.1\", tls: {ca: ca.pem}}", "6:34: error: 'tls' has no use", NULL},
        {"{url: \"rediss://10.0.0.1\", tls: {cert: c.pem}}",
         "6:35: error: 'cert' and 'key' belong together", NULL},
        {"{url: \"rediss://10.0.0.1\", tls: {ca: missing.pem}}", "6:45: error: cannot use", NULL},
        {"{url: \"redis://10.0.0.1\", user: x}", "6:40: error: 'user' needs 'password'",
         "password: FILE"},
        {"{url: \"redis://10.0.0.1\", password: missing}", "6:44: error: cannot use", NULL},
        {"{url: \"memory:\", on_failure: lokal}", "6:37: error: store.on_failure: unknown value",
         "did you mean 'local'?"},
        {"{url: \"memory:\", timeout: 1us}", "6:34: error: store.timeout", NULL},
        {"{url: \"memory:\", expected_gates: 0}", "6:41: error: store.expected_gates", NULL},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct buf errors;
        struct config *c = read_store(table[i].section, &errors);
        if (c != NULL || strstr(errors.at, table[i].error) == NULL ||
            (table[i].hint != NULL && strstr(errors.at, table[i].hint) == NULL) ||
            strstr(errors.at, "\n1 error\n") == NULL)
            fail_msg("%s: %s", table[i].section, errors.at);
        buf_free(&errors);
    }
}

/* A password in the URL is refused, and no message shows it. */
static void no_secret_in_a_url(void **unused) {
    (void)unused;
    static const char *const urls[] = {"redis://gate:hunter2@10.0.0.1/0", "redis://:hunter2@h",
                                       "rediss+sentinel://x:hunter2@10.0.0.1/m",
                                       "memory:/hunter2@x", "rdis://hunter2@h"};
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        char section[256];
        struct buf errors;
        snprintf(section, sizeof(section), "{url: \"%s\"}", urls[i]);
        assert_null(read_store(section, &errors));
        assert_non_null(strstr(errors.at, "6:14: error: a store's url holds no user"));
        assert_non_null(strstr(errors.at, "user: NAME and password: FILE"));
        assert_null(strstr(errors.at, "hunter2"));
        buf_free(&errors);
    }
}

static void an_unsafe_password_is_refused(void **unused) {
    (void)unused;
    struct buf errors;
    unsafe_path = "/etc/q/redis.password";
    assert_null(read_store("{url: \"redis://10.0.0.1\", password: redis.password}", &errors));
    assert_non_null(strstr(errors.at, "6:44: error: cannot use '/etc/q/redis.password': it is a "
                                      "secret that others may read"));
    buf_free(&errors);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(urls_mean, reset),
        cmocka_unit_test_setup(defaults_and_options, reset),
        cmocka_unit_test_setup(slips_are_shown, reset),
        cmocka_unit_test_setup(no_secret_in_a_url, reset),
        cmocka_unit_test_setup(an_unsafe_password_is_refused, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
