/* One server: replies come to whoever asked, in time or not at all; whatever the server does, every
 * command has one outcome, and the connection comes back. */
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>

#include "../../proxy/base/log.h"
#include "redis_harness.h"

#define log_line note_line
#include "../../proxy/redis.c"
#undef log_line

static struct redis *redis;

static void nothing(struct talk *t, int argc, const struct bytes *argv) {
    (void)t, (void)argc, (void)argv;
}

/* Says what was asked. */
static void echo(struct talk *t, int argc, const struct bytes *argv) {
    char text[64];
    (void)argc;
    snprintf(text, sizeof(text), "+%.*s\r\n", (int)argv[1].len, argv[1].at);
    say(t, text);
}

static const char *canned;
static size_t canned_len;
static void say_canned(struct talk *t, int argc, const struct bytes *argv) {
    (void)argc, (void)argv;
    say_bytes(t, bytes_of(canned, canned_len > 0 ? canned_len : strlen(canned)));
}

static int begin(void **state) {
    if (harness_open(state) != 0)
        return -1;
    canned_len = 0;
    said_at = 0;
    server_open(&servers[0], echo);
    configure(STORE_REDIS, 1);
    return 0;
}

static int end(void **state) {
    redis_free(redis);
    redis = NULL;
    return harness_close(state);
}

static bool all_ready(void) {
    for (unsigned i = 0; i < REDIS_CONNECTIONS; i++)
        if (redis->nodes[0]->links[i]->state != LINK_READY)
            return false;
    return true;
}

static void connect_all(script_fn *script) {
    servers[0].script = script;
    redis = redis_new(&worker, &store);
    assert_non_null(redis);
    assert_false(redis_ready(redis));
    TURN_UNTIL(all_ready());
}

static void answers_to_whoever_asked(void **state) {
    enum { COUNT = 300 };
    static struct outcome o[COUNT];
    char command[32], want[32];
    (void)state;
    connect_all(echo);
    for (int i = 0; i < COUNT; i++) {
        snprintf(command, sizeof(command), "GET key%d", i);
        assert_true(ask(redis, command, &o[i]));
    }
    for (int i = 0; i < COUNT; i++) {
        TURN_UNTIL(o[i].calls > 0);
        snprintf(want, sizeof(want), "$key%d", i);
        assert_int_equal(o[i].result, REDIS_OK);
        assert_string_equal(o[i].text, want);
    }
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(o[i].calls, 1);
    assert_int_equal(redis->count, 0);
    assert_int_equal(redis->bytes, 0);
    assert_string_equal(said, "");
}

static void replies_may_be_torn_anywhere(void **state) {
    static const struct {
        const char *reply, *text;
        enum redis_result result;
    } cases[] = {
        {"+OK\r\n", "$OK", REDIS_OK},
        {"-ERR what\r\n", "$ERR what", REDIS_ERROR},
        {"-MOVED 1 127.0.0.1:1\r\n", "$MOVED 1 127.0.0.1:1", REDIS_ERROR},
        {"-OOM no\r\n", "$OOM no", REDIS_ERROR},
        {":-7\r\n", ":-7", REDIS_OK},
        {"$5\r\nhello\r\n", "$hello", REDIS_OK},
        {"$-1\r\n", "_", REDIS_OK},
        {"*3\r\n:1\r\n:0\r\n:250000\r\n", "[:1:0:250000]", REDIS_OK},
        {"*0\r\n", "[]", REDIS_OK},
        {"*-1\r\n", "_", REDIS_OK},
    };
    struct outcome o;
    (void)state;
    connect_all(say_canned);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        canned = cases[i].reply;
        for (servers[0].tear = 1; servers[0].tear <= strlen(canned); servers[0].tear++) {
            assert_true(ask(redis, "GET k", &o));
            TURN_UNTIL(o.calls > 0);
            assert_int_equal(o.result, cases[i].result);
            assert_string_equal(o.text, cases[i].text);
        }
    }
    assert_int_equal(servers[0].accepted, REDIS_CONNECTIONS);
}

/* The connection that the key "k" goes by. */
static struct talk *talk_of_k(void) {
    struct redis_link *l =
        redis->nodes[0]->links[redis_slot(BYTES_LITERAL("k")) % REDIS_CONNECTIONS];
    struct sockaddr_in ours, theirs;
    socklen_t len = sizeof(ours);
    assert_int_equal(getsockname(l->sock.fd, (struct sockaddr *)&ours, &len), 0);
    for (unsigned i = 0; i < TALKS; i++)
        if (servers[0].talks[i].fd >= 0 &&
            getpeername(servers[0].talks[i].fd, (struct sockaddr *)&theirs, &len) == 0 &&
            theirs.sin_port == ours.sin_port)
            return &servers[0].talks[i];
    fail();
    return NULL;
}

