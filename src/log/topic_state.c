/* `cmd` and `dlv`: two slots each, of which one is in force.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/topic_state.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <assert.h>
#include <string.h>

enum {
    HEAD_SIZE = 32,
    HEAD_SIZE_AT = 4,
    HEAD_NUMBER_AT = 8,
    HEAD_TOPIC_AT = 16,

    CMD_SIZE = 40,
    BODY_SIZE_MAX = TOPIC_STATE_SLOT_SIZE - HEAD_SIZE,
};

static_assert((int)TOPIC_CURSOR_SIZE_MAX <= (int)BODY_SIZE_MAX,
              "a cursor fits a slot");

/* Both slots of a file, as read. */
struct slot_pair {
    char bytes[TOPIC_STATE_SLOTS][TOPIC_STATE_SLOT_SIZE];
    size_t sizes[TOPIC_STATE_SLOTS]; /* bytes read */
};

/* --- slots ---------------------------------------------------------------- */

static enum err
read_pair(const char *directory, const char *name, struct slot_pair *out_pair)
{
    char path[DIR_PATH_MAX];
    enum err err = dir_join(path, directory, name);
    if (err != ERR_OK) {
        return err;
    }
    int fd = -1;
    err = file_open(path, FILE_READ, &fd);
    if (err == ERR_NOT_FOUND) {
        memset(out_pair->sizes, 0, sizeof(out_pair->sizes));
        return ERR_OK;
    }
    if (err != ERR_OK) {
        return err;
    }
    size_t size = 0;
    err = file_read_at(fd, out_pair->bytes, sizeof(out_pair->bytes), 0, &size);
    file_close(fd);
    for (size_t i = 0; err == ERR_OK && i < TOPIC_STATE_SLOTS; i++) {
        size_t part =
            size < TOPIC_STATE_SLOT_SIZE ? size : TOPIC_STATE_SLOT_SIZE;
        out_pair->sizes[i] = part;
        size -= part;
    }
    return err;
}

/* The body of a slot that is whole; an empty slice otherwise. */
static struct str slot_body(const char *slot, size_t size)
{
    struct str none = {NULL, 0};
    if (size < HEAD_SIZE) {
        return none;
    }
    size_t body_size = get_u32(slot + HEAD_SIZE_AT);
    if (body_size == 0 || body_size > size - HEAD_SIZE) {
        return none;
    }
    uint32_t crc =
        crc32c(0, slot + HEAD_SIZE_AT, HEAD_SIZE - HEAD_SIZE_AT + body_size);
    if (crc != get_u32(slot)) {
        return none;
    }
    return (struct str){slot + HEAD_SIZE, body_size};
}

/* Tell whether there is more than zeros. */
static bool has_bytes(const char *slot, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (slot[i] != 0) {
            return true;
        }
    }
    return false;
}

/* The slot in force; TOPIC_STATE_SLOTS when there is none. */
static size_t slot_in_force(const struct topic_state_slots *slots,
                            uint64_t checkpoint)
{
    size_t best = TOPIC_STATE_SLOTS;
    for (size_t i = 0; i < TOPIC_STATE_SLOTS; i++) {
        uint64_t number = slots->numbers[i];
        if (number != 0 && number <= checkpoint &&
            (best == TOPIC_STATE_SLOTS || number > slots->numbers[best])) {
            best = i;
        }
    }
    return best;
}

bool topic_state_stale(const struct topic_state_slots *slots,
                       uint64_t checkpoint)
{
    for (size_t i = 0; i < TOPIC_STATE_SLOTS; i++) {
        if (slots->numbers[i] > checkpoint) {
            return true;
        }
    }
    return false;
}

/* Read a file's slots with `decode`, which tells whether a body makes sense;
 * the one in force is decoded last, so that its values stay in `value`. */
static enum err load(const struct topic_state_key *key,
                     const char *name,
                     bool (*decode)(struct str body, void *value),
                     struct topic_state_slots *out_slots,
                     void *value)
{
    struct slot_pair pair = {0};
    enum err err = read_pair(key->directory, name, &pair);
    if (err != ERR_OK) {
        return err;
    }
    struct topic_state_slots slots = {0};
    for (size_t i = 0; i < TOPIC_STATE_SLOTS; i++) {
        struct str body = slot_body(pair.bytes[i], pair.sizes[i]);
        if (body.size == 0 || !decode(body, value)) {
            slots.damaged[i] = has_bytes(pair.bytes[i], pair.sizes[i]);
            continue;
        }
        uint64_t topic_id = get_u64(pair.bytes[i] + HEAD_TOPIC_AT);
        if (key->topic_id == 0 || key->topic_id == topic_id) {
            slots.numbers[i] = get_u64(pair.bytes[i] + HEAD_NUMBER_AT);
        }
    }
    *out_slots = slots;
    size_t best = slot_in_force(&slots, key->checkpoint);
    if (best == TOPIC_STATE_SLOTS) {
        return ERR_NOT_FOUND;
    }
    bool decoded = decode(slot_body(pair.bytes[best], pair.sizes[best]), value);
    CHECK(decoded); /* it was, a moment ago */
    return ERR_OK;
}

