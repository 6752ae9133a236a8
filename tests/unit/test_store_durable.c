/* What must hold whatever happens to the process: no window over all its lives holds more than
 * rate * window + burst.
 *
 * A crash is a copy of the files at that moment, opened as the next life.  The clock is the test's
 * own; the storage thread reads it too. */
#include "../../proxy/store_durable.c"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

static char folder[64];
static _Atomic uint64_t our_ns, wall_us;

static uint64_t fake_now(void) {
    return our_ns;
}

static pthread_mutex_t disk = PTHREAD_MUTEX_INITIALIZER; /* held: the disk does not answer */
static pthread_t test_thread;

static uint64_t fake_wall(void) {
    if (!pthread_equal(pthread_self(), test_thread)) {
        pthread_mutex_lock(&disk);
        pthread_mutex_unlock(&disk);
    }
    return wall_us;
}

static const struct durable_clocks clocks = {fake_now, fake_wall};

static void pass(uint64_t ns) {
    our_ns += ns;
    wall_us = (our_ns + UINT64_C(1700000000000000000)) / 1000;
}

static uint64_t rng_state = 0x9e3779b97f4a7c15u;

static uint64_t rng(void) {
    rng_state ^= rng_state >> 12;
    rng_state ^= rng_state << 25;
    rng_state ^= rng_state >> 27;
    return rng_state * 2685821657736338717u;
}

/* ---- One life of a gate ---- */

struct life {
    struct worker w;
    struct durable *d;
    struct store *store;
    int number;
    char path[96];
};

static int lives;

static void open_worker(struct worker *w) {
    memset(w, 0, sizeof(*w));
    w->base = event_base_new();
    assert_true(mailbox_open(&w->mail, w->base, w));
    assert_true(timers_open(&w->timers, w->base));
    assert_non_null(w->stats = stats_new());
}

static void close_worker(struct worker *w) {
    mailbox_close(&w->mail);
    timers_close(&w->timers);
    stats_free(w->stats);
    event_base_free(w->base);
}

static const char *try_life(struct life *l, const char *path, int on_failure) {
    static char error[256];
    struct store_conf conf = {.path = bytes_str(l->path), .on_failure = on_failure};
    if (path != l->path)
        snprintf(l->path, sizeof(l->path), "%s", path);
    conf.path = bytes_str(l->path);
    error[0] = '\0';
    if ((l->d = durable_new(&conf, &clocks, error, sizeof(error))) == NULL)
        return error;
    open_worker(&l->w);
    l->store = durable_open(l->d, &l->w);
    assert_non_null(l->store);
    return NULL;
}

static void start(struct life *l, const char *path) {
    const char *wrong = try_life(l, path, STORE_CLOSED);
    if (wrong != NULL)
        fail_msg("%s", wrong);
}

static void first_life(struct life *l) {
    char path[96];
    snprintf(path, sizeof(path), "%s/state%d", folder, lives++);
    start(l, path);
}

static void stop(struct life *l) {
    l->store->ops->free(l->store);
    durable_free(l->d);
    close_worker(&l->w);
}

static void copy(const char *from, const char *to) {
    static char data[1 << 20];
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_EXCL, 0600);
    ssize_t n;
    assert_true(out >= 0);
    while (in >= 0 && (n = read(in, data, sizeof(data))) > 0)
        assert_int_equal(write(out, data, (size_t)n), n);
    close(out);
    if (in >= 0)
        close(in);
}

static void copy_files(const struct life *l, char path[96]) {
    char from[104], to[104];
    snprintf(path, 96, "%s/state%d", folder, lives++);
    copy(l->path, path);
    snprintf(from, sizeof(from), "%s-wal", l->path);
    snprintf(to, sizeof(to), "%s-wal", path);
    copy(from, to);
}

/* l is killed; its next life begins with what is on the disk now. */
static void crash(struct life *l) {
    char path[96];
    copy_files(l, path);
    stop(l);
    start(l, path);
}

static void restart(struct life *l) {
    stop(l);
    start(l, l->path);
}

