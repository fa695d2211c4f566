/* The subcommand import: messages of an export, or of the first OPQ, into a
 * data directory or a running server.
 *
 * Whatever it is read from, it comes as topics with their messages in order,
 * and goes to one of two places (import_data.h, cli_import_remote.h).
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_internal.h"

#include "base/crc32c.h"
#include "cli/archive.h"
#include "cli/cli_data.h"
#include "cli/cli_import_remote.h"
#include "cli/first_opq.h"
#include "cli/import_data.h"
#include "cli/progress.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MARK_MAX = 64 };

struct import {
    struct cli_call *call;
    const char *data_directory; /* NULL: into a server */
    const char *state_path;     /* of an import into a server */
    bool all;                   /* delivered messages, too */
    char mark[MARK_MAX];        /* where it comes from */
    char state_default[128];
    struct import_data *data;         /* owned; one of the two */
    struct cli_import_remote *remote; /* owned */
    struct progress_steps progress;
    char topic[256]; /* for words about it */
    bool skipping;   /* the rest of this topic is passed over */
    uint64_t topic_messages;
    uint64_t topics;
    uint64_t messages;
    uint64_t present;  /* topics that the same import has brought before */
    uint64_t refused;  /* topics */
    uint64_t left_out; /* messages: damaged, or of refused topics */
    int code;          /* what a failed step said to exit with */
};

/* Say why a step failed, unless that was said already. */
static int fail(struct import *import, enum err err)
{
    if (import->code != CLI_EXIT_OK) {
        return import->code;
    }
    return cli_complain(import->call, CLI_EXIT_FAILED, "%s: %s", import->topic,
                        err_text(err));
}

/* --- the two places ------------------------------------------------------- */

static enum err place_begin(struct import *import,
                            const struct topic_conf *conf,
                            uint64_t first)
{
    return import->data != NULL
               ? import_data_begin(import->data, conf, first)
               : cli_import_remote_begin(import->remote, conf, first);
}

static enum err place_cursor(struct import *import,
                             const struct topic_cursor *cursor,
                             const struct topic_gaps *acked)
{
    if (import->data != NULL) {
        return import_data_cursor(import->data, cursor, acked);
    }
    cli_import_remote_cursor(import->remote, cursor);
    return ERR_OK;
}

static enum err place_view(struct import *import,
                           const struct topic_conf *conf,
                           const struct topic_cursor *cursor,
                           const struct topic_gaps *acked)
{
    return import->data != NULL
               ? import_data_view(import->data, conf, cursor, acked)
               : cli_import_remote_view(import->remote, conf, cursor);
}

static enum err place_message(struct import *import,
                              const struct record *record)
{
    return import->data != NULL
               ? import_data_message(import->data, record)
               : cli_import_remote_message(import->remote, record);
}

static enum err place_part(struct import *import, struct str bytes)
{
    return import->data != NULL ? import_data_part(import->data, bytes)
                                : cli_import_remote_part(import->remote, bytes);
}

static enum err place_end(struct import *import, uint64_t end)
{
    return import->data != NULL ? import_data_end(import->data, end)
                                : cli_import_remote_end(import->remote);
}

/* --- topics --------------------------------------------------------------- */

/* Begin a topic; one that cannot be taken is passed over. */
static enum err begin_topic(struct import *import,
                            const struct topic_conf *conf,
                            uint64_t first)
{
    (void)snprintf(import->topic, sizeof(import->topic), "%.*s",
                   STR_ARG(conf->name));
    import->skipping = false;
    import->topic_messages = 0;
    enum err err = place_begin(import, conf, first);
    if (err == ERR_AGAIN) {
        import->present++;
    } else if (err == ERR_EXISTS || err == ERR_INVALID ||
               err == ERR_UNSUPPORTED) {
        import->refused++;
        (void)cli_complain(
            import->call, CLI_EXIT_FAILED, "%s is left out: %s", import->topic,
            err == ERR_EXISTS    ? "there is such a topic"
            : err == ERR_INVALID ? "not a name that a topic can have"
                                 : "nothing can be pushed there: use --data");
    } else {
        return err;
    }
    import->skipping = true;
    return ERR_OK;
}

