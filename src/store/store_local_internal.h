/* What the parts of the local store share. Nothing outside of them includes
 * this.
 *
 *     store_local.c      life-cycle, the table of operations
 *     store_data.c       the directory as a whole: lock, meta, other shards
 *     store_topics.c     topics by name and id: make, delete
 *     store_views.c      views of topics; what configures both
 *     store_append.c     changes, gathered, committed, reported
 *     store_gather.c     when a commit waits for more changes
 *     store_cursor.c     how far topics are delivered
 *     store_acked.c      the same, beyond what a cursor has ranges for
 *     store_flush.c      what is written behind the loop, and by whom
 *     store_chore.c      of that, the removal of folders and files
 *     store_checkpoint.c freeing the journal
 *     store_recover.c    from what a crash left to a store that serves
 *     store_notes.c      what a successor need not look at
 *     store_read.c       readers
 *     store_blob.c       bodies in files: received, opened
 *     store_blob_place.c the same: brought to their topics, removed
 *     store_space.c      room on disk, retention
 *
 * The way of a change: it is encoded into the journal's batch and noted in
 * `batches[gathering]`. The turn hook commits the batch; store_append applies
 * it to the topics or rolls it back, puts its ops on `finished`, and the hook
 * reports them, then tells the watches of the topics on `moved`.
 *
 * Threads: the loop's of the shard, but what runs as a job: see store_flush.c.
 *
 * store_views.c, store_acked.c and store_notes.c have headers of their own.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_STORE_STORE_LOCAL_INTERNAL_H
#define OPQ_STORE_STORE_LOCAL_INTERNAL_H

#include "base/buf.h"
#include "base/check.h"
#include "base/err.h"
#include "base/list.h"
#include "base/str.h"
#include "log/checkpoint.h"
#include "log/cursor_page.h"
#include "log/journal.h"
#include "log/meta.h"
#include "log/range_page.h"
#include "log/tail_reserve.h"
#include "log/topic_conf.h"
#include "log/topic_log.h"
#include "store/store.h"
#include "sys/dir.h"
#include "sys/io.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct acked_file;
struct chore;
struct local_store;
struct store_local_options;

enum {
    STORE_MAGIC = 0x53746f72,
    STORE_TOPIC_MAGIC = 0x546f7069,
    STORE_READER_MAGIC = 0x52656164,
    STORE_JOB_TOPICS_MAX = 64,        /* of one job, so that none is long */
    STORE_JOB_SYNCS_MAX = 4,          /* topics that one job syncs, likewise */
    STORE_JOB_REMOVE_MAX = 8,         /* files, likewise */
    STORE_JOBS_BEFORE_REMOVAL = 4,    /* other jobs, while there are any */
    STORE_JOB_SIZE_MAX = 4 << 20,     /* bytes, likewise */
    STORE_SYNC_FILES_MAX = 32,        /* topics; more are synced at once */
    STORE_FLUSH_SIZE_MIN = 64 << 10,  /* a tail of so many bytes is flushed, */
    STORE_FLUSH_SIZE_MAX = 1 << 20,   /* as memory allows */
    STORE_HOLD_MS = 1000,             /* pause after a failed job */
    STORE_SPACE_CHECK_MS = 1000,      /* between looks at the free space */
    STORE_SPACE_IDLE_MS = 10000,      /* the same while it is not low and
                                         nobody pushes */
    STORE_ROOM_GROWN = 1 << 20,       /* so many more free bytes are room */
    STORE_RETENTION_MS = 10000,       /* between looks at the limits */
    STORE_CURSORS_RIDING_MAX = 32,    /* that go along with other changes */
    STORE_RESERVE_BATCHES = 4,        /* that memory is set aside for */
    STORE_CHANGES_MIN = 1024,         /* slots of a batch at the start */
    STORE_BLOCK_SIZE_MIN = 16 << 10,  /* first read-ahead of a reader */
    STORE_BLOCK_SIZE_MAX = 256 << 10, /* of one that reads in order */
    STORE_BUCKETS_MAX = 65536,        /* of the tables of topics */
};

