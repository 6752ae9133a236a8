/* gate.h - the process: its workers, what they share, reload and drain. */
#ifndef QG_GATE_H
#define QG_GATE_H

#include "config.h"
#include "peers.h"
#include "stores.h"
#include "worker.h"

struct gate {
    const char *path;             /* of the configuration file */
    struct config *config;        /* the one in force; main thread only */
    struct stores *stores;        /* what the workers' stores share */
    struct config *stores_config; /* the one they were made of */
    struct peers *peers;          /* likewise */
    struct log_file *access_log;
    struct ledger *ledger;
    uint64_t descriptors; /* connections that RLIMIT_NOFILE allows */
    struct worker main;   /* signals, admin pages, the access log's file */
    struct worker *workers;
    unsigned worker_count, running;
    uint64_t reloads, reload_failures;
    bool reload_ok;
    unsigned terms; /* SIGTERMs so far */
};

/* Gives a snapshot what it needs beyond what the file says: TLS contexts, counters.  False: it was
 * said why not, as when a key is not its certificate's. */
MUST bool gate_prepare(struct config *c);

/* Runs the gate until it is told to stop.  The process's exit status. */
int gate_run(const char *path);

/* How many client connections there may be now: the policy's limit or the descriptors'. */
uint64_t gate_connections_max(const struct worker *w);

/* A connection of w has ended: a draining worker stops with its last one. */
void gate_conn_gone(struct worker *w);

bool gate_draining(const struct gate *g);

/* Reads the file again and, if it is good, makes it the policy of every worker. */
bool gate_reload(struct gate *g);

#endif
