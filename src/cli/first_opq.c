/* Reading the data of the first OPQ.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/first_opq.h"

#include "base/buf.h"
#include "http/url.h"
#include "log/segment.h"
#include "log/topic_folder.h"
#include "sys/clock.h"
#include "sys/file.h"

#include <stdlib.h>
#include <string.h>

enum {
    INDEX_ENTRY = 8,
    INDEX_SIZE_MAX = 64 << 20, /* a million messages need far less */
};

static const uint32_t crc_polynomial = 0xedb88320;

uint32_t first_opq_crc(struct str bytes)
{
    static uint32_t table[256];
    uint32_t crc = 0xffffffff;

    if (table[1] == 0) {
        for (uint32_t value = 0; value < 256; value++) {
            uint32_t entry = value;
            for (int bit = 0; bit < 8; bit++) {
                entry = (entry >> 1) ^ ((entry & 1) != 0 ? crc_polynomial : 0);
            }
            table[value] = entry;
        }
    }
    for (size_t index = 0; index < bytes.size; index++) {
        crc = table[(crc ^ (uint8_t)bytes.data[index]) & 0xff] ^ (crc >> 8);
    }
    return ~crc;
}

/* --- messages ------------------------------------------------------------- */

/* Whether a list of names with commas has one. */
static bool list_has(struct str list, struct str name)
{
    while (list.size > 0) {
        size_t comma = str_find(list, ',');
        if (str_equal_nocase(str_trim(str_cut(list, 0, comma)), name)) {
            return true;
        }
        list = str_cut(list, comma + 1, list.size);
    }
    return false;
}

/* Headers that belonged to the connection, or to the body as it came. */
static bool is_dropped(const struct message *message, struct str name)
{
    static const char *const names[] = {
        "connection", "content-length",   "content-type", "expect",
        "host",       "keep-alive",       "te",           "trailer",
        "upgrade",    "transfer-encoding"};

    for (size_t index = 0; index < sizeof(names) / sizeof(names[0]); index++) {
        if (str_equal_nocase(name, str_from(names[index]))) {
            return true;
        }
    }
    if (str_equal_nocase(str_cut(name, 0, 6), STR("proxy-"))) {
        return true;
    }
    for (uint32_t index = 0; index < message->header_count; index++) {
        const struct pair *header = &message->headers[index];
        if (str_equal_nocase(header->key, STR("connection")) &&
            list_has(header->value, name)) {
            return true;
        }
    }
    return false;
}

static void drop_fields(struct record *record)
{
    struct message *message = &record->message;
    struct pair *fields = record->memory;
    uint32_t kept = 0;

    for (uint32_t index = 0; index < message->field_count; index++) {
        if (!str_equal(fields[index].key, STR("url")) &&
            !str_equal(fields[index].key, STR("topic"))) {
            fields[kept] = fields[index];
            kept++;
        }
    }
    message->field_count = kept;
}

/* The headers that stay are gathered apart, since each is compared with all
 * that Connection names. */
static void drop_headers(struct record *record)
{
    struct message *message = &record->message;
    struct pair stay[MESSAGE_PAIRS_MAX];
    uint32_t kept = 0;

    for (uint32_t index = 0; index < message->header_count; index++) {
        if (!is_dropped(message, message->headers[index].key)) {
            stay[kept] = message->headers[index];
            kept++;
        }
    }
    struct pair *headers = record->memory + MESSAGE_PAIRS_MAX;
    memcpy(headers, stay, kept * sizeof(stay[0]));
    message->headers = headers;
    message->header_count = kept;
}

/* Read a payload: its url, its fields but `url` and `topic`, which the message
 * says already, and its headers but those of the connection and the framing.
 *
 * Borrows: memory, of record_wrap_size() bytes with 8-byte alignment, as long
 *          as `*out_record` is used.
 * Errors:  ERR_CORRUPT  it is no Message, or has more pairs than OPQ takes
 *          ERR_INVALID  its url is none that OPQ delivers to
 */
static enum err decode(struct str payload,
                       uint64_t sequence,
                       uint64_t pushed_at_ms,
                       void *memory,
                       struct record *out_record)
{
    struct url url;
    const char *reason = NULL;
    size_t size = record_wrap_size(payload.size);

