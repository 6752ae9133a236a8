/* ledger_verify.c - reading a ledger: does its chain hold, and what does it say? */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "ledger_line.h"

static void set_why(struct ledger_report *r, uint64_t line, const char *why) {
    r->bad_line = line;
    snprintf(r->why, sizeof(r->why), "%s", why);
}

static void check_line(const struct ledger_chain *c, struct bytes line, struct ledger_report *r) {
    struct ledger_said said;
    const char *why = ledger_read(c, line, &said);
    if (why == NULL && r->lines > 0 && strcmp(said.prev, r->to) != 0)
        why = "it does not follow the line before: its 'prev' is another line's hash";
    if (why == NULL && r->lines > 0 && said.number != r->last + 1)
        why = "it does not follow the line before: its number is not the next";
    if (why != NULL) {
        set_why(r, r->lines + 1, why);
        return;
    }
    if (r->lines++ == 0) {
        r->first = said.number;
        memcpy(r->from, said.prev, sizeof(r->from));
    }
    r->last = said.number;
    memcpy(r->to, said.hash, sizeof(r->to));
    r->rows += said.rows;
    *(said.is_rho ? &r->rho : &r->epsilon) += said.cost;
}

bool ledger_verify(const char *path, const unsigned char *key, struct ledger_report *r) {
    struct ledger_chain chain = {.keyed = key != NULL};
    char line[LEDGER_LINE_MAX + 2];
    FILE *f = fopen(path, "re");
    *r = (struct ledger_report){.lines = 0};
    if (f == NULL) {
        set_why(r, 0, strerror(errno));
        return false;
    }
    if (key != NULL)
        memcpy(chain.key, key, sizeof(chain.key));
    while (r->bad_line == 0 && fgets(line, sizeof(line), f) != NULL) {
        size_t len = strlen(line);
        if (len == 0 || line[len - 1] != '\n')
            set_why(r, r->lines + 1, feof(f) ? "it is cut off" : "too long for a line of a ledger");
        else
            check_line(&chain, bytes_of(line, len - 1), r);
    }
    bool ok = ferror(f) == 0;
    if (!ok)
        set_why(r, 0, strerror(errno));
    fclose(f);
    return ok;
}

bool ledger_last(const char *path, struct bytes client, struct bytes model,
                 struct ledger_state *out) {
    char line[LEDGER_LINE_MAX + 2];
    FILE *f = fopen(path, "re");
    *out = (struct ledger_state){.found = false};
    if (f == NULL)
        return false;
    while (fgets(line, sizeof(line), f) != NULL) {
        size_t len = strlen(line);
        if (len > 0 && line[len - 1] == '\n')
            ledger_read_state(bytes_of(line, len - 1), client, model, out);
    }
    bool ok = ferror(f) == 0;
    fclose(f);
    return ok;
}
