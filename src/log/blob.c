/* Bodies that are too large for a record.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/blob.h"

#include "base/crc32c.h"
#include "base/str.h"
#include "sys/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ID_DIGITS = 16,
    NAME_MAX_SIZE = 64, /* of a name, its NUL included */
    VERIFY_SIZE = 1 << 20,
};

/* --- names ---------------------------------------------------------------- */

enum err
blob_incoming_path(char path[DIR_PATH_MAX], const char *data, uint64_t id)
{
    char name[NAME_MAX_SIZE];

    (void)snprintf(name, sizeof(name), "blobs/%016" PRIx64, id);
    return dir_join(path, data, name);
}

enum err blob_folder(char path[DIR_PATH_MAX], const char *topic)
{
    return dir_join(path, topic, BLOB_FOLDER);
}

static enum err placed_path(char path[DIR_PATH_MAX],
                            const char *topic,
                            uint64_t sequence,
                            uint64_t id)
{
    char name[NAME_MAX_SIZE];

    (void)snprintf(name, sizeof(name), "blobs/%" PRIu64 "-%016" PRIx64,
                   sequence, id);
    return dir_join(path, topic, name);
}

bool blob_incoming_parse(const char *name, uint64_t *out_id)
{
    uint64_t id = 0;

    for (size_t at = 0; at < ID_DIGITS; at++) {
        const char *digits = "0123456789abcdef";
        const char *digit = name[at] == '\0' ? NULL : strchr(digits, name[at]);
        if (digit == NULL) {
            return false;
        }
        id = id << 4 | (uint64_t)(digit - digits);
    }
    if (name[ID_DIGITS] != '\0') {
        return false;
    }
    *out_id = id;
    return true;
}

/* The sequence in the name of a body that is placed. */
static bool placed_parse(const char *name, uint64_t *out_sequence)
{
    const char *dash = strchr(name, '-');
    uint64_t id = 0;

    return dash != NULL && blob_incoming_parse(dash + 1, &id) &&
           str_to_u64((struct str){name, (size_t)(dash - name)},
                      out_sequence) == ERR_OK;
}

/* --- placing -------------------------------------------------------------- */

/* Make the folder, so that power does not take it away again with what is
 * brought there. */
static enum err folder_make(const char *topic, const char *folder)
{
    char above[DIR_PATH_MAX];
    enum err err = dir_sync(folder);

    if (err != ERR_NOT_FOUND) {
        return err; /* it is there */
    }
    err = dir_create(folder);
    if (err == ERR_OK) {
        err = dir_sync(topic);
    }
    if (err == ERR_OK) {
        err = dir_join(above, topic, "..");
    }
    if (err == ERR_OK) {
        err = dir_sync(above);
    }
    return err == ERR_EXISTS || err == ERR_NOT_FOUND ? ERR_IO : err;
}