static enum err take_message(struct import *import, const struct record *record)
{
    progress_steps_next(&import->progress, record->size);
    import->topic_messages++;
    return import->skipping ? ERR_OK : place_message(import, record);
}

static enum err end_topic(struct import *import, uint64_t end)
{
    if (import->skipping) {
        return ERR_OK;
    }
    enum err err = place_end(import, end);
    if (err == ERR_OK) {
        import->topics++;
        import->messages += import->topic_messages;
    }
    return err;
}

/* --- an export ------------------------------------------------------------ */

/* An export being read. */
struct reading {
    struct import *import;
    FILE *from;
    struct archive_line *line; /* owned */
    char *text;                /* owned: the line */
    size_t capacity;
    uint64_t number; /* of the line */
    uint64_t messages;
    bool in_topic;
    bool ended;
};

/* The next line: ERR_NOT_FOUND at the end. */
static enum err next_line(struct reading *reading)
{
    ssize_t size = getline(&reading->text, &reading->capacity, reading->from);

    if (size < 0) {
        return ferror(reading->from) ? ERR_IO : ERR_NOT_FOUND;
    }
    reading->number++;
    return archive_read((struct str){reading->text, (size_t)size},
                        reading->line);
}

/* What comes within a topic. */
static enum err take_topic_line(struct reading *reading,
                                const struct archive_line *line)
{
    struct import *import = reading->import;
    bool skipping = import->skipping;

    switch (line->kind) {
    case ARCHIVE_CURSOR:
        return skipping ? ERR_OK
                        : place_cursor(import, &line->cursor, &line->acked);
    case ARCHIVE_VIEW:
        return skipping ? ERR_OK
                        : place_view(import, &line->conf, &line->cursor,
                                     &line->acked);
    case ARCHIVE_MESSAGE:
        reading->messages++;
        return take_message(import, &line->record);
    case ARCHIVE_PART:
        return skipping ? ERR_OK : place_part(import, line->part);
    case ARCHIVE_TOPIC_END:
        if (line->messages != import->topic_messages) {
            return ERR_INVALID;
        }
        reading->in_topic = false;
        return end_topic(import, line->end);
    default:
        return ERR_INVALID;
    }
}

static enum err take_line(struct reading *reading)
{
    const struct archive_line *line = reading->line;

    if (reading->ended) {
        return ERR_INVALID;
    }
    if (reading->in_topic) {
        return take_topic_line(reading, line);
    }
    if (line->kind == ARCHIVE_TOPIC) {
        reading->in_topic = true;
        return begin_topic(reading->import, &line->conf, line->first);
    }
    if (line->kind == ARCHIVE_END && line->messages == reading->messages) {
        reading->ended = true;
        return ERR_OK;
    }
    return ERR_INVALID;
}

static int open_place(struct import *import);

/* Read the first line, and open the place with what it says. */
static int begin_reading(struct reading *reading, const char *path)
{
    struct import *import = reading->import;
    enum err err = next_line(reading);

    if (err != ERR_OK || reading->line->kind != ARCHIVE_HEAD) {
        return cli_complain(import->call, CLI_EXIT_FAILED, "%s: %s", path,
                            err == ERR_UNSUPPORTED
                                ? "an export of a later version"
                                : "not an export of opq");
    }
    (void)snprintf(import->mark, sizeof(import->mark), "export-%016llx",
                   (unsigned long long)reading->line->id);
    return open_place(import);
}

