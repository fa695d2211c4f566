/* Where messages live: one shard's topics, appended to, read, and told how far
 * they are delivered.
 *
 * An interface: store_local keeps them in a data directory (journal and
 * segments), and a cluster's engine can stand in its place. One set of contract
 * tests runs over every implementation (test/contract/).
 *
 * Completion style. Append and the other changes return at once; their result
 * comes through the operation's done(), from the store's turn hook or later,
 * never from inside the call. Changes of one topic take effect in the order in
 * which they were given. Nothing is reported done before it is as durable as
 * was asked for, and nothing is readable before it is durable (or, with
 * DURABILITY_NONE, before it is written to the journal).
 *
 * Group commit: what is given during a turn of the loop is written and synced
 * once at its end. While an asynchronous commit runs, what comes meanwhile is
 * the next one.
 *
 * Failure: when the journal cannot be written, the changes of that batch fail
 * with ERR_IO or ERR_FULL, their sequence numbers are given again, and no
 * crash brings them back. The store goes on with a fresh journal file; while
 * it has none, changes fail at once with ERR_BUSY and reads go on. A failed
 * sync of segments stops the process through `options.fatal`: what the disk
 * then holds is known only to recovery.
 *
 * Threads: the loop's of the shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_STORE_STORE_H
#define OPQ_STORE_STORE_H

#include "base/err.h"
#include "base/histogram.h"
#include "base/list.h"
#include "base/str.h"
#include "log/record.h"
#include "sys/io.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;
struct store_blob;
struct store_topic;

enum {
    TOPIC_NAME_MAX = 128,        /* bytes of a topic's name */
    STORE_SETTINGS_MAX = 16384,  /* bytes of a topic's settings */
    CURSOR_RANGES_MAX = 128,     /* acknowledged ranges above a cursor */
    CURSOR_RETRIES_MAX = 128,    /* messages above it that failed before */
    STORE_VIEWS_MAX = 256,       /* of one topic */
    STORE_ACKED_SPAN = 64000000, /* messages from a cursor on of which can be
                                    noted that they are done */
};

enum durability {
    DURABILITY_DISK, /* survives power loss */
    DURABILITY_NONE, /* survives a crash of the process, not of the machine */
};

/* One change under way; embedded in the caller's object. */
struct store_op {
    /* It ended. For an append without error: `sequence` is set. May free the
     * op, and may start others. */
    void (*done)(struct store_op *op, enum err err);
    uint64_t sequence;          /* result of store_append() */
    enum durability durability; /* asked for; then: what was reached */
    bool owed; /* an append that follows from a message that was accepted: what
                  is kept in reserve is for it */
    struct list link;          /* private */
    struct store_topic *topic; /* private */
    enum err err;              /* private */
};

/* What became of messages that were to be noted: store_acked_add(). */
enum store_acked {
    STORE_ACKED_NOTED,   /* all of them that can be */
    STORE_ACKED_MOVING,  /* none, while a move of the cursor is under way */
    STORE_ACKED_NO_ROOM, /* not all: there was no room, or there are too many
                            files, or it failed otherwise */
};

struct store_range {
    uint64_t first; /* acknowledged from here, */
    uint64_t end;   /* up to but without this */
};

/* A message that failed before. */
struct store_retry {
    uint64_t sequence;
    uint32_t attempts; /* failed ones, at least 1 */
};

/* How far a topic is delivered. */
struct store_cursor {
    uint64_t next;        /* the lowest sequence not delivered */
    uint32_t attempts;    /* failed attempts at `next` so far */
    uint32_t range_count; /* at most CURSOR_RANGES_MAX */
    uint32_t retry_count; /* at most CURSOR_RETRIES_MAX */
    /* At or above `next`, ascending, apart. A topic's: the store's own, until
     * the next change of its cursor; given to the store: borrowed during the
     * call. Likewise `retries`. */
    const struct store_range *ranges;
    /* Above `next`, ascending, in no range. Those that the cursor passes are
     * forgotten; the one at its new `next` becomes `attempts`. */
    const struct store_retry *retries;
};

