/* Bodies too large for a record: received into a file, and opened.
 *
 * What happens: bytes are copied into one of two pieces; a full piece is
 * written by the loop while the other one fills; when both are full the owner
 * waits. Now and then what was written is synced, so that the sync at the end
 * is short and the page cache does not fill. At the end: the last piece, the
 * file's sync, the sync of the folder's names.
 *
 * A body that is to be a stored one once more gets a second name of its file,
 * or is copied by the helper, a piece at a time, so that other work goes
 * between.
 *
 * What fails: a write or sync. The body is of no use then; the owner drops it,
 * and its file is removed. What a kill leaves, the next start removes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "store/store_blob.h"
#include "store/store_local.h"
#include "store/store_local_internal.h"

#include "base/crc32c.h"
#include "base/diag.h"
#include "log/blob.h"
#include "sys/clock.h"
#include "sys/file.h"

#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

enum {
    BLOB_MAGIC = 0x426c6f62,
    PIECE_SIZE = 128 * 1024,
    SYNC_EVERY = 32 << 20, /* bytes written between syncs */
    COPY_SIZE = 1 << 20,   /* bytes copied before other work goes on */
};

/* Where the bytes come from that a body has once more. */
struct origin {
    struct message_blob body;
    uint64_t sequence;
    int fd;                   /* owned; -1: not open */
    char *piece;              /* owned; NULL: nothing is copied */
    uint64_t copied;          /* bytes */
    bool whole;               /* all is there, under both names or copied */
    char topic[DIR_PATH_MAX]; /* path of its folder */
};

struct local_blob {
    struct store_blob base;
    uint32_t magic;
    int fd;                /* owned */
    char *pieces;          /* owned: two of PIECE_SIZE */
    uint32_t filling;      /* which of them takes bytes */
    size_t fill_size;      /* bytes in it */
    uint64_t written;      /* bytes in the file */
    uint64_t synced;       /* of them, durable */
    uint64_t expect;       /* bytes counted in data->blob_expect */
    bool busy;             /* op or work runs */
    bool waiting;          /* ready() is due */
    bool ending;           /* store_blob_end() was called */
    bool named;            /* the folder's names are durable */
    bool dropped;          /* the file goes with it */
    bool released;         /* the owner has let go */
    bool failure_told;     /* ready() or ended() was called with `err` */
    enum err work_err;     /* of `work` */
    struct origin *origin; /* owned; NULL: the bytes are written to it */
    struct iovec part;
    struct io_file_op op;
    struct io_work work;
};

static struct local_blob *blob_local(struct store_blob *base)
{
    struct local_blob *blob = (struct local_blob *)base;
    CHECK(blob->magic == BLOB_MAGIC);
    return blob;
}

static struct local_store *blob_store(const struct local_blob *blob)
{
    return store_of(blob->base.store);
}

static void step(struct local_blob *blob);

/* --- room ----------------------------------------------------------------- */

/* `size` bytes are not expected any more. */
static void expect_less(struct local_blob *blob, uint64_t size)
{
    size = size < blob->expect ? size : blob->expect;
    blob->expect -= size;
    atomic_fetch_sub(&blob_store(blob)->data->blob_expect, size);
}

/* --- the end -------------------------------------------------------------- */

static void blob_free(struct local_blob *blob)
{
    struct local_store *store = blob_store(blob);
    expect_less(blob, blob->expect);
    store->blobs--;
    store_append_kick(store); /* closing may wait for it */
    file_close(blob->fd);
    free(blob->pieces);
    if (blob->origin != NULL) {
        file_close(blob->origin->fd);
        free(blob->origin->piece);
        free(blob->origin);
    }
    blob->magic = 0;
    free(blob);
}

static void remove_run(struct io_work *work)
{
    struct local_blob *blob = CONTAINER_OF(work, struct local_blob, work);
    char path[DIR_PATH_MAX];
    blob->work_err = blob_incoming_path(path, blob_store(blob)->data->directory,
                                        blob->base.message.id);
    if (blob->work_err == ERR_OK) {
        blob->work_err = file_remove(path);
    }
    file_close(blob->fd); /* here the blocks go, which takes its time */
    blob->fd = -1;
}

static void remove_done(struct io_work *work)
{
    struct local_blob *blob = CONTAINER_OF(work, struct local_blob, work);
    /* It is not there when sharing it failed. */
    if (blob->work_err != ERR_OK &&
        (blob->work_err != ERR_NOT_FOUND || blob->origin == NULL)) {
        DIAG_WARN("remove_failed", "blob=%016llx err=%s",
                  (unsigned long long)blob->base.message.id,
                  err_name(blob->work_err));
    }
    blob_free(blob);
}