    record_wrap(payload, sequence, pushed_at_ms, memory);
    struct str bytes = {memory, size};
    if (record_decode(bytes, out_record) != ERR_OK) {
        return ERR_CORRUPT;
    }
    struct message *message = &out_record->message;
    if (url_parse(message->url, &url, &reason) != ERR_OK) {
        return ERR_INVALID;
    }
    drop_headers(out_record);
    drop_fields(out_record);
    /* What the first OPQ's records have not. */
    message->options = NULL;
    message->body = (struct str){NULL, 0};
    message->content_type = (struct str){NULL, 0};
    message->method = (struct str){NULL, 0};
    message->timeout_ms = 0;
    return ERR_OK;
}

/* --- folders -------------------------------------------------------------- */

static enum err add_name(struct first_opq *opq, const char *name)
{
    if (opq->count == opq->capacity) {
        size_t capacity = opq->capacity * 2 + 16;
        char **names = realloc(opq->names, capacity * sizeof(*names));
        if (names == NULL) {
            return ERR_NOMEM;
        }
        opq->names = names;
        opq->capacity = capacity;
    }
    opq->names[opq->count] = strdup(name);
    if (opq->names[opq->count] == NULL) {
        return ERR_NOMEM;
    }
    opq->count++;
    return ERR_OK;
}

/* Whether a folder has the files of a topic. */
static enum err has_files(void *context, const char *name, bool is_directory)
{
    uint64_t first = 0;

    if (!is_directory &&
        (strcmp(name, "cmd") == 0 || segment_name_parse(name, false, &first))) {
        *(bool *)context = true;
    }
    return ERR_OK;
}

static enum err visit_folder(void *context, const char *name, bool is_directory)
{
    struct first_opq *opq = context;
    char path[DIR_PATH_MAX];
    bool found = false;

    if (!is_directory) {
        return ERR_OK;
    }
    enum err err = dir_join(path, opq->directory, name);
    if (err == ERR_OK) {
        err = dir_each(path, has_files, &found);
    }
    return err == ERR_OK && found ? add_name(opq, name) : err;
}

