#include "config_tables.h"

#include <pthread.h>

#include "../proto/codec.h"
#include "base/limits.h"
#include "filter.h"

#define ONE(name) +1
enum {
#define CODEC ONE
    CODEC_COUNT = 0
#include "../proto/codecs.def"
#undef CODEC
    ,
#define FILTER ONE
    FILTER_COUNT = 0
#include "../filters/filters.def"
#undef FILTER
};

static const char *protocols[CODEC_COUNT + 1], *filters[FILTER_COUNT + 1];

static void fill_names(void) {
    for (int i = 0; i < CODEC_COUNT; i++)
        protocols[i] = codecs_all[i]->name;
    for (int i = 0; i < FILTER_COUNT; i++)
        filters[i] = filters_all[i]->name;
}

static void names_once(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, fill_names);
}

const char *const *config_protocols(void) {
    names_once();
    return protocols;
}

const char *const *config_filters(void) {
    names_once();
    return filters;
}

static const char *const client_certificate_words[] = {"require", "optional", NULL};
static const char *const listener_protocols[] = {"http", NULL};
static const char *const rows_words[] = {"auto", "first", "one", NULL};
static const char *const mode_words[] = {"enforce", "observe", NULL};
static const char *const bodies_words[] = {"decode", "relay", NULL};

static const struct option listener_tls_rows[] = {
    {.name = "cert",
     .type = OPTION_FILE,
     .offset = offsetof(struct tls_files, cert),
     .required = true,
     .says = "PEM file of the certificate and its chain."},
    {.name = "key",
     .type = OPTION_FILE,
     .offset = offsetof(struct tls_files, key),
     .required = true,
     .says = "PEM file of its private key; refused when others may read it."},
    {.name = "client_ca",
     .type = OPTION_FILE,
     .offset = offsetof(struct tls_files, client_ca),
     .says =
         "PEM file of the authorities that may vouch for clients. Absent: clients are asked for "
         "no certificate."},
    {.name = "client_crl",
     .type = OPTION_FILE,
     .offset = offsetof(struct tls_files, client_crl),
     .says = "PEM file of revocation lists, a current one of each authority in a client's chain: "
             "without it the client is refused. Read again with the policy, which takes effect on "
             "connections that are open, too. Absent: nothing is revoked."},
    {.name = "client_certificate",
     .type = OPTION_WORD,
     .offset = offsetof(struct tls_files, client_certificate),
     .min = CERTIFICATE_REQUIRED,
     .words = client_certificate_words,
     .says = "With client_ca: require, no query without a certificate; optional, clients may "
             "identify otherwise, but a certificate that is shown must hold. Absent: require."},
    {.type = OPTION_END},
};

static const struct option listener_rows[] = {
    {.name = "name",
     .type = OPTION_STRING,
     .offset = offsetof(struct listener_file, conf.name),
     .required = true,
     .says = "The listener's name in logs and metrics."},
    {.name = "address",
     .type = OPTION_STRING,
     .offset = offsetof(struct listener_file, conf.address.text),
     .required = true,
     .says = "HOST:PORT, [IPV6]:PORT or unix:/PATH to accept clients on."},
    {.name = "protocol",
     .type = OPTION_WORD,
     .offset = offsetof(struct listener_file, conf.protocol),
     .fallback = "http",
     .words = listener_protocols,
     .says = "What clients speak here: HTTP/1.1."},
    {.name = "tls",
     .type = OPTION_SECTION,
     .offset = offsetof(struct listener_file, conf.tls),
     .rows = listener_tls_rows,
     .says = "Speak TLS 1.2 or 1.3. Absent: clear text."},
    {.type = OPTION_END},
};

static const struct option admin_rows[] = {
    {.name = "address",
     .type = OPTION_STRING,
     .offset = offsetof(struct address, text),
     .required = true,
     .says = "HOST:PORT on a loopback address, or unix:/PATH. Whoever reaches it reads the state "
             "of the gate."},
    {.type = OPTION_END},
};