/* The owner has let go and nothing runs. */
static void over(struct local_blob *blob)
{
    if (!blob->dropped || blob->base.message.id == 0) {
        blob_free(blob);
        return;
    }
    blob->work.run = remove_run;
    blob->work.done = remove_done;
    io_work_start(blob_store(blob)->io, &blob->work);
}

/* --- steps ---------------------------------------------------------------- */

static void op_done(struct io_file_op *op, enum err err, size_t size)
{
    struct local_blob *blob = CONTAINER_OF(op, struct local_blob, op);
    (void)size;
    blob->busy = false;
    if (err != ERR_OK && blob->base.err == ERR_OK) {
        blob->base.err = err == ERR_FULL ? ERR_FULL : ERR_IO;
    }
    step(blob);
}

static void names_run(struct io_work *work)
{
    struct local_blob *blob = CONTAINER_OF(work, struct local_blob, work);
    char path[DIR_PATH_MAX];
    blob->work_err = dir_join(path, blob_store(blob)->data->directory, "blobs");
    if (blob->work_err == ERR_OK) {
        blob->work_err = dir_sync(path);
    }
}

static void names_done(struct io_work *work)
{
    struct local_blob *blob = CONTAINER_OF(work, struct local_blob, work);
    blob->named = true;
    op_done(&blob->op, blob->work_err, 0);
}

static void write_piece(struct local_blob *blob)
{
    struct local_store *store = blob_store(blob);
    blob->part.iov_base = blob->pieces + (size_t)blob->filling * PIECE_SIZE;
    blob->part.iov_len = blob->fill_size;
    blob->op = (struct io_file_op){
        .done = op_done,
        .fd = blob->fd,
        .parts = &blob->part,
        .part_count = 1,
        .offset = blob->written,
    };
    blob->busy = true;
    blob->written += blob->fill_size;
    expect_less(blob, blob->fill_size);
    blob->filling = 1 - blob->filling;
    blob->fill_size = 0;
    io_write_at(store->io, &blob->op);
}

static void sync_file(struct local_blob *blob)
{
    blob->op = (struct io_file_op){.done = op_done, .fd = blob->fd};
    blob->busy = true;
    blob->synced = blob->written;
    io_sync(blob_store(blob)->io, &blob->op);
}

static void sync_names(struct local_blob *blob)
{
    blob->busy = true;
    blob->work.run = names_run;
    blob->work.done = names_done;
    io_work_start(blob_store(blob)->io, &blob->work);
}

/* Begin what is next; false when there is nothing to do now. */
static bool go_on(struct local_blob *blob)
{
    bool full = blob->fill_size == PIECE_SIZE;
    bool rest = blob->ending && blob->fill_size > 0;
    uint64_t unsynced = blob->written - blob->synced;
    if (unsynced >= SYNC_EVERY || (blob->ending && !rest && unsynced > 0)) {
        sync_file(blob);
    } else if (full || rest) {
        write_piece(blob);
    } else if (blob->ending && !blob->named) {
        sync_names(blob);
    } else {
        return false;
    }
    return true;
}

/* A failure is told once: at the end, or where the next bytes would be. */
static void tell_failure(struct local_blob *blob)
{
    if (!blob->failure_told) {
        blob->failure_told = true;
        if (blob->ending) {
            blob->base.ended(&blob->base);
        } else {
            blob->base.ready(&blob->base);
        }
    }
}

/* An operation ended. */
static void step(struct local_blob *blob)
{
    if (blob->released) {
        over(blob);
        return;
    }
    if (blob->base.err != ERR_OK) {
        tell_failure(blob);
        return;
    }
    if (!go_on(blob) && blob->ending) {
        blob->base.ended(&blob->base);
        return;
    }
    if (blob->waiting) {
        blob->waiting = false;
        blob->base.ready(&blob->base);
    }
}

/* --- operations ----------------------------------------------------------- */

static void draw_id(struct local_blob *blob)
{
    do {
        clock_random(&blob->base.message.id, sizeof(blob->base.message.id));
    } while (blob->base.message.id == 0);
}