static int compare_names(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static bool is_there(const char *directory, const char *name)
{
    char path[DIR_PATH_MAX];
    int fd = -1;
    enum err err = dir_join(path, directory, name);

    if (err == ERR_OK) {
        err = file_open(path, FILE_READ, &fd);
    }
    file_close(fd);
    return err == ERR_OK;
}

enum err first_opq_open(const char *directory, struct first_opq *out)
{
    const char *name = is_there(directory, "topics") ? "topics" : ".";
    struct first_opq opq = {.count = 0};

    if (is_there(directory, "meta")) {
        return ERR_INVALID;
    }
    enum err err = dir_join(opq.directory, directory, name);
    if (err == ERR_OK) {
        err = dir_each(opq.directory, visit_folder, &opq);
    }
    if (err == ERR_OK && opq.count == 0) {
        err = ERR_NOT_FOUND;
    }
    if (err != ERR_OK) {
        first_opq_fini(&opq);
        return err;
    }
    qsort(opq.names, opq.count, sizeof(opq.names[0]), compare_names);
    *out = opq;
    return ERR_OK;
}

void first_opq_fini(struct first_opq *opq)
{
    for (size_t index = 0; index < opq->count; index++) {
        free(opq->names[index]);
    }
    free(opq->names);
    opq->names = NULL;
    opq->count = 0;
}

/* A file that holds a number; false when there is none. */
static bool load_number(const char *directory, const char *name, uint64_t *out)
{
    char path[DIR_PATH_MAX];
    char *data = NULL;
    size_t size = 0;

    if (dir_join(path, directory, name) != ERR_OK ||
        file_load(path, 4096, &data, &size) != ERR_OK) {
        return false;
    }
    bool whole = size >= 8;
    if (whole) {
        *out = get_u64(data);
    }
    free(data);
    return whole;
}

enum err first_opq_topic(const struct first_opq *opq,
                         const char *name,
                         struct first_opq_topic *out_topic)
{
    char path[DIR_PATH_MAX];
    struct topic_folder folder;
    struct first_opq_topic topic = {.end = 0};

    enum err err = dir_join(path, opq->directory, name);
    if (err == ERR_OK) {
        err = topic_folder_list(path, &folder);
    }
    if (err != ERR_OK) {
        return err;
    }
    topic.has_cmd = load_number(path, "cmd", &topic.end);
    (void)load_number(path, "dlv", &topic.next);
    topic.firsts = folder.firsts;
    topic.count = folder.count;
    folder.firsts = NULL;
    topic_folder_fini(&folder);
    if (topic.has_cmd && topic.next > topic.end) {
        topic.next = topic.end;
    }
    *out_topic = topic;
    return ERR_OK;
}

void first_opq_topic_fini(struct first_opq_topic *topic)
{
    free(topic->firsts);
    topic->firsts = NULL;
    topic->count = 0;
}

/* --- files ---------------------------------------------------------------- */

/* A <N>.msg being walked. */
struct walk {
    const struct first_opq_visit *visit;
    uint64_t first;    /* shown from here on */
    uint64_t base;     /* N */
    uint64_t limit;    /* numbers that belong to the file end here */
    uint64_t sequence; /* of the record at `offset` */
    uint64_t offset;
    uint64_t size;
    int fd;
    char *index; /* owned: the .idx */
    size_t index_size;
    struct buf payload;
    struct buf memory;
    struct record *record; /* owned */
    uint64_t now_ms;
};

static void
tell(const struct walk *walk, uint64_t first, uint64_t end, const char *why)
{
    first = first > walk->first ? first : walk->first;
    if (first < end) {
        walk->visit->damaged(walk->visit->context, first, end, why);
    }
}

/* Read the record at an offset. ERR_CORRUPT: `*out_size` is what it says of
 * its size, or 0 when that makes no sense. */
static enum err
read_record(struct walk *walk, uint64_t offset, uint64_t *out_size)
{
    char head[FIRST_OPQ_HEAD_SIZE];
    size_t got = 0;

    *out_size = 0;
    enum err err = file_read_at(walk->fd, head, sizeof(head), offset, &got);
    if (err != ERR_OK || got < sizeof(head)) {
        return err == ERR_OK ? ERR_CORRUPT : err;
    }
    uint64_t size = get_u64(head);
    if (size == 0 || size > FIRST_OPQ_PAYLOAD_MAX ||
        size > walk->size - offset - sizeof(head)) {
        return ERR_CORRUPT;
    }
    buf_clear(&walk->payload);
    if (buf_reserve(&walk->payload, size) != ERR_OK) {
        return ERR_NOMEM;
    }
    err = file_read_at(walk->fd, walk->payload.data, size,
                       offset + sizeof(head), &got);
    if (err != ERR_OK) {
        return err;
    }
    walk->payload.size = got;
    *out_size = sizeof(head) + size;
    return got == size &&
                   first_opq_crc(buf_str(&walk->payload)) == get_u32(head + 8)
               ? ERR_OK
               : ERR_CORRUPT;
}

/* Show the record that was read. */
static enum err show(struct walk *walk)
{
    struct str payload = buf_str(&walk->payload);

    if (walk->sequence < walk->first) {
        return ERR_OK;
    }
    buf_clear(&walk->memory);
    if (buf_reserve(&walk->memory, record_wrap_size(payload.size)) != ERR_OK) {
        return ERR_NOMEM;
    }
    enum err err = decode(payload, walk->sequence, walk->now_ms,
                          walk->memory.data, walk->record);
    if (err != ERR_OK) {
        tell(walk, walk->sequence, walk->sequence + 1,
             err == ERR_INVALID ? "its url is none to deliver to"
                                : "it is no message, or has too many fields");
        return ERR_OK;
    }
    return walk->visit->message(walk->visit->context, walk->record);
}

/* Go to the next entry of the index that leads to a whole record.
 * Errors: ERR_NOT_FOUND */
static enum err skip_by_index(struct walk *walk)
{
    for (size_t at = 0; at + INDEX_ENTRY <= walk->index_size;
         at += INDEX_ENTRY) {
        uint64_t sequence = walk->base + get_u32(walk->index + at);
        uint64_t offset = get_u32(walk->index + at + 4);
        uint64_t size = 0;
        if (offset <= walk->offset || offset >= walk->size ||
            sequence <= walk->sequence || sequence >= walk->limit) {
            continue;
        }
        enum err err = read_record(walk, offset, &size);
        if (err == ERR_OK) {
            tell(walk, walk->sequence, sequence, "no whole record");
            walk->sequence = sequence;
            walk->offset = offset;
            return ERR_OK;
        }
        if (err != ERR_CORRUPT) {
            return err;
        }
    }
    return ERR_NOT_FOUND;
}

/* Whether the size that a damaged record says leads to a whole one, or to the
 * end. */
static enum err skip_by_size(struct walk *walk, uint64_t size)
{
    uint64_t next = walk->offset + size;
    uint64_t next_size = 0;
    enum err err = ERR_OK;

    if (size == 0) {
        return ERR_NOT_FOUND;
    }
    if (next < walk->size) {
        err = read_record(walk, next, &next_size);
    }
    if (err == ERR_CORRUPT) {
        return ERR_NOT_FOUND;
    }
    if (err == ERR_OK) {
        tell(walk, walk->sequence, walk->sequence + 1, "its checksum is wrong");
        walk->sequence++;
        walk->offset = next;
    }
    return err;
}

static enum err walk_records(struct walk *walk)
{
    enum err err = ERR_OK;

    while (err == ERR_OK && walk->offset < walk->size &&
           walk->sequence < walk->limit) {
        uint64_t size = 0;
        err = read_record(walk, walk->offset, &size);
        if (err == ERR_OK) {
            err = show(walk);
            walk->sequence++;
            walk->offset += size;
        } else if (err == ERR_CORRUPT) {
            err = skip_by_size(walk, size);
            err = err == ERR_NOT_FOUND ? skip_by_index(walk) : err;
        }
    }
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

static enum err walk_file(struct walk *walk, const char *directory)
{
    char path[DIR_PATH_MAX];

    walk->fd = -1;
    walk->index = NULL;
    walk->index_size = 0;
    enum err err = segment_path(path, directory, walk->base, true);
    if (err == ERR_OK && file_load(path, INDEX_SIZE_MAX, &walk->index,
                                   &walk->index_size) != ERR_OK) {
        walk->index_size = 0; /* it is only ever a help */
    }
    if (err == ERR_OK) {
        err = segment_path(path, directory, walk->base, false);
    }
    if (err == ERR_OK) {
        err = file_open(path, FILE_READ, &walk->fd);
    }
    if (err == ERR_OK) {
        err = file_size(walk->fd, &walk->size);
    }
    if (err == ERR_OK) {
        err = walk_records(walk);
    }
    file_close(walk->fd);
    free(walk->index);
    return err;
}

/* Walk the files one behind the other. */
static enum err walk_files(struct walk *walk,
                           const char *directory,
                           struct first_opq_topic *topic)
{
    enum err err = ERR_OK;

    for (size_t index = 0; err == ERR_OK && index < topic->count; index++) {
        walk->base = topic->firsts[index];
        walk->limit =
            index + 1 < topic->count ? topic->firsts[index + 1] : UINT64_MAX;
        if (walk->limit <= walk->first) {
            continue;
        }
        tell(walk, walk->sequence, walk->base, "no file has them");
        walk->sequence = walk->base;
        walk->offset = 0;
        err = walk_file(walk, directory);
        if (walk->limit != UINT64_MAX) {
            tell(walk, walk->sequence, walk->limit, "no whole record");
            walk->sequence = walk->limit;
        }
    }
    return err;
}

enum err first_opq_walk(const struct first_opq *opq,
                        const char *name,
                        struct first_opq_topic *topic,
                        uint64_t first,
                        const struct first_opq_visit *visit)
{
    char path[DIR_PATH_MAX];
    struct walk walk = {
        .visit = visit,
        .first = first,
        .sequence = topic->count > 0 ? topic->firsts[0] : 0,
        .now_ms = clock_wall_ms(),
        .record = malloc(sizeof(struct record)),
    };

    enum err err = walk.record == NULL ? ERR_NOMEM : ERR_OK;
    if (err == ERR_OK) {
        err = dir_join(path, opq->directory, name);
    }
    if (err == ERR_OK) {
        err = walk_files(&walk, path, topic);
    }
    if (err == ERR_OK && topic->has_cmd) {
        tell(&walk, walk.sequence, topic->end, "no whole record at the end");
    }
    if (err == ERR_OK && topic->end < walk.sequence) {
        topic->end = walk.sequence;
    }
    buf_fini(&walk.payload);
    buf_fini(&walk.memory);
    free(walk.record);
    return err;
}
