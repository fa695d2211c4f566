/* The control values of a push: one table of names for headers, query
 * parameters and JSON members, and what each one sets.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/recorder_internal.h"

static enum err set_sync(struct push *push, struct str value)
{
    if (str_equal(value, STR("disk"))) {
        push->durability = DURABILITY_DISK;
        return ERR_OK;
    }
    if (str_equal(value, STR("none"))) {
        push->durability = DURABILITY_NONE;
        return ERR_OK;
    }
    return ERR_INVALID;
}

static enum err set_timeout(struct push *push, struct str value)
{
    uint64_t timeout_ms = 0;

    if (str_to_duration_ms(value, &timeout_ms) != ERR_OK || timeout_ms == 0 ||
        timeout_ms > RECORDER_TIMEOUT_MAX_MS) {
        return ERR_INVALID;
    }
    push->message.timeout_ms = (uint32_t)timeout_ms;
    return ERR_OK;
}

static enum err set_method(struct push *push, struct str value)
{
    static const struct str allowed[] = {
        {"POST", 4}, {"PUT", 3}, {"PATCH", 5}, {"DELETE", 6}, {"GET", 3}};

    for (size_t index = 0; index < sizeof(allowed) / sizeof(*allowed);
         index++) {
        if (str_equal(value, allowed[index])) {
            push->message.method = value;
            return ERR_OK;
        }
    }
    return ERR_INVALID;
}

static enum err set_topic(struct push *push, struct str value)
{
    push->topic = value;
    return ERR_OK;
}

static enum err set_url(struct push *push, struct str value)
{
    push->message.url = value;
    return ERR_OK;
}

static enum err set_content_type(struct push *push, struct str value)
{
    if (value.size == 0 || !http_is_field_value(value)) {
        return ERR_INVALID;
    }
    push->message.content_type = value;
    return ERR_OK;
}

struct control {
    struct str name;
    enum err (*set)(struct push *push, struct str value);
    const char *expected;
};

/* One table for headers, query parameters and JSON members. `topic` and `url`
 * are checked later, wherever they came from. */
static const struct control controls[] = {
    {{"topic", 5}, set_topic, ""},
    {{"url", 3}, set_url, ""},
    {{"sync", 4}, set_sync, "must be disk or none"},
    {{"timeout", 7}, set_timeout, "must be a duration up to 1h, such as 30s"},
    {{"method", 6}, set_method, "must be POST, PUT, PATCH, DELETE or GET"},
    {{"content_type", 12}, set_content_type, "must be a media type"},
};

/* Compare a control's name with one of its size, '-' in a header standing for
 * '_'. */
static bool same_name(struct str control, struct str name)
{
    for (size_t index = 0; index < name.size; index++) {
        char byte = name.data[index];
        if (byte >= 'A' && byte <= 'Z') {
            byte = (char)(byte - 'A' + 'a');
        }
        if (byte == '-') {
            byte = '_';
        }
        if (byte != control.data[index]) {
            return false;
        }
    }
    return true;
}

enum { CONTROL_COUNT = sizeof(controls) / sizeof(controls[0]) };

/* Index of the control value of a name; CONTROL_COUNT when there is none. */
static uint32_t find_control(struct str name)
{
    uint32_t index = 0;

    while (index < CONTROL_COUNT &&
           (controls[index].name.size != name.size ||
            (!str_equal(controls[index].name, name) &&
             !same_name(controls[index].name, name)))) {
        index++;
    }
    return index;
}

bool recorder_knows(struct str name)
{
    return find_control(name) < CONTROL_COUNT;
}

enum err recorder_control(struct recorder *recorder,
                          struct str name,
                          struct str value,
                          struct push_refusal *refusal)
{
    uint32_t index = find_control(name);
    if (index == CONTROL_COUNT) {
        return ERR_NOT_FOUND;
    }
    const struct control *control = &controls[index];
    uint32_t bit = 1U << index;
    if ((recorder->given & bit) != 0) {
        return recorder_refuse(refusal, 400, control->name.data,
                               "is given twice");
    }
    recorder->given |= bit;
    if (control->set(&recorder->push, value) == ERR_OK) {
        return ERR_OK;
    }
    return recorder_refuse(refusal, 400, control->name.data, control->expected);
}
