/* Subcommands on a data directory that no server has: verify and dump.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_internal.h"

#include "base/json_text.h"
#include "cli/cli_data.h"
#include "cli/inspect.h"
#include "cli/progress.h"
#include "cli/table.h"
#include "cli/verify_bodies.h"
#include "log/record.h"
#include "log/segment.h"
#include "store/store_show.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- verify --------------------------------------------------------------- */

struct verify_topic {
    char *name; /* owned */
    uint64_t oldest;
    uint64_t end;
    uint64_t records;
    uint64_t bytes;
    uint64_t in_journal; /* of the records, those that are not in segments */
    uint64_t damaged;    /* places */
    uint64_t lost;       /* messages */
};

struct verify {
    struct cli_call *call;
    struct verify_topic *topics; /* owned */
    size_t count;
    size_t capacity;
    size_t last;     /* index of the one that was found last */
    uint64_t places; /* damaged in all */
    struct verify_bodies bodies;
    struct progress progress;
    uint64_t records; /* read */
    bool failed;      /* no memory */
};

static struct verify_topic *add_verified(struct verify *verify,
                                         const char *name)
{
    if (verify->count == verify->capacity) {
        size_t capacity = verify->capacity * 2 + 64;
        struct verify_topic *topics =
            realloc(verify->topics, capacity * sizeof(*topics));
        if (topics == NULL) {
            return NULL;
        }
        verify->topics = topics;
        verify->capacity = capacity;
    }
    struct verify_topic *topic = &verify->topics[verify->count];
    *topic = (struct verify_topic){.name = strdup(name)};
    if (topic->name == NULL) {
        return NULL;
    }
    verify->last = verify->count;
    verify->count++;
    return topic;
}

static struct verify_topic *find_verified(struct verify *verify,
                                          const char *name)
{
    if (verify->count > 0 &&
        strcmp(verify->topics[verify->last].name, name) == 0) {
        return &verify->topics[verify->last];
    }
    for (size_t index = 0; index < verify->count; index++) {
        if (strcmp(verify->topics[index].name, name) == 0) {
            verify->last = index;
            return &verify->topics[index];
        }
    }
    return add_verified(verify, name);
}

static void verify_begin(void *context, const char *name)
{
    struct verify *verify = context;

    verify->failed = add_verified(verify, name) == NULL || verify->failed;
}

static void tell(struct verify *verify, const char *topic, const char *text)
{
    if (!verify->call->json) {
        progress_clear(&verify->progress);
        (void)printf("%s: %s\n", topic, text);
    }
}

/* A record whose checksum holds must be readable, too. */
static void check_record(struct verify *verify,
                         struct verify_topic *topic,
                         struct str bytes,
                         bool in_journal)
{
    struct record *record = malloc(sizeof(*record));

    if (record == NULL) {
        verify->failed = true;
        return;
    }
    if (record_decode(bytes, record) != ERR_OK) {
        topic->damaged++;
        verify->places++;
        tell(verify, topic->name, "a record's payload cannot be read");
    } else if ((!in_journal || record->sequence >= topic->end) &&
               verify_bodies_check(&verify->bodies, topic->name, record,
                                   in_journal) != ERR_OK) {
        verify->failed = true;
    }
    free(record);
}

static enum err verify_record(void *context,
                              const char *name,
                              uint64_t sequence,
                              struct str bytes,
                              bool in_journal)
{
    struct verify *verify = context;
    struct verify_topic *topic = find_verified(verify, name);

    if (topic == NULL) {
        return ERR_NOMEM;
    }
    check_record(verify, topic, bytes, in_journal);
    verify->records++;
    progress_show(&verify->progress, 0, 0, "%llu records read, at %s",
                  (unsigned long long)verify->records, name);
    if (in_journal && sequence < topic->end) {
        return ERR_OK; /* it is in a segment, too */
    }
    topic->oldest = topic->records == 0 ? sequence : topic->oldest;
    topic->records++;
    topic->in_journal += in_journal ? 1 : 0;
    topic->bytes += bytes.size;
    topic->end = sequence + 1;
    return ERR_OK;
}

