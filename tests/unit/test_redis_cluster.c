/* A Cluster: keys go to their slot's node, redirects are followed three times and no more, and the
 * map is believed only in the form that is known. */
#include "redis_harness.h"

#include "../../proxy/redis_cluster.c"
#include "../../proxy/redis_slots.c"

static struct redis *redis;
static const char *slots_reply; /* of every node; NULL: made of the ports of servers */
static unsigned maps_asked;

/* --- Slots.  The values are those of a Redis 7.0 server (CLUSTER KEYSLOT). */

static void slots_are_those_of_redis(void **state) {
    static const struct {
        const char *key;
        uint16_t slot;
    } cases[] = {{"", 0},
                 {"a", 15495},
                 {"foo", 12182},
                 {"{foo}bar", 12182},
                 {"x{foo}", 12182},
                 {"{foo}{bar}", 12182},
                 {"123456789", 12739},
                 {"foo{}{bar}", 8363},
                 {"foo{{bar}}zap", 4015},
                 {"{a", 10276},
                 {"}{a}", 15495}};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (redis_slot(bytes_str(cases[i].key)) != cases[i].slot)
            fail_msg("%s: %u", cases[i].key, redis_slot(bytes_str(cases[i].key)));
}

/* --- Nodes that know the map. */

/* Server i has the slots from 4096 i on. */
static void say_map(struct talk *t) {
    char text[1024];
    size_t n = 0;
    maps_asked++;
    if (slots_reply != NULL) {
        say(t, slots_reply);
        return;
    }
    n += (size_t)snprintf(text, sizeof(text), "*%d\r\n", SERVERS);
    for (int i = 0; i < SERVERS; i++)
        n +=
            (size_t)snprintf(text + n, sizeof(text) - n,
                             "*4\r\n:%d\r\n:%d\r\n"
                             "*4\r\n$9\r\n127.0.0.1\r\n:%d\r\n$2\r\nid\r\n*0\r\n"
                             "*4\r\n$9\r\n127.0.0.1\r\n:1\r\n$2\r\nid\r\n*2\r\n+hostname\r\n+x\r\n",
                             4096 * i, 4096 * i + 4095, servers[i].port);
    say(t, text);
}

static int index_of(const struct talk *t) {
    return (int)(t->server - servers);
}

/* Every node says which it is. */
static void own_name(struct talk *t, int argc, const struct bytes *argv) {
    char text[32];
    (void)argc;
    if (is(argv[0], "CLUSTER")) {
        say_map(t);
        return;
    }
    snprintf(text, sizeof(text), ":%d\r\n", index_of(t));
    say(t, text);
}

static const char *answers[SERVERS]; /* NULL: its name; may hold one %u, the port of `target` */
static int target;
static unsigned answered[SERVERS], askings[SERVERS];
static void as_told(struct talk *t, int argc, const struct bytes *argv) {
    int i = index_of(t);
    if (is(argv[0], "ASKING")) {
        askings[i]++;
        say(t, "+OK\r\n");
    } else if (is(argv[0], "CLUSTER") || answers[i] == NULL) {
        own_name(t, argc, argv);
    } else {
        char text[128];
        answered[i]++;
        snprintf(text, sizeof(text), answers[i], servers[target].port);
        say(t, text);
    }
}

static int begin(void **state) {
    if (harness_open(state) != 0)
        return -1;
    slots_reply = NULL;
    maps_asked = 0;
    for (int i = 0; i < SERVERS; i++) {
        server_open(&servers[i], as_told);
        answers[i] = NULL;
        answered[i] = askings[i] = 0;
    }
    configure(STORE_CLUSTER, 1);
    redis = redis_new(&worker, &store);
    return redis != NULL ? 0 : -1;
}

static int end(void **state) {
    redis_free(redis);
    return harness_close(state);
}

static unsigned ready_links(void) {
    unsigned count = 0;
    for (unsigned i = 0; i < redis->node_count; i++)
        for (unsigned k = 0; redis->nodes[i] != NULL && k < REDIS_CONNECTIONS; k++)
            count += redis->nodes[i]->links[k]->state == LINK_READY;
    return count;
}