/* How long a topic keeps what was delivered; 0 means without limit. */
struct store_retention {
    uint64_t age_ms;
    uint64_t bytes;
    uint64_t count;
    bool discard_old; /* even what was not delivered */
};

struct store_bounds {
    uint64_t oldest; /* the first sequence kept */
    uint64_t end;    /* one past the last durable one */
    uint64_t bytes;  /* on disk and in memory */
};

struct store_stats {
    uint64_t appended; /* messages made durable */
    uint64_t appended_bytes;
    uint64_t commits; /* batches written */
    uint64_t commit_failures;
    uint64_t checkpoints;
    uint64_t checkpoint_failures;
    uint64_t quarantined; /* damaged records skipped */
    uint64_t recovered;   /* messages replayed from the journal at start */
    uint64_t recovery_ms;
    uint64_t journal_bytes;         /* in use, not yet freed by a checkpoint */
    uint64_t memory_bytes;          /* of messages not yet in segments */
    uint64_t disk_free;             /* when last looked at */
    bool disk_low;                  /* below the reserve, or a write found no
                                       room: pushes get ERR_FULL */
    bool failed;                    /* no journal to write to at present */
    uint64_t journal_size_max;      /* of journal_bytes: no more pushes */
    uint64_t memory_size_max;       /* of memory_bytes: likewise */
    uint64_t disk_reserve;          /* of disk_free: likewise, when below */
    struct histogram commit_ns;     /* write and sync of a batch */
    struct histogram commit_count;  /* changes per batch */
    struct histogram checkpoint_us; /* those that are in `checkpoints` */
};

/* Something about a topic changed; embedded in the caller's object. */
struct store_watch {
    /* The durable end moved (at most once per topic and turn), or a record
     * was quarantined, so that reading goes on behind it. */
    void (*moved)(struct store_watch *watch);
    struct list link; /* private */
};

enum store_news_kind {
    STORE_NEWS_DISK_LOW, /* pushes get ERR_FULL */
    STORE_NEWS_DISK_OK,  /* they do not any more */
    STORE_NEWS_DAMAGED,  /* a record or a body was found damaged */
};

/* Something that people should know. */
struct store_news {
    enum store_news_kind kind;
    const char *subject; /* borrowed: the topic, or the data directory */
    const char *what;    /* borrowed: "record" or "body" */
    uint64_t sequence;   /* of the first that is damaged, */
    uint64_t count;      /* and how many are */
    uint64_t free;       /* bytes on disk */
    uint64_t reserve;    /* bytes that are to be free */
    bool full;           /* a write found no room */
};

/* A place from which a topic is read forward. Keeps a block of records read
 * ahead, so reading in order costs little. */
struct store_reader;