static void late_replies_are_matched_and_dropped(void **state) {
    struct outcome late, cancelled, next;
    (void)state;
    store.timeout = 5000;
    connect_all(nothing);
    assert_true(ask(redis, "GET k 1", &late));
    TURN_UNTIL(late.calls > 0 && servers[0].asked == 1);
    store.timeout = PATIENCE_US;
    assert_true(ask(redis, "GET k 2", &cancelled));
    TURN_UNTIL(servers[0].asked == 2);
    redis_cancel(redis, &cancelled);
    assert_true(ask(redis, "GET k 3", &next));
    TURN_UNTIL(servers[0].asked == 3);
    say(talk_of_k(), "+one\r\n+two\r\n+three\r\n");
    TURN_UNTIL(next.calls > 0);
    assert_string_equal(next.text, "$three");
    assert_int_equal(late.calls, 1);
    assert_int_equal(cancelled.calls, 0);
    assert_int_equal(redis->count, 0);
}

static void cancelled_before_it_was_written_it_is_not(void **state) {
    struct outcome o;
    (void)state;
    connect_all(echo);
    assert_true(ask(redis, "GET k", &o));
    redis_cancel(redis, &o);
    assert_int_equal(redis->count, 0);
    assert_true(ask(redis, "GET other", &o));
    TURN_UNTIL(o.calls > 0);
    assert_string_equal(o.text, "$other");
    assert_int_equal(servers[0].asked, 1);
}

static void deadlines_pass_in_order(void **state) {
    static struct outcome o[100];
    (void)state;
    store.timeout = 5000;
    connect_all(nothing);
    for (int i = 0; i < 100; i++)
        assert_true(ask(redis, i % 2 ? "GET a" : "GET b", &o[i]));
    for (int i = 0; i < 100; i++) {
        TURN_UNTIL(o[i].calls > 0);
        assert_int_equal(o[i].result, REDIS_TIMEOUT);
    }
    for (int i = 0; i < 100; i++)
        assert_int_equal(o[i].calls, 1);
}

static void the_queue_is_bounded(void **state) {
    static struct outcome o[REDIS_QUEUE_MAX + 1];
    char big[20000] = "GET ";
    size_t taken = 0;
    (void)state;
    connect_all(nothing);
    while (taken <= REDIS_QUEUE_MAX && ask(redis, "GET k", &o[taken]))
        taken++;
    assert_int_equal(taken, REDIS_QUEUE_MAX);
    TURN_UNTIL(servers[0].asked == REDIS_QUEUE_MAX);
    server_hang_up(&servers[0]);
    for (size_t i = 0; i < taken; i++) {
        TURN_UNTIL(o[i].calls > 0);
        assert_int_equal(o[i].result, REDIS_DOWN);
        assert_int_equal(o[i].calls, 1);
    }
    TURN_UNTIL(all_ready());
    memset(big + 4, 'x', sizeof(big) - 5);
    big[sizeof(big) - 1] = '\0';
    for (taken = 0; ask(redis, big, &o[taken]); taken++)
        assert_true(redis->bytes < REDIS_QUEUE_BYTES_MAX + sizeof(big) + 100);
    assert_true(taken >= REDIS_QUEUE_BYTES_MAX / sizeof(big));
}

static void bad_replies_break_the_connection(void **state) {
    static const char *const replies[] = {
        "$1073741824\r\n",    "*1\r\n$1073741824\r\n",
        "*1\r\n*1\r\n:1\r\n", "*65\r\n",
        "*2147483647\r\n",    "$-2\r\n",
        ">1\r\n+push\r\n",    "*1\r\n-ERR within\r\n",
        "hello\r\n",          "\r\n",
    };
    struct outcome first, second;
    (void)state;
    connect_all(nothing);
    for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
        said[0] = '\0';
        unsigned before = servers[0].accepted, asked = servers[0].asked;
        assert_true(ask(redis, "GET k 1", &first) && ask(redis, "GET k 2", &second));
        TURN_UNTIL(servers[0].asked == asked + 2);
        say(talk_of_k(), replies[i]);
        TURN_UNTIL(first.calls > 0 && second.calls > 0);
        assert_int_equal(first.result, REDIS_DOWN);
        assert_int_equal(second.result, REDIS_DOWN);
        TURN_UNTIL(all_ready());
        assert_int_equal(servers[0].accepted, before + 1);
        assert_int_equal(redis->count, 0);
    }
}