static void connect_all(void) {
    TURN_UNTIL(ready_links() == SERVERS * REDIS_CONNECTIONS);
}

static void answer(const char *command, struct outcome *o) {
    assert_true(ask(redis, command, o));
    TURN_UNTIL(o->calls > 0);
    assert_int_equal(o->calls, 1);
}

static void keys_go_to_their_node(void **state) {
    struct outcome o;
    char command[32], want[32];
    (void)state;
    connect_all();
    for (int i = 0; i < 100; i++) {
        int n = snprintf(command, sizeof(command), "GET key%d", i);
        snprintf(want, sizeof(want), ":%d",
                 redis_slot(bytes_of(command + 4, (size_t)n - 4)) / 4096);
        answer(command, &o);
        assert_string_equal(o.text, want);
    }
    assert_int_equal(maps_asked, 1);
}

/* "a" has slot 15495: server 3's. */
static void a_moved_slot_is_followed_and_remembered(void **state) {
    struct outcome o;
    (void)state;
    connect_all();
    answers[3] = "-MOVED 15495 127.0.0.1:%u\r\n";
    target = 1;
    answer("GET a", &o);
    assert_string_equal(o.text, ":1");
    assert_int_equal(askings[1], 0);
    answer("GET a", &o);
    assert_string_equal(o.text, ":1");
    assert_int_equal(answered[3], 1);
    TURN_UNTIL(maps_asked == 2); /* A redirect shows that the map is old. */
}

static void asking_is_for_once(void **state) {
    struct outcome o;
    (void)state;
    connect_all();
    answers[3] = "-ASK 15495 127.0.0.1:%u\r\n";
    target = 2;
    for (unsigned i = 1; i <= 3; i++) {
        answer("GET a", &o);
        assert_string_equal(o.text, ":2");
        assert_int_equal(askings[2], i);
        assert_int_equal(answered[3], i);
    }
    assert_int_equal(maps_asked, 1);
}

static void a_host_left_out_is_the_same(void **state) {
    struct outcome o;
    (void)state;
    connect_all();
    answers[3] = "-MOVED 15495 :%u\r\n";
    target = 0;
    answer("GET a", &o);
    assert_string_equal(o.text, ":0");
}

static void redirects_end(void **state) {
    struct outcome o;
    (void)state;
    connect_all();
    for (int i = 0; i < SERVERS; i++)
        answers[i] = "-MOVED 15495 127.0.0.1:%u\r\n";
    target = 2;
    answer("GET a", &o);
    assert_int_equal(o.result, REDIS_ERROR);
    assert_memory_equal(o.text, "$MOVED ", 7);
    assert_int_equal(answered[3], 1);
    assert_int_equal(answered[2], REDIS_REDIRECTS_MAX);
    for (int i = 0; i < SERVERS; i++)
        answers[i] = "-ASK 15495 127.0.0.1:%u\r\n";
    answered[2] = answered[3] = 0;
    answer("GET a", &o);
    assert_int_equal(o.result, REDIS_ERROR);
    assert_int_equal(answered[2] + answered[3], REDIS_REDIRECTS_MAX + 1);
}

static void odd_redirects_are_errors(void **state) {
    static const char *const replies[] = {
        "-MOVED\r\n",
        "-MOVED 15495\r\n",
        "-MOVED 15495 \r\n",
        "-MOVED 15495 127.0.0.1\r\n",
        "-MOVED 15495 127.0.0.1:0\r\n",
        "-MOVED 15495 127.0.0.1:65536\r\n",
        "-MOVED 15495 127.0.0.1:-1\r\n",
        "-MOVED 15494 127.0.0.1:%u\r\n",
        "-MOVED 16384 127.0.0.1:%u\r\n",
        "-MOVED 15495 redis.example:%u\r\n",
        "-MOVED 15495 999.0.0.1:%u\r\n",
        "-ASK 15495 ?:%u\r\n",
        "-ask 15495 127.0.0.1:%u\r\n",
        "-TRYAGAIN Multiple keys\r\n",
        "-CLUSTERDOWN The cluster is down\r\n",
    };
    struct outcome o;
    (void)state;
    connect_all();
    for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
        answers[3] = replies[i];
        answer("GET a", &o);
        assert_int_equal(o.result, REDIS_ERROR);
        assert_int_equal(redis->owners[15495],
                         redis->owners[16383]); /* No redirect is remembered. */
    }
}

