/* The master is whom a Sentinel names and who says of itself that it is one; when it is lost, the
 * Sentinels are asked again. */
#include "redis_harness.h"

#include "../../proxy/redis_sentinel.c"

/* Servers 0 and 1 are Sentinels, 2 and 3 what they watch. */
enum { FIRST = 2, SECOND = 3 };
static const char slave[] =
    "*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:1\r\n$9\r\nconnected\r\n:1\r\n";
static const char master[] =
    "*3\r\n$6\r\nmaster\r\n:0\r\n*1\r\n*3\r\n$9\r\n127.0.0.1\r\n$1\r\n1\r\n$1\r\n0\r\n";
static struct redis *redis;
static int named[2];           /* by each Sentinel */
static const char *odd_answer; /* instead */

static int epochs[2];
static void sentinel(struct talk *t, int argc, const struct bytes *argv) {
    char text[256];
    int i = (int)(t->server - servers);
    assert_true(argc == 3 && is(argv[0], "SENTINEL") && is(argv[1], "MASTER") &&
                is(argv[2], "main"));
    snprintf(text, sizeof(text),
             "*8\r\n$4\r\nname\r\n$4\r\nmain\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n"
             "$4\r\nport\r\n$5\r\n%05u\r\n$12\r\nconfig-epoch\r\n$1\r\n%d\r\n",
             servers[named[i]].port, epochs[i]);
    say(t, odd_answer != NULL ? odd_answer : text);
}

static const char *reply_of[SERVERS];
static void watched(struct talk *t, int argc, const struct bytes *argv) {
    char text[32];
    (void)argc, (void)argv;
    snprintf(text, sizeof(text), ":%d\r\n", (int)(t->server - servers));
    say(t, reply_of[t->server - servers] != NULL ? reply_of[t->server - servers] : text);
}

static int begin(void **state) {
    if (harness_open(state) != 0)
        return -1;
    odd_answer = NULL;
    for (int i = 0; i < SERVERS; i++) {
        server_open(&servers[i], i < FIRST ? sentinel : watched);
        reply_of[i] = NULL;
    }
    named[0] = named[1] = FIRST;
    epochs[0] = epochs[1] = 4;
    servers[FIRST].role = master;
    servers[SECOND].role = slave;
    configure(STORE_SENTINEL, 2);
    redis = redis_new(&worker, &store);
    return redis != NULL ? 0 : -1;
}

static int end(void **state) {
    redis_free(redis);
    return harness_close(state);
}

static bool all_ready(void) {
    for (unsigned i = 0; i < REDIS_CONNECTIONS; i++)
        if (redis->nodes[0]->links[i]->state != LINK_READY)
            return false;
    return true;
}

static void answered_by(int server) {
    struct outcome o;
    char want[16];
    TURN_UNTIL(all_ready());
    assert_true(ask(redis, "GET k", &o));
    TURN_UNTIL(o.calls > 0);
    snprintf(want, sizeof(want), ":%d", server);
    assert_int_equal(o.result, REDIS_OK);
    assert_string_equal(o.text, want);
}

static void fail_over(void) {
    named[0] = named[1] = SECOND;
    epochs[0] = epochs[1] = 5;
    servers[FIRST].role = slave;
    servers[SECOND].role = master;
}

static void connects_to_the_named_master(void **state) {
    (void)state;
    answered_by(FIRST);
    assert_int_equal(servers[0].accepted + servers[1].accepted, 1);
    assert_int_equal(servers[SECOND].accepted, 0);
}

static void asks_the_next_when_one_is_dead(void **state) {
    (void)state;
    server_close(&servers[0]);
    answered_by(FIRST);
    assert_int_equal(servers[1].accepted, 1);
}

static void a_server_that_is_no_master_is_not_used(void **state) {
    (void)state;
    servers[FIRST].role = slave; /* The Sentinels do not know yet. */
    TURN_UNTIL(servers[FIRST].accepted >= 2 * REDIS_CONNECTIONS);
    assert_false(redis_ready(redis));
    assert_true(servers[0].accepted > 0 && servers[1].accepted > 0);
    fail_over();
    answered_by(SECOND);
}

static void odd_roles_are_no_masters(void **state) {
    static const char *const roles[] = {"*0\r\n",  "+master\r\n",    "*1\r\n:1\r\n",
                                        "*-1\r\n", "-NOPERM no\r\n", "*1\r\n$8\r\nsentinel\r\n"};
    (void)state;
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        servers[FIRST].role = roles[i];
        unsigned before = servers[FIRST].accepted;
        TURN_UNTIL(servers[FIRST].accepted >= before + 2 * REDIS_CONNECTIONS);
        assert_false(redis_ready(redis));
    }
}