static int read_lines(struct reading *reading, const char *path)
{
    struct import *import = reading->import;
    int code = begin_reading(reading, path);
    enum err err = ERR_OK;

    if (code != CLI_EXIT_OK) {
        return code;
    }
    while (err == ERR_OK) {
        err = next_line(reading);
        if (err == ERR_OK) {
            err = take_line(reading);
        }
    }
    if (import->code != CLI_EXIT_OK) {
        return import->code;
    }
    if (err == ERR_NOT_FOUND && reading->ended) {
        return CLI_EXIT_OK;
    }
    if (err == ERR_NOT_FOUND) {
        return cli_complain(import->call, CLI_EXIT_FAILED,
                            "%s ends early, in line %llu: %s", path,
                            (unsigned long long)reading->number,
                            "what came before is imported");
    }
    return cli_complain(import->call, CLI_EXIT_FAILED, "%s: line %llu: %s",
                        path, (unsigned long long)reading->number,
                        err == ERR_INVALID ? "not what it should be"
                                           : err_text(err));
}

static int import_file(struct import *import, const char *path)
{
    struct reading reading = {.import = import};

    reading.from = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
    if (reading.from == NULL) {
        return cli_complain(import->call, CLI_EXIT_FAILED, "%s: %s", path,
                            strerror(errno));
    }
    reading.line = calloc(1, sizeof(*reading.line));
    int code = reading.line == NULL
                   ? cli_complain(import->call, CLI_EXIT_FAILED, "no memory")
                   : read_lines(&reading, path);
    if (reading.line != NULL) {
        archive_line_fini(reading.line);
    }
    free(reading.line);
    free(reading.text);
    if (reading.from != stdin) {
        (void)fclose(reading.from);
    }
    return code;
}

/* --- the first OPQ -------------------------------------------------------- */

static enum err first_message(void *context, const struct record *record)
{
    return take_message(context, record);
}

static void
first_damaged(void *context, uint64_t first, uint64_t end, const char *why)
{
    struct import *import = context;

    import->left_out += end - first;
    if (end - first == 1) {
        (void)cli_complain(import->call, CLI_EXIT_FAILED,
                           "%s: message %llu is left out: %s", import->topic,
                           (unsigned long long)first, why);
    } else {
        (void)cli_complain(import->call, CLI_EXIT_FAILED,
                           "%s: messages %llu to %llu are left out: %s",
                           import->topic, (unsigned long long)first,
                           (unsigned long long)end - 1, why);
    }
}

static enum err import_first_topic(struct import *import,
                                   const struct first_opq *opq,
                                   const char *name)
{
    const struct first_opq_visit visit = {
        .message = first_message, .damaged = first_damaged, .context = import};
    struct first_opq_topic topic = {.end = 0};
    enum err err = first_opq_topic(opq, name, &topic);

    if (err != ERR_OK) {
        return err;
    }
    uint64_t oldest = topic.count > 0 ? topic.firsts[0] : topic.end;
    uint64_t first = import->all || topic.next < oldest ? oldest : topic.next;
    const struct topic_conf conf = {.name = str_from(name)};
    const struct topic_cursor cursor = {.next = topic.next};
    err = begin_topic(import, &conf, first);
    if (err == ERR_OK && !import->skipping) {
        const struct topic_gaps none = {0};
        err = place_cursor(import, &cursor, &none);
        if (err == ERR_OK) {
            err = first_opq_walk(opq, name, &topic, first, &visit);
        }
        if (err == ERR_OK) {
            err = end_topic(import, topic.end > first ? topic.end : first);
        }
    }
    first_opq_topic_fini(&topic);
    return err;
}

static int import_first(struct import *import, const char *path)
{
    struct first_opq opq;
    enum err err = first_opq_open(path, &opq);

    if (err != ERR_OK) {
        return cli_complain(import->call, CLI_EXIT_FAILED, "%s: %s", path,
                            err == ERR_NOT_FOUND ? "no topics of the first OPQ"
                            : err == ERR_INVALID
                                ? "this is a data directory of this OPQ: "
                                  "export it"
                                : err_text(err));
    }
    (void)snprintf(import->mark, sizeof(import->mark), "first-%016llx-%s",
                   (unsigned long long)str_hash(str_from(opq.directory)),
                   import->all ? "all" : "rest");
    int code = open_place(import);
    for (size_t index = 0; code == CLI_EXIT_OK && index < opq.count; index++) {
        err = import_first_topic(import, &opq, opq.names[index]);
        code = err == ERR_OK ? CLI_EXIT_OK : fail(import, err);
    }
    first_opq_fini(&opq);
    return code;
}

