/* From the raising of an alert, by any thread, to the line in the file. */
#include "../../proxy/alert.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <jansson.h>

#define THREADS 4
#define RAISES  500

static char folder[] = "/tmp/qg-alert-XXXXXX";
static struct worker worker;
static struct alert_sink_conf sink_confs[2];
static struct config config = {.sha256 = "0123456789abcdefXXXX", .refs = 1000};

static struct bytes path_of(const char *name) {
    static char paths[8][64];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return bytes_str(path);
}

static int start(void **state) {
    (void)state;
    memset(&worker, 0, sizeof(worker));
    worker.base = event_base_new();
    assert_true(mailbox_open(&worker.mail, worker.base, &worker));
    assert_true(timers_open(&worker.timers, worker.base));
    sink_confs[0] = (struct alert_sink_conf){.path = path_of("alerts.jsonl")};
    unlink(sink_confs[0].path.at);
    config.alerts = (struct alerts_conf){bytes_str("gate-1"), sink_confs, 1};
    alerts.counts = (struct alert_counts){0, 0};
    alerts.sequence = 0;
    assert_true(alert_open(&worker, &config));
    return 0;
}

static void end(void) {
    alert_close();
    mailbox_close(&worker.mail);
    timers_close(&worker.timers);
    event_base_free(worker.base);
}

/* The lines of a file, each parsed strictly. */
static json_t *lines_of(struct bytes path) {
    json_t *all = json_array();
    char line[ALERT_BYTES_MAX];
    FILE *f = fopen(path.at, "r");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        json_t *one = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
        if (one == NULL || line[strlen(line) - 1] != '\n')
            fail_msg("not a line of JSON: %s", line);
        json_array_append_new(all, one);
    }
    if (f != NULL)
        fclose(f);
    return all;
}

static const char *text_at(json_t *from, const char *outer, const char *inner) {
    json_t *at = json_object_get(from, outer);
    return json_string_value(inner != NULL ? json_object_get(at, inner) : at);
}

static uint64_t count_of(json_t *line) {
    return strtoull(text_at(line, "labels", "cnt"), NULL, 10);
}

static uint64_t sum_of(json_t *lines) {
    uint64_t sum = 0;
    for (size_t i = 0; i < json_array_size(lines); i++)
        sum += count_of(json_array_get(lines, i));
    return sum;
}

static void raise_one(const char *rule, const char *client) {
    const struct alert a = {.rule = rule,
                            .severity = ALERT_HIGH,
                            .text = "Something happened.",
                            .client = bytes_str(client),
                            .model = client != NULL ? bytes_str("m") : bytes_of(NULL, 0)};
    alert_raise(&a);
}

/* ---- Tests ---- */

static void the_fields_of_ecs(void **state) {
    (void)state;
    char client[] = "k1:0123456789abcdef", model[] = "fraud\"\\\n\xff\x01";
    struct alert a = {.rule = "detect.extraction",
                      .severity = ALERT_CRITICAL,
                      .text = "Coverage probing.",
                      .client = bytes_str(client),
                      .model = bytes_of(model, sizeof(model) - 1),
                      .facts = {{"queries", 412}, {"largest", UINT64_MAX}},
                      .fact_count = 2};
    alert_raise(&a);
    memset(client, 'X', sizeof(client) - 1); /* it was copied */
    memset(model, 'X', sizeof(model) - 1);
    a = (struct alert){.rule = "store.lost", .severity = ALERT_INFO, .text = "Gone."};
    alert_raise(&a);
    end();
    json_t *lines = lines_of(sink_confs[0].path), *one = json_array_get(lines, 0),
           *two = json_array_get(lines, 1);
    assert_int_equal(json_array_size(lines), 2);
    assert_string_equal(text_at(one, "message", NULL), "Coverage probing.");
    assert_string_equal(text_at(one, "ecs", "version"), "8.17.0");
    assert_string_equal(text_at(one, "rule", "id"), "detect.extraction");
    assert_string_equal(text_at(one, "user", "hash"), "k1:0123456789abcdef");
    assert_string_equal(text_at(one, "service", "name"), "fraud\"\\\n\xef\xbf\xbd\x01");
    assert_string_equal(text_at(one, "observer", "hostname"), "gate-1");
    assert_string_equal(text_at(one, "observer", "product"), "querygate");
    assert_string_equal(text_at(one, "labels", "policy_sha"), "0123456789abcdef");
    assert_string_equal(text_at(one, "labels", "queries"), "412");
    assert_string_equal(text_at(one, "labels", "largest"), "18446744073709551615");
    assert_string_equal(text_at(one, "event", "kind"), "alert");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(one, "event"), "severity")),
                     10);
    assert_int_equal(strlen(text_at(one, "@timestamp", NULL)), CLOCK_TEXT - 1);
    assert_int_equal(strlen(text_at(one, "event", "id")), ALERT_ID - 1);
    assert_true(strcmp(text_at(one, "event", "id"), text_at(two, "event", "id")) < 0);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(two, "event"), "sequence")),
                     2);
    assert_null(json_object_get(two, "user"));
    assert_null(json_object_get(two, "service"));
    json_decref(lines);
}