/* Whether messages are gone. All else costs none: a start completes tails,
 * makes indexes, `cmd` and `dlv` anew, and reads past a damaged head. */
static bool is_loss(const struct inspect_damage *damage)
{
    return damage->kind == TOPIC_FINDING_RECORD ||
           damage->kind == TOPIC_FINDING_GAP;
}

static void verify_damage(void *context, const struct inspect_damage *damage)
{
    struct verify *verify = context;
    const char *name = damage->topic != NULL ? damage->topic : "journal";
    char text[512];

    (void)snprintf(text, sizeof(text),
                   "%s: %s offset=%llu size=%llu sequence=%llu lost=%llu (%s)",
                   damage->path,
                   damage->kind == TOPIC_FINDING_TAIL ? "unfinished tail"
                   : is_loss(damage)                  ? "damaged"
                                                      : "no loss",
                   (unsigned long long)damage->offset,
                   (unsigned long long)damage->size,
                   (unsigned long long)damage->sequence,
                   (unsigned long long)damage->lost, damage->what);
    tell(verify, name, text);
    if (!is_loss(damage)) {
        return;
    }
    verify->places++;
    struct verify_topic *topic =
        damage->topic != NULL ? find_verified(verify, name) : NULL;
    if (topic != NULL) {
        topic->damaged++;
        topic->lost += damage->lost;
    }
}

static void verify_trim(void *context, const char *name, uint64_t oldest)
{
    struct verify *verify = context;

    verify_bodies_trim(&verify->bodies, name, oldest);
}

static void verify_deleted(void *context, const char *name)
{
    struct verify *verify = context;

    verify_bodies_delete(&verify->bodies, name);
}

/* Tell of the bodies that are still wanted, and not what they were. */
static void tell_bodies(struct verify *verify)
{
    for (size_t index = 0; index < verify->bodies.count; index++) {
        const struct verify_body *body = &verify->bodies.bodies[index];
        struct verify_topic *topic = find_verified(verify, body->topic);
        char text[128];
        (void)snprintf(text, sizeof(text), "body of message %llu: %s",
                       (unsigned long long)body->sequence,
                       body->err == ERR_NOT_FOUND ? "its file is missing"
                       : body->err == ERR_CORRUPT ? "damaged"
                                                  : err_text(body->err));
        tell(verify, body->topic, text);
        verify->places++;
        if (topic == NULL) {
            verify->failed = true;
            return;
        }
        topic->damaged++;
        topic->lost++;
    }
}

static void add_heads(struct table *table)
{
    static const char *const heads[] = {"TOPIC",    "OLDEST",     "END",
                                        "MESSAGES", "IN-JOURNAL", "BYTES",
                                        "DAMAGED",  "LOST"};

    for (unsigned index = 0; index < sizeof(heads) / sizeof(heads[0]);
         index++) {
        table_add(table, heads[index]);
    }
}

static int print_table(const struct verify *verify)
{
    struct table table;
    struct buf text = {0};

    table_init(&table, 8, 0xfe);
    add_heads(&table);
    for (size_t index = 0; index < verify->count; index++) {
        const struct verify_topic *topic = &verify->topics[index];
        table_add(&table, topic->name);
        table_add_u64(&table, topic->oldest);
        table_add_u64(&table, topic->end);
        table_add_u64(&table, topic->records);
        table_add_u64(&table, topic->in_journal);
        table_add_u64(&table, topic->bytes);
        table_add_u64(&table, topic->damaged);
        table_add_u64(&table, topic->lost);
    }
    table_print(&table, &text);
    table_fini(&table);
    return cli_print(&text);
}