/* ---- Asking ---- */

struct asked {
    bool done;
    struct store_answer answer;
};

static void on_done(void *cookie, const struct store_answer *answer) {
    struct asked *a = cookie;
    assert_false(a->done);
    a->done = true;
    a->answer = *answer;
}

static struct store_answer ask(struct life *l, const char *key, const struct store_rate *rate,
                               uint64_t n) {
    struct asked a = {false};
    enum store_status status =
        store_take(l->store, bytes_str(key), rate, n, on_done, &a, &a.answer);
    while (status == STORE_PENDING && !a.done)
        event_base_loop(l->w.base, EVLOOP_ONCE);
    return a.answer;
}

static bool take(struct life *l, const char *key, const struct store_rate *rate, uint64_t n) {
    struct store_answer a = ask(l, key, rate, n);
    assert_int_equal(a.status, STORE_DONE);
    assert_false(a.fallback);
    return a.admitted;
}

static uint64_t take_all(struct life *l, const char *key, const struct store_rate *rate) {
    uint64_t n = 0;
    while (take(l, key, rate, 1))
        n++;
    return n;
}

#define MINUTE_NS UINT64_C(60000000000)
static const struct store_rate minute = {.count = 120, .period_us = 60000000, .burst = 40},
                               slow = {.count = 1, .period_us = 3600000000, .burst = 3},
                               odd = {.count = 997, .period_us = 60000000, .burst = 101},
                               brief = {.count = 100, .period_us = 1000000, .burst = 100};
static const struct store_rate *const rates[] = {&minute, &slow, &odd, &brief};
#define RATES (sizeof(rates) / sizeof(rates[0]))

/* ---- Tests ---- */

static void reserve_before_use(void **state) {
    (void)state;
    struct life l;
    struct asked a = {false};
    first_life(&l);
    /* The first query of a client waits for the disk; the next has been provided for. */
    assert_int_equal(store_take(l.store, BYTES_LITERAL("k"), &minute, 1, on_done, &a, &a.answer),
                     STORE_PENDING);
    assert_false(a.done);
    while (!a.done)
        event_base_loop(l.w.base, EVLOOP_ONCE);
    assert_true(a.answer.status == STORE_DONE && a.answer.admitted && !a.answer.fallback);
    assert_int_equal(store_take(l.store, BYTES_LITERAL("k"), &minute, 1, NULL, NULL, &a.answer),
                     STORE_DONE);
    assert_true(a.answer.admitted);
    assert_int_equal(take_all(&l, "k", &minute), 38);
    assert_int_equal(ask(&l, "k", &minute, 1).retry_after_us, 500000);
    assert_int_equal(take_all(&l, "other", &minute), 40);
    assert_true(ask(&l, "k", &minute, 41).retry_after_us == UINT64_MAX);
    assert_true(take(&l, "k", &minute, 0)); /* nothing is always to be had */
    stop(&l);
}

static void a_clean_stop_keeps_the_debt(void **state) {
    (void)state;
    struct life l;
    first_life(&l);
    for (size_t i = 0; i < RATES; i++) {
        const struct store_rate *r = rates[i];
        uint64_t token_ns = r->period_us * 1000 / r->count;
        assert_true(take(&l, "k", r, 1));
        restart(&l);
        pass(2000); /* a wall clock has microseconds, and each end rounds up */
        assert_int_equal(take_all(&l, "k", r), r->burst - 1);
        restart(&l);
        assert_false(take(&l, "k", r, 1));
        pass(token_ns * 2 + 4000);
        restart(&l);
        assert_int_equal(take_all(&l, "k", r), 2);
        pass(token_ns * (r->burst + 1));
    }
    stop(&l);
}

