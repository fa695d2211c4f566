/* The subcommand grep: messages of a data directory that match a pattern.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_internal.h"

#include "base/json_text.h"
#include "base/wall_time.h"
#include "cli/cli_data.h"
#include "cli/data_range.h"
#include "cli/matcher.h"
#include "cli/progress.h"
#include "cli/snapshot.h"
#include "log/blob.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of a body in a file that are looked at together; a line that is longer
 * is taken for several. */
enum { PIECE_SIZE = 256 * 1024 };

enum { FIRST_TOPIC = 2 }; /* words from here on name topics */

struct grep {
    struct cli_call *call;
    const char *directory;
    struct data_range range;
    struct matcher matcher;
    bool headers_only;
    bool count_only;
    struct snapshot *snapshot; /* owned */
    struct record *record;     /* owned */
    char *piece;               /* owned: PIECE_SIZE bytes */
    struct progress_steps progress;
    const char *topic;
    char path[DIR_PATH_MAX]; /* of its folder */
    uint64_t topic_count;
    uint64_t count;
    uint64_t unread; /* messages that could not be read */
};

/* --- what is shown -------------------------------------------------------- */

static void append_plain(struct buf *to, struct str text)
{
    for (size_t index = 0; index < text.size; index++) {
        uint8_t byte = (uint8_t)text.data[index];
        buf_append_byte(to, byte < 0x20 || byte == 0x7f ? '?' : (char)byte);
    }
}

/* Show a match; `where` says in what of the message. */
static enum err
show(struct grep *grep, const char *where, const struct matcher_match *match)
{
    const struct record *record = grep->record;
    struct str part = matcher_part(match);
    struct buf text = {0};

    grep->topic_count++;
    if (grep->count_only) {
        return ERR_OK;
    }
    if (grep->call->json) {
        buf_append_c(&text, "{\"topic\":\"");
        buf_append_json(&text, str_from(grep->topic));
        buf_append_format(&text, "\",\"seq\":%llu",
                          (unsigned long long)record->sequence);
        json_text_append_time(&text, "pushed_at", record->message.pushed_at_ms);
        json_text_append_text(&text, "where", str_from(where));
        json_text_append_bytes(&text, "line", part);
        buf_append_c(&text, "}\n");
    } else {
        buf_append_format(&text, "%llu ", (unsigned long long)record->sequence);
        wall_time_write(&text, record->message.pushed_at_ms);
        buf_append_format(&text, " %s %s: %s", grep->topic, where,
                          part.data > match->line.data ? "..." : "");
        append_plain(&text, part);
        buf_append_c(&text,
                     part.data + part.size < match->line.data + match->line.size
                         ? "...\n"
                         : "\n");
    }
    return cli_print(&text) == CLI_EXIT_OK ? ERR_OK : ERR_IO;
}

/* --- what is looked at ---------------------------------------------------- */

/* Look at pairs as "name<mark>value". */
static bool find_pair(const struct grep *grep,
                      const struct pair *pairs,
                      uint32_t count,
                      const char *mark,
                      struct buf *memory,
                      struct matcher_match *out_match)
{
    bool found = false;

    for (uint32_t index = 0; !found && index < count; index++) {
        buf_clear(memory);
        buf_append_str(memory, pairs[index].key);
        buf_append_c(memory, mark);
        buf_append_str(memory, pairs[index].value);
        found = !memory->failed &&
                matcher_find(&grep->matcher, buf_str(memory), out_match);
    }
    return found;
}

/* Look at a body that lies in a file, piece by piece, each ended by a line's
 * end where there is one. ERR_NOT_FOUND: it does not match. */
static enum err find_beside(struct grep *grep, struct matcher_match *out_match)
{
    const struct record *record = grep->record;
    uint64_t offset = 0;
    int fd = -1;
    enum err err = blob_open(grep->directory, grep->path, record->sequence,
                             &record->message.blob, &fd);
    bool found = false;

