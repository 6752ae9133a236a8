#include "gate.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "admin.h"
#include "alert.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/require.h"
#include "conn.h"
#include "exchange.h"
#include "listen.h"
#include "log_file.h"
#include "tls.h"
#include "upstream.h"

uint64_t gate_connections_max(const struct worker *w) {
    uint64_t conf = w->config->limits.connections;
    return conf < w->gate->descriptors ? conf : w->gate->descriptors;
}

bool gate_draining(const struct gate *g) {
    return g->terms > 0;
}

static void release(struct config *c) {
    for (uint32_t i = 0; i < c->listener_count; i++)
        tls_context_free(c->listeners[i].context);
    for (uint32_t i = 0; i < c->upstream_count; i++)
        tls_context_free(c->upstreams[i].context);
    tls_context_free(c->store.context);
}

static struct tls_context *server_context(const struct tls_files *f, char *error, size_t len) {
    const struct tls_server_files files = {.cert = f->cert,
                                           .key = f->key,
                                           .client_ca = f->client_ca,
                                           .client_crl = f->client_crl,
                                           .required =
                                               f->client_certificate != CERTIFICATE_OPTIONAL};
    return tls_server_context(&files, error, len);
}

/* The store's server is verified, and may ask who comes. */
static struct tls_context *store_context(const struct tls_files *f, char *error, size_t len) {
    struct tls_context *c = tls_client_context(f->ca, error, len);
    if (c == NULL || f->cert.len == 0 || tls_client_identify(c, f->cert, f->key, error, len))
        return c;
    tls_context_free(c);
    return NULL;
}

/* Some filter of it, or of a policy that it may switch to, does. */
static bool reads_inputs(const struct policy *p, uint32_t steps) {
    for (uint32_t i = 0; i < p->slot_count; i++) {
        const struct filter_slot *s = &p->slots[i];
        struct policy_ref *refs;
        uint32_t count = s->filter->switches != NULL ? s->filter->switches(s->conf, &refs) : 0;
        if (s->filter->needs & NEEDS_QUERY)
            return true;
        for (uint32_t k = 0; k < count && steps > 0; k++)
            if (reads_inputs(refs[k].policy, steps - 1))
                return true;
    }
    return false;
}

bool gate_prepare(struct config *c) {
    char error[256] = "";
    bool ok = true;
    static uint64_t serial;
    c->serial = ++serial;
    c->release = release;
    for (uint32_t i = 0; i < c->listener_count && ok; i++) {
        struct listener_conf *l = &c->listeners[i];
        if (l->tls.on)
            ok = (l->context = server_context(&l->tls, error, sizeof(error))) != NULL;
    }
    for (uint32_t i = 0; i < c->upstream_count && ok; i++) {
        struct upstream_conf *u = &c->upstreams[i];
        stats_upstream_series(u->name);
        if (u->tls.on)
            ok = (u->context = tls_client_context(u->tls.ca, error, sizeof(error))) != NULL;
    }
    if (c->store.tls && ok)
        ok = (c->store.context = store_context(&c->store.tls_files, error, sizeof(error))) != NULL;
    for (uint32_t i = 0; i < c->policy_count; i++) {
        struct policy *p = &c->policies[i];
        p->reads_inputs = reads_inputs(p, SWITCHES_MAX);
        for (uint32_t k = 0; k < p->slot_count; k++)
            p->slots[k].series = stats_filter_series(p->name, p->slots[k].filter->name);
    }
    if (!ok)
        log_line(LOG_ERROR, "%s", error);
    return ok;
}

/* The file's configuration, ready to be used.  NULL: it was said why. */
static struct config *load(const char *path) {
    struct buf errors;
    buf_init(&errors, MIB(1));
    struct config *c = config_read(path, &errors);
    if (c == NULL)
        fprintf(stderr, "%.*s", (int)errors.len, errors.at);
    buf_free(&errors);
    if (c != NULL && !gate_prepare(c)) {
        config_unref(c);
        c = NULL;
    }
    return c;
}

/* ---- reload ---- */

struct reload_mail {
    struct mail mail;
    struct config *config;
};