/* The operations of an implementation. Contracts: at the functions below. */
struct store_ops {
    const char *name; /* "local" */
    void (*close)(struct store *store, void (*closed)(void *), void *context);
    void (*prepare_close)(struct store *store);
    bool (*close_prepared)(const struct store *store);
    void (*tell_lost)(const struct store *store); /* NULL: never any */
    const struct store_stats *(*stats)(const struct store *store);
    enum err (*topic_open)(struct store *store,
                           struct str name,
                           bool create,
                           struct store_topic **out);
    void (*topic_each)(struct store *store,
                       void (*visit)(void *, struct store_topic *),
                       void *context);
    bool (*topic_unused)(const struct store_topic *topic);
    void (*topic_unmake)(struct store_topic *topic);
    void (*topic_delete)(struct store_topic *topic, struct store_op *op);
    void (*topic_configure)(struct store_topic *topic,
                            struct str settings,
                            const struct store_retention *retention,
                            struct store_op *op);
    enum err (*append)(struct store_topic *topic,
                       const struct message *message,
                       struct store_op *op);
    enum err (*append_encoded)(struct store_topic *topic,
                               const void *record,
                               size_t record_size,
                               struct store_op *op);
    enum err (*view_open)(struct store_topic *topic,
                          struct str name,
                          bool create,
                          struct store_topic **out);
    void (*view_each)(struct store_topic *topic,
                      void (*visit)(void *, struct store_topic *),
                      void *context);
    void (*view_hold)(struct store_topic *view, bool hold, struct store_op *op);
    uint64_t (*next_sequence)(const struct store_topic *topic);
    void (*cursor_store)(struct store_topic *topic,
                         const struct store_cursor *cursor);
    void (*cursor_save)(struct store_topic *topic,
                        const struct store_cursor *cursor,
                        struct store_op *op);
    void (*cursor_move)(struct store_topic *topic,
                        uint64_t next,
                        struct store_op *op);
    enum store_acked (*acked_add)(struct store_topic *topic,
                                  uint64_t first,
                                  uint64_t end);
    bool (*acked_next)(struct store_topic *topic,
                       uint64_t from,
                       struct store_range *out);
    void (*purge)(struct store_topic *topic,
                  uint64_t before,
                  struct store_op *op);
    enum err (*find_time)(struct store_topic *topic,
                          uint64_t at_ms,
                          uint64_t *out_sequence);
    enum err (*reader_create)(struct store_topic *topic,
                              struct store_reader **out);
    enum err (*reader_next)(struct store_reader *reader,
                            uint64_t sequence,
                            struct record *out_record);
    void (*reader_destroy)(struct store_reader *reader);
    enum err (*blob_begin)(struct store *store,
                           uint64_t size,
                           struct store_blob **out);
    size_t (*blob_write)(struct store_blob *blob, struct str bytes);
    void (*blob_end)(struct store_blob *blob);
    enum err (*blob_share)(struct store_topic *topic,
                           uint64_t sequence,
                           const struct message_blob *body,
                           struct store_blob **out);
    void (*blob_drop)(struct store_blob *blob);
    void (*blob_keep)(struct store_blob *blob);
    enum err (*blob_open)(struct store_topic *topic,
                          uint64_t sequence,
                          const struct message_blob *blob,
                          int *out_fd);
    void (*blob_damaged)(struct store_topic *topic,
                         uint64_t sequence,
                         enum err err);
};

/* What every implementation's store begins with. */
struct store {
    const struct store_ops *ops; /* borrowed, static */
    /* From store_expect(). */
    uint32_t (*expected)(void *context, uint64_t within_ns);
    void *expected_context; /* borrowed */
    /* From store_listen(). */
    void (*told)(void *context, const struct store_news *news);
    void *told_context; /* borrowed */
};

/* What every implementation's topic or view begins with; read it, do not write
 * it. */
struct store_topic {
    struct store *store;        /* borrowed */
    struct store_topic *parent; /* borrowed: the topic that a view is of;
                                   NULL: it is a topic */
    uint64_t id;                /* random, never used again */
    const char *name;           /* owned by the store; terminated */
    struct str name_str;        /* the same */
    struct store_bounds bounds; /* as of the last commit */
    struct store_cursor cursor; /* as last stored or moved */
    uint64_t moves; /* of the cursor, by store_cursor_move(), and back when that
                       failed; since the start */
    struct store_retention retention;
    struct str settings; /* owned by the store */
    bool hold;           /* of a view: see store_view_hold() */
    struct list watches; /* of struct store_watch */
    uint32_t readers;    /* that are open */
    void *user;          /* the pipeline's own object */
};

/* Tell whether a name may be a topic's: [A-Za-z0-9._-], 1 to 128 bytes, not
 * "." or "..". */
bool store_topic_name_valid(struct str name);