/* Make the file; no id is used twice. */
static enum err make_file(struct local_blob *blob)
{
    const char *directory = blob_store(blob)->data->directory;
    char path[DIR_PATH_MAX];
    enum err err = ERR_EXISTS;
    while (err == ERR_EXISTS) {
        draw_id(blob);
        err = blob_incoming_path(path, directory, blob->base.message.id);
        if (err == ERR_OK) {
            err = file_open(path, FILE_WRITE | FILE_CREATE | FILE_EXCLUSIVE,
                            &blob->fd);
        }
    }
    return err;
}

enum err
store_blob_receive(struct store *base, uint64_t size, struct store_blob **out)
{
    struct local_store *store = store_of(base);
    enum err err = store_append_admit(store);
    if (err != ERR_OK) {
        return err;
    }
    uint64_t expect = atomic_load(&store->data->blob_expect);
    if (!store_space_has(store, size + expect)) {
        return ERR_FULL;
    }
    struct local_blob *blob = calloc(1, sizeof(*blob));
    if (blob == NULL) {
        return ERR_NOMEM;
    }
    blob->magic = BLOB_MAGIC;
    blob->base.store = base;
    blob->fd = -1;
    blob->pieces = malloc((size_t)2 * PIECE_SIZE);
    err = blob->pieces == NULL ? ERR_NOMEM : make_file(blob);
    if (err != ERR_OK) {
        free(blob->pieces);
        free(blob);
        return err == ERR_NOMEM || err == ERR_FULL || err == ERR_BUSY ? err
                                                                      : ERR_IO;
    }
    blob->expect = size;
    atomic_fetch_add(&store->data->blob_expect, size);
    store->blobs++;
    *out = &blob->base;
    return ERR_OK;
}

/* Look whether the disk has room, where nobody said how much is to come. */
static void check_room(struct local_blob *blob)
{
    struct local_store *store = blob_store(blob);
    store_space_check(store);
    if (store->stats.disk_low && blob->expect == 0 &&
        blob->base.err == ERR_OK) {
        blob->base.err = ERR_FULL;
    }
}

size_t store_blob_take(struct store_blob *base, struct str bytes)
{
    struct local_blob *blob = blob_local(base);
    size_t taken = 0;
    CHECK(!blob->ending);
    while (taken < bytes.size && base->err == ERR_OK) {
        if (blob->fill_size == PIECE_SIZE) {
            if (blob->busy) {
                break;
            }
            check_room(blob);
            if (base->err == ERR_OK) {
                (void)go_on(blob);
            }
            continue;
        }
        struct str piece = str_cut(bytes, taken, PIECE_SIZE - blob->fill_size);
        memcpy(blob->pieces + (size_t)blob->filling * PIECE_SIZE +
                   blob->fill_size,
               piece.data, piece.size);
        base->message.crc = crc32c(base->message.crc, piece.data, piece.size);
        blob->fill_size += piece.size;
        taken += piece.size;
    }
    base->message.size += taken;
    blob->waiting = taken < bytes.size;
    return taken;
}

void store_blob_finish(struct store_blob *base)
{
    struct local_blob *blob = blob_local(base);
    CHECK(!blob->ending && !blob->released && base->err == ERR_OK);
    blob->ending = true;
    if (!blob->busy) {
        (void)go_on(blob); /* at least the names are to be synced */
    }
}

static void let_go(struct local_blob *blob, bool dropped)
{
    CHECK(!blob->released);
    blob->released = true;
    blob->dropped = dropped;
    if (!blob->busy) {
        over(blob);
    }
}

void store_blob_discard(struct store_blob *base)
{
    let_go(blob_local(base), true);
}

void store_blob_release(struct store_blob *base)
{
    let_go(blob_local(base), false);
}

/* --- once more ------------------------------------------------------------ */

/* Open the stored body, and give it a second name. */
static enum err share_begin(struct local_blob *blob)
{
    struct origin *origin = blob->origin;
    const char *directory = blob_store(blob)->data->directory;
    enum err err = blob_open(directory, origin->topic, origin->sequence,
                             &origin->body, &origin->fd);
    if (err != ERR_OK) {
        return err;
    }
    do {
        draw_id(blob);
        err = blob_link(directory, origin->topic, origin->sequence,
                        origin->body.id, blob->base.message.id);
    } while (err == ERR_EXISTS);
    if (err != ERR_UNSUPPORTED) {
        origin->whole = err == ERR_OK;
        return err;
    }
    origin->piece = malloc(COPY_SIZE);
    return origin->piece == NULL ? ERR_NOMEM : make_file(blob);
}