static int print_lines(const struct verify *verify)
{
    struct buf text = {0};

    for (size_t index = 0; index < verify->count; index++) {
        const struct verify_topic *topic = &verify->topics[index];
        buf_append_c(&text, "{\"topic\":\"");
        buf_append_json(&text, str_from(topic->name));
        buf_append_format(&text,
                          "\",\"oldest\":%llu,\"end\":%llu,\"messages\":%llu,"
                          "\"in_journal\":%llu,\"bytes\":%llu,\"damaged\":%llu,"
                          "\"lost\":%llu}\n",
                          (unsigned long long)topic->oldest,
                          (unsigned long long)topic->end,
                          (unsigned long long)topic->records,
                          (unsigned long long)topic->in_journal,
                          (unsigned long long)topic->bytes,
                          (unsigned long long)topic->damaged,
                          (unsigned long long)topic->lost);
    }
    return cli_print(&text);
}

static int run_verify(struct verify *verify, struct inspect *inspect)
{
    const struct inspect_visit visit = {
        .topic = verify_begin,
        .record = verify_record,
        .damage = verify_damage,
        .trim = verify_trim,
        .deleted = verify_deleted,
        .context = verify,
    };

    progress_begin(&verify->progress);
    enum err err = inspect_segments(inspect, NULL, &visit);
    if (err == ERR_OK) {
        err = inspect_journals(inspect, &visit);
    }
    if (err == ERR_OK) {
        err = inspect_acked(inspect, &visit);
    }
    progress_end(&verify->progress);
    if (err == ERR_OK) {
        tell_bodies(verify);
    }
    if (err == ERR_OK && verify->failed) {
        err = ERR_NOMEM;
    }
    if (err != ERR_OK) {
        return cli_complain(verify->call, CLI_EXIT_FAILED, "%s", err_text(err));
    }
    int code = verify->call->json ? print_lines(verify) : print_table(verify);
    return code == CLI_EXIT_OK && verify->places > 0 ? CLI_EXIT_FAILED : code;
}

int cli_verify(int argument_count, char *const *arguments)
{
    struct cli_call call = {.command = "verify",
                            .usage = "[DIRECTORY] [--data DIRECTORY] [--json]\n"
                                     "Reads every record of a data directory "
                                     "(opq-data) that no server has."};
    const char *directory = "opq-data";
    const struct cli_option options[] = {
        {"data", &directory, NULL, NULL},
        {NULL, NULL, NULL, NULL},
    };
    struct verify verify = {.call = &call};
    struct inspect *inspect = NULL;
    int code = cli_parse(&call, argument_count, arguments, options, 0, 1);

    if (code != CLI_EXIT_OK || call.help) {
        return code;
    }
    if (call.word_count > 0) {
        directory = call.words[0];
    }
    verify.bodies.directory = directory;
    enum err err = inspect_open(directory, &inspect);
    code = err == ERR_OK ? run_verify(&verify, inspect)
                         : cli_data_complain(&call, directory, err);
    for (size_t index = 0; index < verify.count; index++) {
        free(verify.topics[index].name);
    }
    free(verify.topics);
    verify_bodies_fini(&verify.bodies);
    inspect_close(inspect);
    cli_call_fini(&call);
    return code;
}

/* --- dump ----------------------------------------------------------------- */

struct dump {
    struct cli_call *call;
    const char *topic;
    uint64_t first;
    uint64_t end;   /* one past the last to print */
    uint64_t next;  /* what was printed ends here */
    uint64_t count; /* printed */
    bool payload;   /* the FlatBuffers alone, instead of JSON */
};

/* Print the payload of a record: what is behind its header, unpadded. */
static enum err dump_payload(struct str bytes)
{
    struct segment_record head;
    struct buf text = {0};

    enum err err = segment_record_head(bytes, &head);
    if (err != ERR_OK) {
        return err;
    }
    buf_append_str(&text,
                   str_cut(bytes, RECORD_HEADER_SIZE, head.payload_size));
    return cli_print(&text) == CLI_EXIT_OK ? ERR_OK : ERR_IO;
}

static enum err dump_json(struct str bytes)
{
    struct record *record = malloc(sizeof(*record));
    struct buf text = {0};