    while (err == ERR_OK && !found && offset < record->message.blob.size) {
        size_t got = 0;
        err = file_read_at(fd, grep->piece, PIECE_SIZE, offset, &got);
        const char *last =
            got < PIECE_SIZE ? NULL : memrchr(grep->piece, '\n', got);
        size_t size = last != NULL ? (size_t)(last - grep->piece) + 1 : got;
        found = err == ERR_OK && size > 0 &&
                matcher_find(&grep->matcher, (struct str){grep->piece, size},
                             out_match);
        err = err == ERR_OK && size == 0 ? ERR_CORRUPT : err;
        offset += size;
    }
    file_close(fd);
    return err == ERR_OK && !found ? ERR_NOT_FOUND : err;
}

/* Look at all of a message but its headers and a body beside. Returns where it
 * matched, or NULL. */
static const char *find_inside(struct grep *grep,
                               struct buf *memory,
                               struct matcher_match *out_match)
{
    const struct message *message = &grep->record->message;

    if (message->kind == MESSAGE_KIND_FORM) {
        if (find_pair(grep, message->fields, message->field_count, "=", memory,
                      out_match)) {
            return "field";
        }
    } else if (message->blob.size == 0 &&
               matcher_find(&grep->matcher, message->body, out_match)) {
        return "body";
    }
    if (matcher_find(&grep->matcher, message->url, out_match)) {
        return "url";
    }
    if (message->options != NULL && message->options->key.size > 0 &&
        matcher_find(&grep->matcher, message->options->key, out_match)) {
        return "key";
    }
    if (message->options != NULL && message->options->label.size > 0 &&
        matcher_find(&grep->matcher, message->options->label, out_match)) {
        return "label";
    }
    return NULL;
}

static enum err look_at(struct grep *grep)
{
    const struct message *message = &grep->record->message;
    struct matcher_match match;
    struct buf memory = {0};
    enum err err = ERR_OK;
    const char *where =
        grep->headers_only ? NULL : find_inside(grep, &memory, &match);

    if (where == NULL &&
        find_pair(grep, message->headers, message->header_count, ": ", &memory,
                  &match)) {
        where = "header";
    }
    if (where == NULL && !grep->headers_only && message->blob.size > 0) {
        err = find_beside(grep, &match);
        where = err == ERR_OK ? "body" : NULL;
        if (err == ERR_CORRUPT) {
            grep->unread++;
        }
        err = err == ERR_NOT_FOUND || err == ERR_CORRUPT ? ERR_OK : err;
    }
    if (where != NULL) {
        err = show(grep, where, &match);
    }
    buf_fini(&memory);
    return err;
}

static enum err take_record(void *context, uint64_t sequence, struct str bytes)
{
    struct grep *grep = context;

    progress_steps_next(&grep->progress, bytes.size);
    if (sequence >= grep->range.end) {
        return ERR_OK;
    }
    if (record_decode(bytes, grep->record) != ERR_OK) {
        grep->unread++;
        return ERR_OK;
    }
    return data_range_has(&grep->range, sequence,
                          grep->record->message.pushed_at_ms)
               ? look_at(grep)
               : ERR_OK;
}

/* --- topics --------------------------------------------------------------- */

static enum err search_topic(struct grep *grep,
                             const struct snapshot_topic *topic)
{
    const struct snapshot_visit visit = {.record = take_record,
                                         .context = grep};

    grep->topic = topic->name;
    grep->topic_count = 0;
    enum err err = snapshot_path(grep->snapshot, topic, grep->path);
    if (err == ERR_OK) {
        err = snapshot_read(grep->snapshot, topic, grep->range.first, &visit);
    }
    grep->count += grep->topic_count;
    if (err == ERR_OK && grep->count_only && grep->topic_count > 0) {
        (void)printf(grep->call->json ? "{\"topic\":\"%s\",\"count\":%llu}\n"
                                      : "%s %llu\n",
                     topic->name, (unsigned long long)grep->topic_count);
    }
    return err;
}

