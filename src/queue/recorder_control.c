/* The control values of a push: one table of names for headers, query
 * parameters and JSON members, and what each one sets.
 *
 * Most pushes have no options, so the struct of them is made when the first
 * one is set, and times are worked out when all values are there.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/recorder_internal.h"

#include "base/json_text.h"
#include "base/wall_time.h"
#include "queue/retry.h"

static enum err set_sync(struct recorder *recorder, struct str value)
{
    if (str_equal(value, STR("disk"))) {
        recorder->push.durability = DURABILITY_DISK;
        return ERR_OK;
    }
    if (str_equal(value, STR("none"))) {
        recorder->push.durability = DURABILITY_NONE;
        return ERR_OK;
    }
    return ERR_INVALID;
}

static enum err set_timeout(struct recorder *recorder, struct str value)
{
    uint64_t timeout_ms = 0;

    if (str_to_duration_ms(value, &timeout_ms) != ERR_OK || timeout_ms == 0 ||
        timeout_ms > RECORDER_TIMEOUT_MAX_MS) {
        return ERR_INVALID;
    }
    recorder->push.message.timeout_ms = (uint32_t)timeout_ms;
    return ERR_OK;
}

static enum err set_method(struct recorder *recorder, struct str value)
{
    static const struct str allowed[] = {
        {"POST", 4}, {"PUT", 3}, {"PATCH", 5}, {"DELETE", 6}, {"GET", 3}};

    for (size_t index = 0; index < sizeof(allowed) / sizeof(*allowed);
         index++) {
        if (str_equal(value, allowed[index])) {
            recorder->push.message.method = value;
            return ERR_OK;
        }
    }
    return ERR_INVALID;
}

static enum err set_topic(struct recorder *recorder, struct str value)
{
    recorder->push.topic = value;
    return ERR_OK;
}

static enum err set_url(struct recorder *recorder, struct str value)
{
    recorder->push.message.url = value;
    return ERR_OK;
}

static enum err set_content_type(struct recorder *recorder, struct str value)
{
    if (value.size == 0 || !http_is_field_value(value)) {
        return ERR_INVALID;
    }
    recorder->push.message.content_type = value;
    return ERR_OK;
}

/* --- options -------------------------------------------------------------- */

/* The options of the push, to set one of them. */
static struct recorder_asked *ask(struct recorder *recorder)
{
    struct recorder_asked *asked = &recorder->asked;

    if (recorder->push.message.options == NULL) {
        *asked = (struct recorder_asked){
            .options = {.retries = MESSAGE_RETRIES_UNSET}};
        recorder->push.message.options = &asked->options;
    }
    return asked;
}

/* Tell whether a value is text for people: UTF-8 without control characters,
 * and not too long. */
static bool is_text(struct str value)
{
    if (value.size == 0 || value.size > RECORDER_TEXT_MAX ||
        !json_text_is_text(value)) {
        return false;
    }
    for (size_t index = 0; index < value.size; index++) {
        unsigned char byte = (unsigned char)value.data[index];
        if (byte < 0x20 || byte == 0x7f) {
            return false;
        }
    }
    return true;
}

/* Set an option that is text. */
static enum err set_text(struct str *option, struct str value)
{
    if (!is_text(value)) {
        return ERR_INVALID;
    }
    *option = value;
    return ERR_OK;
}

static enum err set_key(struct recorder *recorder, struct str value)
{
    return set_text(&ask(recorder)->options.key, value);
}

static enum err set_label(struct recorder *recorder, struct str value)
{
    return set_text(&ask(recorder)->options.label, value);
}

static enum err set_dedup_id(struct recorder *recorder, struct str value)
{
    return set_text(&ask(recorder)->options.dedup_id, value);
}

static enum err set_collapse(struct recorder *recorder, struct str value)
{
    return set_text(&ask(recorder)->options.collapse, value);
}

static enum err set_flow_key(struct recorder *recorder, struct str value)
{
    return set_text(&ask(recorder)->options.flow_key, value);
}

/* URLs are checked at the end, as that of the push. */
static enum err set_callback(struct recorder *recorder, struct str value)
{
    ask(recorder)->options.callback = value;
    return value.size > 0 ? ERR_OK : ERR_INVALID;
}

