/* The subcommand export: a data directory as lines that `opq import` reads.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_internal.h"

#include "base/wall_time.h"
#include "cli/acked_list.h"
#include "cli/archive.h"
#include "cli/cli_data.h"
#include "cli/data_range.h"
#include "cli/progress.h"
#include "cli/snapshot.h"
#include "log/blob.h"
#include "sys/clock.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_TOPIC = 1 }; /* words from here on name topics */

struct export
{
    struct cli_call *call;
    const char *directory;
    struct data_range range;
    struct snapshot *snapshot; /* owned */
    FILE *to;
    struct progress_steps progress;
    struct buf text;         /* what is written next */
    struct record *record;   /* owned */
    char *part;              /* owned: ARCHIVE_PART_SIZE bytes */
    char path[DIR_PATH_MAX]; /* of the topic's folder */
    const char *topic;
    uint64_t end; /* one past the topic's last message */
    uint64_t topic_messages;
    uint64_t topics;
    uint64_t messages;
    uint64_t damaged; /* left out */
    bool write_failed;
};

/* Write what was gathered. */
static enum err flush(struct export *export)
{
    struct str text = buf_str(&export->text);
    enum err err = buf_err(&export->text);

    if (err == ERR_OK && text.size > 0 &&
        fwrite(text.data, 1, text.size, export->to) != text.size) {
        export->write_failed = true;
        err = ERR_IO;
    }
    buf_clear(&export->text);
    return err;
}

static void
complain_message(struct export *export, uint64_t sequence, const char *why)
{
    export->damaged++;
    (void)cli_complain(export->call, CLI_EXIT_FAILED,
                       "%s: message %llu is left out: %s", export->topic,
                       (unsigned long long)sequence, why);
}

/* Write the body of a message that lies in a file. */
static enum err write_parts(struct export *export,
                            uint64_t sequence,
                            const struct message_blob *blob)
{
    uint64_t offset = 0;
    int fd = -1;
    enum err err =
        blob_open(export->directory, export->path, sequence, blob, &fd);

    while (err == ERR_OK && offset < blob->size) {
        size_t got = 0;
        err = file_read_at(fd, export->part, ARCHIVE_PART_SIZE, offset, &got);
        if (err == ERR_OK && got == 0) {
            err = ERR_IO; /* it was whole a moment ago */
        }
        if (err == ERR_OK) {
            archive_write_part(&export->text, (struct str){export->part, got});
            err = flush(export);
            offset += got;
        }
    }
    file_close(fd);
    return err;
}

static enum err write_record(void *context, uint64_t sequence, struct str bytes)
{
    struct export *export = context;
    struct record *record = export->record;

    progress_steps_next(&export->progress, bytes.size);
    if (record_decode(bytes, record) != ERR_OK) {
        complain_message(export, sequence, "it cannot be read");
        return ERR_OK;
    }
    if (!data_range_has(&export->range, sequence,
                        record->message.pushed_at_ms)) {
        return ERR_OK;
    }
    const struct message_blob *blob = &record->message.blob;
    if (blob->size > 0) {
        enum err err =
            blob_verify(export->directory, export->path, sequence, blob);
        if (err == ERR_NOT_FOUND || err == ERR_CORRUPT) {
            complain_message(export, sequence,
                             err == ERR_CORRUPT ? "its body is damaged"
                                                : "its body is missing");
            return ERR_OK;
        }
        if (err != ERR_OK) {
            return err;
        }
    }
    archive_write_message(&export->text, record);
    export->end = sequence + 1;
    export->topic_messages++;
    enum err err = flush(export);
    return err == ERR_OK && blob->size > 0 ? write_parts(export, sequence, blob)
                                           : err;
}

static void tell_finding(void *context, const struct topic_finding *finding)
{
    struct export *export = context;

    if (finding->kind == TOPIC_FINDING_RECORD ||
        finding->kind == TOPIC_FINDING_GAP) {
        export->damaged += finding->lost;
        (void)cli_complain(export->call, CLI_EXIT_FAILED,
                           "%s: %llu messages from %llu on are damaged: see "
                           "opq verify",
                           export->topic, (unsigned long long)finding->lost,
                           (unsigned long long)finding->sequence);
    }
}