static void a_reply_that_nobody_asked_for_breaks_it(void **state) {
    (void)state;
    connect_all(nothing);
    say(talk_of_k(), "+OK\r\n");
    TURN_UNTIL(servers[0].accepted == REDIS_CONNECTIONS + 1);
    TURN_UNTIL(all_ready());
    struct outcome o;
    canned = "+a\r\n+b\r\n";
    servers[0].script = say_canned;
    assert_true(ask(redis, "GET k", &o));
    TURN_UNTIL(o.calls > 0);
    assert_string_equal(o.text, "$a");
    TURN_UNTIL(servers[0].accepted == REDIS_CONNECTIONS + 2);
}

static void a_silent_server_is_left(void **state) {
    struct outcome o;
    (void)state;
    connect_all(nothing);
    assert_true(ask(redis, "GET k", &o));
    uint64_t began = clock_us();
    TURN_UNTIL(o.calls > 0);
    assert_int_equal(o.result, REDIS_DOWN);
    assert_true(clock_us() - began >= REDIS_SILENCE_MAX);
    TURN_UNTIL(all_ready());
}

static void silence_counts_from_the_first_command(void **state) {
    struct outcome o;
    (void)state;
    connect_all(echo);
    assert_true(ask(redis, "GET k", &o));
    TURN_UNTIL(o.calls > 0);
    uint64_t heard_at = clock_us();
    TURN_UNTIL(clock_us() - heard_at > REDIS_SILENCE_MAX / 3 ||
               event_base_loop(worker.base, EVLOOP_NONBLOCK) < 0);
    servers[0].script = nothing;
    uint64_t began = clock_us();
    assert_true(ask(redis, "GET k", &o));
    TURN_UNTIL(o.calls > 0);
    assert_int_equal(o.result, REDIS_DOWN);
    assert_true(clock_us() - began >= REDIS_SILENCE_MAX - MS(100));
}

static void an_idle_connection_stays(void **state) {
    struct outcome o;
    (void)state;
    connect_all(echo);
    assert_true(ask(redis, "GET k", &o));
    TURN_UNTIL(o.calls > 0);
    struct redis_link *l =
        redis->nodes[0]->links[redis_slot(BYTES_LITERAL("k")) % REDIS_CONNECTIONS];
    TURN_UNTIL(!timer_is_set(&l->timer)); /* The silence timer has passed. */
    assert_true(ask(redis, "GET k", &o));
    TURN_UNTIL(o.calls > 0);
    assert_int_equal(o.result, REDIS_OK);
    assert_int_equal(servers[0].accepted, REDIS_CONNECTIONS);
}

static void says_once_that_it_is_lost_and_found(void **state) {
    struct outcome o;
    (void)state;
    connect_all(echo);
    server_close(&servers[0]);
    TURN_UNTIL(redis->nodes[0]->links[0]->attempts >= 3 &&
               redis->nodes[0]->links[REDIS_CONNECTIONS - 1]->attempts >= 3);
    assert_false(redis_ready(redis));
    assert_false(ask(redis, "GET k", &o));
    assert_non_null(strstr(said, "the connection broke; trying again"));
    assert_null(strstr(strstr(said, "trying again") + 1, "trying again"));
    assert_null(strstr(said, "connected"));
    server_open(&servers[0], echo);
    configure(STORE_REDIS, 1); /* Where the new one listens. */
    redis_node_configured(redis->nodes[0], &endpoints[0].address);
    TURN_UNTIL(all_ready());
    assert_non_null(strstr(said, "connected"));
}

static void errors_of_a_server_that_serves_no_writes(void **state) {
    static const struct {
        const char *reply;
        bool leaves;
    } cases[] = {
        {"-READONLY You can't write\r\n", true},         {"-LOADING Redis is loading\r\n", true},
        {"-NOAUTH Authentication required.\r\n", true},  {"-MASTERDOWN Link\r\n", true},
        {"-OOM command not allowed\r\n", false},         {"-BUSY Redis is busy\r\n", false},
        {"-NOSCRIPT No matching script\r\n", false},     {"-READONLYNOT\r\n", false},
        {"-CLUSTERDOWN The cluster is down\r\n", false},
    };
    struct outcome o;
    (void)state;
    connect_all(say_canned);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        unsigned before = servers[0].accepted;
        canned = cases[i].reply;
        assert_true(ask(redis, "GET k", &o));
        TURN_UNTIL(o.calls > 0);
        assert_int_equal(o.result, REDIS_ERROR);
        assert_memory_equal(o.text + 1, cases[i].reply + 1, 5);
        TURN_UNTIL(all_ready() && servers[0].accepted == before + cases[i].leaves);
    }
}

