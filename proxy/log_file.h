/* log_file.h - the access log's file, written by a thread of its own: a disk or a pipe that does
 * not take more stops that thread and nobody else. */
#ifndef QG_LOG_FILE_H
#define QG_LOG_FILE_H

#include "base/buf.h"

/* Opens path ("-": standard output; empty: no log) in place of what was open.  False: it cannot be
 * opened, which was logged, and the one before stays. */
MUST bool log_file_open(struct bytes path);

/* Hands lines over; *lines is then empty.  False: more than `most` bytes wait already, and the
 * lines are lost. */
MUST bool log_file_write(struct buf *lines, size_t most);

/* Writes what waits, for a second at most, and closes. */
void log_file_close(void);

#endif