#define LIMIT(field) .offset = offsetof(struct limits_conf, field), .name = #field
static const struct option limits_rows[] = {
    {LIMIT(max_body), .type = OPTION_SIZE, .min = 1, .max = (double)MIB(128), .fallback = "8MiB",
     .says = "Largest request body, after content decoding; more is 413."},
    {LIMIT(max_answer), .type = OPTION_SIZE, .min = 1, .max = (double)MIB(128), .fallback = "32MiB",
     .says = "Largest body of an upstream's answer; more is 502."},
    {LIMIT(connections), .type = OPTION_COUNT, .min = 1, .max = 1e6, .fallback = "10000",
     .says = "Client connections at one time, of all listeners."},
    {LIMIT(connections_per_address), .type = OPTION_COUNT, .min = 1, .max = 1e6, .fallback = "256",
     .says = "Client connections at one time from one address (IPv6: one /64)."},
    {LIMIT(head_timeout), .type = OPTION_DURATION, .min = (double)MS(100),
     .max = (double)SECONDS(300), .fallback = "5s",
     .says = "From a request's first byte to the end of its head; then 408."},
    {LIMIT(body_timeout), .type = OPTION_DURATION, .min = (double)MS(100),
     .max = (double)SECONDS(300), .fallback = "10s",
     .says = "Longest pause within a request's body; then 408."},
    {LIMIT(idle_timeout), .type = OPTION_DURATION, .min = (double)MS(100),
     .max = (double)SECONDS(3600), .fallback = "60s",
     .says = "How long a connection may be open between requests."},
    {LIMIT(send_timeout), .type = OPTION_DURATION, .min = (double)MS(100),
     .max = (double)SECONDS(300), .fallback = "10s",
     .says = "How long a client may take nothing of its answer before the connection is closed."},
    {LIMIT(drain_timeout), .type = OPTION_DURATION, .max = (double)SECONDS(3600), .fallback = "30s",
     .says = "From SIGTERM to the end, whatever is still under way."},
    {LIMIT(compressed_bodies), .type = OPTION_BOOL, .fallback = "true",
     .says = "Accept gzip and deflate request bodies; false: 415."},
    {.type = OPTION_END},
};

static const struct option log_rows[] = {
    {.name = "access",
     .type = OPTION_STRING,
     .fallback = "off",
     .says =
         "File of the access log, relative to this file; `-` is standard output, `off` is none."},
    {.type = OPTION_END},
};

static const struct option upstream_tls_rows[] = {
    {.name = "ca",
     .type = OPTION_FILE,
     .offset = offsetof(struct tls_files, ca),
     .says = "PEM file of the authorities that may vouch for the server. Absent: the system's."},
    {.name = "name",
     .type = OPTION_STRING,
     .offset = offsetof(struct tls_files, name),
     .says = "Name the server's certificate must bear. Absent: the URL's host."},
    {.type = OPTION_END},
};

static const struct option health_rows[] = {
    {.name = "path",
     .type = OPTION_STRING,
     .offset = offsetof(struct upstream_conf, health_path),
     .required = true,
     .says = "Path that answers 200 when the server is ready."},
    {.name = "interval",
     .type = OPTION_DURATION,
     .offset = offsetof(struct upstream_conf, health_interval),
     .min = (double)MS(100),
     .max = (double)SECONDS(3600),
     .fallback = "5s",
     .says = "Time between two checks of a server."},
    {.type = OPTION_END},
};