/* Write the views of the topic at `index`, which are behind it. */
static enum err write_views(struct export *export, size_t index)
{
    const struct snapshot_topic *topic = snapshot_at(export->snapshot, index);

    enum err err = ERR_OK;

    for (size_t at = index + 1;
         err == ERR_OK && at < snapshot_count(export->snapshot); at++) {
        const struct snapshot_topic *view = snapshot_at(export->snapshot, at);
        if (view->conf.parent == 0) {
            break;
        }
        if (!view->deleted && view->conf.parent == topic->id) {
            struct topic_gaps acked = {0};
            err = acked_list_load(export->directory, topic->name, view->id,
                                  view->cursor, &acked);
            archive_write_view(&export->text, str_from(view->name), &view->conf,
                               view->cursor, &acked);
            topic_gaps_fini(&acked);
        }
    }
    return err;
}

static enum err write_cursors(struct export *export, size_t index)
{
    const struct snapshot_topic *topic = snapshot_at(export->snapshot, index);
    struct topic_gaps acked = {0};

    enum err err = acked_list_load(export->directory, topic->name, topic->id,
                                   topic->cursor, &acked);
    archive_write_cursor(&export->text, topic->cursor, &acked);
    topic_gaps_fini(&acked);
    return err == ERR_OK ? write_views(export, index) : err;
}

static enum err write_topic(struct export *export, size_t index)
{
    const struct snapshot_topic *topic = snapshot_at(export->snapshot, index);
    const struct snapshot_visit visit = {
        .record = write_record, .finding = tell_finding, .context = export};
    uint64_t first = export->range.first > topic->oldest ? export->range.first
                                                         : topic->oldest;

    export->topic = topic->name;
    export->topic_messages = 0;
    export->end = first > topic->cmd_end ? first : topic->cmd_end;
    archive_write_topic(&export->text, str_from(topic->name), &topic->conf,
                        first);
    enum err err = write_cursors(export, index);
    if (err == ERR_OK) {
        err = snapshot_path(export->snapshot, topic, export->path);
    }
    if (err == ERR_OK) {
        err = snapshot_read(export->snapshot, topic, first, &visit);
    }
    if (err == ERR_OK) {
        archive_write_topic_end(&export->text, str_from(topic->name),
                                export->topic_messages, export->end);
        export->topics++;
        export->messages += export->topic_messages;
        err = flush(export);
    }
    return err;
}

static bool is_exported(const struct export *export,
                        const struct snapshot_topic *topic)
{
    return cli_data_is_meant(export->call, FIRST_TOPIC, topic);
}

/* The log of a bucket of delayed messages, which is written before it: who
 * pushes those has to know which are done with. Gives the count of topics when
 * there is none. */
static size_t find_log(const struct export *export, const char *name)
{
    char log[TOPIC_CONF_NAME_MAX + 8];
    size_t count = snapshot_count(export->snapshot);

    if (!str_starts(str_from(name), STR(".opq.delayed."))) {
        return count;
    }
    (void)snprintf(log, sizeof(log), "%s_log", name);
    for (size_t index = 0; index < count; index++) {
        const struct snapshot_topic *topic =
            snapshot_at(export->snapshot, index);
        if (is_exported(export, topic) && strcmp(topic->name, log) == 0) {
            return index;
        }
    }
    return count;
}

/* Whether a topic is such a log, and its bucket is exported, too. */
static bool comes_before(const struct export *export,
                         const struct snapshot_topic *topic)
{
    struct str name = str_from(topic->name);

    if (!str_starts(name, STR(".opq.delayed.")) || name.size <= 4 ||
        !str_equal(str_cut(name, name.size - 4, 4), STR("_log"))) {
        return false;
    }
    for (size_t index = 0; index < snapshot_count(export->snapshot); index++) {
        const struct snapshot_topic *bucket =
            snapshot_at(export->snapshot, index);
        if (is_exported(export, bucket) &&
            str_equal(str_from(bucket->name),
                      str_cut(name, 0, name.size - 4))) {
            return true;
        }
    }
    return false;
}

static enum err write_all(struct export *export)
{
    uint64_t id = 0;