static void a_redirect_to_nowhere_is_down(void **state) {
    struct outcome o;
    (void)state;
    connect_all();
    server_close(&servers[1]);
    TURN_UNTIL(ready_links() == (SERVERS - 1) * REDIS_CONNECTIONS);
    answers[3] = "-MOVED 15495 127.0.0.1:%u\r\n";
    target = 1;
    answer("GET a", &o);
    assert_int_equal(o.result, REDIS_DOWN);
    assert_int_equal(redis->count, 0);
}

static void a_redirect_may_name_a_new_node(void **state) {
    struct outcome o;
    static char all_first[128];
    (void)state;
    snprintf(all_first, sizeof(all_first),
             "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n", servers[0].port);
    slots_reply = all_first;
    TURN_UNTIL(ready_links() == REDIS_CONNECTIONS);
    answers[0] = "-ASK 15495 127.0.0.1:%u\r\n";
    target = 3;
    answer("GET a", &o);
    assert_string_equal(o.text, ":3");
    assert_int_equal(askings[3], 1);
    /* It is in no map, and yet stays. */
    redis->asked = 0;
    refresh(redis);
    TURN_UNTIL(maps_asked == 2 && redis->asker->state == LINK_IDLE);
    assert_int_equal(redis->node_count, 2);
    assert_non_null(redis->nodes[1]);
    /* Until it has not been named for long. */
    redis->nodes[1]->redirected = clock_us() - REDIS_NODE_KEEP;
    redis->asked = 0;
    refresh(redis);
    TURN_UNTIL(maps_asked == 3 && redis->asker->state == LINK_IDLE);
    assert_null(redis->nodes[1]);
}

static struct talk *waiting;
static void keep_waiting(struct talk *t, int argc, const struct bytes *argv) {
    (void)argc, (void)argv;
    waiting = t;
}

static void forgotten_it_is_not_redirected(void **state) {
    struct outcome o;
    char moved[64];
    (void)state;
    connect_all();
    servers[3].script = keep_waiting;
    waiting = NULL;
    assert_true(ask(redis, "GET a", &o));
    TURN_UNTIL(waiting != NULL);
    redis_cancel(redis, &o);
    snprintf(moved, sizeof(moved), "-MOVED 15495 127.0.0.1:%d\r\n", servers[1].port);
    answers[1] = ":1\r\n";
    say(waiting, moved);
    TURN_UNTIL(redis->count == 0);
    answer("GET a", &o); /* But what it says of the slot is remembered. */
    assert_string_equal(o.text, ":1");
    assert_int_equal(answered[1], 1);
}

static void a_lost_node_does_not_take_the_others_with_it(void **state) {
    struct outcome o;
    (void)state;
    connect_all();
    server_close(&servers[3]);
    TURN_UNTIL(ready_links() == (SERVERS - 1) * REDIS_CONNECTIONS);
    TURN_UNTIL(maps_asked >= 2);
    assert_true(redis_ready(redis));
    assert_false(ask(redis, "GET a", &o));
    answer("GET foo", &o);
    assert_string_equal(o.text, ":2");
}

/* --- Maps. */

