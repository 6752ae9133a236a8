/* limits.h - every bound in the program, in one place.
 *
 * Sizes in bytes, times in microseconds unless the name says otherwise.  Those that a policy can
 * change are defaults of an option and say so; the others are fixed.  docs: README "Limits". */
#ifndef QG_LIMITS_H
#define QG_LIMITS_H

#define KIB(n)     ((size_t)(n) << 10)
#define MIB(n)     ((size_t)(n) << 20)
#define MS(n)      ((uint64_t)(n)*1000)
#define SECONDS(n) ((uint64_t)(n)*1000000)

/* HTTP/1 heads, both directions. */
#define HEAD_BYTES_MAX      KIB(16) /* request or status line and all headers: over = 431 */
#define HEAD_LINE_MAX       KIB(4)  /* request line: over = 414 */
#define HEADER_BYTES_MAX    KIB(8)  /* one header line: over = 431 */
#define HEADERS_MAX         64      /* over = 431 */
#define CHUNK_LINE_MAX      256     /* chunk size and extension: over = 400 */
#define TRAILER_BYTES_MAX   KIB(4)  /* trailer section of a chunked body: over = 400 */
#define SMALL_MESSAGE       KIB(4)  /* a message up to this is sent as one piece */
#define RELAYED_HEADER_MAX  256 /* a header that `bodies: relay` passes on: longer is left out */
#define INTERIM_ANSWERS_MAX 8   /* 1xx answers before the final one: over = 502 */

/* Bodies. */
#define BODY_BYTES_MAX     MIB(8)  /* option limits.max_body: over = 413 */
#define ANSWER_BYTES_MAX   MIB(32) /* option limits.max_answer: over = 502 */
#define INFLATE_RATIO_MAX  20      /* decoded <= ratio x coded + INFLATE_SLACK: over = 413 */
#define INFLATE_SLACK      KIB(64)
#define READ_BYTES_MAX     KIB(128) /* one worker's read buffer */
#define READS_PER_WAKE_MAX 16       /* then the next connection has its turn */
#define BODY_PADDING       64       /* readable bytes behind every body (the scanner reads ahead) */

/* JSON. */
#define JSON_DEPTH_MAX  16
#define JSON_KEYS_MAX   256     /* keys of one object */
#define JSON_STRING_MAX KIB(64) /* one string, before decoding */
#define JSON_NUMBER_MAX 64      /* one number's characters */

/* Tensors. */
#define TENSORS_MAX        64 /* inputs or outputs of one message */
#define TENSOR_DIMS_MAX    16
#define TENSOR_NAME_MAX    256
#define CLASSIFICATION_MAX 10000 /* K of the classification extension */
#define MODEL_NAME_MAX     128
#define REQUEST_ID_MAX     256

/* Connections. */
#define CONNECTIONS_MAX             10000 /* option limits.connections; also <= RLIMIT_NOFILE / 2 - 64 */
#define CONNECTIONS_PER_ADDRESS_MAX 256 /* option limits.connections_per_address */
#define HANDSHAKE_TIMEOUT           SECONDS(5)
#define HEAD_TIMEOUT                SECONDS(5) /* option limits.head_timeout: first byte to end of head: 408 */
#define BODY_IDLE_TIMEOUT           SECONDS(10) /* option limits.body_timeout: between body bytes: 408 */
#define BODY_RATE_MIN               KIB(1) /* bytes per second, averaged over 10 s: under = 408 */
#define IDLE_TIMEOUT                SECONDS(60) /* option limits.idle_timeout */
#define SEND_TIMEOUT                SECONDS(10) /* option limits.send_timeout: a reader that takes nothing */
#define REQUEST_TIMEOUT             SECONDS(15) /* option upstreams.*.timeout: body: 408; answer: 504 */
#define DRAIN_TIMEOUT               SECONDS(30) /* option limits.drain_timeout: SIGTERM to exit */
#define SEND_RATE_MIN                                                                              \
    KIB(1) /* bytes per second a reader takes, averaged over 10 s: under = close */
#define ADMIN_CONNECTIONS_MAX 64         /* beside the clients' */
#define DRAIN_GRACE           SECONDS(1) /* draining: for a first request on a connection just made */
#define ACCEPTS_PER_WAKE_MAX  32
#define ACCEPT_PAUSE          MS(100) /* after running out of descriptors */

