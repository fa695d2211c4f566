/* The writing end of a topic's log: appends to the open segment and its index,
 * rolls to the next one, keeps what waits for a sync.
 *
 * It is lent to the flush while that runs on the helper; between flushes the
 * loop has it. What the disk holds behind `size` is never believed: a write
 * that failed is made again over it, at the same place.
 *
 * Durability: topic_writer_sync(). The .msg files written to stay open until
 * then, so that an error of writing back is not missed.
 *
 * Threads: one at a time.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_TOPIC_WRITER_H
#define OPQ_LOG_TOPIC_WRITER_H

#include "base/err.h"
#include "log/index.h"
#include "log/topic_tail.h"

#include <stdbool.h>
#include <stdint.h>

/* A segment that was sealed and waits for a sync. */
struct topic_unsynced {
    uint64_t first;
    int fd; /* owned */
};

struct topic_writer {
    const char *directory; /* borrowed */
    uint64_t size_max;     /* of a segment, bodies that lie beside included */
    uint64_t count_max;
    bool direct;       /* large writes go past the page cache */
    uint64_t position; /* records below it are written */

    bool open;        /* there is a segment to append to: */
    bool has_builder; /* `builder` is known */
    bool cut_needed;  /* bytes behind its size may be there */
    bool dirty;       /* it waits for a sync */
    uint64_t first;   /* its sequences, */
    uint64_t end;     /* up to here, */
    uint64_t size;    /* its bytes, */
    uint64_t beside;  /* bytes of bodies that lie beside, as far as is known, */
    uint64_t written_back; /* of these, its write-back has begun */
    int fd;                /* owned; -1: closed */
    int index_fd;          /* owned; -1: closed */
    struct index_builder builder;

    struct topic_unsynced *sealed; /* owned; wait for a sync */
    uint32_t sealed_count;
    uint32_t sealed_capacity;
    bool folder_known; /* the folder is there */
    bool folder_new;   /* it was not: its own name waits for a sync */
    bool names_dirty;  /* names in the folder wait for a sync */
};

/* Called when a segment was begun or grew. An error ends the append. */
struct topic_writer_watch {
    /* A segment is about to begin: make room for telling so. */
    enum err (*begin)(void *context, const struct topic_writer *writer);
    /* The open one has grown. */
    void (*grown)(void *context, const struct topic_writer *writer);
    void *context; /* borrowed during the call */
};

/* A writer for an empty log. Borrows: directory. */
void topic_writer_init(struct topic_writer *writer, const char *directory);

/* Close and free. Accepts a zeroed one. */
void topic_writer_fini(struct topic_writer *writer);

/* Write the records of a row that are at or past the position; after an
 * error, those written are below the position and the rest can be tried
 * again.
 *
 * Errors: ERR_FULL, ERR_IO, ERR_BUSY (descriptors), ERR_NOMEM,
 *         ERR_TOO_LARGE (path)
 */
MUST_CHECK enum err topic_writer_append(struct topic_writer *writer,
                                        const struct topic_tail *row,
                                        const struct topic_writer_watch *watch);

/* Make the folder, when that was not done yet.
 * Errors: ERR_FULL, ERR_IO */
MUST_CHECK enum err topic_writer_folder(struct topic_writer *writer);

/* Make all that was written durable, and the names of new files.
 * Errors: ERR_FULL, ERR_IO: fatal; ERR_BUSY (descriptors), ERR_TOO_LARGE */
MUST_CHECK enum err topic_writer_sync(struct topic_writer *writer);

/* Note that it was made durable otherwise. */
void topic_writer_synced(struct topic_writer *writer);

/* Close what is open only for speed. */
void topic_writer_close_files(struct topic_writer *writer);

/* Forget the open segment, which is about to be removed. */
void topic_writer_forget(struct topic_writer *writer);

/* Descriptors that are open. */
uint32_t topic_writer_files(const struct topic_writer *writer);

#endif
