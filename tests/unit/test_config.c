#include "../../proxy/config.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <jansson.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "config_harness.h"

/* ---- A good file ---- */

static unsigned port_of(const struct address *a) {
    return a->at.ss_family == AF_INET
               ? ntohs(((const struct sockaddr_in *)(const void *)&a->at)->sin_port)
               : ntohs(((const struct sockaddr_in6 *)(const void *)&a->at)->sin6_port);
}

static void test_good_listeners(void **state) {
    (void)state;
    struct config *c = must_read(good_text);
    assert_int_equal(c->workers, 2);
    assert_int_equal(c->listener_count, 2);
    assert_string_equal(c->listeners[0].name.at, "rest");
    assert_false(c->listeners[0].tls.on);
    assert_int_equal(port_of(&c->listeners[0].address), 8080);
    assert_string_equal(c->listeners[0].address.host.at, "127.0.0.1");
    assert_true(c->listeners[1].tls.on);
    assert_string_equal(c->listeners[1].tls.key.at, "/etc/q/k.pem");
    assert_string_equal(c->listeners[1].address.host.at, "::");
    assert_int_equal(c->listeners[1].address.at.ss_family, AF_INET6);
    assert_int_equal(port_of(&c->admin), 9901);
    assert_string_equal(c->access_log.at, "/etc/q/logs/access.jsonl");
    assert_string_equal(c->path.at, "/etc/q/policy.yaml");
    config_unref(c);
}

static void test_good_limits(void **state) {
    (void)state;
    struct config *c = must_read(good_text);
    const struct limits_conf *l = &c->limits;
    assert_int_equal(l->max_body, MIB(1));
    assert_int_equal(l->idle_timeout, SECONDS(120));
    assert_false(l->compressed_bodies);
    /* The tables' defaults are those of limits.h. */
    assert_int_equal(l->max_answer, ANSWER_BYTES_MAX);
    assert_int_equal(l->connections, CONNECTIONS_MAX);
    assert_int_equal(l->connections_per_address, CONNECTIONS_PER_ADDRESS_MAX);
    assert_int_equal(l->head_timeout, HEAD_TIMEOUT);
    assert_int_equal(l->body_timeout, BODY_IDLE_TIMEOUT);
    assert_int_equal(l->send_timeout, SEND_TIMEOUT);
    assert_int_equal(l->drain_timeout, DRAIN_TIMEOUT);
    assert_int_equal(c->upstreams[0].timeout, REQUEST_TIMEOUT);
    assert_int_equal(c->upstreams[0].connect_timeout, CONNECT_TIMEOUT);
    assert_int_equal(c->upstreams[0].max_pending, PENDING_MAX);
    config_unref(c);
    char *bare = replaced(good_text,
                          "limits: {max_body: 1MiB, idle_timeout: 2min, "
                          "compressed_bodies: false}\n",
                          "");
    char *without = replaced(bare, ", health: {path: /ready, interval: 1s}", "");
    char *plain = replaced(without, "log: {access: logs/access.jsonl}\n", "");
    c = must_read(plain);
    assert_int_equal(c->limits.max_body, BODY_BYTES_MAX);
    assert_int_equal(c->limits.idle_timeout, IDLE_TIMEOUT);
    assert_true(c->limits.compressed_bodies);
    assert_int_equal(c->upstreams[0].health_path.len, 0);
    assert_int_equal(c->upstreams[0].health_interval, HEALTH_INTERVAL);
    assert_int_equal(c->access_log.len, 0);
    config_unref(c);
    free(bare);
    free(without);
    free(plain);
}

static void test_good_upstreams(void **state) {
    (void)state;
    struct config *c = must_read(good_text);
    const struct upstream_conf *u = c->upstreams;
    assert_int_equal(c->upstream_count, 1);
    assert_string_equal(u->name.at, "digits");
    assert_string_equal(u->codec->name, "open-inference");
    assert_int_equal(u->endpoint_count, 2);
    assert_false(u->endpoints[0].tls);
    assert_string_equal(u->endpoints[0].authority.at, "10.0.0.1:9000");
    assert_true(u->endpoints[1].tls);
    assert_string_equal(u->endpoints[1].url.at, "https://[::1]:9443/");
    assert_string_equal(u->endpoints[1].authority.at, "[::1]:9443");
    assert_string_equal(u->endpoints[1].address.host.at, "::1");
    assert_true(u->tls.on);
    assert_string_equal(u->tls.ca.at, "/etc/q/ca.pem");
    assert_string_equal(u->tls.name.at, "model");
    assert_string_equal(u->health_path.at, "/ready");
    assert_int_equal(u->health_interval, SECONDS(1));
    config_unref(c);
}