    if (record == NULL) {
        return ERR_NOMEM;
    }
    enum err err = record_decode(bytes, record);
    if (err == ERR_OK) {
        buf_append_c(&text, "{\"seq\":");
        buf_append_u64(&text, record->sequence);
        if (record->message.options != NULL &&
            record->message.options->id.size > 0) {
            json_text_append_text(&text, "id", record->message.options->id);
        }
        store_show(record, &text);
        buf_append_c(&text, "}\n");
        err = cli_print(&text) == CLI_EXIT_OK ? ERR_OK : ERR_IO;
    }
    free(record);
    return err;
}

static enum err dump_record(void *context,
                            const char *name,
                            uint64_t sequence,
                            struct str bytes,
                            bool in_journal)
{
    struct dump *dump = context;

    /* What a segment had may come again from a journal. */
    if (strcmp(name, dump->topic) != 0 || sequence < dump->first ||
        sequence >= dump->end || (in_journal && sequence < dump->next)) {
        return ERR_OK;
    }
    dump->next = sequence + 1;
    dump->count++;
    return dump->payload ? dump_payload(bytes) : dump_json(bytes);
}

static void dump_damage(void *context, const struct inspect_damage *damage)
{
    const struct dump *dump = context;

    if (is_loss(damage)) {
        (void)cli_complain(dump->call, CLI_EXIT_FAILED,
                           "%s: damaged at offset %llu: see opq verify",
                           damage->path, (unsigned long long)damage->offset);
    }
}

static int run_dump(struct dump *dump, struct inspect *inspect)
{
    const struct inspect_visit visit = {
        .record = dump_record,
        .damage = dump_damage,
        .context = dump,
    };

    enum err err = inspect_segments(inspect, dump->topic, &visit);
    if (err == ERR_OK || err == ERR_NOT_FOUND) {
        err = inspect_journals(inspect, &visit);
    }
    if (err != ERR_OK) {
        return cli_complain(dump->call, CLI_EXIT_FAILED, "%s", err_text(err));
    }
    if (dump->count == 0) {
        return cli_complain(dump->call, CLI_EXIT_FAILED,
                            "there is no such message");
    }
    return CLI_EXIT_OK;
}

/* Read which messages are meant. */
static int read_range(struct dump *dump)
{
    const struct cli_call *call = dump->call;

    dump->topic = call->words[0];
    dump->end = UINT64_MAX;
    if (call->word_count == 1) {
        return dump->payload ? cli_complain(call, CLI_EXIT_USAGE,
                                            "--payload is of one message: "
                                            "give its SEQ")
                             : CLI_EXIT_OK;
    }
    if (str_to_u64(str_from(call->words[1]), &dump->first) != ERR_OK ||
        dump->first == UINT64_MAX) {
        return cli_complain(call, CLI_EXIT_USAGE, "SEQ is a number");
    }
    dump->end = dump->first + 1;
    return CLI_EXIT_OK;
}

int cli_dump(int argument_count, char *const *arguments)
{
    struct cli_call call = {
        .command = "dump",
        .usage = "TOPIC [SEQ] [--data DIRECTORY] [--payload]\n"
                 "Prints messages of a data directory (opq-data) that no "
                 "server has, a JSON object on\neach line; with --payload the "
                 "FlatBuffers bytes of one, for flatc."};
    struct dump dump = {.call = &call};
    const char *directory = "opq-data";
    const struct cli_option options[] = {
        {"data", &directory, NULL, NULL},
        {"payload", NULL, &dump.payload, NULL},
        {NULL, NULL, NULL, NULL},
    };
    struct inspect *inspect = NULL;
    int code = cli_parse(&call, argument_count, arguments, options, 1, 2);

    if (code != CLI_EXIT_OK || call.help) {
        return code;
    }
    code = read_range(&dump);
    if (code == CLI_EXIT_OK) {
        enum err err = inspect_open(directory, &inspect);
        code = err == ERR_OK ? run_dump(&dump, inspect)
                             : cli_data_complain(&call, directory, err);
    }
    inspect_close(inspect);
    cli_call_fini(&call);
    return code;
}