static void a_crash_gives_nothing_back(void **state) {
    (void)state;
    for (size_t i = 0; i < RATES; i++) {
        struct life l;
        first_life(&l);
        const struct store_rate *r = rates[i];
        uint64_t used = 0;
        for (int life = 0; life < 50 && used < r->burst; life++) {
            used += take(&l, "k", r, 1);
            crash(&l);
        }
        assert_true(used >= 1 && used <= r->burst);
        used += take_all(&l, "k", r);
        assert_true(used <= r->burst);
        if (r != &brief) /* of each life, at most what was reserved in vain is lost */
            assert_true(used * 4 >= r->burst || used >= 2);
        pass(r->period_us * 1000 / r->count * (r->burst + 1));
        assert_int_equal(take_all(&l, "k", r), r->burst); /* and it is paid by time */
        stop(&l);
    }
}

struct admission {
    uint64_t at_ns, tokens;
};

static void check_windows(const struct admission *a, size_t count, const struct store_rate *rate) {
    for (size_t i = 0; i < count; i++) {
        uint64_t sum = 0;
        for (size_t j = i; j < count; j++) {
            sum += a[j].tokens;
            if (sum <= rate->burst)
                continue;
            unsigned __int128 over =
                (unsigned __int128)(sum - rate->burst) * rate->period_us * 1000;
            unsigned __int128 due = (unsigned __int128)(a[j].at_ns - a[i].at_ns) * rate->count;
            if (over > due)
                fail_msg("%zu..%zu: %llu tokens too many", i, j, (unsigned long long)sum);
        }
    }
}

#define ADMISSIONS 1200

static void no_window_over_admits(void **state) {
    (void)state;
    static struct admission a[ADMISSIONS];
    for (size_t i = 0; i < RATES; i++) {
        struct life l;
        first_life(&l);
        const struct store_rate *r = rates[i];
        uint64_t token_ns = r->period_us * 1000 / r->count + 1, count = 0;
        for (int tries = 0; tries < 6000 && count < ADMISSIONS; tries++) {
            uint64_t n = rng() % 8 == 0 ? 1 + rng() % r->burst : 1;
            pass(rng() % 50 == 0 ? rng() % (token_ns * 20) : rng() % token_ns);
            if (take(&l, "k", r, n))
                a[count++] = (struct admission){our_ns, n};
            if (rng() % 128 == 0)
                crash(&l);
            if (rng() % 128 == 0)
                restart(&l);
        }
        assert_true(count > 100);
        check_windows(a, count, r);
        stop(&l);
    }
}

static void a_clock_put_back_costs_one_burst(void **state) {
    (void)state;
    struct life l;
    first_life(&l);
    assert_true(take(&l, "k", &minute, 1));
    stop(&l);
    wall_us -= UINT64_C(3600000000);
    start(&l, l.path);
    assert_false(take(&l, "k", &minute, 1));
    our_ns += UINT64_C(500001000); /* a token's time, as time passes for us */
    wall_us += 500001;
    assert_true(take(&l, "k", &minute, 1));
    our_ns += MINUTE_NS;
    wall_us += 60000000;
    crash(&l); /* the file's debt of an hour was replaced */
    assert_int_equal(take_all(&l, "k", &minute), 40);
    crash(&l);
    assert_false(take(&l, "k", &minute, 1));
    stop(&l);
    pass(0);
}

static void a_clock_put_forward_gives_one_burst(void **state) {
    (void)state;
    struct life l;
    first_life(&l);
    assert_int_equal(take_all(&l, "k", &minute), 40);
    assert_true(take(&l, "waits", &minute, 1)); /* and what was asked before it is written then */
    wall_us += UINT64_C(3600000000);
    assert_false(take(&l, "k", &minute, 1)); /* none while the gate runs */
    crash(&l);
    assert_int_equal(take_all(&l, "k", &minute), 40);
    crash(&l);
    assert_false(take(&l, "k", &minute, 1));
    stop(&l);
    pass(0);
}

/* Records in the files as they are now. */
static int records(const struct life *l) {
    char path[96];
    sqlite3 *db;
    sqlite3_stmt *s;
    copy_files(l, path);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_prepare_v2(db, "SELECT count(*) FROM record", -1, &s, NULL);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    int n = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return n;
}