/* --- Numbered replies. */

static const char *numbered_form; /* of the reply: %lld is the command's number */
static unsigned swallowed;        /* so many commands are not answered */
static void say_numbered(struct talk *t, int argc, const struct bytes *argv) {
    char text[128];
    uint64_t number = 0;
    assert_int_equal(argc, 3);
    assert_true(bytes_to_u64(argv[2], (UINT64_C(1) << 53) - 1, &number) && number > 0);
    if (swallowed > 0) {
        swallowed--;
        return;
    }
    snprintf(text, sizeof(text), numbered_form, (long long)number);
    say(t, text);
}

static bool ask_numbered(struct outcome *o) {
    const struct bytes argv[] = {BYTES_LITERAL("EVAL"), BYTES_LITERAL("k")};
    *o = (struct outcome){.calls = 0};
    return redis_send_numbered(redis, 2, argv, 1, on_outcome, o);
}

static void connect_numbered(const char *form) {
    numbered_form = form;
    swallowed = 0;
    connect_all(say_numbered);
}

static void the_number_is_taken_off(void **state) {
    static const struct {
        const char *form, *text;
        enum redis_result result;
    } cases[] = {
        {"*2\r\n:%lld\r\n:5\r\n", "[:5]", REDIS_OK},
        {"*1\r\n:%lld\r\n", "[]", REDIS_OK},
        {"-OOM %lld\r\n", NULL, REDIS_ERROR},
    };
    struct outcome o;
    (void)state;
    connect_numbered(NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        numbered_form = cases[i].form;
        assert_true(ask_numbered(&o));
        TURN_UNTIL(o.calls > 0);
        assert_int_equal(o.result, cases[i].result);
        if (cases[i].text != NULL)
            assert_string_equal(o.text, cases[i].text);
    }
    assert_int_equal(servers[0].accepted, REDIS_CONNECTIONS);
}

static void a_reply_without_the_number_breaks_it(void **state) {
    static const char *const forms[] = {
        "*2\r\n:1%lld\r\n:5\r\n",
        "*2\r\n:-%lld\r\n:5\r\n",
        "*2\r\n:5\r\n:%lld\r\n",
        "*2\r\n+%lld\r\n:5\r\n",
        ":%lld\r\n",
        "*0\r\n",
        "*-1\r\n",
        "$-1\r\n",
        "*1\r\n$-1\r\n",
    };
    struct outcome o;
    (void)state;
    connect_numbered(NULL);
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        unsigned before = servers[0].accepted;
        numbered_form = forms[i];
        assert_true(ask_numbered(&o));
        TURN_UNTIL(o.calls > 0);
        assert_int_equal(o.result, REDIS_DOWN);
        TURN_UNTIL(all_ready() && servers[0].accepted == before + 1);
    }
}

/* Nobody is told the answer to another's question, and what was asked is not asked again. */
static void a_reply_that_is_lost_breaks_it(void **state) {
    enum { COUNT = 10 };
    struct outcome o[COUNT];
    (void)state;
    connect_numbered("*2\r\n:%lld\r\n:1\r\n");
    swallowed = 1;
    for (int i = 0; i < COUNT; i++)
        assert_true(ask_numbered(&o[i]));
    for (int i = 0; i < COUNT; i++) {
        TURN_UNTIL(o[i].calls > 0);
        assert_int_equal(o[i].result, REDIS_DOWN);
    }
    TURN_UNTIL(all_ready());
    assert_int_equal(servers[0].asked, COUNT);
    assert_true(ask_numbered(&o[0]));
    TURN_UNTIL(o[0].calls > 0);
    assert_string_equal(o[0].text, "[:1]");
}

/* Nobody waits for it any more: its number is looked at all the same, or a connection on which each
 * reply is taken for a late one would never be of use again. */
