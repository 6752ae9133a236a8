#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

void log_line(enum log_level level, const char *format, ...) {
    static const char *const names[] = {"error", "warning", "notice"};
    char line[1024];
    va_list args;
    int n = snprintf(line, sizeof(line), "querygate: %s: ", names[level]);
    va_start(args, format);
    n += vsnprintf(line + n, sizeof(line) - (size_t)n - 1, format, args);
    va_end(args);
    if (n > (int)sizeof(line) - 2)
        n = (int)sizeof(line) - 2;
    line[n++] = '\n';
    /* One write, so that lines of several threads do not mix; a full pipe loses the line. */
    if (write(STDERR_FILENO, line, (size_t)n) < 0)
        return;
}