/* Drain and free: commit what was given, write what is in memory, checkpoint,
 * close. `closed` is called from the loop at the end; the store is gone then.
 * No reader is left. Changes given after this fail with ERR_CLOSED. */
void store_close(struct store *store,
                 void (*closed)(void *context),
                 void *context);

/* Make a later store_close() short, for a process that goes on with the data at
 * once: what is in memory is written now, beside other work, and at the end
 * only what has come since is left, to the next recovery. */
void store_prepare_close(struct store *store);

/* Tell whether that is done, or cannot be. */
bool store_close_prepared(const struct store *store);

/* Let the store ask how many changes are likely to come from whose last one it
 * has reported in the last `within_ns`, so that a commit may wait a little for
 * them: one sync for many is worth more than one at once. It asks in its turn
 * hook. Without this, commits wait for nothing. Borrows: context. */
static inline void store_expect(struct store *store,
                                uint32_t (*expected)(void *context,
                                                     uint64_t within_ns),
                                void *context)
{
    store->expected = expected;
    store->expected_context = context;
}

/* Let the store say what people should know, from any of its functions or from
 * its hooks; at once, what was found to be lost since it was opened. The
 * callback must not call the store. Without this, the log has it.
 * Borrows: context. */
void store_listen(struct store *store,
                  void (*told)(void *context, const struct store_news *news),
                  void *context);

/* For implementations: say something, if anybody listens. */
static inline void store_tell(const struct store *store,
                              const struct store_news *news)
{
    if (store->told != NULL) {
        store->told(store->told_context, news);
    }
}

/* Figures so far; borrowed, living as long as the store. */
const struct store_stats *store_stats(const struct store *store);

/* Find a topic by its name, and make it when it is not there and `create` is
 * set. Making is as durable as the first append to it. The handle lives until
 * the topic is deleted or the store closed.
 *
 * Errors: ERR_INVALID    not a topic's name
 *         ERR_NOT_FOUND  it is not there (without `create`)
 *         ERR_BUSY       as many topics as allowed, or the store is broken
 *         ERR_FULL       no room on disk
 *         ERR_NOMEM
 */
MUST_CHECK enum err store_topic_open(struct store *store,
                                     struct str name,
                                     bool create,
                                     struct store_topic **out);

/* Call `visit` for each topic, not for views, in no order. It does not make or
 * delete any. */
void store_topic_each(struct store *store,
                      void (*visit)(void *context, struct store_topic *topic),
                      void *context);

/* Tell whether a topic was made for something that then was refused or failed:
 * nothing of it was ever stored or is under way, and no reader is open. */
bool store_topic_unused(const struct store_topic *topic);

/* Take back the making of a topic that is unused. The handle is invalid. No
 * watch of it is left. */
void store_topic_unmake(struct store_topic *topic);

/* Delete a topic with all its messages and views, durably. The handles are
 * invalid at once for everything but the op; appends under way fail with
 * ERR_CLOSED. No reader or watch of them is left. When it fails, the topic is
 * there again with all it had, unless its name was taken meanwhile; its handle
 * is what store_topic_open() gives, without a `user`; so are its views.
 * Borrows: op, until done(). Errors: ERR_IO, ERR_FULL, ERR_BUSY */
void store_topic_delete(struct store_topic *topic, struct store_op *op);

/* Set settings (opaque bytes, at most STORE_SETTINGS_MAX, copied) and
 * retention, which a view has none of: there it is not looked at. When they are
 * taken, they change at once in the handle, and go back when it fails.
 * Borrows: op, until done(). Errors: ERR_TOO_LARGE, ERR_IO, ERR_FULL,
 * ERR_BUSY */
void store_topic_configure(struct store_topic *topic,
                           struct str settings,
                           const struct store_retention *retention,
                           struct store_op *op);

