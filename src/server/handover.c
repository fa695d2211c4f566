/* What a process leaves to the one that it becomes: see handover.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "server/handover.h"

#include "base/check.h"
#include "base/diag.h"
#include "sys/exec.h"
#include "sys/file.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct str magic = {"OPQ-HAND", 8};

enum {
    HEAD_SIZE = 16,
    RECORD_HEAD_SIZE = 8,
    CLIENT_NUMBERS = 13,
    JOURNAL_SIZE = 32,
    JOURNAL_TOPICS_AT = 48, /* with what was added */
};

enum record_type {
    RECORD_BEGUN = 1,
    RECORD_LISTENER,
    RECORD_CLIENT,
    RECORD_PROGRAM,
    RECORD_JOURNAL,
};

enum { LISTENER_ACTIVATED = 1 << 0 }; /* of a listener's flags */

/* Of a client's flags. */
enum {
    CLIENT_DEAF = 1 << 0,
    CLIENT_CHUNKS = 1 << 1,
    CLIENT_GATHERED = 1 << 2,
    CLIENT_CONTINUE_DUE = 1 << 3,
};

/* --- writing -------------------------------------------------------------- */

static void append_head(struct buf *to, enum record_type type, size_t size)
{
    to->failed = to->failed || size > UINT32_MAX;
    buf_put_u32(to, type);
    buf_put_u32(to, (uint32_t)size);
}

void handover_begin(struct buf *to, uint64_t held_ns)
{
    buf_append_str(to, magic);
    buf_put_u32(to, HANDOVER_VERSION);
    buf_put_u32(to, 0);
    append_head(to, RECORD_BEGUN, 8);
    buf_put_u64(to, held_ns);
}

void handover_listener(struct buf *to, int fd, bool activated)
{
    append_head(to, RECORD_LISTENER, 16);
    buf_put_u64(to, (uint64_t)fd);
    buf_put_u64(to, activated ? LISTENER_ACTIVATED : 0);
}

void handover_program(struct buf *to, const char *path)
{
    struct str text = str_from(path);

    append_head(to, RECORD_PROGRAM, text.size);
    buf_append_str(to, text);
}

void handover_journal(struct buf *to, const struct store_local_end *end)
{
    append_head(to, RECORD_JOURNAL, JOURNAL_TOPICS_AT + end->topics.size);
    buf_put_u64(to, end->node);
    buf_put_u64(to, end->shard);
    buf_put_u64(to, end->generation);
    buf_put_u64(to, end->offset);
    buf_put_u64(to, end->checkpoint);
    buf_put_u64(to, end->locked);
    buf_append_str(to, end->topics);
}

void handover_client(struct buf *to,
                     uint32_t shard,
                     const struct http_handed *handed)
{
    const struct str strings[4] = {handed->unsent[0], handed->unsent[1],
                                   handed->request, handed->input};
    size_t size = (size_t)CLIENT_NUMBERS * 8;

    for (int i = 0; i < 4; i++) {
        size += strings[i].size;
    }
    append_head(to, RECORD_CLIENT, size);
    buf_put_u64(to, (uint64_t)handed->fd);
    buf_put_u64(to, shard);
    buf_put_u64(to, (handed->deaf ? CLIENT_DEAF : 0U) |
                        (handed->chunks ? CLIENT_CHUNKS : 0U) |
                        (handed->gathered ? CLIENT_GATHERED : 0U) |
                        (handed->continue_due ? CLIENT_CONTINUE_DUE : 0U));
    buf_put_u64(to, handed->head_size);
    buf_put_u64(to, handed->chunked.left);
    buf_put_u64(to, (uint64_t)handed->chunked.state << 32 |
                        handed->chunked.overhead);
    buf_put_u64(to, handed->body_left);
    buf_put_u64(to, handed->body_size);
    buf_put_u64(to, 0); /* reserved */
    for (int i = 0; i < 4; i++) {
        buf_put_u64(to, strings[i].size);
    }
    for (int i = 0; i < 4; i++) {
        buf_append_str(to, strings[i]);
    }
}

/* --- reading -------------------------------------------------------------- */

static uint64_t number_at(struct str bytes, size_t index)
{
    return get_u64(bytes.data + index * 8);
}

static bool is_descriptor(uint64_t number)
{
    return number > 2 && number <= INT_MAX;
}