static void so_does_one_that_nobody_waits_for(void **state) {
    struct outcome o[2];
    (void)state;
    connect_numbered("*2\r\n:%lld\r\n:1\r\n");
    swallowed = 1;
    assert_true(ask_numbered(&o[0]));
    TURN_UNTIL(servers[0].asked == 1);
    redis_cancel(redis, &o[0]);
    assert_true(ask_numbered(&o[1]));
    TURN_UNTIL(o[1].calls > 0);
    assert_int_equal(o[1].result, REDIS_DOWN);
    assert_int_equal(o[0].calls, 0);
    TURN_UNTIL(all_ready() && servers[0].accepted == REDIS_CONNECTIONS + 1);
    assert_int_equal(redis->count, 0);
}

/* --- The handshake. */

static char heard[512];
static const char *ping_reply;
static void hear(struct talk *t, int argc, const struct bytes *argv) {
    size_t n = strlen(heard);
    for (int i = 0; i < argc; i++)
        n += (size_t)snprintf(heard + n, sizeof(heard) - n, "%.*s ", (int)argv[i].len, argv[i].at);
    snprintf(heard + n, sizeof(heard) - n, "| ");
    say(t, is(argv[0], "PING")                                    ? ping_reply
           : is(argv[0], "AUTH") && !is(argv[argc - 1], "secret") ? "-WRONGPASS no\r\n"
                                                                  : "+OK\r\n");
}

static char password_path[64];
static void write_password(const char *text, mode_t mode) {
    snprintf(password_path, sizeof(password_path), "/tmp/test_redis.%d", (int)getpid());
    FILE *f = fopen(password_path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(password_path, mode), 0);
    store.password_file = bytes_str(password_path);
}

static void start_hearing(void) {
    heard[0] = '\0';
    ping_reply = "+PONG\r\n";
    servers[0].all = true;
    servers[0].script = hear;
    redis = redis_new(&worker, &store);
}

static void greets_with_what_is_configured(void **state) {
    (void)state;
    write_password("secret\n", 0600);
    store.user = BYTES_LITERAL("gate");
    store.database = 12;
    servers[0].tear = 1;
    start_hearing();
    TURN_UNTIL(redis_ready(redis));
    assert_non_null(strstr(heard, "AUTH gate secret | "));
    assert_non_null(strstr(heard, "SELECT 12 | "));
    assert_non_null(strstr(heard, "CLIENT SETNAME querygate | "));
    TURN_UNTIL(all_ready());
    unlink(password_path);
}

static void greets_without_what_is_not(void **state) {
    (void)state;
    start_hearing();
    TURN_UNTIL(all_ready());
    assert_null(strstr(heard, "AUTH"));
    assert_null(strstr(heard, "SELECT"));
}

/* Why it is not connected; then what mends it. */
static void waits_until(const char *why) {
    TURN_UNTIL(strstr(said, why) != NULL);
    assert_false(redis_ready(redis));
    assert_null(strstr(said, "wrong"));
}

static void a_wrong_password_is_read_anew(void **state) {
    (void)state;
    write_password("wrong", 0600);
    start_hearing();
    waits_until("it refuses the password");
    write_password("secret", 0600);
    TURN_UNTIL(all_ready());
    unlink(password_path);
}

static void a_password_that_others_may_read_is_not_used(void **state) {
    (void)state;
    write_password("secret", 0644);
    start_hearing();
    waits_until("others may read it");
    assert_string_equal(heard, "");
    write_password("secret", 0600);
    TURN_UNTIL(all_ready());
    unlink(password_path);
}

static void a_loading_server_is_waited_for(void **state) {
    static const struct {
        const char *reply, *why;
    } cases[] = {{"-LOADING Redis is loading the dataset in memory\r\n", "it is loading its data"},
                 {"-NOAUTH Authentication required.\r\n", "it wants a password"},
                 {"-ERR no\r\n", "it answers PING with something else"},
                 {":1\r\n", "it answers PING with something else"},
                 {"+PONG\r\n+PONG\r\n", "a reply that nobody asked for"}};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        said[0] = '\0';
        said_at = 0;
        start_hearing();
        ping_reply = cases[i].reply;
        TURN_UNTIL(strstr(said, cases[i].why) != NULL);
        ping_reply = "+PONG\r\n";
        TURN_UNTIL(all_ready());
        redis_free(redis);
        redis = NULL;
        turn();
    }
}

static void a_server_that_does_not_greet_is_left(void **state) {
    (void)state;
    servers[0].all = true;
    servers[0].script = nothing;
    redis = redis_new(&worker, &store);
    TURN_UNTIL(strstr(said, "no handshake within its time") != NULL);
    servers[0].script = hear;
    ping_reply = "+PONG\r\n";
    TURN_UNTIL(all_ready());
}

/* --- Freed and cancelled from callbacks. */