/* --- views ----------------------------------------------------------------
 *
 * A view is a cursor over a topic's messages with a name and settings of its
 * own. It is a struct store_topic with a `parent`: what configures a topic, or
 * notes and moves its cursor, does the same for a view.
 *
 *   - Its `bounds` are the topic's, at any time.
 *   - Its watches are called when the topic's are.
 *   - Readers made of it read the topic (their `topic` is the topic), and so do
 *     store_find_time(), store_next_sequence() and those of bodies.
 *   - It takes no appends and no purge: a programmer's mistake.
 *   - A purge of the topic moves its cursor, like the topic's own, in one step
 *     with it: durable, or undone.
 *   - Retention keeps what it has not delivered, see store_view_hold().
 *   - It goes when its topic does.
 */

/* Find a view of a topic by its name (as a topic's), and make it when it is not
 * there and `create` is set; its cursor then is at the topic's end. Making is
 * as durable as the first change of it (its configuration, as a rule). The
 * handle lives until the view or the topic is deleted, or the store closed.
 *
 * Errors: ERR_INVALID    not a name
 *         ERR_NOT_FOUND  it is not there (without `create`)
 *         ERR_BUSY       STORE_VIEWS_MAX of the topic, or as many topics and
 *                        views as allowed, or the store is broken
 *         ERR_FULL       no room on disk
 *         ERR_NOMEM
 */
MUST_CHECK enum err store_view_open(struct store_topic *topic,
                                    struct str name,
                                    bool create,
                                    struct store_topic **out);

/* Call `visit` for each view of a topic, in no order. It does not make or
 * delete any. */
void store_view_each(struct store_topic *topic,
                     void (*visit)(void *context, struct store_topic *view),
                     void *context);

/* Say whether retention keeps what a view has not delivered (as is so from its
 * making on), durably.
 * Borrows: op, until done(). Errors: ERR_IO, ERR_FULL, ERR_BUSY */
void store_view_hold(struct store_topic *view, bool hold, struct store_op *op);

/* Delete a view, durably. The handle is invalid at once for everything but the
 * op. No watch of it is left. When it fails, the view is there again, as a
 * topic would be: see store_topic_delete(). Borrows: op, until done(). Errors:
 * ERR_IO, ERR_FULL, ERR_BUSY */
void store_view_delete(struct store_topic *view, struct store_op *op);

/* --- messages ------------------------------------------------------------- */

/* Append one message; it is encoded here and now, so `message` is not kept.
 * `op->durability` says how durable.
 *
 * Borrows: op, until done(). When the call itself fails, done() does not come.
 * Errors:  ERR_TOO_LARGE  larger than a batch may be
 *          ERR_BUSY       the batch, the journal or the memory for messages
 *                         not yet in segments is full, or the store failed
 *          ERR_FULL       the disk is below its reserve, or full
 * In done(): ERR_IO, ERR_FULL, ERR_CLOSED
 */
static inline MUST_CHECK enum err store_append(struct store_topic *topic,
                                               const struct message *message,
                                               struct store_op *op)
{
    return topic->store->ops->append(topic, message, op);
}

/* The same for a record encoded by record_encode() elsewhere; it is copied and
 * given its sequence number. */
static inline MUST_CHECK enum err
store_append_encoded(struct store_topic *topic,
                     const void *record,
                     size_t record_size,
                     struct store_op *op)
{
    return topic->store->ops->append_encoded(topic, record, record_size, op);
}

/* The sequence number that an append given now would get: those under way have
 * got theirs. When one of them fails, it is given again. */
uint64_t store_next_sequence(const struct store_topic *topic);

/* --- cursors and reading -------------------------------------------------- */

/* Note how far the topic is delivered (`next` never goes back by this). A
 * crash of the process loses none of it; power loss at most what was noted
 * since the last commit, and a commit follows by itself within the option
 * cursor_interval_ms. */
static inline void store_cursor_store(struct store_topic *topic,
                                      const struct store_cursor *cursor)
{
    topic->store->ops->cursor_store(topic, cursor);
}

