/* Bringing delayed messages and schedules to a running server.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_import_own.h"

#include "cli/import_item.h"
#include "http/form.h"
#include "sys/clock.h"

#include <stdio.h>

enum {
    BATCH_ITEMS = 200,
    BATCH_SIZE = 512 * 1024,
    NOTE_VERSION = 1,
    DEDUP_ID_MAX = 200,
};

static const struct str bucket_start = {".opq.delayed.", 13};
static const struct str schedule_start = {".opq.schedule.", 14};
static const struct str log_end = {"_log", 4};

enum err cli_import_own_begin(struct cli_import_own *own, struct str name)
{
    bool bucket = str_starts(name, bucket_start);
    bool log = bucket && name.size > log_end.size &&
               str_equal(str_cut(name, name.size - log_end.size, log_end.size),
                         log_end);

    own->kind = log                                ? CLI_IMPORT_OWN_LOG
                : bucket                           ? CLI_IMPORT_OWN_BUCKET
                : str_starts(name, schedule_start) ? CLI_IMPORT_OWN_SCHEDULE
                                                   : CLI_IMPORT_OWN_NONE;
    if (own->kind == CLI_IMPORT_OWN_NONE) {
        return ERR_UNSUPPORTED;
    }
    /* What was noted is of the bucket whose log this name is. */
    bool same = bucket && !log && own->name.size == name.size + log_end.size &&
                str_starts(buf_str(&own->name), name);
    if (!same) {
        topic_gaps_fini(&own->done);
    }
    buf_clear(&own->name);
    buf_append_str(&own->name, name);
    buf_clear(&own->definition);
    buf_clear(&own->batch);
    own->batch_items = 0;
    own->paused = false;
    return buf_err(&own->name);
}

/* --- buckets -------------------------------------------------------------- */

/* Take a note: which numbers were handed on, or cancelled. */
static enum err take_note(struct cli_import_own *own, struct str body)
{
    struct reader reader = reader_of(body);
    uint16_t version = reader_u16(&reader);
    enum err err = ERR_OK;

    (void)reader_u16(&reader); /* either is done with */
    uint32_t count = reader_u32(&reader);
    for (uint32_t index = 0; err == ERR_OK && version == NOTE_VERSION &&
                             index < count && reader_left(&reader) >= 16;
         index++) {
        uint64_t first = reader_u64(&reader);
        uint64_t end = reader_u64(&reader);
        err = first < end ? topic_gaps_add(&own->done, first, end) : ERR_OK;
    }
    return err;
}

static enum err request(struct cli_import_own *own,
                        const char *method,
                        const struct buf *target,
                        const char *type,
                        struct str body)
{
    struct buf headers = {0};

    buf_append_format(&headers, "Content-Type: %s\r\n", type);
    const struct remote_request asked = {.method = method,
                                         .target = buf_str(target),
                                         .headers = buf_str(&headers),
                                         .body = body};
    enum err err = buf_err(target);
    if (err == ERR_OK && cli_request(own->call, &asked) != CLI_EXIT_OK) {
        err = ERR_IO;
    }
    buf_fini(&headers);
    return err;
}

/* Count what was refused; what may be taken later ends the import. */
static enum err take_results(struct cli_import_own *own)
{
    const struct buf *body = &own->call->response.body;
    json_t *results = json_loadb(body->data, body->size, 0, NULL);
    size_t index = 0;
    json_t *result = NULL;
    enum err err = ERR_OK;

    json_array_foreach(results, index, result)
    {
        uint64_t status = cli_number(result, "status");
        if (status >= 400) {
            own->refused++;
            (void)cli_complain(own->call, CLI_EXIT_FAILED,
                               "a delayed message is refused: %s",
                               cli_text(result, "detail"));
        }
        err = status >= 500 ? ERR_IO : err;
    }
    json_decref(results);
    return err;
}

static enum err flush(struct cli_import_own *own)
{
    struct buf target = {0};

