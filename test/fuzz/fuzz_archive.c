/* Fuzz cli/archive: any bytes as a line of an export. What is taken as a
 * message is written and read again, and says the same.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "cli/archive.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same_text(struct str left, struct str right)
{
    CHECK(str_equal(left, right));
}

static void same_options(const struct message_options *left,
                         const struct message_options *right)
{
    CHECK((left == NULL) == (right == NULL));
    if (left == NULL) {
        return;
    }
    same_text(left->key, right->key);
    same_text(left->dedup_id, right->dedup_id);
    same_text(left->dead, right->dead);
    same_text(left->id, right->id);
    CHECK(left->not_before_ms == right->not_before_ms);
    CHECK(left->retries == right->retries);
    CHECK(left->priority == right->priority);
}

static void
same_pairs(const struct pair *left, const struct pair *right, uint32_t count)
{
    for (uint32_t index = 0; index < count; index++) {
        same_text(left[index].key, right[index].key);
        same_text(left[index].value, right[index].value);
    }
}

static void same_message(const struct record *one, const struct record *other)
{
    const struct message *left = &one->message;
    const struct message *right = &other->message;

    CHECK(one->sequence == other->sequence && one->size == other->size);
    CHECK(left->kind == right->kind);
    CHECK(left->header_count == right->header_count);
    CHECK(left->field_count == right->field_count);
    CHECK(left->blob.size == right->blob.size);
    CHECK(left->blob.crc == right->blob.crc || left->blob.size == 0);
    same_text(left->url, right->url);
    same_text(left->body, right->body);
    same_text(left->content_type, right->content_type);
    same_pairs(left->headers, right->headers, left->header_count);
    same_pairs(left->fields, right->fields, left->field_count);
    same_options(left->options, right->options);
}

/* What was read can be stored, and says the same when it was. */
static void store(const struct record *record)
{
    struct message message = record->message;
    struct record *again = malloc(sizeof(*again));
    char *bytes = aligned_alloc(RECORD_ALIGN, record->size);

    CHECK(again != NULL && bytes != NULL);
    if (message.blob.size > 0) {
        message.blob.id = 1;
    }
    record_encode(&message, record->sequence, bytes, record->size);
    struct str stored = {bytes, record->size};
    CHECK(record_decode(stored, again) == ERR_OK);
    same_message(record, again);
    free(bytes);
    free(again);
}

static void write_again(const struct archive_line *line)
{
    struct archive_line *again = calloc(1, sizeof(*again));
    struct buf text = {0};

    CHECK(again != NULL);
    archive_write_message(&text, &line->record);
    CHECK(archive_read(buf_str(&text), again) == ERR_OK);
    CHECK(again->kind == ARCHIVE_MESSAGE);
    same_message(&line->record, &again->record);
    store(&line->record);
    archive_line_fini(again);
    free(again);
    buf_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct archive_line *line = calloc(1, sizeof(*line));

    CHECK(line != NULL);
    if (archive_read((struct str){(const char *)data, size}, line) == ERR_OK) {
        if (line->kind == ARCHIVE_MESSAGE && line->record.size < 1U << 24) {
            write_again(line);
        } else if (line->kind == ARCHIVE_CURSOR || line->kind == ARCHIVE_VIEW) {
            CHECK(topic_cursor_valid(&line->cursor));
            CHECK(line->acked.count == 0 ||
                  line->cursor.range_count == TOPIC_RANGES_MAX);
        }
    }
    archive_line_fini(line);
    free(line);
    return 0;
}