/* The same, durably, when `op` is done. When it fails, the cursor stays as it
 * was noted: power loss may take it, nothing else does.
 * Borrows: op, until done(). Errors: ERR_RANGE (`next` goes back, or past the
 * end: nothing is noted), ERR_IO, ERR_FULL, ERR_BUSY, ERR_CLOSED */
void store_cursor_save(struct store_topic *topic,
                       const struct store_cursor *cursor,
                       struct store_op *op);

/* Move the cursor to `next`, back or forward, durably; its ranges and attempts
 * are forgotten. topic->cursor changes at once.
 * Borrows: op, until done().
 * Errors: ERR_RANGE (outside oldest..end), ERR_IO, ERR_FULL, ERR_BUSY; the
 * cursor then is as it was */
void store_cursor_move(struct store_topic *topic,
                       uint64_t next,
                       struct store_op *op);

/* Note that messages `first` up to `end`, above the cursor, are done: for what
 * its ranges have no room for. A crash of the process loses none of it; power
 * loss may leave less. Forgotten when the cursor is moved, or passes them. Best
 * effort: what is below the cursor or past the end, more than STORE_ACKED_SPAN
 * messages above the cursor, or given while a move is under way, and what there
 * is no room for, is not noted, and so delivered again after a crash.
 *
 * Costs a store to memory for each 64 messages; now and then a file is made, or
 * takes 4 KiB more of the disk. Tells whether it is worth while to give them
 * once more. */
enum store_acked
store_acked_add(struct store_topic *topic, uint64_t first, uint64_t end);

/* The next run of such messages that has one at or above `from`, as far as it
 * is at or above it; false: there is none. What the cursor's ranges say is not
 * repeated here. No system call; after a start, too. */
bool store_acked_next(struct store_topic *topic,
                      uint64_t from,
                      struct store_range *out);

/* Drop all messages before sequence `before` (clamped to the end), durably,
 * delivered or not; the cursor moves forward with it, and those of the topic's
 * views. Bounds and cursors change at once; disk space comes back by whole
 * segments, later. Borrows: op, until done(). Errors: ERR_IO, ERR_FULL,
 * ERR_BUSY */
void store_purge(struct store_topic *topic,
                 uint64_t before,
                 struct store_op *op);

/* The first message pushed at or after a time; the end when there is none.
 * Blocks: on a page of an index, seldom.
 * Errors: ERR_IO */
MUST_CHECK enum err store_find_time(struct store_topic *topic,
                                    uint64_t at_ms,
                                    uint64_t *out_sequence);

/* Watch a topic. Borrows: watch, until store_watch_remove(). */
void store_watch_add(struct store_topic *topic, struct store_watch *watch);

/* Stop watching; idempotent. */
void store_watch_remove(struct store_watch *watch);

/* Make a reader. Gives: `*out`, for store_reader_destroy().
 * Errors: ERR_NOMEM */
MUST_CHECK enum err store_reader_create(struct store_topic *topic,
                                        struct store_reader **out);

/* Read the message `sequence`, or, where it was quarantined, the next one that
 * is whole (its own sequence tells).
 *
 * After ERR_AGAIN reader->ready() is called when the bytes are there.
 *
 * Borrows: `*out_record` points into the reader's block, until its next call.
 * Errors: ERR_AGAIN      the block is being read; ready() follows
 *         ERR_RANGE      before the oldest
 *         ERR_NOT_FOUND  at or past the end: watch the topic
 *         ERR_IO, ERR_NOMEM
 */
MUST_CHECK enum err store_reader_next(struct store_reader *reader,
                                      uint64_t sequence,
                                      struct record *out_record);

/* What every implementation's reader begins with. */
struct store_reader {
    struct store_topic *topic; /* borrowed */
    /* Called from the loop after ERR_AGAIN; set by the owner before reading. */
    void (*ready)(struct store_reader *reader);
    void *user; /* the owner's */
};

