/* Pushes that are CloudEvents: what is no valid event is refused.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/recorder_internal.h"

#include "queue/cloudevents.h"

bool recorder_has_event_head(const struct http_head *head)
{
    if (cloudevents_is_any(head->content_type)) {
        return false; /* then the body is the event */
    }
    for (uint32_t index = 0; index < head->header_count; index++) {
        struct str name = head->headers[index].name;
        if (name.size == 14 && str_equal_nocase(name, STR("ce-specversion"))) {
            return true;
        }
    }
    return false;
}

bool recorder_is_event_batch(const struct http_head *head)
{
    return head->content_type_count == 1 &&
           cloudevents_is_batch(head->content_type);
}

enum err recorder_take_event_head(struct recorder *recorder,
                                  const struct http_head *head,
                                  struct push_refusal *refusal)
{
    for (uint32_t index = 0; index < head->header_count; index++) {
        const struct http_header *header = &head->headers[index];
        if (!cloudevents_is_header(header->name)) {
            continue;
        }
        enum err err =
            recorder_add_header(recorder, header->name, header->value, refusal);
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

enum err recorder_check_event(struct recorder *recorder,
                              struct push_refusal *refusal)
{
    struct cloudevents_problem problem;
    struct cloudevents_event event;

    enum err err = cloudevents_read(&recorder->push.message, &recorder->events,
                                    &event, &problem);
    if (err == ERR_NOT_FOUND) {
        return ERR_OK;
    }
    if (err == ERR_INVALID && problem.name.size == 0) {
        return recorder_refuse(refusal, 400, "the CloudEvent", problem.why);
    }
    if (err == ERR_INVALID) {
        return recorder_refuse_name(refusal, "CloudEvents attribute",
                                    problem.name, problem.why);
    }
    if (err != ERR_OK) {
        return err;
    }
    struct str key = cloudevents_value(&event, STR("partitionkey"));
    return key.size > 0 ? recorder_default_key(recorder, key, refusal) : ERR_OK;
}
