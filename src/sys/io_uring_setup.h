/* The ring of the io_uring back end: set up, probed, taken down. io_uring.c is
 * its only user.
 *
 * Threads: the loop's; set-up and take-down from any one thread.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SYS_IO_URING_SETUP_H
#define OPQ_SYS_IO_URING_SETUP_H

#include "base/err.h"
#include "base/list.h"
#include "sys/io.h"

#include <liburing.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    URING_ENTRIES = 1024,     /* of the submission ring, a turn's worth */
    URING_COMPLETIONS = 4096, /* of the completion ring, a turn's worth */
    URING_BUFFERS_MIN = 16,
    URING_BUFFERS_MAX = 256, /* 4 MiB; used one by one, so all are touched */
    URING_GROUP = 0,         /* of buffers: there is one */
    URING_SUBMIT_TRIES = 1000,
    URING_SENT_NS = 100 * 1000, /* from the end of a send to its turn, if
                                   nothing else happens */
    URING_COUNT_MAX = 1024, /* completions waited for; the ring holds more */
};

struct uring {
    struct io *io; /* borrowed */
    struct io_uring ring;
    struct io_uring_buf_ring *buffers; /* owned, mapped */
    char *memory;                      /* owned, mapped: the buffers */
    uint32_t buffer_count;
    int returned;      /* buffers that the kernel is not told of yet */
    uint32_t sends;    /* not submitted yet; each completes at once, mostly */
    uint32_t stopping; /* accepts that are being cancelled */
    bool enabled;      /* this thread is the one that submits */
    struct list ready; /* sockets with held bytes or a known end */
};

/* Set up ring and buffers of a zeroed `uring`, disabled: the thread that first
 * submits enables it. `sockets_max` sizes the buffers.
 *
 * Gives:  what io_uring_setup_fini() frees.
 * Errors: ERR_UNSUPPORTED  the kernel lacks what the back end needs
 *         ERR_NOMEM, ERR_BUSY (descriptors)
 */
MUST_CHECK enum err io_uring_setup_init(struct uring *uring,
                                        uint32_t sockets_max);

/* Free ring and buffers. */
void io_uring_setup_fini(struct uring *uring);

/* Note that buffer `index` came back. */
static inline void io_uring_setup_add_buffer(struct uring *uring,
                                             uint32_t index)
{
    io_uring_buf_ring_add(uring->buffers,
                          uring->memory + (size_t)index * IO_RECEIVE_SIZE,
                          IO_RECEIVE_SIZE, (unsigned short)index,
                          (int)uring->buffer_count - 1, uring->returned);
    uring->returned++;
}

/* Let the kernel have the buffers that came back. */
static inline void io_uring_setup_give_buffers(struct uring *uring)
{
    if (uring->returned > 0) {
        io_uring_buf_ring_advance(uring->buffers, uring->returned);
        uring->returned = 0;
    }
}

#endif