static void what_is_paid_is_forgotten(void **state) {
    (void)state;
    struct life l;
    char key[16];
    first_life(&l);
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        assert_true(take(&l, key, &minute, 1));
    }
    assert_true(records(&l) > 2900);
    pass(MINUTE_NS);
    for (int i = 0; i < 60; i++) { /* each write looks at two for one, and at 64 more */
        snprintf(key, sizeof(key), "n%d", i);
        assert_true(take(&l, key, &slow, 1));
    }
    assert_int_equal(records(&l), 60);
    stop(&l);
    assert_int_equal(records(&l), 60);
}

static void brief_buckets_begin_spent_after_a_crash(void **state) {
    (void)state;
    struct life l;
    struct store_answer out;
    first_life(&l);
    for (int i = 0; i < 100; i++) { /* never waits */
        assert_int_equal(store_take(l.store, BYTES_LITERAL("k"), &brief, 1, NULL, NULL, &out),
                         STORE_DONE);
        assert_true(out.admitted);
    }
    crash(&l);
    assert_false(take(&l, "k", &brief, 1));
    assert_false(take(&l, "unseen", &brief, 1));
    pass(10000000);
    assert_true(take(&l, "unseen", &brief, 1));
    assert_false(take(&l, "unseen", &brief, 1));
    pass(UINT64_C(1000000000));
    assert_int_equal(take_all(&l, "k", &brief), 100);
    restart(&l);
    assert_int_equal(take_all(&l, "new", &brief), 100);
    stop(&l);
}

/* ---- Budgets ---- */

static void limit_files(rlim_t most) {
    struct rlimit r;
    getrlimit(RLIMIT_FSIZE, &r);
    r.rlim_cur = most;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &r), 0);
}

static const struct store_budget ten = {.limit = {10}, .on_failure = STORE_CLOSED},
                                 ten_an_hour = {.limit = {10}, .window_us = 3600000000};

static struct store_answer spend(struct life *l, const char *key, const struct store_budget *b,
                                 uint64_t cost, const struct hash128 *mark) {
    const struct store_spending what = {.cost = {cost}, .items = 1, .marks = mark};
    struct asked a = {false};
    enum store_status status =
        store_spend(l->store, bytes_str(key), b, &what, on_done, &a, &a.answer);
    while (status == STORE_PENDING && !a.done)
        event_base_loop(l->w.base, EVLOOP_ONCE);
    return a.answer;
}

static void what_is_spent_survives(void **state) {
    (void)state;
    struct life l;
    first_life(&l);
    assert_true(spend(&l, "never", &ten, 4, NULL).admitted);
    assert_true(spend(&l, "hour", &ten_an_hour, 7, NULL).admitted);
    crash(&l);
    assert_int_equal(spend(&l, "never", &ten, 3, NULL).spent[0], 7);
    restart(&l);
    assert_false(spend(&l, "never", &ten, 4, NULL).admitted);
    assert_false(spend(&l, "hour", &ten_an_hour, 4, NULL).admitted);
    pass(UINT64_C(3600) * 9 / 8 * 1000000000 + 2000000000);
    crash(&l);
    assert_true(spend(&l, "hour", &ten_an_hour, 10, NULL).admitted);
    assert_int_equal(spend(&l, "never", &ten, 3, NULL).spent[0], 10);
    assert_int_equal(spend(&l, "other", &ten, 1, NULL).spent[0], 1);
    stop(&l);
}

/* Spent before it is answered, also when the answer never comes; a repeat of what is not on the
 * disk yet waits for it as well. */
