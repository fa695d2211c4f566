/* What a message costs on its way into the journal: nanoseconds for finding
 * its topic's hash, for encoding the record, for the checksum alone, and for
 * all that a push needs together.
 *
 * usage: micro_record
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "base/crc32c.h"
#include "log/record.h"
#include "sys/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    ROUNDS = 7,       /* the best one counts: others were disturbed */
    REPEATS = 200000, /* of a round */
    BODY_SIZE_MAX = 2048,
    RECORD_SIZE_MAX = 8192,
};

static char body[BODY_SIZE_MAX];
static struct record decoded;

/* What is measured: does it once, and returns something that depends on it. */
struct measured {
    const char *name;
    uint64_t (*once)(const struct message *message, char *record, size_t size);
};

static uint64_t
hash_topic(const struct message *message, char *record, size_t size)
{
    (void)record;
    (void)size;
    return str_hash(str_cut(message->url, 0, 24)); /* of a usual size */
}

static uint64_t encode(const struct message *message, char *record, size_t size)
{
    record_encode(message, size, record, size);
    return (uint8_t)record[4];
}

/* What every push needs: its topic's hash, its size, its record. */
static uint64_t push(const struct message *message, char *record, size_t size)
{
    size_t found = 0;
    uint64_t hash = hash_topic(message, record, size);
    CHECK(record_size(message, &found) == ERR_OK && found == size);
    return hash + encode(message, record, size);
}

static uint64_t
checksum(const struct message *message, char *record, size_t size)
{
    (void)message;
    return crc32c(0, record + 8, size - 8);
}

static uint64_t decode(const struct message *message, char *record, size_t size)
{
    (void)message;
    struct str bytes = {record, size};
    CHECK(record_decode(bytes, &decoded) == ERR_OK);
    return decoded.message.field_count;
}

static double best_ns(const struct measured *measured,
                      const struct message *message,
                      char *record,
                      size_t size)
{
    volatile uint64_t sink = 0;
    uint64_t best = UINT64_MAX;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t started_ns = clock_monotonic_ns();
        for (int i = 0; i < REPEATS; i++) {
            sink += measured->once(message, record, size);
        }
        uint64_t took_ns = clock_monotonic_ns() - started_ns;
        best = took_ns < best ? took_ns : best;
    }
    return (double)best / REPEATS;
}

static void measure(const char *kind, const struct message *message)
{
    static const struct measured all[] = {
        {"topic hash", hash_topic},
        {"encode with checksum", encode},
        {"checksum", checksum},
        {"hash, size, encode with checksum", push},
        {"check and decode", decode},
    };
    size_t size = 0;
    CHECK(record_size(message, &size) == ERR_OK && size <= RECORD_SIZE_MAX);
    char *record = aligned_alloc(RECORD_ALIGN, RECORD_SIZE_MAX);
    CHECK(record != NULL);
    record_encode(message, 0, record, size);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        (void)printf("%-22s %5zu B record %8.1f ns  %s\n", kind, size,
                     best_ns(&all[i], message, record, size), all[i].name);
    }
    free(record);
}

int main(void)
{
    const struct pair headers[] = {
        {STR("X-Request-Id"), STR("7b1c3f52-0c9d-4f7e-9f52-1f9f2f6a8f11")},
        {STR("Accept"), STR("*/*")},
        {STR("User-Agent"), STR("curl/7.88.1")},
    };
    const size_t sizes[] = {128, 1024, BODY_SIZE_MAX};
    for (size_t i = 0; i < BODY_SIZE_MAX; i++) {
        body[i] = (char)('a' + i % 26);
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char kind[32];
        const struct pair field = {STR("message"), {body, sizes[i]}};
        struct message message = {
            .url = STR("http://127.0.0.1:9000/hook"),
            .field_count = 1,
            .fields = &field,
            .header_count = 3,
            .headers = headers,
            .pushed_at_ms = 1767225600000,
        };
        (void)snprintf(kind, sizeof(kind), "form, %zu B", sizes[i]);
        measure(kind, &message);
    }
    return 0;
}
