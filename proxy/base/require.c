#include "require.h"

#include <stdio.h>
#include <stdlib.h>

void require_failed(const char *function, const char *file, int line, const char *what) {
    fprintf(stderr, "querygate: broken promise in %s (%s:%d): %s\n", function, file, line, what);
    fflush(stderr);
    abort();
}