enum err
blob_place(const char *data, const char *topic, uint64_t sequence, uint64_t id)
{
    char folder[DIR_PATH_MAX];
    char from[DIR_PATH_MAX];
    char to[DIR_PATH_MAX];
    enum err err = blob_folder(folder, topic);

    if (err == ERR_OK) {
        err = blob_incoming_path(from, data, id);
    }
    if (err == ERR_OK) {
        err = placed_path(to, topic, sequence, id);
    }
    if (err == ERR_OK) {
        err = folder_make(topic, folder);
    }
    if (err == ERR_OK) {
        err = file_rename(from, to);
    }
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

enum err blob_sync(const char *data, const char *topic)
{
    char folder[DIR_PATH_MAX];
    enum err err = blob_folder(folder, topic);

    /* Where it came to first: between the two it may have both names, but
     * never none. */
    if (err == ERR_OK) {
        err = dir_sync(folder);
    }
    if (err == ERR_OK) {
        err = dir_join(folder, data, "blobs");
    }
    return err == ERR_OK ? dir_sync(folder) : ERR_IO;
}

/* --- reading -------------------------------------------------------------- */

enum err blob_open(const char *data,
                   const char *topic,
                   uint64_t sequence,
                   const struct message_blob *blob,
                   int *out_fd)
{
    char placed[DIR_PATH_MAX];
    char incoming[DIR_PATH_MAX];
    uint64_t size = 0;
    int fd = -1;
    enum err err = placed_path(placed, topic, sequence, blob->id);

    if (err == ERR_OK) {
        err = blob_incoming_path(incoming, data, blob->id);
    }
    if (err != ERR_OK) {
        return err;
    }
    err = file_open(placed, FILE_READ, &fd);
    if (err == ERR_NOT_FOUND) {
        err = file_open(incoming, FILE_READ, &fd);
    }
    if (err == ERR_NOT_FOUND) {
        err = file_open(placed, FILE_READ, &fd); /* placed in between */
    }
    if (err == ERR_OK) {
        err = file_size(fd, &size);
    }
    if (err == ERR_OK && size != blob->size) {
        err = ERR_CORRUPT;
    }
    if (err != ERR_OK) {
        file_close(fd);
        return err;
    }
    *out_fd = fd;
    return ERR_OK;
}

enum err blob_link(const char *data,
                   const char *topic,
                   uint64_t sequence,
                   uint64_t id,
                   uint64_t as)
{
    char placed[DIR_PATH_MAX];
    char incoming[DIR_PATH_MAX];
    char to[DIR_PATH_MAX];
    enum err err = placed_path(placed, topic, sequence, id);

    if (err == ERR_OK) {
        err = blob_incoming_path(incoming, data, id);
    }
    if (err == ERR_OK) {
        err = blob_incoming_path(to, data, as);
    }
    if (err != ERR_OK) {
        return err;
    }
    err = file_link(placed, to);
    if (err == ERR_NOT_FOUND) {
        err = file_link(incoming, to);
    }
    if (err == ERR_NOT_FOUND) {
        err = file_link(placed, to); /* placed in between */
    }
    return err;
}

static enum err verify_bytes(int fd, const struct message_blob *blob)
{
    char *memory = malloc(VERIFY_SIZE);
    uint64_t offset = 0;
    uint32_t crc = 0;
    enum err err = memory == NULL ? ERR_NOMEM : ERR_OK;

    while (err == ERR_OK && offset < blob->size) {
        size_t size = 0;
        err = file_read_at(fd, memory, VERIFY_SIZE, offset, &size);
        if (err == ERR_OK && size == 0) {
            err = ERR_CORRUPT;
        }
        crc = crc32c(crc, memory, err == ERR_OK ? size : 0);
        offset += size;
    }
    free(memory);
    return err == ERR_OK && crc != blob->crc ? ERR_CORRUPT : err;
}

enum err blob_verify(const char *data,
                     const char *topic,
                     uint64_t sequence,
                     const struct message_blob *blob)
{
    int fd = -1;
    enum err err = blob_open(data, topic, sequence, blob, &fd);

    if (err == ERR_OK) {
        err = verify_bytes(fd, blob);
    }
    file_close(fd);
    return err;
}

/* --- removing ------------------------------------------------------------- */

struct removal {
    const char *folder;
    uint64_t below;
    uint32_t count_left;
};

static enum err remove_one(void *context, const char *name, bool is_directory)
{
    struct removal *removal = context;
    char path[DIR_PATH_MAX];
    uint64_t sequence = 0;

    if (is_directory || !placed_parse(name, &sequence) ||
        sequence >= removal->below) {
        return ERR_OK;
    }
    if (removal->count_left == 0) {
        return ERR_AGAIN;
    }
    removal->count_left--;
    enum err err = dir_join(path, removal->folder, name);
    return err == ERR_OK ? file_remove(path) : ERR_IO;
}

enum err
blob_remove_below(const char *folder, uint64_t sequence, uint32_t count_max)
{
    struct removal removal = {
        .folder = folder, .below = sequence, .count_left = count_max};
    enum err err = dir_each(folder, remove_one, &removal);

    return err == ERR_NOT_FOUND ? ERR_OK : err;
}
