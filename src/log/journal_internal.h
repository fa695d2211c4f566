/* What the parts of the journal share. Nothing outside of them includes this,
 * but tests, which wait for the helper.
 *
 *     journal.c          puts, commits, what fails
 *     journal_slot.c     files: found, filled, opened, freed
 *     journal_replay.c   recovery
 *     journal_entry.c    one entry, as bytes
 *     journal_pace.c     on the loop, or asynchronously
 *
 * Threads: the loop's, but journal_slot_prepare(), which the helper runs.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_JOURNAL_INTERNAL_H
#define OPQ_LOG_JOURNAL_INTERNAL_H

#include "log/journal.h"
#include "log/journal_entry.h"
#include "log/journal_pace.h"
#include "sys/dir.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    JOURNAL_NONE = -1,            /* no slot */
    JOURNAL_FILL_FIRST = 4 << 20, /* bytes filled before a file is used */
    JOURNAL_FILL_STEP = 1 << 20,  /* bytes between syncs of what is filled */
    JOURNAL_PREPARE_RETRY_NS = 1000000000, /* after one that failed */
    JOURNAL_SYNC_INLINE_MAX = 1 << 20,     /* bytes not yet synced; more are
                                              synced asynchronously */
};

enum slot_state {
    SLOT_ABSENT,    /* no file has this number */
    SLOT_FREE,      /* nothing in it counts */
    SLOT_PREPARING, /* being filled and opened */
    SLOT_READY,     /* to be the next current one */
    SLOT_CURRENT,   /* takes batches */
    SLOT_SEALED,    /* full, given up, or from before the start */
};

/* A file of the journal. */
struct journal_slot {
    uint32_t number; /* its name */
    enum slot_state state;
    uint64_t generation; /* CURRENT, SEALED */
    uint64_t end;        /* SEALED: what lies behind does not count */
    uint64_t unsynced;   /* bytes written but not durable */
    int fd;              /* owned; -1: closed */
    int direct_fd;       /* owned; -1: closed, or not direct */
};

/* A file being made ready, on the helper thread. */
struct journal_prepare {
    struct io_work work;
    struct journal *journal; /* borrowed; NULL: closed meanwhile */
    int slot;                /* index of the slot */
    bool running;            /* between start and done, the loop's */
    bool failed;             /* the last one, or there was none to make */
    bool full;               /* the last one, for want of room */
    bool room;               /* when last looked: see journal_options */
    uint64_t retry_at_ns;    /* not before, when it failed */

    char directory[DIR_PATH_MAX];
    char path[DIR_PATH_MAX];
    uint64_t size; /* of a file */
    bool create;   /* there is no such file */
    bool direct;
    bool probe;        /* see whether direct writes work */
    atomic_bool hurry; /* any thread: the file is needed soon */
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool ran; /* under the lock: run() is over */

    enum err err;  /* what came of it */
    int fd;        /* owned */
    int direct_fd; /* owned; -1: none */
};

/* A batch in memory. */
struct journal_buffer {
    char *memory; /* owned, aligned: room for ABORT entries, then the batch */
    size_t used;  /* of the batch */
};

enum commit_step {
    COMMIT_BEGIN,
    COMMIT_SYNC_OTHERS, /* what earlier commits left in other files */
    COMMIT_WRITE,
    COMMIT_SYNC,
    COMMIT_FILE,  /* after a failure: wait for the next file, */
    COMMIT_ABORT, /* and write to it, durably, that the batch does not count */
    COMMIT_END,
};

struct journal_commit {
    bool running;
    bool on_loop; /* waits for the disk */
    bool durable;
    bool timed; /* tells how fast the disk is: somebody waits for it */
    enum commit_step step;
    enum err err; /* the first failure */
    char *data;   /* borrowed: from the batch's buffer */
    size_t size;
    uint64_t offset; /* in the current file */
    int other;       /* slot that COMMIT_SYNC_OTHERS is at */
    uint64_t started_ns;
    void (*committed)(void *context, enum err err);
    void *context; /* borrowed */
    struct io_file_op op;
    struct iovec part;
};