/* A body that an earlier process received. */
struct leftover {
    uint64_t id;
    atomic_bool named; /* by a record of a journal */
};

/* What a shard leaves that was closed in order. */
struct shard_end {
    struct journal_place place; /* generation 0: it was not */
    uint64_t checkpoint;        /* the last complete one */
    struct buf notes;           /* owned: store_notes.h */
};

/* A data directory that this process has. */
struct store_local_data {
    struct store_local_options *options; /* owned copy */
    char *directory;                     /* owned */
    struct meta meta;
    struct shard_end *ends; /* owned; by shard */
    bool goes_on;           /* it is as the process left it that told of ends */
    int lock_fd;            /* owned */
    struct leftover *leftovers;       /* owned; by id */
    size_t leftover_count;            /* fixed before there are stores */
    atomic_uint recovered;            /* shards that have read their journals */
    atomic_bool doubt;                /* one of them had damage */
    atomic_uint_fast64_t blob_expect; /* bytes that bodies begun still need */
};

/* A body that is to be placed. */
struct blob_place {
    struct list link;
    uint64_t sequence;
    uint64_t id;
    bool reserved; /* it is of the store's `tail_reserve` */
};

/* What brings a topic back to before a change; owned by the change. */
struct undo {
    struct undo *next;          /* the next pending one of the topic */
    struct undo *views;         /* owned; of a purge: those of the views that
                                   it moves, linked by this */
    struct local_topic *view;   /* of such a one; holds it */
    struct store_cursor cursor; /* its ranges and retries are owned */
    uint64_t epoch;
    uint64_t oldest;
    char *settings; /* owned */
    size_t settings_size;
    struct store_retention retention;
    bool hold;
    uint32_t announced; /* enum announced */
};

/* Undos of a topic's pending changes of a kind, in order: the first one tells
 * what is committed. */
struct undo_list {
    struct undo *first; /* borrowed from the changes, as all of them */
    struct undo *last;
};

enum change_kind {
    CHANGE_APPEND,
    CHANGE_TOPIC, /* the journal learns of a topic */
    CHANGE_CONFIGURE,
    CHANGE_DELETE,
    CHANGE_CURSOR, /* plain progress */
    CHANGE_TRIM,   /* by retention */
    CHANGE_MOVE,
    CHANGE_PURGE,
};

/* One entry of a batch. */
struct change {
    enum change_kind kind;
    uint32_t record_size;
    struct local_topic *topic; /* borrowed; holds it */
    struct store_op *op;       /* borrowed; NULL: nobody asked */
    void *record;              /* CHANGE_APPEND: borrowed, in the batch */
    struct undo *undo;         /* owned; NULL where there is nothing to undo */
    uint64_t before;           /* CHANGE_TRIM, CHANGE_PURGE: the oldest kept */
};

/* The changes of one commit, in order. */
struct batch {
    struct change *changes; /* owned */
    uint32_t count;
    uint32_t capacity;
    bool durable; /* one of them asks for it */
};

/* What there is of a topic's own folder. */
enum folder {
    FOLDER_NONE,  /* nothing: what is there is another topic's */
    FOLDER_MAYBE, /* a flush has begun to make it */
    FOLDER_MADE,
};

/* What the journal knows of a topic. */
enum announced {
    ANNOUNCED_NOT,
    ANNOUNCED_PUT,  /* in a batch that is not committed */
    ANNOUNCED_KEPT, /* in one that is, or on disk */
};