static int search(struct grep *grep)
{
    struct cli_call *call = grep->call;
    enum err err = ERR_OK;
    int code = cli_data_open(call, grep->directory, FIRST_TOPIC,
                             CLI_EXIT_UNREACHABLE, &grep->snapshot);

    if (code != CLI_EXIT_OK) {
        return code;
    }
    progress_steps_begin(&grep->progress, snapshot_bytes(grep->snapshot));
    for (size_t index = 0;
         err == ERR_OK && index < snapshot_count(grep->snapshot); index++) {
        const struct snapshot_topic *topic = snapshot_at(grep->snapshot, index);
        if (cli_data_is_meant(call, FIRST_TOPIC, topic)) {
            err = search_topic(grep, topic);
        }
    }
    progress_end(&grep->progress.progress);
    if (err != ERR_OK) {
        return cli_complain(call, CLI_EXIT_UNREACHABLE, "%s", err_text(err));
    }
    if (grep->unread > 0) {
        return cli_complain(call, CLI_EXIT_UNREACHABLE,
                            "%llu messages could not be read: see opq verify",
                            (unsigned long long)grep->unread);
    }
    return grep->count > 0 ? CLI_EXIT_OK : CLI_EXIT_FAILED;
}

/* Take what the command line says apart. */
static int prepare(struct grep *grep,
                   const struct data_range_texts *range,
                   bool fixed,
                   bool any_case)
{
    const struct cli_call *call = grep->call;
    const char *wrong = NULL;
    char text[MATCHER_ERROR_MAX];

    if (data_range_read(range, &grep->range, &wrong) != ERR_OK) {
        return cli_complain(call, CLI_EXIT_USAGE, "%s", wrong);
    }
    enum err err =
        matcher_init(&grep->matcher, call->words[0], fixed, any_case, text);
    if (err != ERR_OK) {
        return cli_complain(call, CLI_EXIT_USAGE, "the pattern: %s",
                            err == ERR_INVALID ? text : err_text(err));
    }
    return CLI_EXIT_OK;
}

int cli_grep(int argument_count, char *const *arguments)
{
    struct cli_call call = {
        .command = "grep",
        .usage = "PATTERN DIRECTORY [TOPIC]... [-F] [-i] [--header] "
                 "[--count] [--json]\n"
                 "    [--from SEQ] [--to SEQ] [--since TIME] [--until TIME]\n"
                 "Prints messages whose body, fields, headers, URL, key or "
                 "label match an extended\nregular expression (-F: a text); a "
                 "server may have the directory."};
    struct grep grep = {.call = &call};
    struct data_range_texts range = {0};
    bool fixed = false;
    bool any_case = false;
    const struct cli_option options[] = {
        {"F", NULL, &fixed, NULL},
        {"i", NULL, &any_case, NULL},
        {"header", NULL, &grep.headers_only, NULL},
        {"count", NULL, &grep.count_only, NULL},
        {"from", &range.from, NULL, NULL},
        {"to", &range.to, NULL, NULL},
        {"since", &range.since, NULL, NULL},
        {"until", &range.until, NULL, NULL},
        {NULL, NULL, NULL, NULL},
    };
    int code =
        cli_parse(&call, argument_count, arguments, options, 2, CLI_WORDS_MAX);

    if (code != CLI_EXIT_OK || call.help) {
        return code;
    }
    code = prepare(&grep, &range, fixed, any_case);
    if (code != CLI_EXIT_OK) {
        cli_call_fini(&call);
        return code;
    }
    grep.directory = call.words[1];
    grep.record = malloc(sizeof(*grep.record));
    grep.piece = malloc(PIECE_SIZE);
    code = grep.record == NULL || grep.piece == NULL
               ? cli_complain(&call, CLI_EXIT_UNREACHABLE, "no memory")
               : search(&grep);
    snapshot_close(grep.snapshot);
    matcher_fini(&grep.matcher);
    free(grep.record);
    free(grep.piece);
    cli_call_fini(&call);
    return code;
}