/* Upstreams. */
#define CONNECT_TIMEOUT      SECONDS(2) /* option upstreams.*.connect_timeout: 504 */
#define ENDPOINTS_MAX        64
#define POOL_IDLE_MAX        256 /* idle connections a worker keeps to one endpoint */
#define POOL_IDLE_TIMEOUT    SECONDS(30)
#define PENDING_MAX          1024 /* option upstreams.*.max_pending: calls of a worker: 503 */
#define BREAKER_WINDOW       SECONDS(10)
#define BREAKER_MIN_CALLS    20
#define BREAKER_OPEN_PERCENT 50
#define BREAKER_OPEN_TIME    SECONDS(5)
#define HEALTH_INTERVAL      SECONDS(5) /* option upstreams.*.health.interval */
#define HEALTH_BODY_MAX      KIB(64)

/* The configuration. */
#define CONFIG_BYTES_MAX       MIB(16) /* 10^5 API keys take 10 MB and 4 x 10^5 values */
#define CONFIG_DEPTH_MAX       16
#define CONFIG_NODES_MAX       (1 << 19) /* values in one file */
#define CONFIG_ARENA_MAX       MIB(256)  /* a snapshot, or the trees it was read from */
#define CONFIG_ERRORS_MAX      100
#define WORKERS_MAX            64
#define CONFIG_NAME_MAX        64 /* of a listener, upstream or policy */
#define LISTENERS_MAX          64
#define UPSTREAMS_MAX          256
#define MODELS_MAX             1024
#define POLICIES_MAX           256
#define TIERS_MAX              64  /* of one model */
#define FILTERS_MAX            32  /* of one policy */
#define SWITCHES_MAX           8   /* from one policy to another, for one query */
#define CLIENT_ID_MAX          128 /* id or tier of a client */
#define KEY_GROUPS_MAX         1024
#define CLIENT_CHAIN_MAX       4 /* authorities between a client's certificate and client_ca's */
#define CLIENT_CHAIN_BYTES_MAX KIB(32)
#define FORWARDED_HOPS_MAX     32
#define TRUSTED_PROXIES_MAX    64          /* option clients.trusted_proxies */
#define CERTIFICATE_RECHECK    SECONDS(60) /* a client's, on a connection that stays open */
#define CLIENT_MATCHES_MAX     1024        /* option clients.mtls.match */
#define SECRET_BYTES_MIN       16          /* API keys and the pseudonym key */
#define SECRET_BYTES_MAX       64          /* the pseudonym key */
#define API_KEY_BYTES_MAX      KIB(1)

/* JSON Web Tokens. */
#define JWT_BYTES_MAX      KIB(8)       /* a whole token, as it came: over = 401 */
#define JWT_HEADER_MAX     KIB(1)       /* of its header, decoded */
#define JWT_LEEWAY         SECONDS(30)  /* option clients.jwt.leeway */
#define JWT_KID_MAX        256          /* name of a key */
#define JWT_TRIES_MAX      8            /* keys that a token without a kid is checked against */
#define JWT_DATE_MAX       253402300799 /* the end of the year 9999, in seconds since 1970 */
#define JWT_CLAIM_LIST_MAX 256          /* elements of an audience or a list of tiers: over = 401 */
#define JWT_TIERS_MAX      256 /* tiers of all models that a claim may choose from by name */
#define JWKS_BYTES_MAX     KIB(256)
#define JWKS_KEYS_MAX      64
#define RSA_BITS_MIN       2048
#define RSA_BITS_MAX       8192

/* Redis.  The queue counts commands whose reply has not come, late ones included: a server that
 * stalls fills it, and then commands are refused at once. */