static void nothing_is_answered_before_the_disk_has_it(void **state) {
    (void)state;
    struct life l;
    struct hash128 mark = {1, 2};
    struct asked a = {false}, b = {false};
    const struct store_spending what = {.cost = {4}, .items = 1, .marks = &mark};
    first_life(&l);
    assert_true(spend(&l, "k", &ten, 1, NULL).admitted);
    pthread_mutex_lock(&disk);
    assert_int_equal(store_spend(l.store, BYTES_LITERAL("k"), &ten, &what, on_done, &a, &a.answer),
                     STORE_PENDING);
    assert_int_equal(store_spend(l.store, BYTES_LITERAL("k"), &ten, &what, on_done, &b, &b.answer),
                     STORE_PENDING);
    l.store->ops->cancel(l.store, &a);
    pthread_mutex_unlock(&disk);
    while (!b.done)
        event_base_loop(l.w.base, EVLOOP_ONCE);
    assert_true(!a.done && b.answer.admitted && b.answer.charged == 0);
    assert_int_equal(store_spend(l.store, BYTES_LITERAL("k"), &ten, &what, on_done, &a, &a.answer),
                     STORE_DONE);
    crash(&l);
    assert_int_equal(spend(&l, "k", &ten, 1, NULL).spent[0], 6);
    limit_files(4096);
    assert_int_equal(spend(&l, "k", &ten, 1, NULL).status, STORE_FAILED);
    limit_files(RLIM_INFINITY);
    assert_int_equal(spend(&l, "k", &ten, 1, NULL).spent[0], 8); /* it stays spent */
    stop(&l);
}

/* ---- What goes wrong while it runs ---- */

static int any_file_size(void **state) {
    (void)state;
    limit_files(RLIM_INFINITY);
    return 0;
}

static void a_full_disk_is_on_failure_s(void **state) {
    (void)state;
    struct life l;
    struct store_rate closed = minute, open = minute, local = minute;
    closed.on_failure = STORE_CLOSED;
    open.on_failure = STORE_OPEN;
    local.on_failure = STORE_LOCAL;
    first_life(&l);
    assert_true(take(&l, "before", &minute, 1));
    limit_files(4096);
    struct store_answer a = ask(&l, "closed", &closed, 1);
    assert_true(a.status == STORE_FAILED && !a.admitted);
    a = ask(&l, "open", &open, 1); /* the guard, above, admits it */
    assert_true(a.status == STORE_FAILED && !a.admitted);
    unsigned admitted = 0;
    for (int i = 0; i < 100; i++) {
        a = ask(&l, "local", &local, 1);
        assert_int_equal(a.status, STORE_DONE);
        admitted += a.admitted;
    }
    assert_int_equal(admitted, 40); /* counted in memory */
    assert_int_equal(atomic_load(&l.w.stats->counters[COUNT_store_fallback_local]), 40);
    assert_true(l.d->broken);
    limit_files(RLIM_INFINITY);
    pass(UINT64_C(2000000000));
    assert_true(take(&l, "closed", &closed, 1)); /* it goes on by itself */
    assert_false(l.d->broken);
    assert_false(take(&l, "local", &local, 39)); /* and no second burst */
    crash(&l);
    assert_int_equal(take_all(&l, "before", &minute) > 30, true);
    stop(&l);
}

static void a_disk_that_does_not_answer(void **state) {
    (void)state;
    struct life l;
    struct store_rate local = minute;
    local.on_failure = STORE_LOCAL;
    first_life(&l);
    pthread_mutex_lock(&disk);
    struct store_answer a = ask(&l, "k", &local, 1); /* STORE_DISK_TIMEOUT later */
    assert_true(a.status == STORE_DONE && a.fallback && a.admitted);
    pthread_mutex_unlock(&disk);
    assert_int_equal(take_all(&l, "k", &local), 39);
    stop(&l);
}

static void nobody_hears_of_a_cancelled_query(void **state) {
    (void)state;
    struct life l;
    struct asked first = {false}, second = {false};
    first_life(&l);
    pthread_mutex_lock(&disk);
    assert_int_equal(
        store_take(l.store, BYTES_LITERAL("k"), &minute, 1, on_done, &first, &first.answer),
        STORE_PENDING);
    assert_int_equal(
        store_take(l.store, BYTES_LITERAL("k"), &minute, 1, on_done, &second, &second.answer),
        STORE_PENDING);
    l.store->ops->cancel(l.store, &first);
    pthread_mutex_unlock(&disk);
    while (!second.done)
        event_base_loop(l.w.base, EVLOOP_ONCE);
    assert_true(second.answer.admitted && !first.done);
    pthread_mutex_lock(&disk);
    assert_int_equal(
        store_take(l.store, BYTES_LITERAL("x"), &minute, 1, on_done, &first, &first.answer),
        STORE_PENDING);
    l.store->ops->free(l.store); /* with one under way */
    pthread_mutex_unlock(&disk);
    durable_free(l.d);
    close_worker(&l.w);
    assert_false(first.done);
}