/* Write a slot's bytes, head and body. */
static enum err write_slots(const struct topic_state_key *key,
                            const char *name,
                            char *slot,
                            size_t body_size,
                            struct topic_state_slots *slots)
{
    uint64_t number = key->checkpoint + 1;
    put_u32(slot + HEAD_SIZE_AT, (uint32_t)body_size);
    put_u64(slot + HEAD_NUMBER_AT, number);
    put_u64(slot + HEAD_TOPIC_AT, key->topic_id);
    put_u32(slot, crc32c(0, slot + HEAD_SIZE_AT,
                         HEAD_SIZE - HEAD_SIZE_AT + body_size));
    char path[DIR_PATH_MAX];
    enum err err = dir_join(path, key->directory, name);
    if (err != ERR_OK) {
        return err;
    }
    int fd = -1;
    err = file_open(path, FILE_WRITE | FILE_CREATE, &fd);
    if (err != ERR_OK) {
        return err;
    }
    size_t in_force = slot_in_force(slots, key->checkpoint);
    size_t target = in_force == 0 ? 1 : 0;
    size_t other = 1 - target;
    slots->numbers[target] = 0; /* torn, until it is whole */
    err = file_write_at(fd, slot, TOPIC_STATE_SLOT_SIZE,
                        target * TOPIC_STATE_SLOT_SIZE, false);
    if (err == ERR_OK) {
        slots->numbers[target] = number;
        if (slots->numbers[other] > key->checkpoint) {
            memset(slot, 0, TOPIC_STATE_SLOT_SIZE);
            err = file_write_at(fd, slot, TOPIC_STATE_SLOT_SIZE,
                                other * TOPIC_STATE_SLOT_SIZE, false);
            slots->numbers[other] = err == ERR_OK ? 0 : slots->numbers[other];
        }
    }
    file_close(fd);
    return err;
}

/* --- cmd ------------------------------------------------------------------ */

static bool decode_cmd(struct str body, void *value)
{
    struct reader reader = reader_of(body);
    struct topic_state_cmd cmd = {.end = reader_u64(&reader)};
    cmd.oldest = reader_u64(&reader);
    cmd.open_first = reader_u64(&reader);
    cmd.open_size = reader_u64(&reader);
    cmd.quarantined = reader_u64(&reader);
    if (reader.failed || reader_left(&reader) != 0 || cmd.oldest > cmd.end ||
        (cmd.open_size != 0 && cmd.open_first > cmd.end)) {
        return false;
    }
    *(struct topic_state_cmd *)value = cmd;
    return true;
}

enum err topic_state_load_cmd(const struct topic_state_key *key,
                              struct topic_state_slots *out_slots,
                              struct topic_state_cmd *out_cmd)
{
    struct topic_state_cmd cmd;
    enum err err = load(key, "cmd", decode_cmd, out_slots, &cmd);
    if (err == ERR_OK) {
        *out_cmd = cmd;
    }
    return err;
}

enum err topic_state_store_cmd(const struct topic_state_key *key,
                               const struct topic_state_cmd *cmd,
                               struct topic_state_slots *slots)
{
    CHECK(cmd->oldest <= cmd->end);
    char slot[TOPIC_STATE_SLOT_SIZE] = {0};
    char *body = slot + HEAD_SIZE;
    put_u64(body, cmd->end);
    put_u64(body + 8, cmd->oldest);
    put_u64(body + 16, cmd->open_first);
    put_u64(body + 24, cmd->open_size);
    put_u64(body + 32, cmd->quarantined);
    return write_slots(key, "cmd", slot, CMD_SIZE, slots);
}

/* --- dlv ------------------------------------------------------------------ */

static bool decode_dlv(struct str body, void *value)
{
    size_t size = 0;
    return topic_cursor_read(body, value, &size) && size == body.size;
}

enum err topic_state_load_dlv(const struct topic_state_key *key,
                              struct topic_state_slots *out_slots,
                              struct topic_cursor *out_cursor)
{
    struct topic_cursor cursor = {0};
    enum err err = load(key, "dlv", decode_dlv, out_slots, &cursor);
    if (err == ERR_OK) {
        *out_cursor = cursor;
    }
    return err;
}

enum err topic_state_store_dlv(const struct topic_state_key *key,
                               const struct topic_cursor *cursor,
                               struct topic_state_slots *slots)
{
    char slot[TOPIC_STATE_SLOT_SIZE] = {0};
    topic_cursor_write(cursor, slot + HEAD_SIZE);
    return write_slots(key, "dlv", slot, topic_cursor_size(cursor), slots);
}

/* --- sync ----------------------------------------------------------------- */

static enum err sync_one(const char *directory, const char *name)
{
    char path[DIR_PATH_MAX];
    enum err err = dir_join(path, directory, name);
    if (err != ERR_OK) {
        return err;
    }
    int fd = -1;
    err = file_open(path, FILE_WRITE, &fd);
    if (err == ERR_NOT_FOUND) {
        return ERR_IO; /* it was written a moment ago */
    }
    if (err != ERR_OK) {
        return err;
    }
    err = file_sync(fd);
    file_close(fd);
    return err;
}

enum err topic_state_sync(const char *directory, bool with_cmd)
{
    enum err err = with_cmd ? sync_one(directory, "cmd") : ERR_OK;
    return err == ERR_OK ? sync_one(directory, "dlv") : err;
}