struct journal {
    struct io *io; /* borrowed; NULL: recovery only */
    struct journal_options options;
    char *directory;            /* owned */
    struct journal_slot *slots; /* owned */
    int slot_count;
    int current; /* index, or JOURNAL_NONE */
    int ready;   /* index, or JOURNAL_NONE */
    bool direct;
    uint64_t offset;          /* in the current file: where it ends */
    uint64_t last_generation; /* highest given, or passed over */
    struct journal_place released;

    struct journal_abort *aborts; /* owned; not yet written */
    uint32_t abort_count;
    uint32_t abort_max;
    bool abort_urgent;  /* one of them undoes a refused batch */
    size_t prefix_size; /* room for them before a batch; aligned */

    struct journal_buffer buffers[2];
    int gathering; /* which of them takes puts */
    char *entry;   /* begun and not ended; borrowed from the buffer */
    struct journal_commit commit;
    struct journal_pace pace;
    struct journal_prepare *prepare; /* owned */
    uint32_t sealed_count;
    uint64_t sealed_bytes; /* in sealed files, behind `released` */
    struct journal_stats stats;
};

/* Round up to whole blocks. */
static inline uint64_t journal_align(uint64_t size)
{
    return (size + JOURNAL_BATCH_ALIGN - 1) &
           ~(uint64_t)(JOURNAL_BATCH_ALIGN - 1);
}

/* --- journal.c ------------------------------------------------------------ */

/* Tell whether a commit is running or the next file is being prepared: it ends
 * in some turn of the loop. Until then journal_close() would block. */
bool journal_busy(const struct journal *journal);

/* The helper has made a file, or could not: a commit may wait for that. */
void journal_commit_file_ended(struct journal *journal);

/* --- journal_slot.c ------------------------------------------------------- */

/* Find the files that are there, and make the table of slots.
 * Errors: ERR_IO, ERR_NOMEM */
MUST_CHECK enum err journal_slot_list(struct journal *journal);

/* Write the path of a slot's file to `path` of DIR_PATH_MAX bytes.
 * Errors: ERR_TOO_LARGE */
MUST_CHECK enum err journal_slot_path(const struct journal *journal,
                                      const struct journal_slot *slot,
                                      char *path);

/* Make the object that prepares files.
 * Errors: ERR_NOMEM */
MUST_CHECK enum err journal_slot_init(struct journal *journal);

/* Make a file ready here and now, if journal_slot_available() says so.
 * Blocks: on filling the beginning of a new file.
 * Errors: ERR_FULL, ERR_IO, ERR_BUSY (none is free, or descriptors) */
MUST_CHECK enum err journal_slot_ready_now(struct journal *journal);

/* Make the next file ready on the helper, unless there is one or none can be
 * had. */
void journal_slot_prepare_next(struct journal *journal);

/* A file is needed soon: fill no more of it than must be. */
void journal_slot_hurry(struct journal *journal);

/* Tell whether there is a free slot, or one to make, looking for room. */
bool journal_slot_available(struct journal *journal);

/* Close the files of a slot. */
void journal_slot_close(struct journal_slot *slot);

/* Take the ready slot as the current one, with the next generation. */
void journal_slot_take(struct journal *journal);

/* End the current file: what lies at or behind `end` does not count. */
void journal_slot_seal(struct journal *journal, uint64_t end);

/* Count what is in use, after slots changed. */
void journal_slot_account(struct journal *journal);

/* Remove free files that are more than there are to be. */
void journal_slot_shrink(struct journal *journal);

/* Wait for the helper, free all. Accepts a journal without. */
void journal_slot_fini(struct journal *journal);

/* --- journal_replay.c ----------------------------------------------------- */

/* Read what lies behind `from` and hand it to `replay`; slots are free or
 * sealed afterwards, and where each one ends is noted for an ABORT entry.
 * Errors: ERR_IO, ERR_NOMEM, what `replay->entry` gave */
MUST_CHECK enum err journal_replay_run(struct journal *journal,
                                       struct journal_place from,
                                       const struct journal_replay *replay);

#endif