static void test_good_models(void **state) {
    (void)state;
    struct config *c = must_read(good_text);
    const struct model *m = config_model(c, BYTES_LITERAL("digits"));
    const struct client gold = {.tier = BYTES_LITERAL("gold")}, none = {.tier = BYTES_LITERAL("")};
    const struct client other = {.tier = BYTES_LITERAL("golden")};
    assert_ptr_equal(m, &c->models[0]);
    assert_ptr_equal(m->upstream, &c->upstreams[0]);
    assert_string_equal(m->policy->name.at, "guarded");
    assert_string_equal(model_policy(m, &gold)->name.at, "free");
    assert_string_equal(model_policy(m, &none)->name.at, "guarded");
    assert_string_equal(model_policy(m, &other)->name.at, "guarded");
    assert_int_equal(m->rows, ROWS_FIRST);
    assert_true(m->declared.version_shown);
    assert_int_equal(m->declared.count, 2);
    assert_string_equal(m->declared.outputs[0].name.at, "probabilities");
    assert_int_equal(m->declared.outputs[0].kind, OUT_SCORES);
    assert_int_equal(m->declared.outputs[1].kind, OUT_LABELS);
    assert_ptr_equal(config_model(c, BYTES_LITERAL("raw")), &c->models[1]);
    assert_ptr_equal(config_model(c, BYTES_LITERAL("raw-2")), &c->models[1]);
    assert_null(config_model(c, BYTES_LITERAL("digits2")));
    assert_null(config_model(c, BYTES_LITERAL("ra")));
    assert_null(config_model(c, BYTES_LITERAL("")));
    config_unref(c);
}

static void test_good_policies(void **state) {
    (void)state;
    struct config *c = must_read(good_text);
    const struct policy *p = c->policies;
    assert_int_equal(c->policy_count, 3);
    assert_int_equal(c->slot_total, 4);
    assert_int_equal(p[0].slot_count, 3);
    assert_string_equal(p[0].slots[0].filter->name, "rate_limit");
    assert_string_equal(p[0].slots[2].filter->name, "round");
    assert_int_equal(p[0].slots[2].index, 2);
    assert_int_equal(p[0].slots[1].place.line, 26);
    assert_int_equal(p[0].slots[1].place.column, 9);
    assert_false(p[0].observe || p[0].relay);
    assert_true(p[1].observe && !p[1].relay);
    assert_int_equal(p[1].slots[0].index, 3);
    assert_true(p[2].relay && !p[2].observe);
    assert_int_equal(p[2].slot_count, 0);
    config_unref(c);
}

static void test_references(void **state) {
    (void)state;
    struct config *c = must_read(good_text);
    assert_ptr_equal(config_ref(c), c);
    config_unref(c);
    assert_string_equal(c->policies[0].name.at, "guarded");
    config_unref(c);
    config_unref(NULL);
}

static void test_unix_sockets_and_standard_output(void **state) {
    (void)state;
    char *admin = replaced(good_text, "localhost:9901", "'unix:/run/q.sock'");
    char *text = replaced(admin, "logs/access.jsonl", "\"-\"");
    struct config *c = must_read(text);
    const struct sockaddr_un *at = (const void *)&c->admin.at;
    assert_int_equal(at->sun_family, AF_UNIX);
    assert_string_equal(at->sun_path, "/run/q.sock");
    assert_string_equal(c->access_log.at, "-");
    config_unref(c);
    free(admin);
    free(text);
}

static void test_version_is_the_hash_of_both_files(void **state) {
    char expected[SHA256_HEX], *both = malloc(strlen(good_text) + strlen(hashed) + 1);
    (void)state;
    assert_non_null(both);
    sprintf(both, "%s%s", good_text, hashed);
    hash_hex(both, expected);
    struct config *c = must_read(good_text);
    assert_string_equal(c->sha256, expected);
    config_unref(c);
    /* The secret is no part of it. */
    pseudonym_text = "another-secret-of-length";
    c = must_read(good_text);
    assert_string_equal(c->sha256, expected);
    config_unref(c);
    free(both);
}

/* ---- Bad files: what of the good one is replaced by what, and the one error that makes ---- */

