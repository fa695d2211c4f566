/* Readers of the local store.
 *
 * A reader has a block of records in a row, copied from the tail in memory or
 * read from a segment: at once when the page cache has it, by the loop
 * otherwise. Reading in order out of the block costs decoding alone. Blocks
 * begin small and grow while reading goes on in order; a reader that has caught
 * up has none.
 *
 * What fails: bytes that are no record, or not the record that must be there,
 * are damaged: the log is told and says where the next whole record is.
 *
 * SPDX-License-Identifier: MIT
 */
#include "store/store_local.h"
#include "store/store_local_internal.h"
#include "store/store_views.h"

#include "base/diag.h"
#include "sys/file.h"

#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

struct local_reader {
    struct store_reader base;
    uint32_t magic;
    bool reading; /* op runs */
    bool dead;    /* destroyed meanwhile */
    bool wide;    /* the record is larger than the block: a larger one */
    bool waited;  /* the block was read by the loop, so all that there is */
    bool wait;    /* the page cache has not enough: let the loop read */
    enum err err; /* of the last read; told once */
    char *block;  /* owned; NULL: none */
    size_t capacity;
    size_t asked;    /* bytes that were to be read into it */
    size_t size;     /* bytes that were */
    size_t position; /* of the next record in it */
    uint64_t from;   /* asked for this, or later, the block is right: */
    uint64_t first;  /* sequence at its beginning */
    uint64_t next;   /* sequence expected at `position` */
    uint64_t behind; /* one past the last sequence that was given out */
    size_t ahead;    /* bytes of the next read from a file */
    struct io_file_op op;
    struct iovec part;
};

/* What looking for a record in the block came to. */
enum look {
    LOOK_FOUND,
    LOOK_ELSEWHERE, /* it is not in this block */
    LOOK_CUT,       /* the block ends inside of it, or before */
    LOOK_DAMAGED,   /* at `next` */
};

static struct local_reader *reader_local(struct store_reader *base)
{
    struct local_reader *reader = (struct local_reader *)base;
    CHECK(reader->magic == STORE_READER_MAGIC);
    return reader;
}

static void block_drop(struct local_reader *reader)
{
    free(reader->block);
    reader->block = NULL;
    reader->capacity = 0;
    reader->size = 0;
    reader->position = 0;
}

/* Let the block have room for `size` bytes; what is in it is forgotten. */
static enum err block_reserve(struct local_reader *reader, size_t size)
{
    reader->size = 0;
    reader->position = 0;
    if (reader->capacity < size) {
        block_drop(reader);
        reader->block = malloc(size);
        if (reader->block == NULL) {
            return ERR_NOMEM;
        }
        reader->capacity = size;
    }
    return ERR_OK;
}

enum err store_read_create(struct store_topic *topic, struct store_reader **out)
{
    struct local_reader *reader = calloc(1, sizeof(*reader));
    if (reader == NULL) {
        return ERR_NOMEM;
    }
    reader->magic = STORE_READER_MAGIC;
    reader->base.topic = topic;
    reader->ahead = STORE_BLOCK_SIZE_MIN;
    *out = &reader->base;
    return ERR_OK;
}

static void reader_free(struct local_reader *reader)
{
    free(reader->block);
    reader->magic = 0;
    free(reader);
}

void store_read_destroy(struct store_reader *base)
{
    struct local_reader *reader = reader_local(base);
    if (reader->reading) {
        reader->dead = true; /* freed when the read ends */
        return;
    }
    reader_free(reader);
}

/* --- out of the block ----------------------------------------------------- */

/* Look for `sequence` in the block, from the position on. */
static enum look
look(struct local_reader *reader, uint64_t sequence, struct record *out_record)
{
    if (reader->block == NULL || sequence < reader->from) {
        return LOOK_ELSEWHERE;
    }
    if (sequence < reader->first) {
        sequence = reader->first; /* those between are lost */
    }
    if (sequence < reader->next) {
        reader->position = 0;
        reader->next = reader->first;
    }
    while (reader->position < reader->size) {
        struct str rest = {reader->block + reader->position,
                           reader->size - reader->position};
        size_t size = 0;
        uint64_t found = 0;
        uint64_t pushed_at_ms = 0;
        enum err err = record_peek(rest, &size, &found, &pushed_at_ms);
        if (err == ERR_AGAIN) {
            return LOOK_CUT;
        }
        if (err != ERR_OK || found < reader->next) {
            return LOOK_DAMAGED;
        }
        if (found >= sequence) {
            /* Past it when those between were lost before they were stored. */
            if (record_decode(rest, out_record) != ERR_OK) {
                return LOOK_DAMAGED;
            }
            reader->position += size;
            reader->next = found + 1;
            return LOOK_FOUND;
        }
        reader->position += size;
        reader->next = found + 1;
    }
    return LOOK_CUT;
}