struct local_topic {
    struct store_topic base;
    uint32_t magic;
    enum announced announced;
    struct local_store *store; /* borrowed */
    struct topic_log *log;     /* owned; a view's has no messages */
    struct local_topic *by_name_next;
    struct local_topic *by_id_next;
    uint64_t next;  /* sequence of the next append: bounds.end, and those in
                       batches */
    uint64_t epoch; /* of the cursor */
    uint64_t created_ms;
    uint64_t memory_seen;        /* counted in the store's figures */
    uint32_t files_seen;         /* likewise */
    uint32_t segments_seen;      /* segments when limits were looked at */
    uint64_t quarantined_seen;   /* counted in the store's figures */
    struct chore *removal;       /* owned, of its folder; NULL: not made */
    struct store_range *ranges;  /* owned; NULL while there are none */
    struct store_retry *retries; /* likewise */
    struct undo_list moves;      /* of pending moves and purges */
    struct undo_list settings;   /* of pending changes of settings */
    struct local_topic *doomed;  /* a topic of this name whose deletion failed:
                                    it goes before this one is announced */
    uint32_t page_slot;          /* of the cursor page, CURSOR_PAGE_NONE */
    uint32_t range_slot;         /* of the range page, RANGE_PAGE_NONE */
    struct acked_file *acked;    /* owned; NULL while there is none */
    uint32_t holds;              /* changes, jobs and reads that refer to it */
    struct list views;           /* of local_topic.view_link; those whose
                                    deletion is not durable, too */
    uint32_t view_count;         /* of them; each holds the topic */
    bool hidden;                 /* of a view: deleted with its topic */
    bool deleted;                /* the handle is invalid */
    bool gone;                   /* its deletion is durable: free it when
                                    nothing holds it */
    struct list blobs;           /* of blob_place: committed, to be placed */
    bool has_blobs;              /* bodies were placed, now or earlier */
    enum folder folder;          /* whether it is on disk */
    bool conf_dirty;             /* topic.conf is not what it should be */
    bool trim_dirty;             /* the journal does not know bounds.oldest */
    bool displaced;              /* recovery: another one took the name */
    bool waits;                  /* recovery: its folder is another one's */
    bool noted;                  /* recovery: its folder was not looked at */
    bool flushing;               /* in the running job */
    struct list link;            /* of all topics, all views, or the deleted */
    struct list view_link;       /* of the topic's views */
    struct list cursor_link;     /* cursor or trim for the journal */
    struct list dirty_link;      /* changed since the last checkpoint */
    struct list checkpoint_link; /* in the running one */
    struct list moved_link;      /* to tell the watches, and to account */
    struct list tail_link;       /* has messages in memory */
    struct list urgent_link;     /* so many that they are to be flushed */
    struct list files_link;      /* has open files; least recently used first */
    char name[];                 /* base.name */
};

enum job_kind {
    JOB_CHORE,
    JOB_FLUSH,    /* of topics with large tails */
    JOB_TOPICS,   /* some of the topics of a checkpoint */
    JOB_SYNC,     /* the whole file system, or the folder of topics */
    JOB_COMPLETE, /* the checkpoint's own slot */
};

struct job_topic {
    struct local_topic *topic; /* borrowed; holds it */
    struct topic_flush *flush; /* borrowed, until the job is done */
    struct buf conf;           /* owned; what topic.conf is to hold */
    struct list blobs;         /* of blob_place, owned; being placed */
    enum err err;
};

/* What the helper thread does now. One at a time, so that it ends soon. */
struct job {
    struct io_work work;
    struct local_store *store; /* borrowed */
    enum job_kind kind;
    bool running;
    bool sync_topics;  /* JOB_TOPICS: each by itself */
    bool forget_files; /* JOB_FLUSH, JOB_TOPICS: close them, for all of the
                          file system will be synced */
    bool sync_all;     /* JOB_SYNC: the file system; else only the folder */
    enum err err;
    enum err sync_err; /* a sync failed: nothing is certain any more */
    uint32_t count;
    struct job_topic topics[STORE_JOB_TOPICS_MAX];
    struct chore *chore;          /* owned while running */
    struct checkpoint checkpoint; /* JOB_COMPLETE */
};

enum checkpoint_step {
    CHECKPOINT_NONE,
    CHECKPOINT_TOPICS,
    CHECKPOINT_SYNC,
    CHECKPOINT_COMPLETE,
};

struct checkpoint_run {
    enum checkpoint_step step;
    struct checkpoint target;
    struct list todo;    /* of local_topic.checkpoint_link */
    struct list done;    /* likewise */
    uint64_t started_ns; /* monotonic */
    bool sync_all;
    bool wanted; /* begin as soon as no commit is running */
};