static const struct {
    const char *from, *to;
    const char *error; /* LINE:COL: error: the beginning of the message */
    const char *hint;  /* NULL: none */
} bad[] = {
    {"workers: 2", "workers: 65", "1:10: error: workers: expected a whole number, 0 to 64", NULL},
    {"workers: 2", "listeners: [{name: x}]",
     "2:1: error: duplicate key 'listeners', first given in line 1", NULL},
    {"workers: 2", "wrokers: 2", "1:1: error: unknown option 'wrokers'", "did you mean 'workers'?"},
    {"name: rest, ", "", "3:5: error: missing option 'name' in listeners[0]", NULL},
    {"logs/access.jsonl", "on", "8:15: error: log.access: 'on' is not", "a file's name, or"},
    {"name: rest", "name: open", "4:12: error: a second listener with the name 'open'", NULL},
    {"name: rest", "name: 'a b'", "3:12: error: a name has at most 64 letters", NULL},
    {"\"127.0.0.1:8080\"", "127.0.0.1",
     "3:27: error: expected HOST:PORT, [IPV6]:PORT or unix:/PATH", NULL},
    {"127.0.0.1:8080", "127.0.0.1:0", "3:27: error: expected HOST:PORT", NULL},
    {"127.0.0.1:8080", "::1:8080", "3:27: error: expected HOST:PORT", NULL},
    {"127.0.0.1:8080", "*:8080", "3:27: error: expected HOST:PORT",
     "for every address: 0.0.0.0:PORT"},
    {"127.0.0.1:8080", ":8080", "3:27: error: expected HOST:PORT",
     "for every address: 0.0.0.0:PORT"},
    {"127.0.0.1:8080", "[::1]8080", "3:27: error: expected HOST:PORT", NULL},
    {"127.0.0.1:8080", "nowhere:8080", "3:27: error: cannot resolve 'nowhere': Name or service",
     NULL},
    {"127.0.0.1:8080", "unix:x", "3:27: error: expected unix:/PATH, a path of at most 107", NULL},
    {"127.0.0.1:8080", "[::]:8443", "4:27: error: listener 'rest' is on this address already",
     NULL},
    {"127.0.0.1:8080", "127.0.0.1:9901", "3:27: error: the admin listener is on this address",
     NULL},
    {"protocol: http,", "protocol: grpc,",
     "4:50: error: listeners[1].protocol: unknown value 'grpc'", "one of: http"},
    {"cert: c.pem, ", "", "4:56: error: missing option 'cert' in listeners[1].tls", NULL},
    {"c.pem", "missing.pem", "4:68: error: cannot use '/etc/q/missing.pem': No such file", NULL},
    {"localhost:9901", "10.0.0.1:9901", "5:18: error: the admin listener must be on a loopback",
     "127.0.0.1, [::1] or unix:/PATH"},
    {"localhost:9901", "'[::]:9901'", "5:18: error: the admin listener must be on a loopback",
     "127.0.0.1, [::1] or unix:/PATH"},
    {"\"memory:\"", "redis://nowhere", "6:14: error: cannot resolve 'nowhere'", NULL},
    {"1MiB", "1MB", "7:20: error: limits.max_body: expected a size", "did you mean '1MiB'?"},
    {"2min", "2m", "7:40: error: limits.idle_timeout: expected a duration", "did you mean '2min'?"},
    {"[api_key, address]", "[api_key, adress]", "10:23: error: clients.identify[1]: unknown value",
     "did you mean 'address'?"},
    {"[api_key, address]", "[api_key, address, api_key]",
     "10:32: error: identify: 'api_key' is there twice", NULL},
    {"[api_key, address]", "[address, api_key]", "10:14: error: identify: 'address' must be last",
     NULL},
    {"[api_key, address]", "[api_key, jwt, address]", "10:13: error: 'jwt' needs the option 'jwt'",
     "jwt: {jwks: "},
    {"[api_key, address]", "[mtls, api_key, address]",
     "10:13: error: 'mtls' needs the option 'mtls'", "mtls: {name: san_uri}"},
    {"  anonymous: allow\n", "  anonymous: allow\n  mtls: {name: cn}\n",
     "13:3: error: 'mtls' has no use: 'identify' does not", "add 'mtls'"},
    {"[api_key, address]\n", "[mtls, api_key, address]\n  mtls: {name: cn}\n",
     "11:3: error: no listener asks clients for a certificate", "tls: {client_ca: FILE"},
    {"tls: {cert: c.pem, key: k.pem}", "tls: {cert: c.pem, key: k.pem, client_crl: r.pem}",
     "4:87: error: 'client_crl' has no use without 'client_ca'", "client_ca: FILE"},
    {"tls: {cert: c.pem, key: k.pem}",
     "tls: {cert: c.pem, key: k.pem, client_certificate: require}",
     "4:87: error: 'client_certificate' has no use without", "client_ca: FILE"},
    {"tls: {cert: c.pem, key: k.pem}",
     "tls: {cert: c.pem, key: k.pem, client_ca: a.pem, client_certificate: optional}",
     "4:125: error: an optional certificate has no use", "require, or add"},
    {"tls: {cert: c.pem, key: k.pem}", "tls: {cert: c.pem, key: k.pem, client_ca: missing.pem}",
     "4:98: error: cannot use '/etc/q/missing.pem'", NULL},
    {"  anonymous: allow\n", "  anonymous: allow\n  trusted_proxies: [\"::1\"]\n",
     "13:3: error: 'trusted_proxies' needs the option 'forwarded'",
     "forwarded: {header: X-Forwarded-For}"},
    {"  anonymous: allow\n", "  anonymous: allow\n  forwarded: {header: Forwarded}\n",
     "13:3: error: 'forwarded' has no use without", "trusted_proxies: [...]"},
    {"  anonymous: allow\n",
     "  anonymous: allow\n  forwarded: {header: Forwarded}\n  trusted_proxies: [10.0.0.1/8]\n",
     "14:21: error: trusted_proxies: '10.0.0.1/8': the address has bits", "10.0.0.0/8"},
    {"  anonymous: allow\n",
     "  anonymous: allow\n  forwarded: {header: Forwarded}\n  trusted_proxies: [unix, 0.0.0.0/0]\n",
     "14:27: error: trusted_proxies: '0.0.0.0/0' trusts everybody", NULL},
    {"  anonymous: allow\n",
     "  anonymous: allow\n  forwarded: {header: Forwarded}\n  trusted_proxies: [\"::/1\"]\n",
     "14:21: error: trusted_proxies: '::/1' trusts everybody", NULL},
    {"version: 7", "version: 7, previous: {file: p.key, version: 7}",
     "13:77: error: both pseudonym keys have the version 7", "raise the version"},
    {"[api_key, address]", "[api_key]", "12:14: error: anonymous clients need 'address'",
     "add 'address' to 'identify'"},
    {"allow", "deny", "10:13: error: 'address' has no use while", "anonymous: allow, or take"},
    {"[api_key, address]", "[address]", "11:3: error: 'api_keys' has no use", "add 'api_key'"},
    {"  api_keys: {header: X-Key, file: keys.yaml}\n", "",
     "10:13: error: 'api_key' needs the option", "api_keys: {file: keys.yaml}"},
    {"X-Key", "X_Key", "11:22: error: expected a header's name", NULL},
    {"X-Key", "x-forwarded-for", "11:22: error: 'x-forwarded-for' has another meaning", NULL},
    {"file: keys.yaml", "file: missing.yaml", "11:35: error: cannot read '/etc/q/missing.yaml'",
     NULL},
    {"version: 7", "version: 0", "13:41: error: clients.pseudonym_key.version: expected a whole",
     NULL},
    {"file: p.key", "file: missing", "13:25: error: cannot use '/etc/q/missing'", NULL},
    {"open-inference", "open_inferenze", "15:22: error: upstreams.digits.protocol: unknown value",
     "did you mean 'open-inference'?"},
    {"http://10.0.0.1:9000", "10.0.0.1:9000", "15:45: error: expected http://HOST:PORT", NULL},
    {"http://10.0.0.1:9000", "http://10.0.0.1", "15:45: error: expected http://HOST:PORT", NULL},
    {"http://10.0.0.1:9000", "http://10.0.0.1:9000/v2", "15:45: error: expected http://HOST:PORT",
     NULL},
    {"http://10.0.0.1:9000", "http://u@10.0.0.1:9000", "15:45: error: expected http://HOST:PORT",
     NULL},
    {"http://10.0.0.1:9000", "http://nowhere:9000", "15:45: error: cannot resolve 'nowhere'", NULL},
    {"https://", "http://", "16:12: error: 'tls' has no use", NULL},
    {"path: /ready", "path: ready", "16:59: error: expected a path that begins with '/'", NULL},
    {"path: /ready, ", "", "16:44: error: missing option 'path' in upstreams.digits.health", NULL},
    {"  digits: {p", "  '<<': {p", "15:3: error: a name has at most 64 letters", "one of: <<"},
    {"upstream: digits, policy: guarded", "upstream: digit, policy: guarded",
     "18:31: error: unknown upstream 'digit'", "did you mean 'digits'?"},
    {"policy: guarded", "policy: guraded", "18:47: error: unknown policy 'guraded'",
     "did you mean 'guarded'?"},
    {"{gold: free}", "{gold: fre}", "18:70: error: unknown policy 'fre'", "did you mean 'free'?"},
    {"label: labels", "label: label", "20:46: error: models[0].outputs.label: unknown value",
     "did you mean 'labels'?"},
    {"outputs: {probabilities: scores, label: labels}", "outputs: {}",
     "20:15: error: models[0].outputs: expected at least 1, not 0", NULL},
    {",\n     outputs: {probabilities: scores, label: labels}", "",
     "18:5: error: model 'digits' declares no outputs, so policy 'guarded'",
     "outputs: {NAME: KIND}"},
    {"policy: raw}", "policy: raw, tiers: {gold: guarded}}",
     "21:5: error: model 'raw*' declares no outputs, so policy 'guarded'", "outputs: {NAME: KIND}"},
    {"\"raw*\"", "\"digits\"", "21:13: error: 'digits' is never reached: 'digits', above it",
     "put the narrower match first"},
    {"match: digits", "match: '*'", "21:13: error: 'raw*' is never reached: '*', above it",
     "put the narrower match first"},
    {"match: digits", "match: 'ra*'", "21:13: error: 'raw*' is never reached: 'ra*'",
     "put the narrower match first"},
    {"\"raw*\"", "\"r*w\"", "21:13: error: expected a model's name of at most 128 bytes", NULL},
    {"\"raw*\"", "\"raw**\"", "21:13: error: expected a model's name of at most 128 bytes", NULL},
    {"rate_limit: {queries: 120/min}", "ratelimit: {queries: 120/min}",
     "25:9: error: unknown filter 'ratelimit' in policy 'guarded'", "did you mean 'rate_limit'?"},
    {"120/min", "120/m", "25:31: error: policies.guarded.rate_limit.queries: expected a rate",
     "did you mean '120/min'?"},
    {"queries: 120/min", "", "25:9: error: rate_limit: give exactly one", NULL},
    {"- round: {digits: 3}", "- round",
     "27:9: error: expected a filter's name and its options in "
     "policy 'guarded', not text",
     "- NAME: {OPTIONS}"},
    {"- round: {digits: 3}", "- round:\n        digits: 3",
     "28:9: error: more than one filter in an", "options stand deeper"},
    {"digits: 3}", "digts: 3}", "27:17: error: unknown option 'digts' in policies.guarded.round",
     "did you mean 'digits'?"},
    {"k: 5", "k: 0", "28:46: error: policies.free.top_k.k: expected a whole number, 1 to", NULL},
    {"mode: observe", "mode: watch", "28:16: error: policies.free.mode: unknown value 'watch'",
     "one of: enforce, observe"},
    {"bodies: relay, filters: []", "bodies: relay",
     "29:3: error: missing option 'filters' in "
     "policies.raw",
     NULL},
    {"bodies: relay, filters: []", "bodies: relay, filters: {top_k: }",
     "29:33: error: policies.raw."
     "filters: expected a list",
     NULL},
    {"bodies: relay, filters: []", "bodies: relay, filters: [top_k: ]",
     "29:34: error: 'top_k' reads bodies, which 'bodies: relay' of policy 'raw'", NULL},
    {"  raw: {", "  free: {}\n  raw: {",
     "29:3: error: duplicate key 'free', first given in line 28", NULL},
};

