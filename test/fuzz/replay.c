/* Run a fuzz target over each file of a corpus, for builds without a fuzzer.
 *
 * Prints TAP. A target that fails aborts, and the file it failed on is the
 * last one named. An empty or missing corpus is a failure.
 *
 * SPDX-License-Identifier: MIT
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_SIZE_MAX = 4096, INPUT_SIZE_MAX = 16 << 20 };

static uint8_t input[INPUT_SIZE_MAX];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int not_hidden(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* Read a file into `input`, whole; give its size, or -1. */
static long read_input(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return -1;
    }
    size_t size = fread(input, 1, INPUT_SIZE_MAX, file);
    long result = ferror(file) == 0 && size < INPUT_SIZE_MAX ? (long)size : -1;
    (void)fclose(file);
    return result;
}

/* Run one input from memory of exactly its size, so that ASan sees a read
 * past its end. */
static int run_input(const char *directory, const char *name)
{
    char path[PATH_SIZE_MAX];
    int path_size = snprintf(path, sizeof(path), "%s/%s", directory, name);
    if (path_size < 0 || (size_t)path_size >= sizeof(path)) {
        return -1;
    }
    long size = read_input(path);
    if (size < 0) {
        return -1;
    }
    uint8_t *exact = malloc(size > 0 ? (size_t)size : 1);
    if (exact == NULL) {
        return -1;
    }
    memcpy(exact, input, (size_t)size);
    (void)LLVMFuzzerTestOneInput(exact, (size_t)size);
    free(exact);
    return 0;
}

int main(int argc, char **argv)
{
    struct dirent **entries = NULL;
    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s CORPUS_DIRECTORY\n", argv[0]);
        return 2;
    }
    int count = scandir(argv[1], &entries, not_hidden, alphasort);
    if (count <= 0) {
        (void)fprintf(stderr, "%s: no corpus: %s\n", argv[1], strerror(errno));
        return 1;
    }
    (void)printf("1..%d\n", count);
    int failures = 0;
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        (void)printf("# %s\n", name);
        (void)fflush(stdout);
        int failed = run_input(argv[1], name);
        failures += failed != 0;
        (void)printf("%s %d - %s\n", failed == 0 ? "ok" : "not ok", i + 1,
                     name);
        free(entries[i]);
    }
    free(entries);
    return failures > 0;
}
