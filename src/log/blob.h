/* Bodies that are too large for a record, each in a file of its own:
 * doc/log-format.md, section 11.
 *
 *     <data>/blobs/<id>                           received, not placed yet
 *     <data>/topics/<topic>/blobs/<sequence>-<id>  its message is stored
 *
 * A file is written once, made durable, then named by a record, and placed
 * before the checkpoint that lets go of that record. Both names hold the
 * message's `blob.id`, so no file is ever taken for another message's.
 *
 * Threads: any. All calls block on the disk.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_BLOB_H
#define OPQ_LOG_BLOB_H

#include "base/err.h"
#include "log/record.h"
#include "sys/dir.h"

#include <stdbool.h>
#include <stdint.h>

/* Write the path of a body that is received.
 * Errors: ERR_TOO_LARGE */
MUST_CHECK enum err
blob_incoming_path(char path[DIR_PATH_MAX], const char *data, uint64_t id);

/* Tell whether a name is that of a body that is received.
 * Gives: `*out_id`. */
bool blob_incoming_parse(const char *name, uint64_t *out_id);

/* The folder of a topic's folder that has its bodies. */
#define BLOB_FOLDER "blobs"

/* Write the path of the folder that has a topic's bodies.
 * Errors: ERR_TOO_LARGE */
MUST_CHECK enum err blob_folder(char path[DIR_PATH_MAX], const char *topic);

/* Bring a body from where it was received to its topic, in one step; makes the
 * folder, durably, when it is not there. One that is placed already, or that
 * is nowhere, is fine: the second is found when it is read. `topic` is the
 * path of the topic's folder, which is there.
 *
 * Errors: ERR_FULL, ERR_IO, ERR_TOO_LARGE
 */
MUST_CHECK enum err
blob_place(const char *data, const char *topic, uint64_t sequence, uint64_t id);

/* Make what blob_place() did for a topic durable.
 * Errors: ERR_IO: fatal */
MUST_CHECK enum err blob_sync(const char *data, const char *topic);

/* Open a body for reading, wherever it lies.
 *
 * Gives:  `*out_fd`, for file_close().
 * Errors: ERR_NOT_FOUND  there is no such file
 *         ERR_CORRUPT    it has another size
 *         ERR_BUSY (descriptors), ERR_IO, ERR_TOO_LARGE (path)
 */
MUST_CHECK enum err blob_open(const char *data,
                              const char *topic,
                              uint64_t sequence,
                              const struct message_blob *blob,
                              int *out_fd);

/* Give a body a second name, as one that was received: whoever has it under one
 * of them is not concerned when the other one goes. Not durable yet.
 *
 * Errors: ERR_NOT_FOUND    there is no such file
 *         ERR_EXISTS       `as` is taken
 *         ERR_UNSUPPORTED  the file system cannot
 *         ERR_FULL, ERR_IO, ERR_TOO_LARGE (path)
 */
MUST_CHECK enum err blob_link(const char *data,
                              const char *topic,
                              uint64_t sequence,
                              uint64_t id,
                              uint64_t as);

/* Read a body to its end and compare it with its checksum.
 * Errors: those of blob_open(); ERR_CORRUPT: its bytes are others; ERR_NOMEM */
MUST_CHECK enum err blob_verify(const char *data,
                                const char *topic,
                                uint64_t sequence,
                                const struct message_blob *blob);

/* Remove the bodies below a sequence from a folder that blob_folder() named,
 * at most `count_max` of them. A folder that is not there has none.
 *
 * Errors: ERR_AGAIN  there are more
 *         ERR_IO
 */
MUST_CHECK enum err
blob_remove_below(const char *folder, uint64_t sequence, uint32_t count_max);

#endif