static void test_bad_files(void **state) {
    unsigned wrong = 0;
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf errors;
        char *text = replaced(good_text, bad[i].from, bad[i].to), expected[400], hint[200];
        struct config *c = read_text(text, &errors);
        snprintf(expected, sizeof(expected), "/etc/q/policy.yaml:%s", bad[i].error);
        snprintf(hint, sizeof(hint), "\n    hint: %s", bad[i].hint != NULL ? bad[i].hint : "");
        bool hinted = strstr(errors.at, hint) != NULL;
        if (c != NULL || strstr(errors.at, expected) == NULL || hinted != (bad[i].hint != NULL)) {
            print_error("row %zu (%s): expected %s%s, got\n%s", i, bad[i].to, expected,
                        bad[i].hint != NULL ? hint : "", errors.at);
            wrong++;
        }
        config_unref(c);
        buf_free(&errors);
        free(text);
    }
    assert_int_equal(wrong, 0);
}

/* Most slips make one error and no others that follow from it. */
static void test_one_slip_is_one_error(void **state) {
    (void)state;
    size_t alone = 0, all = sizeof(bad) / sizeof(bad[0]);
    for (size_t i = 0; i < all; i++) {
        struct buf errors;
        char *text = replaced(good_text, bad[i].from, bad[i].to);
        assert_null(read_text(text, &errors));
        if (strstr(errors.at, "\n1 error\n") != NULL)
            alone++;
        buf_free(&errors);
        free(text);
    }
    assert_true(alone + 3 >= all); /* a section twice, a lost name, a policy twice */
}