static enum err set_failure_callback(struct recorder *recorder,
                                     struct str value)
{
    ask(recorder)->options.failure_callback = value;
    return value.size > 0 ? ERR_OK : ERR_INVALID;
}

/* Set a number that is at most `max`. */
static enum err set_number(uint32_t *option, struct str value, uint32_t max)
{
    uint64_t number = 0;

    if (str_to_u64(value, &number) != ERR_OK || number > max) {
        return ERR_INVALID;
    }
    *option = (uint32_t)number;
    return ERR_OK;
}

static enum err set_priority(struct recorder *recorder, struct str value)
{
    return set_number(&ask(recorder)->options.priority, value,
                      MESSAGE_PRIORITY_MAX);
}

static enum err set_retries(struct recorder *recorder, struct str value)
{
    return set_number(&ask(recorder)->options.retries, value,
                      RECORDER_RETRIES_MAX);
}

/* It stays text; here it is only looked at. */
static enum err set_retry_schedule(struct recorder *recorder, struct str value)
{
    if (retry_schedule_check(value) != ERR_OK) {
        return ERR_INVALID;
    }
    ask(recorder)->options.retry_schedule = value;
    return ERR_OK;
}

/* --- times ---------------------------------------------------------------- */

static enum err set_delay(struct recorder *recorder, struct str value)
{
    uint64_t delay_ms = 0;

    if (str_to_duration_ms(value, &delay_ms) != ERR_OK ||
        delay_ms > RECORDER_DELAY_MAX_MS) {
        return ERR_INVALID;
    }
    ask(recorder)->due_ms = recorder->push.message.pushed_at_ms + delay_ms;
    return ERR_OK;
}

static enum err set_not_before(struct recorder *recorder, struct str value)
{
    uint64_t now_ms = recorder->push.message.pushed_at_ms;
    uint64_t at_ms = 0;

    if (wall_time_parse(value, &at_ms) != ERR_OK ||
        at_ms > now_ms + RECORDER_DELAY_MAX_MS) {
        return ERR_INVALID;
    }
    ask(recorder)->due_ms = at_ms;
    recorder->push.dated = true;
    return ERR_OK;
}

static enum err set_ttl(struct recorder *recorder, struct str value)
{
    uint64_t ttl_ms = 0;

    if (str_to_duration_ms(value, &ttl_ms) != ERR_OK || ttl_ms == 0) {
        return ERR_INVALID;
    }
    ask(recorder)->ttl_ms = ttl_ms;
    return ERR_OK;
}

static enum err set_expect_seq(struct recorder *recorder, struct str value)
{
    if (str_to_u64(value, &recorder->push.expect_seq) != ERR_OK) {
        return ERR_INVALID;
    }
    recorder->push.expects = true;
    return ERR_OK;
}

/* --- the table ------------------------------------------------------------ */

struct control {
    struct str name;
    enum err (*set)(struct recorder *recorder, struct str value);
    const char *expected;
};

#define A_TEXT "must be text of 1 to 256 bytes, without control characters"

enum {
    CONTROL_DELAY = 6,
    CONTROL_NOT_BEFORE,
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
    [CONTROL_DELAY] = {{"delay", 5},
                       set_delay,
                       "must be a duration up to 366d, such as 10m"},
    [CONTROL_NOT_BEFORE] = {{"not_before", 10},
                            set_not_before,
                            "must be a time, RFC 3339 or Unix seconds, at "
                            "most 366 days ahead"},
    {{"ttl", 3}, set_ttl, "must be a duration of 1ms to 36500d, such as 1h"},
    {{"key", 3}, set_key, A_TEXT},
    {{"priority", 8}, set_priority, "must be 0 to 9"},
    {{"retries", 7}, set_retries, "must be 0 to 1000000"},
    {{"retry_schedule", 14},
     set_retry_schedule,
     "must be 1 to 32 durations of 1ms to 1d, such as 5s,1m,10m"},
    {{"label", 5}, set_label, A_TEXT},
    {{"dedup_id", 8}, set_dedup_id, A_TEXT},
    {{"collapse", 8}, set_collapse, A_TEXT},
    {{"flow_key", 8}, set_flow_key, A_TEXT},
    {{"callback", 8}, set_callback, "must be a URL"},
    {{"failure_callback", 16}, set_failure_callback, "must be a URL"},
    {{"expect_seq", 10}, set_expect_seq, "must be a sequence number"},
};