/* --- into the block ------------------------------------------------------- */

/* Copy records from the tail: as many whole ones as a small block takes. */
static enum err fill_memory(struct local_reader *reader,
                            const struct topic_place *place)
{
    size_t size = 0;
    while (size < place->memory.size) {
        size_t one = 0;
        uint64_t sequence = 0;
        uint64_t pushed_at_ms = 0;
        struct str rest = str_cut(place->memory, size, place->memory.size);
        enum err err = record_peek(rest, &one, &sequence, &pushed_at_ms);
        CHECK(err == ERR_OK); /* it was encoded by this process */
        if (size > 0 && size + one > STORE_BLOCK_SIZE_MIN) {
            break;
        }
        size += one;
    }
    enum err err = block_reserve(reader, size);
    if (err != ERR_OK) {
        return err;
    }
    memcpy(reader->block, place->memory.data, size);
    reader->asked = size;
    reader->size = size;
    reader->first = place->first;
    reader->next = place->first;
    reader->ahead = STORE_BLOCK_SIZE_MIN;
    return ERR_OK;
}

static void read_done(struct io_file_op *op, enum err err, size_t size)
{
    struct local_reader *reader = CONTAINER_OF(op, struct local_reader, op);
    struct local_topic *topic = store_topic_of(reader->base.topic);
    struct local_store *store = topic->store;
    bool dead = reader->dead;
    reader->reading = false;
    topic_log_release(topic->log);
    store->reads--;
    if (dead) {
        reader_free(reader);
    } else {
        reader->err = err;
        reader->size = err == ERR_OK ? size : 0;
    }
    store_topics_account(topic);
    store_topics_release(topic);
    if (!dead) {
        reader->base.ready(&reader->base);
    }
}

/* Begin to read on the helper or by the kernel. */
static enum err read_start(struct local_reader *reader,
                           const struct topic_place *place,
                           size_t size)
{
    struct local_topic *topic = store_topic_of(reader->base.topic);
    CHECK(reader->base.ready != NULL);
    reader->waited = true;
    topic_log_hold(topic->log);
    topic->holds++;
    topic->store->reads++;
    reader->reading = true;
    reader->part.iov_base = reader->block;
    reader->part.iov_len = size;
    reader->op = (struct io_file_op){
        .done = read_done,
        .fd = place->fd,
        .parts = &reader->part,
        .part_count = 1,
        .offset = place->offset,
    };
    io_read_at(topic->store->io, &reader->op);
    return ERR_AGAIN;
}

/* Read a block from a segment. */
static enum err fill_file(struct local_reader *reader,
                          const struct topic_place *place)
{
    size_t size = reader->ahead;
    if (size > place->size) {
        size = (size_t)place->size;
    }
    enum err err = block_reserve(reader, size);
    if (err != ERR_OK) {
        return err;
    }
    reader->asked = size;
    reader->first = place->first;
    reader->next = place->first;
    reader->waited = false;
    if (reader->wait) {
        return read_start(reader, place, size);
    }
    size_t done = 0;
    err =
        file_read_cached(place->fd, reader->block, size, place->offset, &done);
    if (err == ERR_AGAIN || (err == ERR_OK && done == 0)) {
        return read_start(reader, place, size);
    }
    if (err != ERR_OK) {
        return ERR_IO;
    }
    reader->size = done;
    return ERR_OK;
}

/* Choose how much to read: more and more in order, little elsewhere. */
static void choose_ahead(struct local_reader *reader, uint64_t sequence)
{
    if (reader->wait) {
        return; /* the same again */
    }
    if (reader->wide) {
        reader->ahead *= 2;
    } else if (reader->block == NULL || sequence != reader->behind) {
        reader->ahead = STORE_BLOCK_SIZE_MIN;
    } else {
        bool most = reader->ahead >= STORE_BLOCK_SIZE_MAX;
        reader->ahead = most ? STORE_BLOCK_SIZE_MAX : 2 * reader->ahead;
    }
}

static enum err place_err(enum err err)
{
    switch (err) {
    case ERR_RANGE:
    case ERR_NOT_FOUND:
    case ERR_NOMEM:
        return err;
    default:
        return ERR_IO;
    }
}

/* Fill the block from where the log says that a record is. */
static enum err fill(struct local_reader *reader,
                     uint64_t sequence,
                     const struct topic_place *place)
{
    reader->from = sequence < place->first ? sequence : place->first;
    if (place->memory.size > 0) {
        return fill_memory(reader, place);
    }
    choose_ahead(reader, sequence);
    return fill_file(reader, place);
}