    clock_random(&id, sizeof(id));
    archive_write_head(&export->text, id, clock_wall_ms());
    enum err err = flush(export);
    for (size_t index = 0;
         err == ERR_OK && index < snapshot_count(export->snapshot); index++) {
        const struct snapshot_topic *topic =
            snapshot_at(export->snapshot, index);
        if (!is_exported(export, topic) || comes_before(export, topic)) {
            continue;
        }
        size_t log = find_log(export, topic->name);
        if (log < snapshot_count(export->snapshot)) {
            err = write_topic(export, log);
        }
        if (err == ERR_OK) {
            err = write_topic(export, index);
        }
    }
    if (err == ERR_OK) {
        archive_write_end(&export->text, export->topics, export->messages);
        err = flush(export);
    }
    if (err == ERR_OK && fflush(export->to) != 0) {
        export->write_failed = true;
        err = ERR_IO;
    }
    return err;
}

/* Make the file as closed to others as a data directory is. */
static FILE *open_output(const char *path)
{
    int fd = -1;

    if (file_open(path, FILE_WRITE | FILE_CREATE | FILE_TRUNCATE, &fd) !=
        ERR_OK) {
        return NULL;
    }
    FILE *file = fdopen(fd, "w");
    if (file == NULL) {
        file_close(fd);
    }
    return file;
}

static int run_export(struct export *export, const char *out)
{
    struct cli_call *call = export->call;
    int code = cli_data_open(call, export->directory, FIRST_TOPIC,
                             CLI_EXIT_FAILED, &export->snapshot);

    if (code != CLI_EXIT_OK) {
        return code;
    }
    export->to = out == NULL ? stdout : open_output(out);
    if (export->to == NULL) {
        return cli_complain(call, CLI_EXIT_FAILED, "%s: cannot be written",
                            out);
    }
    progress_steps_begin(&export->progress, snapshot_bytes(export->snapshot));
    enum err err = write_all(export);
    progress_end(&export->progress.progress);
    if (out != NULL && fclose(export->to) != 0) {
        export->write_failed = true;
        err = err == ERR_OK ? ERR_IO : err;
    }
    if (err != ERR_OK) {
        return cli_complain(call, CLI_EXIT_FAILED, "%s",
                            export->write_failed ? "the output cannot be "
                                                   "written"
                                                 : err_text(err));
    }
    if (out != NULL) {
        (void)printf("%llu messages of %llu topics\n",
                     (unsigned long long)export->messages,
                     (unsigned long long)export->topics);
    }
    return export->damaged > 0 ? CLI_EXIT_FAILED : CLI_EXIT_OK;
}

int cli_export(int argument_count, char *const *arguments)
{
    struct cli_call call = {
        .command = "export",
        .usage = "DIRECTORY [TOPIC]... [--out FILE] [--from SEQ] [--to SEQ]\n"
                 "    [--since TIME] [--until TIME]\n"
                 "Writes topics with all their messages as lines of JSON that "
                 "opq import reads;\na server may have the directory."};
    struct export export = {.call = &call};
    struct data_range_texts range = {0};
    const char *out = NULL;
    const struct cli_option options[] = {
        {"out", &out, NULL, NULL},
        {"from", &range.from, NULL, NULL},
        {"to", &range.to, NULL, NULL},
        {"since", &range.since, NULL, NULL},
        {"until", &range.until, NULL, NULL},
        {NULL, NULL, NULL, NULL},
    };
    int code =
        cli_parse(&call, argument_count, arguments, options, 1, CLI_WORDS_MAX);

    if (code != CLI_EXIT_OK || call.help) {
        return code;
    }
    const char *wrong = NULL;
    if (data_range_read(&range, &export.range, &wrong) != ERR_OK) {
        cli_call_fini(&call);
        return cli_complain(&call, CLI_EXIT_USAGE, "%s", wrong);
    }
    export.directory = call.words[0];
    export.record = malloc(sizeof(*export.record));
    export.part = malloc(ARCHIVE_PART_SIZE);
    code = export.record == NULL || export.part == NULL
               ? cli_complain(&call, CLI_EXIT_FAILED, "no memory")
               : run_export(&export, out);
    snapshot_close(export.snapshot);
    buf_fini(&export.text);
    free(export.record);
    free(export.part);
    cli_call_fini(&call);
    return code;
}