/* Ids in the journal of which nothing else is known. */
struct stranger {
    uint64_t id;
    uint64_t entries;
};

/* A folder with messages of which nobody says whose they are. */
struct orphan {
    struct list link;
    char name[TOPIC_NAME_MAX + 1];
};

struct recovery {
    uint64_t started_ns;
    uint64_t told_ns;           /* when progress was told last */
    struct list orphans;        /* owned */
    struct stranger *strangers; /* owned */
    uint32_t stranger_count;
    uint32_t stranger_capacity;
    uint64_t records;
    uint64_t damaged;
};

/* How commits wait for more: see store_gather.c. */
struct gather {
    bool waiting;      /* a commit does */
    uint64_t until_ns; /* the latest that it does */
    uint32_t count;    /* changes that were there when it began to, */
    uint32_t expected; /* and how many were to come */
    uint32_t worth;    /* from 0 to GATHER_WORTH_MAX: how often they came */
    uint32_t crowds;   /* commits in a crowd */
    uint32_t untried;  /* commits that did not wait, in a row */
};

struct local_store {
    struct store base;
    uint32_t magic;
    uint32_t shard;
    uint32_t shard_count;          /* topics of other shards are not ours */
    struct store_local_data *data; /* borrowed */
    const struct store_local_options *options; /* borrowed */
    struct io *io;                             /* borrowed; NULL: no loop */
    char *journal_directory;                   /* owned */
    char *topics_directory;                    /* owned */
    struct journal *journal;                   /* owned */
    struct cursor_page *page;                  /* owned */
    struct range_page *range_page;             /* owned */
    uint32_t acked_count; /* topics and views that have `acked` */
    struct store_stats stats;

    struct local_topic **by_name; /* owned; heads of chains */
    struct local_topic **by_id;   /* owned; heads of chains */
    uint32_t bucket_mask;
    uint32_t topic_count;
    bool topics_full; /* a topic was refused for their number; said once */
    struct list topics;
    struct list views;
    struct list deleted; /* handles are invalid, deletion is not durable or
                            something still holds them */

    struct batch batches[2];
    uint32_t gathering;         /* which of them takes changes */
    uint64_t commit_started_ns; /* of the running commit */
    uint64_t hook_turn;         /* the turn in which the hook ran last */
    struct gather gather;
    struct io_hook hook;
    struct io_task kick;  /* makes another turn */
    struct list finished; /* ops to report, of store_op.link */
    struct list moved;
    struct list cursors_dirty;
    struct io_timer cursor_timer;

    struct tail_reserve tail_reserve;
    struct list dirty;
    struct list tails;
    struct list urgent;
    struct list files;
    struct list chores;
    uint64_t flush_size; /* a tail that is flushed at once */
    uint64_t files_open;
    int sync_fd; /* owned; the data directory, open from the start, so
                    that no failed write-back goes unnoticed */
    struct job job;
    struct io_timer hold_timer; /* no jobs while it runs */
    struct io_timer chore_timer;

    struct checkpoint checkpoint; /* the last complete one */
    struct checkpoint_run checkpoint_run;
    struct io_timer checkpoint_timer;

    uint64_t space_checked_ms;
    uint64_t room_tried_ms;          /* last append let through, or failure */
    uint64_t room_wanted;            /* free bytes that end `no_room` */
    struct io_timer space_timer;     /* looks at the free space */
    bool space_slowly;               /* after STORE_SPACE_IDLE_MS */
    bool space_told;                 /* that it is low, to who listens */
    struct io_timer retention_timer; /* runs while limits may apply */

    struct recovery recovery;
    uint32_t reads; /* of readers, running */
    uint32_t blobs; /* being received, or removed */
    uint32_t jobs_since_removal;