#define REDIS_CONNECTIONS       4 /* of one worker to one server: the key chooses */
#define REDIS_QUEUE_MAX         4096
#define REDIS_QUEUE_BYTES_MAX   MIB(2)
#define REDIS_ARGS_MAX          32      /* of one command */
#define REDIS_COMMAND_MAX       KIB(32) /* one command, formatted */
#define REDIS_REPLY_ITEMS_MAX   64
#define REDIS_REPLY_BYTES_MAX   KIB(64)
#define REDIS_SLOTS_ITEMS_MAX   (1 << 17) /* values in the answer to CLUSTER SLOTS */
#define REDIS_SLOTS_BYTES_MAX   MIB(4)    /* and its bytes */
#define REDIS_READ_BYTES        KIB(16)
#define REDIS_NODES_MAX         256        /* of a Cluster */
#define REDIS_REDIRECTS_MAX     3          /* of one command, within its deadline */
#define REDIS_HANDSHAKE_TIMEOUT SECONDS(1) /* from connect to the last reply before it is used */
#define REDIS_SILENCE_MAX       SECONDS(1) /* replies are due and nothing comes: reconnect */
#define REDIS_BACKOFF_MIN       MS(100)    /* between attempts to connect; doubled, and jittered */
#define REDIS_BACKOFF_MAX       MS(500)    /* so low: in use again within a second of its return */
#define REDIS_REFRESH_PAUSE     MS(250)    /* between questions for the slots of a Cluster */
#define REDIS_SENTINEL_PAUSE    SECONDS(1) /* between questions for the master while there is one */
#define REDIS_NODE_KEEP         SECONDS(60) /* a node of a Cluster without slots, named by a redirect */
#define REDIS_PASSWORD_MAX      KIB(4)
#define REDIS_LOG_PAUSE         SECONDS(1) /* between lines that say that Redis is lost */

/* State. */
#define ARENA_BYTES_MAX    MIB(256) /* one exchange, bodies included */
#define ARENA_BLOCK        KIB(16)
#define RATE_ENTRIES_MAX   (1u << 20) /* clients x rules in the memory store, 32 bytes each */
#define STICKY_BYTES_MAX   (8 * BODY_BYTES_MAX) /* one question in canonical form: over = 503 */
#define STICKY_ROWS_MAX    16384      /* rows of a batch whose noise is sticky: over = 413 */
#define POOLS_MAX          8          /* noise distributions a worker keeps samples of */
#define POOL_SAMPLES       8192       /* of each: 64 KiB */
#define STORE_WAITING_MAX  (1u << 16) /* reservations that wait for the durable store's thread */
#define STORE_BATCH_MAX    4096       /* of them in one commit */
#define STORE_DISK_TIMEOUT SECONDS(1) /* a query's wait for the disk; then its on_failure */
#define LOG_BUFFER_MAX     MIB(1)     /* access log lines of one worker waiting for the disk */

/* Masks. */
#define MASK_POOL_BYTES_MAX  MIB(128)   /* a file of answers to random inputs */
#define MASK_POOL_VALUES_MAX (1u << 24) /* numbers in it: 64 MiB */

/* A shared store.  Its timeout is an option. */
#define LEASES_MAX         (1u << 16) /* buckets whose demand is known; the longest unseen goes */
#define LEASE_TIME         SECONDS(1) /* then unused tokens go back */
#define STORE_TICK         MS(50)     /* leases are swept, a silent or lost store is asked */
#define STORE_FAILURES     3          /* in a row: it is lost, and nobody waits for it any more */
#define STORE_RECOVERIES   3          /* answers in a row, one a tick: it is back */
#define STORE_LOST_MIN     MS(300)    /* ... but not sooner after it was lost */
#define STORE_PATIENCE     MS(500)    /* for the first answer after the start */
#define STORE_DEBTS_MAX    (1u << 14) /* buckets whose local admissions are charged on its return */
#define STORE_CHARGES_TICK 256        /* of these in one tick */

/* Budgets. */
#define STORE_AMOUNT_MAX    (UINT64_C(1) << 52) /* of one account; sums stop there */
#define STORE_ITEMS_MAX     1024                /* marked items of one query: over = 413 */
#define STORE_MARKS_MAX     4096                /* marks of one account in Redis */
#define STORE_ACCOUNT_BYTES MIB(64)             /* all accounts of a gate without Redis */
#define LEDGER_BUFFER_MAX   MIB(16)             /* lines waiting for the disk */
#define LEDGER_LINE_MAX     KIB(4)

/* Alerts. */
#define ALERT_SINKS_MAX     16
#define ALERT_BYTES_MAX     KIB(16) /* one alert in any format */
#define ALERTS_WAITING_MAX  4096    /* raised and not rendered yet; more are dropped and counted */
#define ALERTS_GATHERED_MAX 4096    /* kinds of alert that are being counted together */
#define ALERT_BUFFER_MAX    MIB(4)  /* alerts waiting for one sink */

#endif
