/* Setting up a ring, with what makes it fast where the kernel knows it, and
 * trying what has no feature flag.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sys/io_uring_setup.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static enum err setup_err(int error_number)
{
    switch (error_number) {
    case ENOMEM:
        return ERR_NOMEM;
    case EMFILE:
    case ENFILE:
        return ERR_BUSY;
    default: /* ENOSYS, EPERM, EACCES, EINVAL: not here */
        return ERR_UNSUPPORTED;
    }
}

/* Set up a ring, with what makes it fast where the kernel knows it. */
static enum err
setup_ring(struct io_uring *ring, unsigned entries, unsigned more_flags)
{
    static const unsigned choices[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN,
        IORING_SETUP_COOP_TASKRUN,
        0,
    };
    int rc = -EINVAL;
    for (size_t i = 0; i < sizeof(choices) / sizeof(choices[0]); i++) {
        struct io_uring_params params;
        memset(&params, 0, sizeof(params));
        params.flags = choices[i] | more_flags | IORING_SETUP_SUBMIT_ALL |
                       IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
        params.cq_entries = entries * (URING_COMPLETIONS / URING_ENTRIES);
        rc = io_uring_queue_init_params(entries, ring, &params);
        if (rc == 0 && (params.features & IORING_FEAT_NODROP) != 0 &&
            (params.features & IORING_FEAT_EXT_ARG) != 0) {
            return ERR_OK;
        }
        if (rc == 0) {
            io_uring_queue_exit(ring);
            return ERR_UNSUPPORTED;
        }
        if (rc != -EINVAL) {
            break;
        }
    }
    return setup_err(-rc);
}

static void *map_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static size_t ring_size(const struct uring *uring)
{
    return uring->buffer_count * sizeof(struct io_uring_buf);
}

static void unmap_buffers(struct uring *uring)
{
    if (uring->buffers != NULL) {
        (void)munmap(uring->buffers, ring_size(uring));
    }
    if (uring->memory != NULL) {
        (void)munmap(uring->memory,
                     (size_t)uring->buffer_count * IO_RECEIVE_SIZE);
    }
}

/* Map `buffer_count` buffers and register them. */
static enum err setup_buffers(struct uring *uring)
{
    uring->returned = 0;
    uring->memory = map_memory((size_t)uring->buffer_count * IO_RECEIVE_SIZE);
    uring->buffers = map_memory(ring_size(uring));
    if (uring->memory == NULL || uring->buffers == NULL) {
        unmap_buffers(uring);
        return ERR_NOMEM;
    }
    struct io_uring_buf_reg reg;
    memset(&reg, 0, sizeof(reg));
    reg.ring_addr = (uintptr_t)uring->buffers;
    reg.ring_entries = uring->buffer_count;
    reg.bgid = URING_GROUP;
    int rc = io_uring_register_buf_ring(&uring->ring, &reg, 0);
    if (rc != 0) {
        unmap_buffers(uring);
        return setup_err(-rc);
    }
    io_uring_buf_ring_init(uring->buffers);
    for (uint32_t i = 0; i < uring->buffer_count; i++) {
        io_uring_setup_add_buffer(uring, i);
    }
    io_uring_setup_give_buffers(uring);
    return ERR_OK;
}

/* Receive one byte the way that the loop does, over a pair of sockets. */
static bool probe_receive(struct uring *probe, const int pair[2])
{
    struct io_uring_cqe *cqe = NULL;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&probe->ring);
    if (sqe == NULL || write(pair[1], "x", 1) != 1) {
        return false;
    }
    io_uring_prep_recv_multishot(sqe, pair[0], NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = URING_GROUP;
    if (io_uring_submit_and_wait(&probe->ring, 1) < 0 ||
        io_uring_peek_cqe(&probe->ring, &cqe) != 0) {
        return false;
    }
    return cqe->res == 1 && (cqe->flags & IORING_CQE_F_BUFFER) != 0 &&
           (cqe->flags & IORING_CQE_F_MORE) != 0;
}

/* Try what has no feature flag. On a ring of its own, since only the loop's
 * thread may submit to the loop's. */
static enum err probe_kernel(void)
{
    struct uring probe;
    int pair[2];
    memset(&probe, 0, sizeof(probe));
    probe.buffer_count = 1;
    enum err err = setup_ring(&probe.ring, 4, 0);
    if (err != ERR_OK) {
        return err;
    }
    err = setup_buffers(&probe);
    if (err != ERR_OK) {
        goto fail_buffers;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        err = setup_err(errno);
        goto fail_pair;
    }
    err = probe_receive(&probe, pair) ? ERR_OK : ERR_UNSUPPORTED;
    (void)close(pair[0]);
    (void)close(pair[1]);
fail_pair:
    io_uring_queue_exit(&probe.ring);
    unmap_buffers(&probe);
    return err;

fail_buffers:
    io_uring_queue_exit(&probe.ring);
    return err;
}

static uint32_t choose_buffer_count(uint32_t sockets_max)
{
    uint32_t count = URING_BUFFERS_MIN;
    while (count < URING_BUFFERS_MAX && count < sockets_max) {
        count *= 2;
    }
    return count;
}

enum err io_uring_setup_init(struct uring *uring, uint32_t sockets_max)
{
    enum err err = probe_kernel();
    if (err != ERR_OK) {
        return err;
    }
    uring->buffer_count = choose_buffer_count(sockets_max);
    err = setup_ring(&uring->ring, URING_ENTRIES, IORING_SETUP_R_DISABLED);
    if (err != ERR_OK) {
        return err;
    }
    err = setup_buffers(uring);
    if (err != ERR_OK) {
        io_uring_queue_exit(&uring->ring);
    }
    return err;
}

void io_uring_setup_fini(struct uring *uring)
{
    io_uring_queue_exit(&uring->ring);
    unmap_buffers(uring);
}
