/* log_file.h - a file of lines, written by a thread of its own: a disk or a pipe that does not take
 * more stops that thread and nobody else. */
#ifndef QG_LOG_FILE_H
#define QG_LOG_FILE_H

#include "base/buf.h"

struct log_file;

/* name (static) is what messages call it: "access log".  NULL: out of memory. */
struct log_file *log_file_new(const char *name);

/* Opens path ("-": standard output; empty: no log) in place of what was open: so a file that was
 * renamed is left.  False: it cannot be opened, or is a pipe that nobody reads, which was logged,
 * and the one before stays. */
MUST bool log_file_open(struct log_file *f, struct bytes path);

/* From any thread: hands lines over; *lines is then empty.  False: more than `most` bytes wait
 * already, and the lines are lost. */
MUST bool log_file_write(struct log_file *f, struct buf *lines, size_t most);

/* Writes what waits, for a second at most, and closes.  NULL is allowed. */
void log_file_free(struct log_file *f);

#endif
