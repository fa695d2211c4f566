/* What one durable write costs on this disk, and nothing else: the floor of a
 * push's latency, which `make bench` sets it beside.
 *
 * As the journal writes: direct and synchronous, in 4 KiB units, one after the
 * other, into a file that was filled with zeros before and is used again and
 * again. Prints a JSON object of microseconds.
 *
 * usage: bare_write FILE SIZE COUNT     FILE is removed at the end
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "base/histogram.h"
#include "base/str.h"
#include "sys/clock.h"
#include "sys/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FILE_SIZE = 32 << 20, /* as one file of the journal */
    WRITE_SIZE_MAX = 1 << 20,
};

static struct histogram latency_ns;

static enum err
write_all(int fd, const char *data, uint64_t size, uint64_t count)
{
    uint64_t offset = 0;
    for (uint64_t index = 0; index < count; index++) {
        uint64_t started_ns = clock_monotonic_ns();
        enum err err = file_write_at(fd, data, size, offset, true);
        if (err != ERR_OK) {
            return err;
        }
        histogram_record(&latency_ns, clock_monotonic_ns() - started_ns);
        offset += size;
        if (offset + size > FILE_SIZE) {
            offset = 0;
        }
    }
    return ERR_OK;
}

static enum err measure(const char *path, uint64_t size, uint64_t count)
{
    int fd = -1;
    enum err err = file_open(path, FILE_WRITE | FILE_CREATE | FILE_DIRECT, &fd);
    if (err != ERR_OK) {
        return err;
    }
    char *data = aligned_alloc(FILE_DIRECT_ALIGN, size);
    CHECK(data != NULL);
    memset(data, 'x', size);
    err = file_fill(fd, FILE_SIZE);
    if (err == ERR_OK) {
        err = write_all(fd, data, size, count);
    }
    free(data);
    file_close(fd);
    enum err removed = file_remove(path);
    return err != ERR_OK ? err : removed;
}

static double percentile_us(double fraction)
{
    return (double)histogram_percentile(&latency_ns, fraction) / 1e3;
}

int main(int argument_count, char **arguments)
{
    uint64_t size = 0;
    uint64_t count = 0;
    if (argument_count != 4 ||
        str_to_size(str_from(arguments[2]), &size) != ERR_OK || size == 0 ||
        size > WRITE_SIZE_MAX ||
        str_to_u64(str_from(arguments[3]), &count) != ERR_OK || count == 0) {
        (void)fprintf(stderr, "usage: bare_write FILE SIZE COUNT\n");
        return 64;
    }
    size = (size + FILE_DIRECT_ALIGN - 1) & ~(uint64_t)(FILE_DIRECT_ALIGN - 1);
    enum err err = measure(arguments[1], size, count);
    if (err != ERR_OK) {
        (void)fprintf(stderr, "bare_write: %s: %s\n", arguments[1],
                      err_text(err));
        return 1;
    }
    (void)printf("{\"size\":%" PRIu64 ",\"count\":%" PRIu64 ",\"p50_us\":%.1f,"
                 "\"p90_us\":%.1f,\"p99_us\":%.1f}\n",
                 size, count, percentile_us(0.5), percentile_us(0.9),
                 percentile_us(0.99));
    return 0;
}