static void on_reload(struct mail *m, void *owner) {
    struct reload_mail *r = list_object(m, struct reload_mail, mail);
    struct worker *w = owner;
    struct config *before = w->config;
    w->config = r->config;
    if (w->index < w->gate->worker_count && !upstreams_apply(w))
        log_line(LOG_ERROR, "worker %u: out of memory for its upstreams", w->index);
    config_unref(before);
    free(r);
}

static void hand_out(struct worker *w, struct config *c) {
    struct reload_mail *r = malloc(sizeof(*r));
    require(r != NULL);
    *r = (struct reload_mail){.mail = {.run = on_reload}, .config = config_ref(c)};
    mailbox_post(&w->mail, &r->mail);
}

static bool same_address(const struct address *a, const struct address *b) {
    return a->len == b->len && memcmp(&a->at, &b->at, a->len) == 0;
}

static bool same_store(const struct store_conf *a, const struct store_conf *b) {
    return bytes_eq(a->url, b->url) && bytes_eq(a->user, b->user) &&
           bytes_eq(a->password_file, b->password_file) &&
           bytes_eq(a->tls_files.ca, b->tls_files.ca) &&
           bytes_eq(a->tls_files.name, b->tls_files.name) &&
           bytes_eq(a->tls_files.cert, b->tls_files.cert) &&
           bytes_eq(a->tls_files.key, b->tls_files.key) && a->timeout == b->timeout &&
           a->expected_gates == b->expected_gates && a->on_failure == b->on_failure;
}

/* What only a restart can change; NULL: nothing of it has changed. */
static const char *needs_restart(const struct config *a, const struct config *b) {
    if (a->workers != b->workers)
        return "workers";
    if (!same_address(&a->admin, &b->admin))
        return "admin";
    if (!same_store(&a->store, &b->store))
        return "store";
    if (a->listener_count != b->listener_count)
        return "listeners";
    for (uint32_t i = 0; i < a->listener_count; i++)
        if (!same_address(&a->listeners[i].address, &b->listeners[i].address) ||
            a->listeners[i].tls.on != b->listeners[i].tls.on)
            return "listeners";
    return NULL;
}

/* The new configuration, if it can be taken over whole.  NULL: it was said why. */
static struct config *load_again(struct gate *g) {
    struct config *c = load(g->path);
    const char *why = c != NULL ? needs_restart(g->config, c) : NULL;
    if (why != NULL)
        log_line(LOG_ERROR, "reload: a change of '%s' needs a restart", why);
    if (c != NULL && why == NULL && log_file_open(g->access_log, c->access_log) &&
        ledger_open(g->ledger, &c->ledger) && alert_reload(c))
        return c;
    log_line(LOG_ERROR, "reload failed: the policy before it stays in force");
    if (c != NULL)
        config_unref(c);
    return NULL;
}

bool gate_reload(struct gate *g) {
    if (gate_draining(g)) {
        log_line(LOG_NOTICE, "reload: not while stopping");
        return false;
    }
    struct config *c = load_again(g);
    if (c == NULL) {
        static const struct alert failed = {
            .rule = "config.reload",
            .severity = ALERT_MEDIUM,
            .text = "A reload failed: the policy before it stays in force."};
        alert_raise(&failed);
        g->reload_failures++;
        return g->reload_ok = false;
    }
    for (unsigned i = 0; i < g->worker_count; i++)
        hand_out(&g->workers[i], c);
    hand_out(&g->main, c);
    config_unref(g->config);
    g->config = c;
    g->reloads++;
    log_line(LOG_NOTICE, "policy %.16s is in force", c->sha256);
    return g->reload_ok = true;
}

/* ---- drain ---- */

static void close_all(struct worker *w) {
    while (!list_empty(&w->conns))
        conn_close(list_object(w->conns.next, struct conn, link));
}

static void worker_leave(struct worker *w) {
    if (w->draining && list_empty(&w->conns))
        event_base_loopexit(w->base, NULL);
}

void gate_conn_gone(struct worker *w) {
    if (w != &w->gate->main)
        worker_leave(w);
}

static void on_patience_over(struct timer *t) {
    close_all(list_object(t, struct worker, patience));
}