static const struct option upstream_rows[] = {
    {.name = "protocol",
     .type = OPTION_WORD,
     .offset = offsetof(struct upstream_file, protocol),
     .required = true,
     .words = protocols,
     .says = "Inference protocol of the servers and of the clients that are sent to them."},
    {.name = "http",
     .type = OPTION_LIST,
     .offset = offsetof(struct upstream_file, http),
     .required = true,
     .min = 1,
     .max = ENDPOINTS_MAX,
     .scalar = OPTION_STRING,
     .element_size = sizeof(struct bytes),
     .says = "The servers, each http://HOST:PORT or https://HOST:PORT. Names are resolved when the "
             "file is read, an IPv4 address first."},
    {.name = "timeout",
     .type = OPTION_DURATION,
     .offset = offsetof(struct upstream_file, conf.timeout),
     .min = (double)MS(1),
     .max = (double)SECONDS(3600),
     .fallback = "15s",
     .says = "How long the body may take to come (then 408), and then the answer (then 504)."},
    {.name = "connect_timeout",
     .type = OPTION_DURATION,
     .offset = offsetof(struct upstream_file, conf.connect_timeout),
     .min = (double)MS(1),
     .max = (double)SECONDS(300),
     .fallback = "2s",
     .says = "Until a connection stands, TLS included; then 504."},
    {.name = "max_pending",
     .type = OPTION_COUNT,
     .offset = offsetof(struct upstream_file, conf.max_pending),
     .min = 1,
     .max = 1e6,
     .fallback = "1024",
     .says = "Calls of one worker at one time; more is 503."},
    {.name = "tls",
     .type = OPTION_SECTION,
     .offset = offsetof(struct upstream_file, conf.tls),
     .rows = upstream_tls_rows,
     .says = "How https servers are verified."},
    {.name = "health",
     .type = OPTION_SECTION,
     .offset = offsetof(struct upstream_file, conf),
     .rows = health_rows,
     .says = "Ask each server whether it is ready. Absent: only failed calls tell."},
    {.type = OPTION_END},
};

static const struct option model_rows[] = {
    {.name = "match",
     .type = OPTION_STRING,
     .offset = offsetof(struct model_file, conf.match),
     .required = true,
     .says =
         "Name of the model, or the beginning of names and `*`. The first row that fits counts; "
         "a model that fits none is refused."},
    {.name = "upstream",
     .type = OPTION_STRING,
     .offset = offsetof(struct model_file, upstream),
     .required = true,
     .says = "Name of the upstream that serves it."},
    {.name = "policy",
     .type = OPTION_STRING,
     .offset = offsetof(struct model_file, policy),
     .required = true,
     .says = "Name of the policy that applies."},
    {.name = "tiers",
     .type = OPTION_MAP,
     .offset = offsetof(struct model_file, tiers),
     .min = 1,
     .max = TIERS_MAX,
     .scalar = OPTION_STRING,
     .element_size = sizeof(struct option_pair),
     .says = "Other policies for clients of a tier: tier and policy name."},
    {.name = "rows",
     .type = OPTION_WORD,
     .offset = offsetof(struct model_file, conf.rows),
     .fallback = "auto",
     .words = rows_words,
     .says =
         "How many queries a request is: auto, the largest first dimension of the inputs of two or "
         "more dimensions, else 1; first, the largest first dimension of all inputs; one, always "
         "1."},
    {.name = "show_version",
     .type = OPTION_BOOL,
     .offset = offsetof(struct model_file, conf.declared.version_shown),
     .fallback = "false",
     .says = "Let the model's version out."},
    {.name = "outputs",
     .type = OPTION_MAP,
     .offset = offsetof(struct model_file, outputs),
     .min = 1,
     .max = TENSORS_MAX,
     .words = output_kind_names,
     .scalar = OPTION_WORD,
     .element_size = sizeof(struct option_pair),
     .says = "The outputs that may leave, and what each is; all others are dropped."},
    {.type = OPTION_END},
};