    bool kicked;
    bool cursors_due;      /* commit them even alone */
    bool committed_since;  /* since the last checkpoint began */
    bool job_was_flush;    /* the last one: a checkpoint's turn is next */
    bool job_failing;      /* said so already */
    bool no_room;          /* a write found none, and none has since */
    bool without_file;     /* since a failure the journal has no next file */
    bool chores_paused;    /* one failed; until chore_timer expires */
    bool sync_all_due;     /* files were closed without a sync: only one of the
                              whole file system makes them durable */
    bool serving;          /* recovery is over */
    bool broken;           /* a sync failed: not another word to the disk */
    bool closing;          /* changes are refused */
    bool cursors_tried;    /* a last commit of them */
    bool checkpoint_tried; /* a last one */
    bool close_prepared;   /* there is to be none */
    bool closing_posted;   /* the end is near */
    void (*closed)(void *context);
    void *closed_context; /* borrowed */
};

/* The local store behind a store's handle. */
static inline struct local_store *store_of(struct store *store)
{
    struct local_store *local = (struct local_store *)store;
    CHECK(local->magic == STORE_MAGIC);
    return local;
}

/* The local topic behind a topic's handle. */
static inline struct local_topic *store_topic_of(struct store_topic *topic)
{
    struct local_topic *local = (struct local_topic *)topic;
    CHECK(local->magic == STORE_TOPIC_MAGIC);
    return local;
}

/* The topic that a view is of; NULL: it is a topic. */
static inline struct local_topic *
store_parent_of(const struct local_topic *view)
{
    return (struct local_topic *)view->base.parent;
}

/* Take all nodes of `from` over to `to`, which is made here. */
static inline void store_list_take(struct list *from, struct list *to)
{
    list_init(to);
    if (!list_empty(from)) {
        *to = *from;
        to->next->prev = to;
        to->prev->next = to;
        list_init(from);
    }
}

/* Put a node at the end of a list, wherever it was. */
static inline void store_list_move(struct list *head, struct list *node)
{
    list_remove(node);
    list_append(head, node);
}

/* --- store_local.c -------------------------------------------------------- */

/* Make a store without its journal: tables, paths, lists.
 * Gives:  `*out`, for store_local_internal_destroy().
 * Errors: ERR_NOMEM */
MUST_CHECK enum err store_local_internal_create(struct store_local_data *data,
                                                uint32_t shard,
                                                uint32_t shard_count,
                                                struct local_store **out);

/* Free a store that does not run, with all topics. Accepts NULL. */
void store_local_internal_destroy(struct local_store *store);

/* The shard cannot go on: tell whoever runs the process, once. */
void store_local_internal_break(struct local_store *store, enum err err);

/* Go on with closing, if it was asked for and nothing is in the way. */
void store_local_internal_close_step(struct local_store *store);

/* --- store_data.c --------------------------------------------------------- */

/* See store_local_prepare(). */
MUST_CHECK enum err
store_data_prepare(const struct store_local_options *options,
                   struct store_local_data **out);

/* See store_local_release(). */
void store_data_release(struct store_local_data *data);

/* See store_local_shard(), for `shard_count` shards. */
uint32_t store_data_shard(uint32_t shard_count, struct str topic);

/* Make <data>/journal/<shard>, and write its path to `path`.
 * Errors: ERR_FULL, ERR_IO */
MUST_CHECK enum err store_data_journal(const struct store_local_data *data,
                                       uint32_t shard,
                                       char path[DIR_PATH_MAX]);

/* --- store_topics.c ------------------------------------------------------- */

/* Make the tables. Errors: ERR_NOMEM */
MUST_CHECK enum err store_topics_init(struct local_store *store);

/* Free all topics and the tables. */
void store_topics_fini(struct local_store *store);

/* Find a topic, or a view of `parent`. NULL when there is none. */
struct local_topic *store_topics_find(const struct local_store *store,
                                      const struct local_topic *parent,
                                      struct str name);

/* NULL when there is none; those whose deletion is not durable are found. */
struct local_topic *store_topics_find_id(const struct local_store *store,
                                         uint64_t id);

/* Write the path of its folder. Threads: any. Errors: ERR_TOO_LARGE */
MUST_CHECK enum err store_topics_path(const struct local_topic *topic,
                                      char path[DIR_PATH_MAX]);

/* A number that is not 0 and no topic's of ours. */
uint64_t store_topics_fresh_id(const struct local_store *store);

/* Tell whether there is no place for another topic or view:
 * ERR_BUSY, ERR_FULL. */