static void test_all_errors_in_order(void **state) {
    struct buf errors;
    (void)state;
    unsafe_path = "/etc/q/k.pem";
    keys_text = "keys: [{id: x}]\n";
    char *one = replaced(good_text, "  free: {mode: observe, ", "  free: {mode: obseve, ");
    char *two = replaced(one, "policy: guarded", "policy: guarde");
    char *three = replaced(two, "workers: 2", "workers: x");
    assert_null(read_text(three, &errors));
    static const char *const order[] = {
        "/etc/q/policy.yaml:1:10: error: workers: expected a whole number, 0 to 64, not 'x'\n"
        "    workers: x\n"
        "             ^\n",
        "/etc/q/policy.yaml:4:80: error: cannot use '/etc/q/k.pem': it is a secret that others may "
        "read (mode 0644): chmod 600\n",
        "/etc/q/policy.yaml:18:47: error: unknown policy 'guarde'\n",
        "                                                  ^~~~~~\n"
        "    hint: did you mean 'guarded'?\n",
        "/etc/q/policy.yaml:28:16: error: policies.free.mode: unknown value 'obseve'\n",
        "/etc/q/keys.yaml:1:8: error: missing option 'sha256' in keys[0]\n"
        "5 errors\n",
    };
    const char *at = errors.at;
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        const char *found = strstr(at, order[i]);
        if (found == NULL)
            fail_msg("%s is not, or not there, in\n%s", order[i], errors.at);
        at = found + strlen(order[i]);
    }
    assert_int_equal(*at, '\0');
    buf_free(&errors);
    free(one);
    free(two);
    free(three);
}

