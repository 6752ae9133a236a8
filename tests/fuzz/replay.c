/* Runs a fuzz target over files and folders: the corpus as a test, without libFuzzer. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned long ran;

static int run_file(const char *path) {
    FILE *f = fopen(path, "rb");
    uint8_t *data = NULL;
    size_t len = 0, room = 0, n;
    if (f == NULL)
        return -1;
    do {
        if (len == room)
            data = realloc(data, room = room > 0 ? room * 2 : 4096);
        if (data == NULL)
            abort();
        n = fread(data + len, 1, room - len, f);
        len += n;
    } while (n > 0);
    fclose(f);
    /* An exact allocation, so that reading past the input is seen by AddressSanitizer. */
    uint8_t *exact = realloc(data, len > 0 ? len : 1);
    LLVMFuzzerTestOneInput(exact, len);
    free(exact);
    ran++;
    return 0;
}

static int run(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0)
        return -1;
    if (!S_ISDIR(st.st_mode))
        return run_file(path);
    DIR *d = opendir(path);
    int bad = d == NULL ? -1 : 0;
    for (struct dirent *e; d != NULL && bad == 0 && (e = readdir(d)) != NULL;) {
        char child[4096];
        if (e->d_name[0] == '.')
            continue;
        snprintf(child, sizeof(child), "%s/%s", path, e->d_name);
        bad = run(child);
    }
    if (d != NULL)
        closedir(d);
    return bad;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (run(argv[i]) != 0) {
            perror(argv[i]);
            return 1;
        }
    printf("%lu inputs\n", ran);
    return ran > 0 ? 0 : 1;
}