MUST_CHECK enum err store_topics_admit(struct local_store *store);

/* Make a topic of this name, or a view (whose parent is there), and put it into
 * the tables (not by name when that is taken). `fresh`: nothing of it is on
 * disk.
 * Errors: ERR_FULL, ERR_IO, ERR_NOMEM, of opening its log */
MUST_CHECK enum err store_topics_make(struct local_store *store,
                                      const struct topic_conf *conf,
                                      bool fresh,
                                      struct local_topic **out);

/* The same, of one that is as a note says; and ERR_INVALID: it is none. */
MUST_CHECK enum err store_topics_make_noted(struct local_store *store,
                                            const struct topic_conf *conf,
                                            struct str note,
                                            struct local_topic **out);

/* Let the name lead to this topic, and not to the one that has it. */
void store_topics_take_name(struct local_topic *topic);

/* Set what a TOPIC entry says. Errors: ERR_NOMEM, the topic is as it was */
MUST_CHECK enum err store_topics_set(struct local_topic *topic,
                                     const struct topic_conf *conf);

/* Copy settings, to be set by what cannot fail. Ownership: *out's data is the
 * caller's. Errors: ERR_NOMEM */
MUST_CHECK enum err store_topics_copy(struct str settings, struct str *out);

/* As store_topics_set(), with a copy of conf->settings that is taken over. */
void store_topics_set_copied(struct local_topic *topic,
                             const struct topic_conf *conf,
                             struct str settings);

/* What a TOPIC entry of it has to say; borrows from the topic. */
struct topic_conf store_topics_conf(const struct local_topic *topic);

/* The same without changes that are not committed, for `topic.conf`. */
struct topic_conf store_topics_settled_conf(const struct local_topic *topic);

/* Note that the next checkpoint concerns it. */
void store_topics_mark(struct local_topic *topic);

/* Bring the store's figures and lists up to date with the topic's log. */
void store_topics_account(struct local_topic *topic);

/* Drop one hold; frees the topic when it is gone and this was the last. */
void store_topics_release(struct local_topic *topic);

/* Its deletion is durable: nothing of it and its views is needed any more.
 * Makes the chore for its folder; frees it when nothing holds it. */
void store_topics_gone(struct local_topic *topic);

/* Its deletion failed: it is there again, with its views. */
void store_topics_revive(struct local_topic *topic);

/* Operations of struct store_ops. */
MUST_CHECK enum err store_topics_open(struct store *base,
                                      struct str name,
                                      bool create,
                                      struct store_topic **out);
/* Likewise. */
void store_topics_each(struct store *base,
                       void (*visit)(void *context, struct store_topic *topic),
                       void *context);
/* Likewise. */
bool store_topics_unused(const struct store_topic *base);
/* Likewise. */
void store_topics_unmake(struct store_topic *base);
/* Likewise. */
void store_topics_delete(struct store_topic *base, struct store_op *op);

/* --- store_append.c ------------------------------------------------------- */

/* Begin an entry of a topic in the batch, announcing the topic before it when
 * the journal does not know it; room for a change is there then. Ends with
 * journal_put_end() and store_append_note().
 * Errors: ERR_TOO_LARGE, ERR_BUSY */
MUST_CHECK enum err store_append_put(struct local_topic *topic,
                                     enum journal_type type,
                                     size_t body_size,
                                     void **out_body);

/* The same, but a batch that is full is not committed to make room. */
MUST_CHECK enum err store_append_try(struct local_topic *topic,
                                     enum journal_type type,
                                     size_t body_size,
                                     void **out_body);

/* Put the deletion of a topic, with its views.
 * Errors: ERR_TOO_LARGE, ERR_BUSY, ERR_FULL */
MUST_CHECK enum err store_append_delete(struct local_topic *topic,
                                        struct store_op *op);

/* Note the change whose entry was put. `op` may be NULL. */
struct change *store_append_note(struct local_topic *topic,
                                 enum change_kind kind,
                                 struct store_op *op);

/* Tell whether changes are taken: ERR_CLOSED, ERR_BUSY. */
MUST_CHECK enum err store_append_admit(const struct local_store *store);

