/* The last failed attempts at a message.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/attempt_log.h"

#include "base/check.h"
#include "base/json_text.h"
#include "base/wall_time.h"

#include <stdlib.h>

/* Make room for one more, if there is memory. A ring that grows was never full
 * before, so it begins at its start. */
static void grow(struct attempt_log **log)
{
    uint32_t capacity = *log != NULL ? 2 * (*log)->capacity : 1;

    if (capacity > ATTEMPT_LOG_MAX) {
        return;
    }
    struct attempt_log *grown =
        realloc(*log, sizeof(*grown) + capacity * sizeof(struct attempt));
    if (grown == NULL) {
        return;
    }
    if (*log == NULL) {
        grown->count = 0;
        grown->first = 0;
    }
    grown->capacity = capacity;
    *log = grown;
}

void attempt_log_add(struct attempt_log **log, const struct attempt *attempt)
{
    struct attempt_log *own = *log;

    if (own == NULL || (own->count == own->capacity && own->first == 0)) {
        grow(log);
        own = *log;
    }
    if (own == NULL) {
        return;
    }
    if (own->count == own->capacity) {
        own->first = (own->first + 1) % own->capacity;
        own->count--;
    }
    own->attempts[(own->first + own->count) % own->capacity] = *attempt;
    own->count++;
}

const struct attempt *attempt_log_at(const struct attempt_log *log,
                                     uint32_t index)
{
    CHECK(index < log->count);
    return &log->attempts[(log->first + index) % log->capacity];
}

const struct attempt *attempt_log_last(const struct attempt_log *log)
{
    return log != NULL && log->count > 0 ? attempt_log_at(log, log->count - 1)
                                         : NULL;
}

static void append_attempt(const struct attempt *attempt, struct buf *to)
{
    buf_append_c(to, "{\"at\":\"");
    wall_time_write(to, attempt->at_ms);
    buf_append_byte(to, '"');
    json_text_append_text(to, "class", str_from(attempt->class));
    json_text_append_number(to, "status", (uint64_t)attempt->status);
    json_text_append_number(to, "duration_ms", attempt->duration_ms);
    if (attempt->detail[0] != '\0') {
        json_text_append_text(to, "detail", str_from(attempt->detail));
    }
    buf_append_byte(to, '}');
}

void attempt_log_json(const struct attempt_log *log, struct buf *to)
{
    if (log == NULL || log->count == 0) {
        return;
    }
    buf_append_c(to, ",\"attempts_log\":[");
    for (uint32_t index = 0; index < log->count; index++) {
        if (index > 0) {
            buf_append_byte(to, ',');
        }
        append_attempt(attempt_log_at(log, index), to);
    }
    buf_append_byte(to, ']');
}