static void on_drain(struct mail *m, void *owner) {
    struct worker *w = owner;
    free(m);
    w->draining = true;
    listen_stop(w);
    for (struct list *n = w->conns.next, *next; n != &w->conns; n = next) {
        next = n->next;
        conn_drain(list_object(n, struct conn, link));
    }
    timer_init(&w->patience, on_patience_over);
    timer_set(&w->timers, &w->patience, clock_us(), w->config->limits.drain_timeout);
    worker_leave(w);
}

static void on_abandon(struct mail *m, void *owner) {
    free(m);
    close_all(owner);
    worker_leave(owner);
}

/* A message that says only what to run. */
static void tell(struct worker *w, void (*what)(struct mail *, void *)) {
    struct mail *m = calloc(1, sizeof(*m));
    require(m != NULL);
    m->run = what;
    mailbox_post(&w->mail, m);
}

static void on_worker_ended(struct mail *m, void *owner) {
    struct worker *main = owner;
    free(m);
    if (--main->gate->running == 0)
        event_base_loopexit(main->base, NULL);
}

static void on_term(evutil_socket_t fd, short what, void *cookie) {
    struct gate *g = cookie;
    (void)fd, (void)what;
    log_line(LOG_NOTICE,
             g->terms == 0 ? "stopping: finishing what is under way" : "stopping at once");
    if (g->terms++ > 1)
        return;
    for (unsigned i = 0; i < g->worker_count; i++)
        tell(&g->workers[i], g->terms == 1 ? on_drain : on_abandon);
}

static void on_hup(evutil_socket_t fd, short what, void *cookie) {
    (void)fd, (void)what;
    gate_reload(cookie);
}

/* ---- start ---- */

static void *worker_main(void *cookie) {
    struct worker *w = cookie;
    while (!event_base_got_exit(w->base)) {
        w->turn++;
        event_base_loop(w->base, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY);
    }
    listen_stop(w);
    close_all(w);
    upstreams_close(w);
    w->store->ops->free(w->store);
    if (w->draining)
        timer_stop(&w->patience);
    tell(&w->gate->main, on_worker_ended);
    return NULL;
}

/* All of a worker's sockets.  Unix sockets have one queue: the first worker serves it. */
static bool open_listeners(struct worker *w) {
    char error[256];
    for (uint32_t i = 0; i < w->config->listener_count; i++) {
        const struct address *a = &w->config->listeners[i].address;
        if (a->at.ss_family == AF_UNIX && w->index > 0)
            continue;
        int fd = -1;
        /* Alone first: another process on that port would otherwise share it in silence. */
        if (w->index == 0 && (fd = listen_socket(a, false, error, sizeof(error))) >= 0 &&
            a->at.ss_family != AF_UNIX) {
            close(fd);
            fd = listen_socket(a, true, error, sizeof(error));
        } else if (w->index > 0) {
            fd = listen_socket(a, true, error, sizeof(error));
        }
        if (fd < 0) {
            log_line(LOG_ERROR, "%s", error);
            return false;
        }
        if (!listen_start(w, fd, (int)i, &exchange_handler))
            return false;
    }
    return true;
}

static bool open_admin(struct gate *g) {
    char error[256];
    if (g->config->admin.len == 0)
        return true;
    int fd = listen_socket(&g->config->admin, false, error, sizeof(error));
    if (fd < 0)
        log_line(LOG_ERROR, "%s", error);
    return fd >= 0 && listen_start(&g->main, fd, -1, &admin_handler);
}

static uint64_t descriptors(void) {
    struct rlimit r = {0, 0};
    getrlimit(RLIMIT_NOFILE, &r);
    if (r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &r) != 0)
            getrlimit(RLIMIT_NOFILE, &r);
    }
    /* A query holds two: the client's and the upstream's. */
    uint64_t half = r.rlim_cur / 2;
    return half > 64 + 16 ? half - 64 : 16;
}

static bool start_workers(struct gate *g) {
    for (; g->running < g->worker_count; g->running++)
        if (pthread_create(&g->workers[g->running].thread, NULL, worker_main,
                           &g->workers[g->running]) != 0)
            return false;
    return true;
}