/* Read a client. Errors: ERR_CORRUPT */
static enum err
read_client(struct str bytes, const struct handover_calls *calls, void *context)
{
    struct str strings[4];
    size_t at = (size_t)CLIENT_NUMBERS * 8;

    if (bytes.size < at || !is_descriptor(number_at(bytes, 0)) ||
        number_at(bytes, 1) > UINT32_MAX) {
        return ERR_CORRUPT;
    }
    for (size_t i = 0; i < 4; i++) {
        uint64_t size = number_at(bytes, 9 + i);
        if (size > bytes.size - at) {
            return ERR_CORRUPT;
        }
        strings[i] = str_cut(bytes, at, (size_t)size);
        at += (size_t)size;
    }
    uint64_t flags = number_at(bytes, 2);
    uint64_t head_size = number_at(bytes, 3);
    if (head_size > strings[2].size) {
        return ERR_CORRUPT;
    }
    const struct http_handed handed = {
        .fd = (int)number_at(bytes, 0),
        .deaf = (flags & CLIENT_DEAF) != 0,
        .unsent = {strings[0], strings[1]},
        .request = strings[2],
        .head_size = (size_t)head_size,
        .chunks = (flags & CLIENT_CHUNKS) != 0,
        .chunked = {.left = number_at(bytes, 4),
                    .state = (uint32_t)(number_at(bytes, 5) >> 32),
                    .overhead = (uint32_t)number_at(bytes, 5)},
        .body_left = number_at(bytes, 6),
        .body_size = number_at(bytes, 7),
        .gathered = (flags & CLIENT_GATHERED) != 0,
        .continue_due = (flags & CLIENT_CONTINUE_DUE) != 0,
        .input = strings[3],
    };
    calls->client(context, (uint32_t)number_at(bytes, 1), &handed);
    return ERR_OK;
}

/* Read where a journal ended. Errors: ERR_CORRUPT */
static enum err read_journal(struct str bytes,
                             const struct handover_calls *calls,
                             void *context)
{
    if (bytes.size < JOURNAL_SIZE) {
        return ERR_CORRUPT;
    }
    struct store_local_end end = {
        .node = number_at(bytes, 0),
        .shard = number_at(bytes, 1),
        .generation = number_at(bytes, 2),
        .offset = number_at(bytes, 3),
    };
    if (bytes.size >= JOURNAL_TOPICS_AT) {
        end.checkpoint = number_at(bytes, 4);
        end.locked = number_at(bytes, 5);
        end.topics = str_cut(bytes, JOURNAL_TOPICS_AT, bytes.size);
    }
    calls->journal(context, &end);
    return ERR_OK;
}

static enum err read_record(uint32_t type,
                            struct str bytes,
                            const struct handover_calls *calls,
                            void *context)
{
    if (type == RECORD_CLIENT) {
        return read_client(bytes, calls, context);
    }
    if (type == RECORD_JOURNAL) {
        return read_journal(bytes, calls, context);
    }
    if (type == RECORD_PROGRAM) {
        calls->program(context, bytes);
        return ERR_OK;
    }
    if (type != RECORD_BEGUN && type != RECORD_LISTENER) {
        return ERR_OK;
    }
    if (bytes.size < (type == RECORD_BEGUN ? 8 : 16)) {
        return ERR_CORRUPT;
    }
    uint64_t number = number_at(bytes, 0);
    if (type == RECORD_BEGUN) {
        calls->begun(context, number);
    } else if (!is_descriptor(number)) {
        return ERR_CORRUPT;
    } else {
        bool activated = (number_at(bytes, 1) & LISTENER_ACTIVATED) != 0;
        calls->listener(context, (int)number, activated);
    }
    return ERR_OK;
}

enum err handover_read(struct str bytes,
                       const struct handover_calls *calls,
                       void *context)
{
    if (bytes.size < HEAD_SIZE || !str_starts(bytes, magic)) {
        return ERR_CORRUPT;
    }
    uint32_t version = get_u32(bytes.data + magic.size);
    if (version == 0 || version > HANDOVER_VERSION) {
        return ERR_UNSUPPORTED;
    }
    struct str left = str_cut(bytes, HEAD_SIZE, bytes.size);
    while (left.size > 0) {
        if (left.size < RECORD_HEAD_SIZE) {
            return ERR_CORRUPT;
        }
        uint32_t type = get_u32(left.data);
        uint32_t size = get_u32(left.data + 4);
        left = str_cut(left, RECORD_HEAD_SIZE, left.size);
        if (size > left.size) {
            return ERR_CORRUPT;
        }
        enum err err =
            read_record(type, str_cut(left, 0, size), calls, context);
        if (err != ERR_OK) {
            return err;
        }
        left = str_cut(left, size, left.size);
    }
    return ERR_OK;
}