/* ---- What goes wrong at the start ---- */

static void refused(const char *path, const char *why) {
    struct life l;
    const char *error = try_life(&l, path, STORE_CLOSED);
    if (error == NULL)
        fail_msg("%s was opened", path);
    if (strstr(error, path) == NULL || strstr(error, why) == NULL)
        fail_msg("'%s' does not say '%s' of %s", error, why, path);
}

static void put_file(const char *path, const void *data, size_t len, mode_t mode) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
    assert_true(fd >= 0 && write(fd, data, len) == (ssize_t)len && fchmod(fd, mode) == 0);
    close(fd);
}

static void files_that_are_refused(void **state) {
    (void)state;
    char path[96];
    static char garbage[8192];
    sqlite3 *db;
    memset(garbage, 'x', sizeof(garbage));
    snprintf(path, sizeof(path), "%s/missing/state", folder);
    refused(path, "No such file or directory");
    refused(folder, "Is a directory");
    refused("/dev/null", "not a regular file");
    snprintf(path, sizeof(path), "%s/open", folder);
    put_file(path, "", 0, 0644);
    refused(path, "chmod 600");
    snprintf(path, sizeof(path), "%s/garbage", folder);
    put_file(path, garbage, sizeof(garbage), 0600);
    refused(path, "not a state file, or damaged");
    snprintf(path, sizeof(path), "%s/foreign", folder);
    sqlite3_open(path, &db);
    sqlite3_exec(db, "CREATE TABLE t(x)", NULL, NULL, NULL);
    sqlite3_close(db);
    chmod(path, 0600);
    refused(path, "not a state file of querygate");
    sqlite3_open(path, &db);
    sqlite3_exec(db, "PRAGMA application_id = 1363637108; PRAGMA user_version = 9", NULL, NULL,
                 NULL);
    sqlite3_close(db);
    refused(path, "another version");
}

static void a_damaged_file_is_refused(void **state) {
    (void)state;
    struct life l;
    first_life(&l);
    for (int i = 0; i < 2000; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        assert_true(take(&l, key, &slow, 1));
    }
    stop(&l);
    int fd = open(l.path, O_WRONLY);
    static char noise[4096];
    memset(noise, 0x5a, sizeof(noise));
    for (off_t page = 3; page < 8; page++)
        assert_int_equal(pwrite(fd, noise, sizeof(noise), page * 4096), sizeof(noise));
    close(fd);
    refused(l.path, "damaged");
}