/* Copy a piece; behind the last one, make the file durable. */
static enum err share_copy(struct local_blob *blob)
{
    struct origin *origin = blob->origin;
    size_t size = 0;
    enum err err = file_read_at(origin->fd, origin->piece, COPY_SIZE,
                                origin->copied, &size);
    if (err == ERR_OK && size == 0) {
        err = ERR_CORRUPT; /* it had its size when it was opened */
    }
    if (err == ERR_OK) {
        err =
            file_write_at(blob->fd, origin->piece, size, origin->copied, false);
    }
    if (err != ERR_OK) {
        return err;
    }
    origin->copied += size;
    if (origin->copied < origin->body.size) {
        return ERR_OK;
    }
    origin->whole = true;
    return file_sync(blob->fd);
}

static void share_run(struct io_work *work)
{
    struct local_blob *blob = CONTAINER_OF(work, struct local_blob, work);
    char path[DIR_PATH_MAX];
    enum err err =
        blob->origin->piece == NULL ? share_begin(blob) : share_copy(blob);
    if (err == ERR_OK && blob->origin->whole) {
        err = dir_join(path, blob_store(blob)->data->directory, "blobs");
        if (err == ERR_OK) {
            err = dir_sync(path);
        }
    }
    blob->work_err = err;
}

static void share_done(struct io_work *work)
{
    struct local_blob *blob = CONTAINER_OF(work, struct local_blob, work);
    if (blob->released) {
        over(blob);
        return;
    }
    if (blob->work_err == ERR_OK && !blob->origin->whole) {
        io_work_start(blob_store(blob)->io, &blob->work);
        return;
    }
    switch (blob->work_err) {
    case ERR_OK:
    case ERR_NOT_FOUND:
    case ERR_CORRUPT:
    case ERR_FULL:
    case ERR_BUSY:
    case ERR_NOMEM:
        blob->base.err = blob->work_err;
        break;
    default:
        blob->base.err = ERR_IO;
        break;
    }
    blob->busy = false;
    blob->base.ended(&blob->base);
}

enum err store_blob_repeat(struct store_topic *base,
                           uint64_t sequence,
                           const struct message_blob *body,
                           struct store_blob **out)
{
    struct local_store *store = store_topic_of(base)->store;
    enum err err = store_append_admit(store);
    if (err != ERR_OK) {
        return err;
    }
    struct local_blob *blob = calloc(1, sizeof(*blob));
    struct origin *origin = calloc(1, sizeof(*origin));
    err = blob == NULL || origin == NULL
              ? ERR_NOMEM
              : dir_join(origin->topic, store->topics_directory, base->name);
    if (err != ERR_OK) {
        free(blob);
        free(origin);
        return err == ERR_NOMEM ? err : ERR_IO;
    }
    origin->body = *body;
    origin->sequence = sequence;
    origin->fd = -1;
    blob->magic = BLOB_MAGIC;
    blob->base.store = &store->base;
    blob->base.message.size = body->size;
    blob->base.message.crc = body->crc;
    blob->fd = -1;
    blob->ending = true;
    blob->busy = true;
    blob->origin = origin;
    blob->work.run = share_run;
    blob->work.done = share_done;
    store->blobs++;
    io_work_start(store->io, &blob->work);
    *out = &blob->base;
    return ERR_OK;
}

enum err store_blob_find(struct store_topic *base,
                         uint64_t sequence,
                         const struct message_blob *blob,
                         int *out_fd)
{
    const struct local_topic *topic = store_topic_of(base);
    char path[DIR_PATH_MAX];
    enum err err = dir_join(path, topic->store->topics_directory, base->name);
    if (err == ERR_OK) {
        err = blob_open(topic->store->data->directory, path, sequence, blob,
                        out_fd);
    }
    return err == ERR_TOO_LARGE ? ERR_IO : err;
}

void store_blob_lost(struct store_topic *base, uint64_t sequence, enum err err)
{
    struct local_topic *topic = store_topic_of(base);
    topic->store->stats.quarantined++;
    DIAG_ERROR("body_damaged", "topic=%s sequence=%llu err=%s", base->name,
               (unsigned long long)sequence, err_name(err));
    const struct store_news news = {.kind = STORE_NEWS_DAMAGED,
                                    .subject = base->name,
                                    .what = "body",
                                    .sequence = sequence,
                                    .count = 1};
    store_tell(&topic->store->base, &news);
}
