/* ledger_line.h - the lines of a ledger and the chain they make; private to ledger*.c. */
#ifndef QG_LEDGER_LINE_H
#define QG_LEDGER_LINE_H

#include "ledger.h"

struct ledger_chain {
    uint64_t number;       /* of the last line */
    char hash[SHA256_HEX]; /* its; empty: there is none yet */
    bool keyed;
    unsigned char key[SHA256_BYTES];
};

/* The next line, with its newline, appended to out; the chain goes on to it.  False: too long. */
MUST bool ledger_line(struct ledger_chain *, const struct ledger_entry *, struct buf *out);

/* What a line says beside its hashes. */
struct ledger_said {
    uint64_t number, rows;
    double cost;
    bool is_rho;
    char prev[SHA256_HEX], hash[SHA256_HEX];
};

/* Reads a line of ours, without its newline, and checks its own hash.  NULL or what is wrong. */
const char *ledger_read(const struct ledger_chain *, struct bytes line, struct ledger_said *out);

/* Fills in out if the line is of that client and model. */
void ledger_read_state(struct bytes line, struct bytes client, struct bytes model,
                       struct ledger_state *out);

/* Goes on from that line.  False: it does not hold. */
MUST bool ledger_take_up(struct ledger_chain *, struct bytes line);

#endif