/* They go to the main thread, while it runs: all others start with them blocked. */
static sigset_t signals(void) {
    sigset_t all;
    sigemptyset(&all);
    sigaddset(&all, SIGHUP);
    sigaddset(&all, SIGTERM);
    sigaddset(&all, SIGINT);
    return all;
}

static bool run(struct gate *g) {
    const sigset_t ours = signals();
    struct event *term = evsignal_new(g->main.base, SIGTERM, on_term, g);
    struct event *interrupt = evsignal_new(g->main.base, SIGINT, on_term, g);
    struct event *hup = evsignal_new(g->main.base, SIGHUP, on_hup, g);
    bool ok = term != NULL && interrupt != NULL && hup != NULL && event_add(term, NULL) == 0 &&
              event_add(interrupt, NULL) == 0 && event_add(hup, NULL) == 0 && start_workers(g);
    pthread_sigmask(SIG_UNBLOCK, &ours, NULL);
    if (ok) {
        log_line(LOG_NOTICE, "version %s, %u workers, policy %.16s", QG_VERSION, g->worker_count,
                 g->config->sha256);
        event_base_dispatch(g->main.base);
    }
    for (unsigned i = 0; ok && i < g->worker_count; i++)
        pthread_join(g->workers[i].thread, NULL);
    pthread_sigmask(SIG_BLOCK, &ours, NULL);
    event_free(term);
    event_free(interrupt);
    event_free(hup);
    /* One more of them must not end the closing half-way. */
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    return ok;
}

static unsigned cores(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > WORKERS_MAX ? WORKERS_MAX : (unsigned)n;
}

static bool open_store(struct worker *w) {
    return (w->store = stores_open(w->gate->stores, w)) != NULL;
}

static bool make_stores(struct gate *g) {
    char error[256];
    g->stores_config = config_ref(g->config);
    g->stores = stores_new(&g->stores_config->store, error, sizeof(error));
    if (g->stores == NULL)
        log_line(LOG_ERROR, "store: %s", error);
    return g->stores != NULL;
}

static bool open_all(struct gate *g) {
    if (!worker_open(&g->main, g, g->worker_count, g->config))
        return false;
    for (unsigned i = 0; i < g->worker_count; i++)
        if (!worker_open(&g->workers[i], g, i, g->config) || !open_store(&g->workers[i]) ||
            !upstreams_apply(&g->workers[i]) || !open_listeners(&g->workers[i]))
            return false;
    return open_admin(g) && log_file_open(g->access_log, g->config->access_log) &&
           ledger_open(g->ledger, &g->config->ledger) && alert_open(&g->main, g->config);
}

static void close_gate(struct gate *g) {
    for (unsigned i = 0; i < g->worker_count; i++)
        worker_close(&g->workers[i]);
    listen_stop(&g->main);
    close_all(&g->main);
    alert_close();
    worker_close(&g->main);
    log_file_free(g->access_log);
    ledger_free(g->ledger);
    free(g->workers);
    stores_free(g->stores);
    config_unref(g->stores_config);
    peers_free(g->peers);
    config_unref(g->config);
}

int gate_run(const char *path) {
    struct gate g = {.path = path, .reload_ok = true};
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file at its limit is an error of the write, like a full disk */
    if ((g.config = load(path)) == NULL)
        return 1;
    const sigset_t ours = signals();
    pthread_sigmask(SIG_BLOCK, &ours, NULL);
    g.descriptors = descriptors();
    g.worker_count = g.config->workers > 0 ? (unsigned)g.config->workers : cores();
    g.workers = calloc(g.worker_count, sizeof(*g.workers));
    g.peers = peers_new();
    g.access_log = log_file_new("access log");
    g.ledger = ledger_new();
    require(g.workers != NULL && g.peers != NULL && g.access_log != NULL && g.ledger != NULL);
    /* A start that fails ends the process, which frees everything. */
    if (!make_stores(&g) || !open_all(&g) || !run(&g))
        return 1;
    close_gate(&g);
    log_line(LOG_NOTICE, "stopped");
    return 0;
}
