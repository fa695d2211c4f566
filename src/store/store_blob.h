/* Bodies in files, as the files of the local store share them.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_STORE_STORE_BLOB_H
#define OPQ_STORE_STORE_BLOB_H

#include "store/store_local_internal.h"

/* --- store_blob.c --------------------------------------------------------- */

/* Operations of struct store_ops. */
MUST_CHECK enum err
store_blob_receive(struct store *base, uint64_t size, struct store_blob **out);
/* Likewise. */
size_t store_blob_take(struct store_blob *base, struct str bytes);
/* Likewise. */
void store_blob_finish(struct store_blob *base);
/* Likewise. */
MUST_CHECK enum err store_blob_repeat(struct store_topic *base,
                                      uint64_t sequence,
                                      const struct message_blob *body,
                                      struct store_blob **out);
/* Likewise. */
void store_blob_discard(struct store_blob *base);
/* Likewise. */
void store_blob_release(struct store_blob *base);
/* Likewise. */
MUST_CHECK enum err store_blob_find(struct store_topic *base,
                                    uint64_t sequence,
                                    const struct message_blob *blob,
                                    int *out_fd);
/* Likewise. */
void store_blob_lost(struct store_topic *base, uint64_t sequence, enum err err);

/* --- store_blob_place.c --------------------------------------------------- */

/* A record that names a body was committed, or read from the journal.
 * Errors: ERR_NOMEM */
MUST_CHECK enum err
store_blob_note(struct local_topic *topic, uint64_t sequence, uint64_t id);

/* Place bodies. Threads: the helper's. `*out_sync_err` is set when a sync
 * failed. Errors: ERR_FULL, ERR_IO */
MUST_CHECK enum err store_blob_place(const struct local_topic *topic,
                                     const struct list *blobs,
                                     enum err *out_sync_err);

/* Bodies that were taken for placing are placed, or, with an error, are again
 * to be. */
void store_blob_placed(struct local_topic *topic,
                       struct list *blobs,
                       enum err err);

/* Everything below `before` is durably gone: let its bodies be removed. */
void store_blob_trim(struct local_topic *topic, uint64_t before);

/* The topic is gone: let its bodies be removed that are not in its folder. */
void store_blob_gone(struct local_topic *topic);

/* Forget what is to be placed, and nothing else. */
void store_blob_forget(struct local_store *store, struct list *blobs);

/* Settle a topic's bodies after replay. Errors: ERR_NOMEM */
MUST_CHECK enum err store_blob_settle(struct local_topic *topic);

/* List what an earlier process received, before there are stores.
 * Errors: ERR_IO, ERR_NOMEM */
MUST_CHECK enum err store_blob_leftovers(struct store_local_data *data);

/* The shard has read its journal: when it is the last one, let the leftovers
 * be removed that no record names, unless there is doubt. */
void store_blob_recovered(struct local_store *store, bool doubt);

#endif