_Static_assert(sizeof(controls) / sizeof(controls[0]) < 31,
               "each has a bit in `given`, and headers the last");

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
    if (control->set(recorder, value) == ERR_OK) {
        return ERR_OK;
    }
    return recorder_refuse(refusal, 400, control->name.data, control->expected);
}

/* --- when all are there --------------------------------------------------- */

/* Tell whether a push gives both of two that exclude one another. */
static bool gives_both(const struct recorder *recorder)
{
    const uint32_t both = 1U << CONTROL_DELAY | 1U << CONTROL_NOT_BEFORE;

    return (recorder->given & both) == both;
}

enum err recorder_idempotency_key(struct recorder *recorder,
                                  struct str value,
                                  struct push_refusal *refusal)
{
    const char *name = "Idempotency-Key";

    if (recorder->idempotency_key.size > 0) {
        return recorder_refuse(refusal, 400, name, "is given twice");
    }
    if (!is_text(value)) {
        return recorder_refuse(refusal, 400, name, A_TEXT);
    }
    recorder->idempotency_key = value;
    return ERR_OK;
}

/* The other name of `dedup_id`. */
static enum err join_dedup(struct recorder *recorder,
                           struct push_refusal *refusal)
{
    struct str *dedup_id = &ask(recorder)->options.dedup_id;

    if (dedup_id->size > 0 &&
        !str_equal(*dedup_id, recorder->idempotency_key)) {
        return recorder_refuse(refusal, 400, "dedup_id",
                               "and Idempotency-Key are not the same");
    }
    *dedup_id = recorder->idempotency_key;
    return ERR_OK;
}

enum err recorder_default_key(struct recorder *recorder,
                              struct str value,
                              struct push_refusal *refusal)
{
    const struct message_options *options = recorder->push.message.options;

    if (options != NULL && options->key.size > 0) {
        return ERR_OK;
    }
    if (!is_text(value)) {
        return recorder_refuse(refusal, 400,
                               "CloudEvents attribute partitionkey", A_TEXT);
    }
    ask(recorder)->options.key = value;
    return ERR_OK;
}

enum err recorder_finish_options(struct recorder *recorder,
                                 struct push_refusal *refusal)
{
    if (recorder->idempotency_key.size > 0 &&
        join_dedup(recorder, refusal) != ERR_OK) {
        return ERR_INVALID;
    }
    if (gives_both(recorder)) {
        return recorder_refuse(refusal, 400, "delay",
                               "and not_before exclude one another");
    }
    struct recorder_asked *asked = ask(recorder);
    struct message_options *options = &asked->options;
    uint64_t now_ms = recorder->push.message.pushed_at_ms;
    uint64_t from_ms = now_ms;
    if (asked->due_ms > now_ms) {
        options->not_before_ms = asked->due_ms;
        from_ms = asked->due_ms;
    }
    if (asked->ttl_ms > 0) {
        options->expires_at_ms = from_ms + asked->ttl_ms;
    }
    enum err err = ERR_OK;
    if (options->callback.size > 0) {
        err = recorder_check_url(recorder, "callback", options->callback,
                                 refusal);
    }
    if (err == ERR_OK && options->failure_callback.size > 0) {
        err = recorder_check_url(recorder, "failure_callback",
                                 options->failure_callback, refusal);
    }
    return err;
}

enum err recorder_keep_defaults(struct recorder *recorder,
                                struct push_refusal *refusal)
{
    const struct message_options *options = recorder->push.message.options;
    bool dedups = recorder->idempotency_key.size > 0 ||
                  (options != NULL && options->dedup_id.size > 0);

    if (dedups || recorder->push.expects) {
        return recorder_refuse(refusal, 400, dedups ? "dedup_id" : "expect_seq",
                               "is of one message: give it in the item");
    }
    if (gives_both(recorder)) {
        return recorder_refuse(refusal, 400, "delay",
                               "and not_before exclude one another");
    }
    recorder->items = recorder->push;
    if (options != NULL) {
        recorder->items_asked = recorder->asked;
    }
    return ERR_OK;
}

void recorder_take_defaults(struct recorder *recorder)
{
    recorder->push = recorder->items;
    if (recorder->items.message.options != NULL) {
        recorder->asked = recorder->items_asked;
    }
    /* What stands in the head is for items that do not say otherwise. */
    recorder->given = 0;
}