/* Free a reader, a running read included. Accepts NULL. */
void store_reader_destroy(struct store_reader *reader);

/* --- bodies too large for a record ---------------------------------------- */

/* A body that is received into a file, in constant memory:
 *
 *     begin -> write* -> end -> ended() -> append its record -> keep
 *                                    any time before the append -> drop
 *
 * Any shard's store receives bodies, whatever shard the topic belongs to. */
struct store_blob {
    struct store *store; /* borrowed */
    /* Called from the loop, never from inside a call: after a write that took
     * less than all, there is room again; or `err` is set. */
    void (*ready)(struct store_blob *blob);
    /* Called from the loop after store_blob_end(). Unless `err` is set, the
     * body is durable and `message` says what its record has to. */
    void (*ended)(struct store_blob *blob);
    void *user;                  /* the owner's, as those above */
    struct message_blob message; /* of what was written so far */
    enum err err;                /* ERR_FULL, ERR_IO: only to be dropped */
};

/* Begin to receive a body of `size` bytes; 0: not known yet.
 *
 * Gives:  `*out`, for store_blob_drop() or store_blob_keep().
 * Blocks: on making the file.
 * Errors: ERR_FULL    it would take the disk below its reserve
 *         ERR_CLOSED, ERR_BUSY (descriptors), ERR_IO, ERR_NOMEM
 *         ERR_UNSUPPORTED  this store has no such bodies
 */
MUST_CHECK enum err
store_blob_begin(struct store *store, uint64_t size, struct store_blob **out);

/* Write bytes, copied. Returns how many were taken. When it is less than all,
 * look at `err`: unless it is set, ready() follows. */
MUST_CHECK size_t store_blob_write(struct store_blob *blob, struct str bytes);

/* Make the body durable; ends with ended(). It has at least a byte, and no
 * error. */
void store_blob_end(struct store_blob *blob);

/* Begin a body that has the bytes of a stored message's, for another message of
 * whatever topic and shard: a second name of the same file where the file
 * system can, else a copy. What becomes of the one has no effect on the other.
 * ended() follows; nothing is written, and store_blob_end() is not called.
 *
 * Gives:  `*out`, for store_blob_drop() or store_blob_keep(); dropping it is
 *         allowed before ended().
 * Errors: ERR_CLOSED, ERR_BUSY, ERR_NOMEM, ERR_UNSUPPORTED
 * In ended(): ERR_NOT_FOUND, ERR_CORRUPT  it is missing, or of another size
 *             ERR_FULL, ERR_BUSY (descriptors), ERR_IO
 */
MUST_CHECK enum err store_blob_share(struct store_topic *topic,
                                     uint64_t sequence,
                                     const struct message_blob *body,
                                     struct store_blob **out);

/* Forget the body and remove its file; no callback comes any more. Its record
 * was not given to a store. Accepts NULL. */
void store_blob_drop(struct store_blob *blob);

/* Let go of a body whose record was given to a store; its file is that store's
 * business, whatever becomes of the record. After ended(). */
void store_blob_keep(struct store_blob *blob);

/* Open the body of a message that lies in a file.
 *
 * Gives:  `*out_fd`, for file_close().
 * Blocks: on opening, seldom.
 * Errors: ERR_NOT_FOUND, ERR_CORRUPT  missing, or of another size: tell
 *                                     store_blob_damaged()
 *         ERR_BUSY (descriptors), ERR_IO
 */
MUST_CHECK enum err store_blob_open(struct store_topic *topic,
                                    uint64_t sequence,
                                    const struct message_blob *blob,
                                    int *out_fd);

/* Count a message as quarantined whose body is not what it was, and say so in
 * the log. Nothing is moved or removed. */
void store_blob_damaged(struct store_topic *topic,
                        uint64_t sequence,
                        enum err err);

#endif