/* --- the subcommand ------------------------------------------------------- */

/* Open where it goes, once its mark is known. */
static int open_place(struct import *import)
{
    struct cli_call *call = import->call;

    progress_steps_begin(&import->progress, 0);
    if (import->data_directory == NULL) {
        if (import->state_path == NULL) {
            (void)snprintf(import->state_default, sizeof(import->state_default),
                           "opq-import-%s.state", import->mark);
            import->state_path = import->state_default;
        }
        const struct cli_import_remote_options options = {
            .call = call,
            .mark = import->mark,
            .state_path = import->state_path,
            .code = &import->code,
        };
        enum err err = cli_import_remote_open(&options, &import->remote);
        return err == ERR_OK ? CLI_EXIT_OK : fail(import, err);
    }
    enum err err =
        import_data_open(import->data_directory, import->mark, &import->data);
    if (err == ERR_CONDITION) {
        return cli_complain(call, CLI_EXIT_FAILED,
                            "%s: it was not stopped in order: start a server "
                            "on it, and stop that",
                            import->data_directory);
    }
    return err == ERR_OK ? CLI_EXIT_OK
                         : cli_data_complain(call, import->data_directory, err);
}

static int tell_result(struct import *import, int code)
{
    struct buf text = {0};

    progress_end(&import->progress.progress);
    if (import->call->json) {
        buf_append_format(&text,
                          "{\"messages\":%llu,\"topics\":%llu,\"present\":%llu,"
                          "\"refused\":%llu,\"left_out\":%llu}\n",
                          (unsigned long long)import->messages,
                          (unsigned long long)import->topics,
                          (unsigned long long)import->present,
                          (unsigned long long)import->refused,
                          (unsigned long long)import->left_out);
    } else {
        buf_append_format(
            &text,
            "%llu messages of %llu topics; %llu topics were there before, "
            "%llu refused; %llu messages left out\n",
            (unsigned long long)import->messages,
            (unsigned long long)import->topics,
            (unsigned long long)import->present,
            (unsigned long long)import->refused,
            (unsigned long long)import->left_out);
    }
    int printed = cli_print(&text);
    code = code == CLI_EXIT_OK ? printed : code;
    return code == CLI_EXIT_OK && (import->refused > 0 || import->left_out > 0)
               ? CLI_EXIT_FAILED
               : code;
}

int cli_import(int argument_count, char *const *arguments)
{
    struct cli_call call = {
        .command = "import",
        .usage = "FILE|- | --from DIRECTORY [--all]\n"
                 "    [--data DIRECTORY | --url URL [--state FILE]]\n"
                 "Imports what opq export wrote; with --from, the folder of "
                 "the first OPQ, of\nwhich messages that were delivered are "
                 "left out without --all. Into a data\ndirectory that no "
                 "server has, or a running server."};
    struct import import = {.call = &call};
    const char *from = NULL;
    const struct cli_option options[] = {
        {"from", &from, NULL, NULL},
        {"data", &import.data_directory, NULL, NULL},
        {"state", &import.state_path, NULL, NULL},
        {"all", NULL, &import.all, NULL},
        {NULL, NULL, NULL, NULL},
    };
    int code = cli_parse(&call, argument_count, arguments, options, 0, 1);

    if (code != CLI_EXIT_OK || call.help) {
        return code;
    }
    if ((from != NULL) == (call.word_count == 1)) {
        cli_call_fini(&call);
        return cli_complain(&call, CLI_EXIT_USAGE,
                            "give a file, or - , or --from DIRECTORY");
    }
    code = from != NULL ? import_first(&import, from)
                        : import_file(&import, call.words[0]);
    if (import.remote != NULL) {
        import.left_out += cli_import_remote_refused(import.remote);
    }
    if (import.data != NULL || import.remote != NULL) {
        code = tell_result(&import, code);
    }
    import_data_close(import.data);
    cli_import_remote_close(import.remote);
    cli_call_fini(&call);
    return code;
}