/* Find the record and fill the block. */
static enum err find(struct local_reader *reader, uint64_t sequence)
{
    struct local_topic *topic = store_topic_of(reader->base.topic);
    struct topic_place place;
    enum err err = topic_log_find(topic->log, sequence, &place);
    store_topics_account(topic);
    if (err == ERR_OK) {
        err = fill(reader, sequence, &place);
    } else {
        err = place_err(err);
    }
    store_flush_close_files(topic->store);
    return err;
}

static void
tell_lost(const struct local_topic *topic, uint64_t first, uint64_t count)
{
    const struct store_news news = {.kind = STORE_NEWS_DAMAGED,
                                    .subject = topic->base.name,
                                    .what = "record",
                                    .sequence = first,
                                    .count = count};
    store_tell(&topic->store->base, &news);
}

/* The record at `next` is damaged: go on behind it. */
static enum err skip(struct local_reader *reader, uint64_t sequence)
{
    struct local_topic *topic = store_topic_of(reader->base.topic);
    uint64_t damaged = reader->next;
    uint64_t count = topic_log_stats(topic->log)->quarantined;
    struct topic_place place;
    enum err err = topic_log_skip(topic->log, damaged, &place);
    uint64_t lost = topic_log_stats(topic->log)->quarantined - count;
    if (lost > 0) {
        DIAG_ERROR("record_damaged", "topic=%s sequence=%llu count=%llu",
                   topic->base.name, (unsigned long long)damaged,
                   (unsigned long long)lost);
        tell_lost(topic, damaged, lost);
        store_topics_mark(topic);
        store_views_moved(topic);
        store_append_kick(topic->store);
    }
    store_topics_account(topic);
    block_drop(reader);
    if (err != ERR_OK) {
        return place_err(err);
    }
    return fill(reader, sequence, &place);
}

/* The block ended before the record did. */
static enum err go_on(struct local_reader *reader, uint64_t sequence)
{
    struct local_topic *topic = store_topic_of(reader->base.topic);
    struct topic_place place;
    enum err err = topic_log_find(topic->log, sequence, &place);
    if (err != ERR_OK) {
        return place_err(err);
    }
    bool same = place.memory.size == 0 && place.first == reader->first;
    bool cut = reader->size < reader->asked;
    if (same && (reader->asked >= place.size || cut) &&
        (reader->waited || !cut)) {
        return skip(reader, sequence); /* all there is, and it is not there */
    }
    reader->wait = same && cut;
    reader->wide = same && !cut;
    err = fill(reader, sequence, &place);
    reader->wait = false;
    reader->wide = false;
    return err;
}

enum err store_read_next(struct store_reader *base,
                         uint64_t sequence,
                         struct record *out_record)
{
    struct local_reader *reader = reader_local(base);
    const struct store_bounds *bounds = &base->topic->bounds;
    CHECK(!reader->reading);
    enum err err = reader->err;
    reader->err = ERR_OK;
    if (err == ERR_OK && sequence < bounds->oldest) {
        err = ERR_RANGE;
    }
    if (err == ERR_OK && sequence >= bounds->end) {
        err = ERR_NOT_FOUND;
    }
    while (err == ERR_OK) {
        switch (look(reader, sequence, out_record)) {
        case LOOK_FOUND:
            reader->behind = out_record->sequence + 1;
            return ERR_OK;
        case LOOK_ELSEWHERE:
            err = find(reader, sequence);
            break;
        case LOOK_CUT:
            err = go_on(reader, sequence);
            break;
        case LOOK_DAMAGED:
            err = skip(reader, sequence);
            break;
        }
    }
    if (err != ERR_AGAIN) {
        block_drop(reader);
    }
    return err;
}

enum err store_read_find_time(struct store_topic *base,
                              uint64_t at_ms,
                              uint64_t *out_sequence)
{
    struct local_topic *topic = store_topic_of(base);
    uint64_t sequence = 0;
    enum err err = topic_log_find_time(topic->log, at_ms, &sequence);
    store_topics_account(topic);
    store_flush_close_files(topic->store);
    if (err != ERR_OK) {
        return ERR_IO;
    }
    if (sequence < base->bounds.oldest) {
        sequence = base->bounds.oldest;
    }
    *out_sequence = sequence > base->bounds.end ? base->bounds.end : sequence;
    return ERR_OK;
}

void store_read_tell_lost(const struct store *base)
{
    const struct local_store *store = store_of((struct store *)base);
    for (struct list *node = store->topics.next; node != &store->topics;
         node = node->next) {
        const struct local_topic *topic =
            CONTAINER_OF(node, struct local_topic, link);
        uint32_t count = 0;
        const struct topic_lost *lost = topic_log_lost(topic->log, &count);
        for (uint32_t i = 0; i < count; i++) {
            tell_lost(topic, lost[i].first, lost[i].end - lost[i].first);
        }
    }
}