static void one_process_a_file(void **state) {
    (void)state;
    struct life l;
    char path[96];
    int ready[2], done[2], status;
    snprintf(path, sizeof(path), "%s/shared", folder);
    assert_true(pipe(ready) == 0 && pipe(done) == 0);
    pid_t child = fork();
    if (child == 0) {
        char c = 0;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        bool ok = try_life(&l, path, STORE_CLOSED) == NULL;
        ok = write(ready[1], &c, 1) == 1 && read(done[0], &c, 1) == 1 && ok;
        _exit(ok ? 0 : 1);
    }
    char c;
    assert_int_equal(read(ready[0], &c, 1), 1);
    refused(path, "another process uses it");
    assert_int_equal(write(done[1], &c, 1), 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    start(&l, path); /* the lock died with its owner, who said no goodbye */
    assert_true(l.d->crashed);
    struct stat st;
    assert_true(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
    stop(&l);
}

/* ---- Threads ---- */

#define THREADS 4
#define TAKES   3000u

struct race {
    struct durable *d;
    pthread_t thread;
    uint64_t admitted, asked, answered;
};

static void on_race(void *cookie, const struct store_answer *answer) {
    struct race *r = cookie;
    r->answered++;
    r->admitted += answer->admitted;
}

static void *race_run(void *cookie) {
    static const struct store_rate hot = {.count = 1000, .period_us = 1000000, .burst = 4000};
    struct race *race = cookie;
    struct worker w;
    struct store_answer out;
    open_worker(&w);
    struct store *s = durable_open(race->d, &w);
    for (uint32_t i = 0; i < TAKES; i++) {
        if (store_take(s, BYTES_LITERAL("hot"), &hot, 1, on_race, race, &out) != STORE_PENDING)
            on_race(race, &out);
        race->asked++;
        if (i % 16 == 0)
            event_base_loop(w.base, EVLOOP_NONBLOCK);
    }
    while (race->answered < race->asked)
        event_base_loop(w.base, EVLOOP_ONCE);
    s->ops->free(s);
    close_worker(&w);
    return NULL;
}

static void threads_share_one_bound(void **state) {
    (void)state;
    struct life l;
    struct race race[THREADS];
    uint64_t admitted = 0;
    first_life(&l);
    for (int i = 0; i < THREADS; i++) {
        race[i] = (struct race){.d = l.d};
        assert_int_equal(pthread_create(&race[i].thread, NULL, race_run, &race[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(race[i].thread, NULL);
        admitted += race[i].admitted;
    }
    assert_int_equal(admitted, 4000); /* the clock stands still: the burst, not one more or less */
    stop(&l);
}

static void cost_is_printed(void **state) {
    (void)state;
    static const struct store_rate fast = {
        .count = 1000000, .period_us = 1000000, .burst = 8000000};
    struct life l;
    struct store_answer out;
    struct bytes key = BYTES_LITERAL("rl|q|client|120/60000000|40|k1:0123456789abcdef");
    first_life(&l);
    while (!take(&l, key.at, &fast, 1)) {
    }
    uint64_t begin = clock_ns(), decided = 0;
    for (int i = 0; i < 500000; i++)
        decided += store_take(l.store, key, &fast, 1, NULL, NULL, &out) == STORE_DONE;
    print_message("take: %.1f ns\n", (double)(clock_ns() - begin) / 500000);
    assert_int_equal(decided, 500000);
    stop(&l);
}

static void remove_folder(void) {
    DIR *d = opendir(folder);
    struct dirent *e;
    while (d != NULL && (e = readdir(d)) != NULL)
        unlinkat(dirfd(d), e->d_name, 0);
    if (d != NULL)
        closedir(d);
    rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reserve_before_use),
        cmocka_unit_test(a_clean_stop_keeps_the_debt),
        cmocka_unit_test(a_crash_gives_nothing_back),
        cmocka_unit_test(no_window_over_admits),
        cmocka_unit_test(a_clock_put_back_costs_one_burst),
        cmocka_unit_test(a_clock_put_forward_gives_one_burst),
        cmocka_unit_test(what_is_paid_is_forgotten),
        cmocka_unit_test(brief_buckets_begin_spent_after_a_crash),
        cmocka_unit_test(what_is_spent_survives),
        cmocka_unit_test_teardown(nothing_is_answered_before_the_disk_has_it, any_file_size),
        cmocka_unit_test_teardown(a_full_disk_is_on_failure_s, any_file_size),
        cmocka_unit_test(a_disk_that_does_not_answer),
        cmocka_unit_test(nobody_hears_of_a_cancelled_query),
        cmocka_unit_test(files_that_are_refused),
        cmocka_unit_test(a_damaged_file_is_refused),
        cmocka_unit_test(one_process_a_file),
        cmocka_unit_test(threads_share_one_bound),
        cmocka_unit_test(cost_is_printed),
    };
    /* A file system in memory is quick to synchronise, and what is tested is the order. */
    snprintf(folder, sizeof(folder), "%s/qg-durable-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(folder) == NULL)
        return 1;
    test_thread = pthread_self();
    signal(SIGXFSZ, SIG_IGN);
    our_ns = UINT64_C(5000000000);
    pass(0);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    remove_folder();
    return failed;
}