static void ids_grow(void **state) {
    (void)state;
    static const uint64_t times[] = {5, 5, 5, 4, 1, 6, UINT64_C(1700000000000), 7};
    char before[ALERT_ID] = "", now[ALERT_ID];
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        alert_id(times[i], now);
        assert_int_equal(strspn(now, "0123456789ABCDEFGHJKMNPQRSTVWXYZ"), ALERT_ID - 1);
        assert_true(strcmp(before, now) < 0);
        memcpy(before, now, sizeof(now));
    }
    /* Time is its first ten digits: 1700000000000 ms. */
    char beginning[11] = "";
    memcpy(beginning, now, 10);
    assert_string_equal(beginning, "01HF7YAT00");
}

static void a_storm_is_gathered_and_its_sum_kept(void **state) {
    (void)state;
    for (int i = 0; i < 1000; i++) {
        raise_one("rule.a", "k1:aaaaaaaaaaaaaaaa");
        if (i % 10 == 0)
            raise_one("rule.a", "k1:bbbbbbbbbbbbbbbb");
        if (i % 100 == 0)
            raise_one("rule.b", "k1:aaaaaaaaaaaaaaaa");
        event_base_loop(worker.base, EVLOOP_NONBLOCK);
    }
    raise_one("rule.gate", NULL);
    raise_one("rule.gate", NULL);
    event_base_loop(worker.base, EVLOOP_NONBLOCK);
    assert_int_equal(alerts.gathered_count, 3);
    /* The ten seconds are over: what was gathered comes, and is gathered again. */
    for (unsigned i = 0; i < GATHER_LISTS; i++)
        for (struct list *n = alerts.gathered[i].next; n != &alerts.gathered[i]; n = n->next)
            on_gathered(&list_object(n, struct gathered, link)->end);
    raise_one("rule.a", "k1:aaaaaaaaaaaaaaaa");
    event_base_loop(worker.base, EVLOOP_NONBLOCK);
    /* Nothing came in them: the next is delivered at once. */
    for (unsigned i = 0; i < GATHER_LISTS; i++)
        for (struct list *n = alerts.gathered[i].next, *next; n != &alerts.gathered[i]; n = next) {
            struct gathered *g = list_object(n, struct gathered, link);
            next = n->next;
            if (g->count == 0)
                on_gathered(&g->end);
        }
    assert_int_equal(alerts.gathered_count, 1);
    end();
    json_t *lines = lines_of(sink_confs[0].path);
    assert_int_equal(json_array_size(lines), 3 + 2 + 3 + 1);
    assert_int_equal(sum_of(lines), 1000 + 100 + 10 + 2 + 1);
    for (size_t i = 0; i < json_array_size(lines); i++) {
        json_t *event = json_object_get(json_array_get(lines, i), "event");
        bool many = count_of(json_array_get(lines, i)) > 1;
        assert_int_equal(many, json_object_get(event, "start") != NULL);
        assert_int_equal(json_integer_value(json_object_get(event, "sequence")), i + 1);
    }
    assert_int_equal(alert_counts().raised, 1113);
    assert_int_equal(alert_counts().dropped, 0);
    json_decref(lines);
}