/* --- the change ----------------------------------------------------------- */

static void note_nothing(void *context, uint64_t held_ns)
{
    (void)context;
    (void)held_ns;
}

static void note_no_program(void *context, struct str path)
{
    (void)context;
    (void)path;
}

static void note_no_journal(void *context, const struct store_local_end *end)
{
    (void)context;
    (void)end;
}

/* One that is named and not there must not become one of our files. */
static void share(int fd, bool shared)
{
    if (!exec_share(fd, shared) && !shared) {
        exec_hold(fd);
    }
}

static void share_listener(void *context, int fd, bool activated)
{
    (void)activated;
    share(fd, *(const bool *)context);
}

static void
share_client(void *context, uint32_t shard, const struct http_handed *handed)
{
    (void)shard;
    share(handed->fd, *(const bool *)context);
}

/* Let all descriptors that records name outlive this program, or not. */
static enum err share_all(struct str records, bool shared)
{
    static const struct handover_calls calls = {
        .begun = note_nothing,
        .program = note_no_program,
        .journal = note_no_journal,
        .listener = share_listener,
        .client = share_client,
    };

    return handover_read(records, &calls, &shared);
}

enum err handover_take(struct handover *out)
{
    const char *value = getenv(HANDOVER_VARIABLE);
    struct handover taken = {.back_fd = -1};
    char rest = '\0';

    *out = taken;
    if (value == NULL) {
        return ERR_OK;
    }
    int count = sscanf(value, "%d,%d%c", &taken.fd, &taken.back_fd, &rest);
    (void)unsetenv(HANDOVER_VARIABLE);
    if (count != 2 || taken.fd <= 2 || !exec_share(taken.fd, false)) {
        return ERR_CORRUPT;
    }
    (void)exec_share(taken.back_fd, false);
    *out = taken;
    enum err err = exec_left(taken.fd, &taken.bytes, &taken.size);
    if (err == ERR_OK) {
        err = share_all((struct str){taken.bytes, taken.size}, false);
    }
    if (err != ERR_OK) {
        free(taken.bytes);
        return err;
    }
    out->bytes = taken.bytes;
    out->size = taken.size;
    return ERR_OK;
}

void handover_end(struct handover *handover)
{
    if (handover->fd > 0) {
        file_close(handover->fd);
        file_close(handover->back_fd);
    }
    free(handover->bytes);
    *handover = (struct handover){.back_fd = -1};
}

void handover_back(const struct handover *handover, char *const *arguments)
{
    char value[32];

    if (handover->fd <= 0 || handover->back_fd < 0) {
        return;
    }
    (void)snprintf(value, sizeof(value), "%d,-1", handover->fd);
    (void)exec_share(handover->fd, true);
    /* What could not be read has its descriptors shared as they came. */
    enum err err =
        handover->bytes != NULL
            ? share_all((struct str){handover->bytes, handover->size}, true)
            : ERR_OK;
    if (err == ERR_OK) {
        DIAG_ERROR("restart_failed", "going back to the former program");
        err = exec_become_file(handover->back_fd, arguments, HANDOVER_VARIABLE,
                               value);
    }
    DIAG_ERROR("restart_lost", "err=%s", err_text(err));
}

enum err
handover_become(const char *path, char *const *arguments, struct str records)
{
    char value[32];
    int fd = -1;
    int back_fd = -1;

    enum err err = exec_own_file(&back_fd);
    if (err == ERR_OK) {
        err = exec_leave(records, &fd);
    }
    if (err == ERR_OK) {
        err = share_all(records, true);
    }
    if (err != ERR_OK) {
        file_close(back_fd);
        file_close(fd);
        return err;
    }
    (void)exec_share(back_fd, true);
    (void)snprintf(value, sizeof(value), "%d,%d", fd, back_fd);
    err = exec_become(path, arguments, HANDOVER_VARIABLE, value);
    DIAG_ERROR("restart_failed", "program=%s err=%s; going back", path,
               err_text(err));
    (void)snprintf(value, sizeof(value), "%d,-1", fd);
    (void)exec_share(back_fd, false); /* it would stay open for ever */
    return exec_become_file(back_fd, arguments, HANDOVER_VARIABLE, value);
}
