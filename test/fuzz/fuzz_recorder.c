/* Fuzz queue/recorder: any bytes as the request of a push, of a batch's item,
 * and of a replay. What is accepted keeps the limits that recorder.h promises,
 * and is stored and read back as it was.
 *
 * The first byte says which; then the head, with its empty line, and the body.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "base/json_text.h"
#include "queue/recorder.h"

#include <stdlib.h>
#include <string.h>

#define NOW_MS UINT64_C(1767225600000)

static struct http_head head;
static struct record record;

static void check_text(struct str text)
{
    CHECK(text.size <= RECORDER_TEXT_MAX);
    CHECK(json_text_is_text(text));
    for (size_t i = 0; i < text.size; i++) {
        CHECK((unsigned char)text.data[i] >= 0x20 && text.data[i] != 0x7f);
    }
}

static void check_options(const struct message_options *options)
{
    check_text(options->key);
    check_text(options->label);
    check_text(options->dedup_id);
    check_text(options->collapse);
    check_text(options->flow_key);
    CHECK(options->priority <= MESSAGE_PRIORITY_MAX);
    CHECK(options->retries <= RECORDER_RETRIES_MAX ||
          options->retries == MESSAGE_RETRIES_UNSET);
    CHECK(options->not_before_ms == 0 ||
          (options->not_before_ms > NOW_MS &&
           options->not_before_ms <= NOW_MS + RECORDER_DELAY_MAX_MS));
    CHECK(options->expires_at_ms == 0 ||
          options->expires_at_ms > options->not_before_ms);
    CHECK(options->id.size == 0 && options->topic.size == 0 &&
          options->dead.size == 0);
}

static void check_same(const struct message_options *left,
                       const struct message_options *right)
{
    CHECK(str_equal(left->key, right->key));
    CHECK(str_equal(left->label, right->label));
    CHECK(str_equal(left->retry_schedule, right->retry_schedule));
    CHECK(str_equal(left->dedup_id, right->dedup_id));
    CHECK(str_equal(left->collapse, right->collapse));
    CHECK(str_equal(left->flow_key, right->flow_key));
    CHECK(str_equal(left->callback, right->callback));
    CHECK(str_equal(left->failure_callback, right->failure_callback));
    CHECK(left->not_before_ms == right->not_before_ms);
    CHECK(left->expires_at_ms == right->expires_at_ms);
    CHECK(left->retries == right->retries);
    CHECK(left->priority == right->priority);
}

static void check_push(const struct push *push)
{
    const struct message_options none = {.retries = MESSAGE_RETRIES_UNSET};
    const struct message_options *options = push->message.options;
    size_t size = 0;

    CHECK(store_topic_name_valid(push->topic));
    CHECK(!str_equal(str_cut(push->topic, 0, 5), STR(".opq.")));
    if (options != NULL) {
        check_options(options);
    }
    CHECK(record_size(&push->message, &size) == ERR_OK);
    char *bytes = aligned_alloc(RECORD_ALIGN, size);
    CHECK(bytes != NULL);
    record_encode(&push->message, 3, bytes, size);
    CHECK(record_decode((struct str){bytes, size}, &record) == ERR_OK);
    CHECK(str_equal(record.message.url, push->message.url));
    CHECK(record.message.field_count == push->message.field_count);
    CHECK(record.message.header_count == push->message.header_count);
    check_same(record.message.options != NULL ? record.message.options : &none,
               options != NULL ? options : &none);
    free(bytes);
}

/* Read the body as an item, twice: nothing is left of the first. */
static void try_items(struct recorder *recorder, struct str body)
{
    const struct recorder_item item = {.json = body};
    struct json_scan scan = json_scan_of(body);
    struct push_refusal refusal;
    struct json_scan_value value;
    struct push first;
    struct push second;

    if (json_scan_next(&scan, &value) != ERR_OK ||
        value.text.size != body.size ||
        recorder_begin_items(recorder, &head, NOW_MS, &refusal) != ERR_OK) {
        return;
    }
    enum err err = recorder_read_item(recorder, &item, &first, &refusal);
    if (err == ERR_OK) {
        check_push(&first);
    }
    CHECK(recorder_read_item(recorder, &item, &second, &refusal) == err);
    if (err == ERR_OK) {
        check_push(&second);
        CHECK(second.message.header_count == first.message.header_count);
        CHECK(second.expects == first.expects);
    }
}

static void try(struct recorder *recorder, uint8_t what, struct str body)
{
    struct push_refusal refusal;
    const struct form *form = NULL;
    struct push push;

    if (what == 0) {
        if (recorder_read(recorder, &head, body, NOW_MS, &push, &refusal) ==
            ERR_OK) {
            check_push(&push);
        }
    } else if (what == 1) {
        try_items(recorder, body);
    } else if (recorder_read_form(recorder, &head, body, &form, &refusal) ==
               ERR_OK) {
        CHECK(form->field_count <= FORM_FIELDS_MAX);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct http_limits limits = {65536, 8192};
    const struct recorder_options options = {.durability = DURABILITY_DISK};
    struct recorder *recorder = NULL;
    struct http_refusal refusal;
    size_t scanned = 0;
    size_t head_size = 0;

    if (size < 1) {
        return 0;
    }
    char *copy = malloc(size > 1 ? size - 1 : 1); /* no byte more */
    CHECK(copy != NULL);
    memcpy(copy, data + 1, size - 1);
    struct str input = {copy, size - 1};
    if (http_parse_request(input, &limits, &scanned, &head, &head_size,
                           &refusal) == ERR_OK) {
        CHECK(recorder_create(&options, &recorder) == ERR_OK);
        try(recorder, data[0] % 3, str_cut(input, head_size, input.size));
        recorder_destroy(recorder);
    }
    free(copy);
    return 0;
}
