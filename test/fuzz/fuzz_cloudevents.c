/* The body of a structured CloudEvent: what is read of it is sound, the same
 * each time, and goes through headers and back.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "queue/cloudevents.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_attribute(const struct pair *attribute)
{
    struct buf header = {0};

    CHECK(cloudevents_is_name(attribute->key));
    cloudevents_append_header(&header, attribute->value);
    CHECK(!header.failed);
    CHECK(cloudevents_starts(buf_str(&header), attribute->value, true));
    for (size_t index = 0; index < header.size; index++) {
        CHECK(header.data[index] > ' ' && header.data[index] < 0x7f);
    }
    buf_fini(&header);
}

/* The same attributes as headers are the same event. */
static void check_binary(const struct cloudevents_event *event)
{
    struct pair headers[CLOUDEVENTS_ATTRIBUTES_MAX];
    struct buf names[CLOUDEVENTS_ATTRIBUTES_MAX] = {{0}};
    struct buf values[CLOUDEVENTS_ATTRIBUTES_MAX] = {{0}};
    struct message message = {.kind = MESSAGE_KIND_RAW, .headers = headers};
    struct cloudevents_problem problem;
    struct cloudevents_event again;
    struct buf memory = {0};

    for (uint32_t index = 0; index < event->count; index++) {
        buf_append_c(&names[index], "ce-");
        buf_append_str(&names[index], event->attributes[index].key);
        cloudevents_append_header(&values[index],
                                  event->attributes[index].value);
        headers[index] =
            (struct pair){buf_str(&names[index]), buf_str(&values[index])};
    }
    message.header_count = event->count;
    CHECK(cloudevents_read(&message, &memory, &again, &problem) == ERR_OK);
    CHECK(again.mode == CLOUDEVENTS_BINARY && again.count == event->count);
    for (uint32_t index = 0; index < event->count; index++) {
        CHECK(str_equal(again.attributes[index].value,
                        event->attributes[index].value));
        buf_fini(&names[index]);
        buf_fini(&values[index]);
    }
    buf_fini(&memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct message message = {
        .kind = MESSAGE_KIND_RAW,
        .content_type = STR("application/cloudevents+json"),
        .body = {(const char *)data, size},
    };
    struct cloudevents_problem problem = {STR(""), NULL};
    struct cloudevents_event event;
    struct buf memory = {0};

    enum err err = cloudevents_read(&message, &memory, &event, &problem);
    if (err == ERR_OK) {
        for (uint32_t index = 0; index < event.count; index++) {
            check_attribute(&event.attributes[index]);
        }
        CHECK(cloudevents_value(&event, STR("id")).size > 0);
        CHECK(cloudevents_value(&event, STR("data")).size == 0);
        CHECK(event.data.size <= size);
        check_binary(&event);
    } else {
        CHECK(err == ERR_INVALID && problem.why != NULL);
    }
    buf_fini(&memory);
    return 0;
}
