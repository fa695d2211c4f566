/* Where replay begins.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/checkpoint.h"

#include "base/buf.h"
#include "base/crc32c.h"
#include "base/str.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <stdbool.h>
#include <string.h>

enum {
    SLOT_SIZE = 512, /* a sector, which devices write whole */
    SLOT_COUNT = 2,
    FILE_SIZE = 4096,
    BODY_SIZE = 32, /* size and numbers, behind the checksum */
};

/* Read one slot; false when it is not whole. */
static bool slot_read(const char *slot, struct checkpoint *out)
{
    struct reader reader = reader_of((struct str){slot, 4 + BODY_SIZE});
    uint32_t crc = reader_u32(&reader);
    uint32_t size = reader_u32(&reader);
    if (size != BODY_SIZE || crc != crc32c(0, slot + 4, BODY_SIZE)) {
        return false;
    }
    out->number = reader_u64(&reader);
    out->generation = reader_u64(&reader);
    out->offset = reader_u64(&reader);
    return out->number != 0;
}

/* Fill a slot. */
static void slot_fill(char slot[SLOT_SIZE], const struct checkpoint *checkpoint)
{
    memset(slot, 0, SLOT_SIZE);
    put_u32(slot + 4, BODY_SIZE);
    put_u64(slot + 8, checkpoint->number);
    put_u64(slot + 16, checkpoint->generation);
    put_u64(slot + 24, checkpoint->offset);
    put_u32(slot, crc32c(0, slot + 4, BODY_SIZE));
}

/* Read both slots: the one in force, and which slot it is. */
static enum err
slots_read(int fd, struct checkpoint *out_checkpoint, uint32_t *out_slot)
{
    char slots[SLOT_COUNT * SLOT_SIZE] = {0};
    size_t size = 0;
    enum err err = file_read_at(fd, slots, sizeof(slots), 0, &size);
    if (err != ERR_OK) {
        return err;
    }
    struct checkpoint best = {0};
    uint32_t best_slot = SLOT_COUNT - 1;
    for (uint32_t i = 0; i < SLOT_COUNT; i++) {
        struct checkpoint found = {0};
        if (slot_read(slots + (size_t)i * SLOT_SIZE, &found) &&
            found.number > best.number) {
            best = found;
            best_slot = i;
        }
    }
    *out_checkpoint = best;
    *out_slot = best_slot;
    return ERR_OK;
}

enum err checkpoint_load(const char *directory,
                         struct checkpoint *out_checkpoint)
{
    char path[DIR_PATH_MAX];
    enum err err = dir_join(path, directory, "checkpoint");
    if (err != ERR_OK) {
        return ERR_IO;
    }
    int fd = -1;
    err = file_open(path, FILE_READ, &fd);
    if (err == ERR_NOT_FOUND) {
        *out_checkpoint = (struct checkpoint){0};
        return ERR_OK;
    }
    if (err != ERR_OK) {
        return ERR_IO;
    }
    uint32_t slot = 0;
    err = slots_read(fd, out_checkpoint, &slot);
    file_close(fd);
    return err;
}

/* Open the file for writing, made and filled when it is new. */
static enum err file_prepare(const char *directory, int *out_fd)
{
    char path[DIR_PATH_MAX];
    if (dir_join(path, directory, "checkpoint") != ERR_OK) {
        return ERR_IO;
    }
    int fd = -1;
    enum err err = file_open(path, FILE_WRITE | FILE_CREATE, &fd);
    if (err != ERR_OK) {
        return err == ERR_FULL ? ERR_FULL : ERR_IO;
    }
    uint64_t size = 0;
    err = file_size(fd, &size);
    if (err == ERR_OK && size < FILE_SIZE) {
        /* Nothing is in force in a file that was never filled. */
        err = file_fill(fd, FILE_SIZE);
    }
    if (err != ERR_OK) {
        file_close(fd);
        return err == ERR_FULL ? ERR_FULL : ERR_IO;
    }
    *out_fd = fd;
    return ERR_OK;
}

enum err checkpoint_write(const char *directory,
                          const struct checkpoint *checkpoint)
{
    int fd = -1;
    enum err err = file_prepare(directory, &fd);
    if (err != ERR_OK) {
        return err;
    }
    struct checkpoint force = {0};
    uint32_t slot = 0;
    err = slots_read(fd, &force, &slot);
    if (err == ERR_OK && force.number == 0) {
        err = dir_sync(directory); /* the file may be new: its name, too */
    }
    if (err == ERR_OK) {
        /* The same again goes where it went, lest it takes the place of the
         * one that is in force if that write never reached the disk. */
        if (force.number != checkpoint->number) {
            slot = (slot + 1) % SLOT_COUNT;
        }
        char bytes[SLOT_SIZE];
        slot_fill(bytes, checkpoint);
        err = file_write_at(fd, bytes, sizeof(bytes),
                            (uint64_t)slot * SLOT_SIZE, true);
    }
    file_close(fd);
    return err;
}