/* Report an op in the next turn hook. */
void store_append_finish(struct local_store *store,
                         struct store_op *op,
                         enum err err);

/* Let there be another turn. */
void store_append_kick(struct local_store *store);

/* The turn hook. */
void store_append_turn(struct io_hook *hook);

/* Make a copy of what a topic is now. NULL: no memory. */
struct undo *store_append_undo(const struct local_topic *topic);

/* Free it. Accepts NULL. */
void store_append_undo_free(struct undo *undo);

/* A change is pending: put its undo at the end of a list. */
void store_append_undo_push(struct undo_list *list, struct undo *undo);

/* The first of the pending changes counts: free its undo. */
void store_append_undo_settle(struct undo_list *list, struct undo *undo);

/* The last of the pending changes is undone: take its undo off the list. */
void store_append_undo_take(struct undo_list *list, struct undo *undo);

/* Operations of struct store_ops. */
MUST_CHECK enum err store_append_message(struct store_topic *base,
                                         const struct message *message,
                                         struct store_op *op);
/* Likewise. */
MUST_CHECK enum err store_append_record(struct store_topic *base,
                                        const void *record,
                                        size_t record_size,
                                        struct store_op *op);
/* Likewise. */
uint64_t store_append_next(const struct store_topic *base);

/* --- store_gather.c ------------------------------------------------------- */

/* Begin with a try. */
void store_gather_init(struct gather *gather);

/* Tell whether the gathered batch, which could be committed now, had better
 * wait; the loop then waits for more. */
bool store_gather_waits(struct local_store *store);

/* Tell whether the loop has so much to do that it had better go on while the
 * gathered batch is committed, even on a fast disk. */
bool store_gather_crowded(struct local_store *store);

/* --- store_cursor.c ------------------------------------------------------- */

/* Set a topic's cursor, ranges and retries copied; no memory for them drops
 * them, so that what they said is delivered again. */
void store_cursor_set(struct local_topic *topic,
                      const struct store_cursor *cursor);

/* Set cursor and epoch. */
void store_cursor_load(struct local_topic *topic,
                       const struct topic_cursor *cursor);

/* Take in what another state of the cursor says (recovery). */
void store_cursor_merge(struct local_topic *topic,
                        const struct topic_cursor *other);

/* Bring the cursor up to the oldest message kept. */
void store_cursor_clamp(struct local_topic *topic);

/* Note it in the cursor page, and in the range page what that has no room for.
 */
void store_cursor_page(struct local_topic *topic);

/* Give back its memory and its slot for ranges and retries that it has none of:
 * now and then, since a topic that had some soon has some again. */
void store_cursor_spare(struct local_topic *topic);

/* Give back all its slots of the pages. */
void store_cursor_drop(struct local_topic *topic);

/* The cursor for `dlv`: without moves that are not committed. */
void store_cursor_snapshot(const struct local_topic *topic,
                           struct topic_cursor *out);

/* Where a cursor is, moves that are not committed left aside. */
uint64_t store_cursor_settled(const struct local_topic *topic);

/* Note that the journal should learn of cursor or trim. */
void store_cursor_mark(struct local_topic *topic);

/* Put cursors that changed into the batch, at most `count_max`. */
void store_cursor_ride(struct local_store *store, uint32_t count_max);

/* A move or purge is durable. */
void store_cursor_moved(struct change *change);

/* A move or purge failed: as before. */
void store_cursor_unmoved(struct change *change);

/* Run the timer for a commit of cursors alone while there are any. */
void store_cursor_arm(struct local_store *store);

/* It is time. */
void store_cursor_expired(struct io_timer *timer);

/* Operations of struct store_ops. */
void store_cursor_note(struct store_topic *base,
                       const struct store_cursor *cursor);
/* Likewise. */
void store_cursor_keep(struct store_topic *base,
                       const struct store_cursor *cursor,
                       struct store_op *op);
/* Likewise. */
void store_cursor_move_to(struct store_topic *base,
                          uint64_t next,
                          struct store_op *op);