static void many_storms_are_not_all_gathered(void **state) {
    (void)state;
    char client[32];
    for (int i = 0; i < ALERTS_GATHERED_MAX + 100; i++) {
        snprintf(client, sizeof(client), "k1:%016d", i);
        raise_one("rule", client);
        event_base_loop(worker.base, EVLOOP_NONBLOCK);
    }
    assert_int_equal(alerts.gathered_count, ALERTS_GATHERED_MAX);
    end();
    json_t *lines = lines_of(sink_confs[0].path);
    assert_int_equal(json_array_size(lines) + alert_counts().dropped, ALERTS_GATHERED_MAX + 100);
    json_decref(lines);
}

static void the_queue_is_bounded(void **state) {
    (void)state;
    for (int i = 0; i < ALERTS_WAITING_MAX + 10; i++)
        raise_one("rule", "k1:aaaaaaaaaaaaaaaa");
    assert_int_equal(alert_counts().dropped, 10);
    end();
    json_t *lines = lines_of(sink_confs[0].path);
    assert_int_equal(sum_of(lines), ALERTS_WAITING_MAX);
    json_decref(lines);
    raise_one("rule", NULL); /* closed: only counted */
    assert_int_equal(alert_counts().raised, ALERTS_WAITING_MAX + 11);
    assert_int_equal(alert_counts().dropped, 10);
}

static void files_come_and_go(void **state) {
    (void)state;
    struct bytes first = sink_confs[0].path, old = path_of("old.jsonl"),
                 second = path_of("second.jsonl");
    raise_one("one", NULL);
    event_base_loop(worker.base, EVLOOP_NONBLOCK);
    assert_int_equal(rename(first.at, old.at), 0);
    sink_confs[1].path = path_of("missing/file");
    config.alerts.sink_count = 2;
    assert_false(alert_reload(&config)); /* nothing has changed */
    raise_one("two", NULL);
    sink_confs[1].path = second;
    assert_true(alert_reload(&config));
    event_base_loop(worker.base, EVLOOP_NONBLOCK);
    config.alerts.sink_count = 1;
    sink_confs[0].path = second;
    assert_true(alert_reload(&config));
    raise_one("three", NULL);
    end();
    json_t *of_first = lines_of(first), *of_old = lines_of(old), *of_second = lines_of(second);
    assert_int_equal(json_array_size(of_old) + json_array_size(of_first), 2);
    assert_int_equal(json_array_size(of_second), 2);
    assert_string_equal(text_at(json_array_get(of_second, 1), "rule", "id"), "three");
    /* What still waited when the file was renamed may be in either. */
    json_t *two = json_array_get(of_first, json_array_size(of_first) - 1);
    assert_string_equal(text_at(two, "rule", "id"), "two");
    assert_string_equal(text_at(two, "event", "id"),
                        text_at(json_array_get(of_second, 0), "event", "id"));
    json_decref(of_first);
    json_decref(of_old);
    json_decref(of_second);
}

static void *raiser(void *cookie) {
    for (int i = 0; i < RAISES; i++)
        raise_one(cookie, i % 2 == 0 ? "k1:aaaaaaaaaaaaaaaa" : NULL);
    return NULL;
}

static void any_thread_may_raise(void **state) {
    (void)state;
    pthread_t threads[THREADS];
    static char *rules[THREADS] = {"a", "b", "c", "d"};
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, raiser, rules[i]), 0);
    while (alert_counts().raised < THREADS * RAISES)
        event_base_loop(worker.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    end();
    json_t *lines = lines_of(sink_confs[0].path);
    assert_int_equal(sum_of(lines) + alert_counts().dropped, THREADS * RAISES);
    json_decref(lines);
}

static int remove_folder(void **state) {
    static const char *const names[] = {"alerts.jsonl", "old.jsonl", "second.jsonl"};
    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlink(path_of(names[i]).at);
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_grow), /* first, for an id is never less than one before */
        cmocka_unit_test_setup(the_fields_of_ecs, start),
        cmocka_unit_test_setup(a_storm_is_gathered_and_its_sum_kept, start),
        cmocka_unit_test_setup(many_storms_are_not_all_gathered, start),
        cmocka_unit_test_setup(the_queue_is_bounded, start),
        cmocka_unit_test_setup(files_come_and_go, start),
        cmocka_unit_test_setup(any_thread_may_raise, start),
    };
    if (mkdtemp(folder) == NULL)
        return 1;
    return cmocka_run_group_tests(tests, NULL, remove_folder);
}
