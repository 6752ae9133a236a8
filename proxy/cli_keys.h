/* cli_keys.h - the commands that handle names and keys of clients. */
#ifndef QG_CLI_KEYS_H
#define QG_CLI_KEYS_H

#include "policy.h"

/* Prints an entry of keys.yaml for the key on standard input, or, if fresh, for a new random key,
 * which goes to standard error and nowhere else.  tier and not_after may be NULL.  False: said why
 * not. */
MUST bool cli_hash_key(const char *id, const char *tier, const char *not_after, bool fresh);

/* Prints the pseudonym of a client under the key of now and, on a line of its own, under the one
 * before it; kind is "key", "mtls", "jwt" or "address".  False: said why not. */
MUST bool cli_pseudonym(const struct config *c, const char *kind, const char *id);

#endif
