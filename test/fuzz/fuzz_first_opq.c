/* Fuzz cli/first_opq: the files of a topic of the first OPQ, and any bytes as
 * a payload. The walk ends, shows numbers that ascend, and accounts for each
 * number it passes; what it shows can be stored.
 *
 * Input: a byte with how much of the rest is the .idx (in 8 bytes), that, then
 * the .msg; the sums of records that are whole but for them are set right, so
 * that payloads are reached.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"
#include "base/check.h"
#include "cli/first_opq.h"
#include "sys/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { INDEX_ENTRY = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64]; /* of the run */

/* Numbers seen so far. */
struct seen {
    uint64_t next;
    uint64_t messages;
};

static enum err take_message(void *context, const struct record *record)
{
    struct seen *seen = context;
    size_t size = 0;

    CHECK(record->sequence >= seen->next);
    seen->next = record->sequence + 1;
    seen->messages++;
    CHECK(record->message.kind == MESSAGE_KIND_FORM);
    CHECK(record->message.url.size > 0);
    if (record_size(&record->message, &size) == ERR_OK && size < 1U << 24) {
        char *bytes = aligned_alloc(RECORD_ALIGN, size);
        CHECK(bytes != NULL);
        record_encode(&record->message, record->sequence, bytes, size);
        CHECK(record_check((struct str){bytes, size}) == ERR_OK);
        free(bytes);
    }
    return ERR_OK;
}

static void
take_damage(void *context, uint64_t first, uint64_t end, const char *why)
{
    struct seen *seen = context;

    CHECK(first >= seen->next && first < end && why != NULL);
    seen->next = end;
}

/* Let the sums of records be right, as far as their sizes lead. */
static void set_sums(char *data, size_t size)
{
    size_t at = 0;

    while (size - at > FIRST_OPQ_HEAD_SIZE) {
        uint64_t length = get_u64(data + at);
        if (length == 0 || length > size - at - FIRST_OPQ_HEAD_SIZE) {
            return;
        }
        struct str payload = {data + at + FIRST_OPQ_HEAD_SIZE, length};
        put_u32(data + at + 8, first_opq_crc(payload));
        at += FIRST_OPQ_HEAD_SIZE + length;
    }
}

static void put_file(const char *directory, const char *name, struct str bytes)
{
    char path[DIR_PATH_MAX];
    int fd = -1;

    CHECK(dir_join(path, directory, name) == ERR_OK);
    CHECK(file_open(path, FILE_WRITE | FILE_CREATE | FILE_TRUNCATE, &fd) ==
          ERR_OK);
    if (bytes.size > 0) {
        CHECK(file_write_at(fd, bytes.data, bytes.size, 0, false) == ERR_OK);
    }
    file_close(fd);
}

static void walk(void)
{
    struct seen seen = {0};
    struct first_opq opq;
    struct first_opq_topic topic;
    const struct first_opq_visit visit = {take_message, take_damage, &seen};

    CHECK(first_opq_open(folder, &opq) == ERR_OK);
    CHECK(opq.count == 1);
    CHECK(first_opq_topic(&opq, opq.names[0], &topic) == ERR_OK);
    CHECK(first_opq_walk(&opq, opq.names[0], &topic, 0, &visit) == ERR_OK);
    CHECK(seen.next <= topic.end);
    first_opq_topic_fini(&topic);
    first_opq_fini(&opq);
}

static void remove_folder(void)
{
    char path[DIR_PATH_MAX];

    CHECK(dir_join(path, folder, "topics/t") == ERR_OK);
    CHECK(dir_remove(path) == ERR_OK);
    CHECK(dir_remove(folder) == ERR_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[DIR_PATH_MAX];

    if (size < 2) {
        return 0;
    }
    if (folder[0] == '\0') {
        const char *temporary = getenv("TMPDIR");
        (void)snprintf(folder, sizeof(folder), "%.40s/opq-fuzz-XXXXXX",
                       temporary != NULL ? temporary : "/tmp");
        CHECK(mkdtemp(folder) != NULL && atexit(remove_folder) == 0);
    }
    CHECK(dir_join(path, folder, "topics/t") == ERR_OK);
    CHECK(dir_create(path) == ERR_OK);
    bool sums = (data[0] & 0x80) != 0;
    size_t index = (size_t)(data[0] & 0x7f) * INDEX_ENTRY;
    index = index < size - 1 ? index : 0;
    struct str entries = {(const char *)data + 1, index};
    size_t left = size - 1 - index;
    char *message = malloc(left + 1);
    CHECK(message != NULL);
    memcpy(message, data + 1 + index, left);
    if (sums) {
        set_sums(message, left);
    }
    put_file(path, "0.idx", entries);
    put_file(path, "0.msg", (struct str){message, left});
    free(message);
    walk();
    return 0;
}