static struct outcome others[8];
static void frees_all(void *cookie, enum redis_result result, const struct redis_reply *reply) {
    (void)result, (void)reply;
    (*(unsigned *)cookie)++;
    redis_free(redis);
    redis = NULL;
}
static void cancels_others(void *cookie, enum redis_result result,
                           const struct redis_reply *reply) {
    (void)result, (void)reply;
    (*(unsigned *)cookie)++;
    for (int i = 0; i < 8; i++)
        redis_cancel(redis, &others[i]);
}

static void run_with(redis_done_fn *done, script_fn *script, bool hang_up) {
    struct bytes argv[] = {BYTES_LITERAL("GET"), BYTES_LITERAL("k")};
    unsigned calls = 0;
    connect_all(script);
    assert_true(redis_send(redis, 2, argv, 1, done, &calls));
    for (int i = 0; i < 8; i++)
        assert_true(ask(redis, i % 2 ? "GET k" : "GET a", &others[i]));
    if (hang_up) {
        TURN_UNTIL(servers[0].asked == 9);
        server_hang_up(&servers[0]);
    }
    TURN_UNTIL(calls > 0);
    for (int i = 0; i < 20; i++)
        event_base_loop(worker.base, EVLOOP_NONBLOCK);
    assert_int_equal(calls, 1);
    for (int i = 1; i < 8; i += 2) /* Those behind it on its own connection. */
        assert_int_equal(others[i].calls, 0);
}

static void freed_by_a_reply(void **state) {
    (void)state;
    run_with(frees_all, echo, false);
}
static void freed_by_an_error(void **state) {
    (void)state;
    canned = "-READONLY no\r\n";
    run_with(frees_all, say_canned, false);
}
static void freed_by_a_timeout(void **state) {
    (void)state;
    store.timeout = 5000;
    run_with(frees_all, nothing, false);
}
static void freed_by_a_loss(void **state) {
    (void)state;
    run_with(frees_all, nothing, true);
}
static void cancelled_by_a_reply(void **state) {
    (void)state;
    run_with(cancels_others, echo, false);
}
static void cancelled_by_a_timeout(void **state) {
    (void)state;
    store.timeout = 5000;
    run_with(cancels_others, nothing, false);
}

static void freed_with_commands_out(void **state) {
    (void)state;
    connect_all(nothing);
    for (int i = 0; i < 8; i++)
        assert_true(ask(redis, "GET k", &others[i]));
    TURN_UNTIL(servers[0].asked == 8);
    redis_free(redis);
    redis = NULL;
    for (int i = 0; i < 20; i++)
        event_base_loop(worker.base, EVLOOP_NONBLOCK);
    for (int i = 0; i < 8; i++)
        assert_int_equal(others[i].calls, 0);
}

static void freed_before_it_was_connected(void **state) {
    (void)state;
    redis = redis_new(&worker, &store);
    redis_free(redis);
    redis = redis_new(&worker, &store);
    turn();
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(answers_to_whoever_asked),
        CASE(replies_may_be_torn_anywhere),
        CASE(late_replies_are_matched_and_dropped),
        CASE(cancelled_before_it_was_written_it_is_not),
        CASE(deadlines_pass_in_order),
        CASE(the_queue_is_bounded),
        CASE(bad_replies_break_the_connection),
        CASE(a_reply_that_nobody_asked_for_breaks_it),
        CASE(a_silent_server_is_left),
        CASE(silence_counts_from_the_first_command),
        CASE(an_idle_connection_stays),
        CASE(says_once_that_it_is_lost_and_found),
        CASE(errors_of_a_server_that_serves_no_writes),
        CASE(the_number_is_taken_off),
        CASE(a_reply_without_the_number_breaks_it),
        CASE(a_reply_that_is_lost_breaks_it),
        CASE(so_does_one_that_nobody_waits_for),
        CASE(greets_with_what_is_configured),
        CASE(greets_without_what_is_not),
        CASE(a_wrong_password_is_read_anew),
        CASE(a_password_that_others_may_read_is_not_used),
        CASE(a_loading_server_is_waited_for),
        CASE(a_server_that_does_not_greet_is_left),
        CASE(freed_by_a_reply),
        CASE(freed_by_an_error),
        CASE(freed_by_a_timeout),
        CASE(freed_by_a_loss),
        CASE(cancelled_by_a_reply),
        CASE(cancelled_by_a_timeout),
        CASE(freed_with_commands_out),
        CASE(freed_before_it_was_connected),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