static void odd_maps_are_refused(void **state) {
#define NODE "*3\r\n$9\r\n127.0.0.1\r\n:7000\r\n$2\r\nid\r\n"
    static const char *const replies[] = {
        "*0\r\n",
        "*-1\r\n",
        "+OK\r\n",
        "-ERR This instance has cluster support disabled\r\n",
        "*1\r\n:1\r\n",
        "*1\r\n*2\r\n:0\r\n:1\r\n",
        "*1\r\n*3\r\n:0\r\n:1\r\n:2\r\n",
        "*1\r\n*3\r\n:0\r\n:1\r\n*0\r\n",
        "*1\r\n*3\r\n:0\r\n:1\r\n*1\r\n$9\r\n127.0.0.1\r\n",
        "*1\r\n*3\r\n+0\r\n:1\r\n" NODE,
        "*1\r\n*3\r\n:-1\r\n:1\r\n" NODE,
        "*1\r\n*3\r\n:5\r\n:1\r\n" NODE,
        "*1\r\n*3\r\n:0\r\n:16384\r\n" NODE,
        "*1\r\n*3\r\n:0\r\n:9223372036854775807\r\n" NODE,
        "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$9\r\n127.0.0.1\r\n:0\r\n",
        "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$9\r\n127.0.0.1\r\n:65536\r\n",
        "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$9\r\nlocalhost\r\n:7000\r\n",
        "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\n?\r\n:7000\r\n",
        "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n:1\r\n:7000\r\n",
        "*2\r\n*3\r\n:0\r\n:1\r\n" NODE ":1\r\n",
        "*200000\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
        slots_reply = replies[i];
        unsigned before = maps_asked;
        TURN_UNTIL(maps_asked > before + 1); /* Refused: asked again. */
        for (unsigned slot = 0; slot < REDIS_SLOTS; slot += 1000)
            assert_int_equal(redis->owners[slot], NO_NODE);
        assert_false(redis_ready(redis));
    }
    slots_reply = NULL;
    connect_all();
}

static void nodes_are_bounded(void **state) {
    struct buf map;
    (void)state;
    buf_init(&map, MIB(1));
    buf_printf(&map, "*%d\r\n", REDIS_NODES_MAX + 1);
    for (int i = 0; i <= REDIS_NODES_MAX; i++)
        buf_printf(&map, "*3\r\n:%d\r\n:%d\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n", i, i, i + 1);
    buf_add_char(&map, '\0');
    slots_reply = map.at;
    TURN_UNTIL(maps_asked >= 2);
    assert_true(redis->node_count <= REDIS_NODES_MAX);
    for (unsigned i = 0; i < redis->node_count; i++)
        assert_null(redis->nodes[i]);
    assert_int_equal(redis->owners[0], NO_NODE);
    slots_reply = NULL;
    connect_all();
    buf_free(&map);
}

static void nodes_come_and_go(void **state) {
    static char two[256];
    struct outcome o;
    (void)state;
    connect_all();
    /* Half of the slots have no owner; the host of the other half is left out. */
    snprintf(two, sizeof(two), "*1\r\n*3\r\n:8192\r\n:16383\r\n*2\r\n$-1\r\n:%d\r\n",
             servers[1].port);
    slots_reply = two;
    redis->asked = 0;
    refresh(redis);
    TURN_UNTIL(ready_links() == REDIS_CONNECTIONS);
    answer("GET a", &o);
    assert_string_equal(o.text, ":1");
    assert_false(ask(redis, "GET \1", &o) && redis_slot(BYTES_LITERAL("\1")) < 8192);
    slots_reply = NULL;
    redis->asked = 0;
    refresh(redis);
    connect_all();
    answer("GET a", &o);
    assert_string_equal(o.text, ":3");
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_are_those_of_redis),
        CASE(keys_go_to_their_node),
        CASE(a_moved_slot_is_followed_and_remembered),
        CASE(asking_is_for_once),
        CASE(a_host_left_out_is_the_same),
        CASE(redirects_end),
        CASE(odd_redirects_are_errors),
        CASE(a_redirect_to_nowhere_is_down),
        CASE(a_redirect_may_name_a_new_node),
        CASE(forgotten_it_is_not_redirected),
        CASE(a_lost_node_does_not_take_the_others_with_it),
        CASE(odd_maps_are_refused),
        CASE(nodes_are_bounded),
        CASE(nodes_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