    if (own->batch_items == 0) {
        return buf_err(&own->batch);
    }
    buf_append_c(&target, "/opq/batch");
    enum err err = buf_err(&own->batch);
    if (err == ERR_OK) {
        err = request(own, "POST", &target, "application/x-ndjson",
                      buf_str(&own->batch));
    }
    if (err == ERR_OK) {
        err = take_results(own);
    }
    buf_fini(&target);
    buf_clear(&own->batch);
    own->batch_items = 0;
    return err;
}

static enum err take_delayed(struct cli_import_own *own,
                             const struct record *record)
{
    struct message message = record->message;
    char dedup_id[DEDUP_ID_MAX];

    if (topic_gaps_has(&own->done, record->sequence, record->sequence + 1)) {
        return ERR_OK;
    }
    if (message.options == NULL || message.options->topic.size == 0 ||
        message.blob.size > 0) {
        own->refused++;
        (void)cli_complain(
            own->call, CLI_EXIT_FAILED,
            "delayed message %llu of %.*s is left out: %s",
            (unsigned long long)record->sequence, STR_ARG(buf_str(&own->name)),
            message.blob.size > 0 ? "its body lies in a file: use --data"
                                  : "it says no topic");
        return ERR_OK;
    }
    struct message_options options = *message.options;
    if (options.dedup_id.size == 0 ||
        str_starts(options.dedup_id, STR("sha256:"))) {
        (void)snprintf(dedup_id, sizeof(dedup_id), "%s:%.*s:%llu", own->mark,
                       STR_ARG(buf_str(&own->name)),
                       (unsigned long long)record->sequence);
        options.dedup_id = str_from(dedup_id);
    }
    message.options = &options;
    import_item_write_due(&own->batch, options.topic, &message,
                          clock_wall_ms());
    own->batch_items++;
    return own->batch_items == BATCH_ITEMS || own->batch.size > BATCH_SIZE
               ? flush(own)
               : ERR_OK;
}

/* --- schedules ------------------------------------------------------------ */

static enum err take_definition(struct cli_import_own *own,
                                const struct message *message)
{
    buf_clear(&own->definition);
    buf_append_str(&own->definition, message->body);
    own->paused = false;
    for (uint32_t index = 0; index < message->header_count; index++) {
        const struct pair *header = &message->headers[index];
        if (str_equal(header->key, STR("paused"))) {
            own->paused = !str_equal(header->value, STR("0"));
        }
    }
    return buf_err(&own->definition);
}

static enum err put_schedule(struct cli_import_own *own)
{
    struct buf target = {0};
    struct str name = buf_str(&own->name);

    if (own->definition.size == 0) {
        return ERR_OK; /* it was deleted */
    }
    buf_append_c(&target, "/opq/schedules/");
    form_escape(&target, str_cut(name, schedule_start.size, name.size));
    enum err err = request(own, "PUT", &target, "application/json",
                           buf_str(&own->definition));
    if (err == ERR_OK) {
        buf_append_c(&target, own->paused ? "/pause" : "/resume");
        err = request(own, "POST", &target, "application/json", STR(""));
    }
    buf_fini(&target);
    return err;
}

/* --- all ------------------------------------------------------------------ */

enum err cli_import_own_message(struct cli_import_own *own,
                                const struct record *record)
{
    switch (own->kind) {
    case CLI_IMPORT_OWN_LOG:
        return take_note(own, record->message.body);
    case CLI_IMPORT_OWN_BUCKET:
        return take_delayed(own, record);
    default:
        return take_definition(own, &record->message);
    }
}

enum err cli_import_own_end(struct cli_import_own *own)
{
    enum cli_import_own_kind kind = own->kind;

    own->kind = CLI_IMPORT_OWN_NONE;
    return kind == CLI_IMPORT_OWN_BUCKET     ? flush(own)
           : kind == CLI_IMPORT_OWN_SCHEDULE ? put_schedule(own)
                                             : ERR_OK;
}

void cli_import_own_fini(struct cli_import_own *own)
{
    buf_fini(&own->name);
    buf_fini(&own->batch);
    buf_fini(&own->definition);
    topic_gaps_fini(&own->done);
}
