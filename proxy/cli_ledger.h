/* cli_ledger.h - `querygate ledger verify`. */
#ifndef QG_CLI_LEDGER_H
#define QG_CLI_LEDGER_H

#include "base/bytes.h"

/* Prints what it found.  key_file may be NULL.  False: a line does not hold, or a file cannot be
 * read. */
MUST bool cli_ledger_verify(const char *path, const char *key_file);

#endif
