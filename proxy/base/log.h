/* log.h - the program's own messages, for people and journald: one line each on standard error,
 * "querygate: LEVEL: text".  Never a payload, a key or a raw client id.  Safe from any thread. */
#ifndef QG_LOG_H
#define QG_LOG_H

enum log_level { LOG_ERROR, LOG_WARNING, LOG_NOTICE };

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
