/* config.h - from the YAML file to a policy snapshot, with every error in one run.
 *
 * Reading is in three steps: yaml.c makes a tree whose nodes know their place; options.c reads
 * structs out of it by the modules' option tables; config.c links names (models to policies and
 * upstreams, tiers to policies) and builds the snapshot of policy.h. */
#ifndef QG_CONFIG_H
#define QG_CONFIG_H

#include "base/buf.h"
#include "base/option.h"
#include "policy.h"

/* Reads the file at path.  NULL: it has errors; *errors holds them all, each as
 *     FILE:LINE:COL: error: MESSAGE
 *         the line as it stands
 *              ^~~~
 *         hint: did you mean 'top_k'?            (where there is a near word)
 * sorted by line, and a last line "N errors".  The caller owns the result (policy_unref).
 * It reads the files the configuration names (keys, pseudonym key, certificates are only checked
 * for being there and not readable by others), listens on nothing and starts nothing. */
struct config *config_read(const char *path, struct buf *errors);

/* What reading needs of the world; a test or a fuzzer brings its own.  Each returns NULL when it is
 * done, or says why not: static text, or text in why[]. */
#define CONFIG_WHY_MAX 160
struct config_io {
    /* Appends the whole file to *out; out == NULL: only looks whether it could.  secret: refused
     * when others may read it. */
    const char *(*load)(const char *path, bool secret, struct buf *out, char why[CONFIG_WHY_MAX]);
    const char *(*resolve)(const char *host, const char *port, struct sockaddr_storage *at,
                           socklen_t *len);
};

/* The same from memory: text stands for the file at path, everything else comes through io. */
struct config *config_read_text(struct bytes text, const char *path, const struct config_io *io,
                                struct buf *errors);

/* The configuration as JSON in the shape of the YAML, defaults filled in, so that it reads back.
 * Holds no secret: those stand in files, named here by path.  For /config. */
void config_print(const struct config *c, struct buf *out);

/* JSON Schema (2020-12) of the YAML, from the option tables. */
void config_schema(struct buf *out);

/* Reference documentation of every option as Markdown, from the same tables. */
void config_reference(struct buf *out);

/* An address as the gate names the client behind it: IPv4 whole, IPv6 as its /64.  False: text is
 * no address. */
#define CONFIG_PEER_MAX 64
MUST bool config_peer(struct bytes text, char peer[CONFIG_PEER_MAX]);

/* What this client (the id of an API key, or an address) gets from this model, in words.  False:
 * *out says why not (no such model or client, with the nearest names). */
bool config_explain(const struct config *c, struct bytes client, struct bytes model,
                    struct buf *out);

#endif