/* Likewise. */
void store_cursor_purge(struct store_topic *base,
                        uint64_t before,
                        struct store_op *op);

/* --- store_flush.c -------------------------------------------------------- */

/* Start the next job, when none runs and there is one. */
void store_flush_next(struct local_store *store);

/* Do all jobs that there are here and now (opening, other shards' journals);
 * unless `complete`, without the last step of a checkpoint.
 * Blocks: on the disk. */
void store_flush_all_now(struct local_store *store, bool complete);

/* Write all tails here and now, without `cmd` and `dlv`. Blocks: on the disk.
 */
void store_flush_tails_now(struct local_store *store);

/* Add a topic to the job; false when it needs none or cannot now. */
bool store_flush_add(struct local_topic *topic, uint64_t checkpoint);

/* Close files that were not used for longest until the bound is kept. */
void store_flush_close_files(struct local_store *store);

/* The pause after a failed job is over. */
void store_flush_expired(struct io_timer *timer);

/* --- store_checkpoint.c --------------------------------------------------- */

/* Begin one as soon as no commit is running, unless one runs. */
void store_checkpoint_begin(struct local_store *store);

/* Begin one that was wanted meanwhile. */
void store_checkpoint_resume(struct local_store *store);

/* Fill in the job of the next step; false when there is none. */
bool store_checkpoint_pick(struct local_store *store);

/* A job of a step ended. */
void store_checkpoint_stepped(struct local_store *store);

/* Start the timer for the next one, when there is something to do for it. */
void store_checkpoint_arm(struct local_store *store);

/* It is time. */
void store_checkpoint_expired(struct io_timer *timer);

/* --- store_recover.c ------------------------------------------------------ */

/* Read topics and journal; the store then is as it was before the crash, in
 * memory. `io` of the store decides whether the journal takes commits.
 * Blocks: on the disk.
 * Errors: ERR_FULL, ERR_IO, ERR_NOMEM */
MUST_CHECK enum err store_recover_open(struct local_store *store);

/* Free what recovery still has. */
void store_recover_drop(struct local_store *store);

/* What has a topic's or view's name and is no folder would be in the way of it,
 * and so of every checkpoint: keep it elsewhere. Errors: ERR_IO  it is a link
 */
MUST_CHECK enum err store_recover_no_folder(struct local_store *store,
                                            const char *path);

/* --- store_read.c --------------------------------------------------------- */

/* Operations of struct store_ops. */
MUST_CHECK enum err store_read_create(struct store_topic *topic,
                                      struct store_reader **out);
/* Likewise. */
MUST_CHECK enum err store_read_next(struct store_reader *base,
                                    uint64_t sequence,
                                    struct record *out_record);
/* Likewise. */
void store_read_destroy(struct store_reader *base);
/* Likewise. */
MUST_CHECK enum err store_read_find_time(struct store_topic *base,
                                         uint64_t at_ms,
                                         uint64_t *out_sequence);
/* Likewise. */
void store_read_tell_lost(const struct store *base);

/* --- store_space.c -------------------------------------------------------- */

/* Tell whether so many bytes more leave the reserve alone, looking now. */
bool store_space_has(struct local_store *store, uint64_t size);

/* The same as a callback of the journal's; `context` is the store. */
bool store_space_journal(void *context, uint64_t size);

/* Look at the free space, at most once a second. */
void store_space_check(struct local_store *store);

/* A write found no room. */
void store_space_full(struct local_store *store);

/* One did that needed some. */
void store_space_found(struct local_store *store);

/* Tell whether appends are refused for want of room; those that are `owed` may
 * use the reserve. While a write found none, one is let through now and then:
 * note that in `room_tried_ms`. */
bool store_space_refuses(const struct local_store *store, bool owed);

/* Look again, while the disk is low. */
void store_space_expired(struct io_timer *timer);

/* Apply the limits of a topic. */
void store_space_trim(struct local_topic *topic);

/* Start the timer for the limits, if a topic has one. */
void store_space_arm(struct local_topic *topic);

/* Look at the limits of all topics. */
void store_space_retention_expired(struct io_timer *timer);

#endif