static void test_each_missing_section(void **state) {
    static const char *const needed[] = {"listeners", "clients", "upstreams", "models", "policies"};
    struct buf errors;
    (void)state;
    assert_null(read_text("{}\n", &errors));
    for (size_t i = 0; i < 5; i++) {
        char text[100];
        snprintf(text, sizeof(text), "/etc/q/policy.yaml:1:1: error: missing option '%s'\n",
                 needed[i]);
        assert_non_null(strstr(errors.at, text));
    }
    assert_non_null(strstr(errors.at, "\n5 errors\n"));
    buf_free(&errors);
}

static void test_no_sections_at_all(void **state) {
    static const char *const texts[] = {"",     "~\n",     "# nothing\n", "listeners\n",
                                        "[]\n", "\x00\xff"};
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct buf errors;
        assert_null(read_text(texts[i], &errors));
        assert_non_null(strstr(errors.at, "/etc/q/policy.yaml:1:1: error: "));
        buf_free(&errors);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_good_listeners, reset),
        cmocka_unit_test_setup(test_good_limits, reset),
        cmocka_unit_test_setup(test_good_upstreams, reset),
        cmocka_unit_test_setup(test_good_models, reset),
        cmocka_unit_test_setup(test_good_policies, reset),
        cmocka_unit_test_setup(test_references, reset),
        cmocka_unit_test_setup(test_unix_sockets_and_standard_output, reset),
        cmocka_unit_test_setup(test_version_is_the_hash_of_both_files, reset),
        cmocka_unit_test_setup(test_bad_files, reset),
        cmocka_unit_test_setup(test_one_slip_is_one_error, reset),
        cmocka_unit_test_setup(test_all_errors_in_order, reset),
        cmocka_unit_test_setup(test_each_missing_section, reset),
        cmocka_unit_test_setup(test_no_sections_at_all, reset),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(hashed);
    return failed;
}