static void a_lost_master_is_asked_for(void **state) {
    (void)state;
    answered_by(FIRST);
    server_close(&servers[FIRST]);
    fail_over();
    TURN_UNTIL(!redis_ready(redis));
    answered_by(SECOND);
}

static void a_demoted_master_is_left(void **state) {
    struct outcome o;
    (void)state;
    answered_by(FIRST);
    fail_over();
    reply_of[FIRST] = "-READONLY You can't write against a read only replica.\r\n";
    assert_true(ask(redis, "GET k", &o));
    TURN_UNTIL(o.calls > 0);
    assert_int_equal(o.result, REDIS_ERROR);
    TURN_UNTIL(redis_node_is(redis->nodes[0], &redis->found) &&
               ((struct sockaddr_in *)&redis->found.at)->sin_port == htons(servers[SECOND].port));
    answered_by(SECOND);
}

static void a_stale_sentinel_is_not_believed_for_long(void **state) {
    (void)state;
    answered_by(FIRST);
    fail_over();
    named[0] = FIRST;
    epochs[0] = 4;
    server_hang_up(&servers[FIRST]);
    TURN_UNTIL(!redis_ready(redis));
    answered_by(SECOND);
}

/* After an ordered failover the old master takes writes for 10 s. */
static void a_master_that_lives_on_is_left(void **state) {
    (void)state;
    answered_by(FIRST);
    named[0] = named[1] = SECOND;
    epochs[0] = epochs[1] = 5;
    servers[SECOND].role = master;
    TURN_UNTIL(servers[SECOND].accepted == REDIS_CONNECTIONS);
    answered_by(SECOND);
}

static void who_missed_a_failover_cannot_undo_it(void **state) {
    (void)state;
    epochs[0] = epochs[1] = 5;
    answered_by(FIRST);
    named[0] = named[1] = SECOND; /* Of an earlier epoch, and still thinks that it is the master. */
    epochs[0] = epochs[1] = 4;
    servers[SECOND].role = master;
    unsigned before = servers[0].asked + servers[1].asked;
    TURN_UNTIL(servers[0].asked > 1 && servers[1].asked > 1 &&
               servers[0].asked + servers[1].asked >= before + 4);
    assert_int_equal(servers[SECOND].accepted, 0);
    answered_by(FIRST);
    /* But where there is no other word, it is tried. */
    server_close(&servers[FIRST]);
    TURN_UNTIL(!redis_ready(redis));
    answered_by(SECOND);
}

static void odd_answers_name_nobody(void **state) {
#define IP    "$2\r\nip\r\n$9\r\n127.0.0.1\r\n"
#define PORT  "$4\r\nport\r\n$4\r\n6379\r\n"
#define EPOCH "$12\r\nconfig-epoch\r\n$1\r\n1\r\n"
    static const char *const answers[] = {
        "*-1\r\n",
        "-ERR No such master with that name\r\n",
        "+OK\r\n",
        "*0\r\n",
        "*4\r\n" PORT EPOCH,
        "*4\r\n" IP EPOCH,
        "*4\r\n" IP PORT,
        "*5\r\n" IP PORT "$12\r\nconfig-epoch\r\n",
        "*6\r\n" IP PORT "$12\r\nconfig-epoch\r\n:1\r\n",
        "*6\r\n" IP EPOCH "$4\r\nport\r\n$1\r\n0\r\n",
        "*6\r\n" IP EPOCH "$4\r\nport\r\n$5\r\n65536\r\n",
        "*6\r\n" PORT EPOCH "$2\r\nip\r\n$9\r\nlocalhost\r\n",
        "*6\r\n" PORT EPOCH "$2\r\nip\r\n$0\r\n\r\n",
        "*8\r\n:1\r\n:2\r\n" IP PORT EPOCH,
    };
    (void)state;
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        odd_answer = answers[i];
        unsigned before = servers[0].asked + servers[1].asked;
        TURN_UNTIL(servers[0].asked + servers[1].asked >= before + 2);
        if (redis->nodes[0]->known)
            fail_msg("case %zu", i);
    }
    odd_answer = NULL;
    answered_by(FIRST);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(connects_to_the_named_master),
        CASE(asks_the_next_when_one_is_dead),
        CASE(a_server_that_is_no_master_is_not_used),
        CASE(odd_roles_are_no_masters),
        CASE(a_lost_master_is_asked_for),
        CASE(a_demoted_master_is_left),
        CASE(a_stale_sentinel_is_not_believed_for_long),
        CASE(a_master_that_lives_on_is_left),
        CASE(who_missed_a_failover_cannot_undo_it),
        CASE(odd_answers_name_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