static const struct option policy_rows[] = {
    {.name = "mode",
     .type = OPTION_WORD,
     .offset = offsetof(struct policy_file, mode),
     .fallback = "enforce",
     .words = mode_words,
     .says = "observe: the filters decide, count and log, but change and refuse nothing; what is "
             "undeclared, unknown or malformed is dropped or refused all the same."},
    {.name = "bodies",
     .type = OPTION_WORD,
     .offset = offsetof(struct policy_file, bodies),
     .fallback = "decode",
     .words = bodies_words,
     .says = "relay: bodies pass unread, so only filters that need none may stand here."},
    {.name = "filters",
     .type = OPTION_CUSTOM,
     .offset = offsetof(struct policy_file, filters),
     .required = true,
     .says = "The filters, in the order they act; each is `NAME: {OPTIONS}`."},
    {.type = OPTION_END},
};

static const struct option file_rows[] = {
    {.name = "workers",
     .type = OPTION_COUNT,
     .offset = offsetof(struct config_file, workers),
     .max = WORKERS_MAX,
     .fallback = "0",
     .says = "Worker threads; 0 is one for each core."},
    {.name = "listeners",
     .type = OPTION_LIST,
     .offset = offsetof(struct config_file, listeners),
     .required = true,
     .min = 1,
     .max = LISTENERS_MAX,
     .rows = listener_rows,
     .element_size = sizeof(struct listener_file),
     .says = "Where clients connect."},
    {.name = "admin",
     .type = OPTION_SECTION,
     .offset = offsetof(struct config_file, admin),
     .rows = admin_rows,
     .says = "The listener for operators: health, metrics, configuration. Absent: there is none."},
    {.name = "store",
     .type = OPTION_SECTION,
     .offset = offsetof(struct config_file, store),
     .rows = config_store_rows,
     .says = "Where counters live."},
    {.name = "limits",
     .type = OPTION_SECTION,
     .offset = offsetof(struct config_file, limits),
     .rows = limits_rows,
     .says = "Bounds on what clients may cost."},
    {.name = "log",
     .type = OPTION_SECTION,
     .offset = offsetof(struct config_file, access_log),
     .rows = log_rows,
     .says = "Logs."},
    {.name = "alerts",
     .type = OPTION_SECTION,
     .offset = offsetof(struct config_file, alerts),
     .rows = config_alert_rows,
     .says = "Where alerts go: what an operator must know and act on. Absent: they are only "
             "counted."},
    {.name = "clients",
     .type = OPTION_SECTION,
     .offset = offsetof(struct config_file, clients),
     .required = true,
     .rows = config_client_rows,
     .says = "Who may ask."},
    {.name = "noise_key",
     .type = OPTION_SECTION,
     .offset = offsetof(struct config_file, noise_key),
     .rows = config_noise_rows,
     .says = "The key of sticky noise. Absent: a random one, so that gates differ from each other, "
             "and a restart draws new noise."},
    {.name = "ledger",
     .type = OPTION_SECTION,
     .offset = offsetof(struct config_file, ledger),
     .rows = config_ledger_rows,
     .says = "The log of what is spent of privacy budgets, a line a charge, each bound to the one "
             "before by its hash. Absent: there is none."},
    {.name = "upstreams",
     .type = OPTION_MAP,
     .offset = offsetof(struct config_file, upstreams),
     .required = true,
     .min = 1,
     .max = UPSTREAMS_MAX,
     .rows = upstream_rows,
     .element_size = sizeof(struct upstream_file),
     .says = "The inference servers, by a name of your choice."},
    {.name = "models",
     .type = OPTION_LIST,
     .offset = offsetof(struct config_file, models),
     .required = true,
     .min = 1,
     .max = MODELS_MAX,
     .rows = model_rows,
     .element_size = sizeof(struct model_file),
     .says = "The models that may be asked: whatever is not here is refused."},
    {.name = "policies",
     .type = OPTION_MAP,
     .offset = offsetof(struct config_file, policies),
     .required = true,
     .min = 1,
     .max = POLICIES_MAX,
     .rows = policy_rows,
     .element_size = sizeof(struct policy_file),
     .says = "What is done to queries and answers, by a name of your choice."},
    {.type = OPTION_END},
};

const struct option *config_rows(void) {
    names_once();
    return file_rows;
}
