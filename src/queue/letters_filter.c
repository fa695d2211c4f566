/* What a dead letter says of its end, and which letters are meant.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/letters_filter.h"

#include "base/json_scan.h"
#include "base/wall_time.h"

static enum err take_text(const struct json_scan_value *value,
                          struct buf *memory,
                          struct str *out_text)
{
    return value->type == JSON_SCAN_STRING
               ? json_scan_string(value, memory, out_text)
               : ERR_OK;
}

static void take_number(const struct json_scan_value *value, uint64_t *number)
{
    if (value->type != JSON_SCAN_NUMBER ||
        str_to_u64(value->text, number) != ERR_OK) {
        *number = 0;
    }
}

static enum err take_member(struct str name,
                            const struct json_scan_value *value,
                            struct buf *memory,
                            struct letters_end *end)
{
    struct str at = {0};

    if (str_equal(name, STR("reason"))) {
        return take_text(value, memory, &end->reason);
    }
    if (str_equal(name, STR("class"))) {
        return take_text(value, memory, &end->class);
    }
    if (str_equal(name, STR("subscription"))) {
        return take_text(value, memory, &end->subscription);
    }
    if (str_equal(name, STR("status"))) {
        end->has_status = value->type == JSON_SCAN_NUMBER &&
                          str_to_u64(value->text, &end->status) == ERR_OK;
        return ERR_OK;
    }
    if (str_equal(name, STR("seq"))) {
        take_number(value, &end->sequence);
    }
    if (str_equal(name, STR("attempts"))) {
        take_number(value, &end->attempts);
    }
    if (!str_equal(name, STR("at"))) {
        return ERR_OK;
    }
    enum err err = take_text(value, memory, &at);
    if (err == ERR_OK && wall_time_parse(at, &end->at_ms) != ERR_OK) {
        end->at_ms = 0;
    }
    return err;
}

enum err letters_filter_read(struct str letter,
                             struct buf *memory,
                             struct letters_end *out_end)
{
    struct json_scan scan = json_scan_of(letter);
    struct json_scan_value object;
    struct json_scan_value name;
    struct json_scan_value value;
    struct letters_end end = {0};

    buf_clear(memory);
    if (buf_reserve(memory, letter.size) != ERR_OK) {
        return ERR_NOMEM;
    }
    if (json_scan_next(&scan, &object) != ERR_OK ||
        object.type != JSON_SCAN_OBJECT ||
        json_scan_next(&scan, &value) != ERR_NOT_FOUND) {
        return ERR_INVALID;
    }
    scan = json_scan_enter(&object);
    enum err err = json_scan_member(&scan, &name, &value);
    while (err == ERR_OK) {
        struct str text = {0};
        err = json_scan_string(&name, memory, &text);
        if (err == ERR_OK) {
            err = take_member(text, &value, memory, &end);
        }
        if (err == ERR_OK) {
            err = json_scan_member(&scan, &name, &value);
        }
    }
    if (err != ERR_NOT_FOUND) {
        return err;
    }
    *out_end = end;
    return ERR_OK;
}

enum err letters_filter_status(struct letters_filter *filter, struct str text)
{
    size_t dash = str_find(text, '-');
    uint64_t first = 0;
    uint64_t last = 0;

    enum err err = str_to_u64(str_cut(text, 0, dash), &first);
    last = first;
    if (err == ERR_OK && dash < text.size) {
        err = str_to_u64(str_cut(text, dash + 1, text.size), &last);
    }
    if (err != ERR_OK) {
        return ERR_INVALID;
    }
    if (first > last || last > LETTERS_STATUS_MAX) {
        return ERR_RANGE;
    }
    filter->by_status = true;
    filter->status_first = (uint32_t)first;
    filter->status_last = (uint32_t)last;
    return ERR_OK;
}

/* Tell whether a text is what is asked for, if anything is. */
static bool fits(struct str asked, struct str text)
{
    return asked.size == 0 || str_equal(asked, text);
}

bool letters_filter_match(const struct letters_filter *filter,
                          uint64_t sequence,
                          const struct letters_end *end)
{
    if (filter->one && filter->sequence != sequence) {
        return false;
    }
    if (filter->by_status &&
        (!end->has_status || end->status < filter->status_first ||
         end->status > filter->status_last)) {
        return false;
    }
    if (filter->from_ms > 0 && end->at_ms < filter->from_ms) {
        return false;
    }
    if (filter->to_ms > 0 && end->at_ms >= filter->to_ms) {
        return false;
    }
    return fits(filter->reason, end->reason) &&
           fits(filter->class, end->class) &&
           fits(filter->subscription, end->subscription);
}
