/* Readiness of descriptors that others own: an epoll instance of its own, which
 * the back end watches as one descriptor. So both back ends need one small
 * thing for it, and stopping takes effect at once, whatever is on its way from
 * the kernel.
 *
 * Meant for a few descriptors that are seldom ready (name look-ups).
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "sys/io_private.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { IO_POLL_EVENTS_MAX = 64 }; /* handed out in one go */

static enum err open_polls(struct io *io)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) {
        return errno == EMFILE || errno == ENFILE ? ERR_BUSY : ERR_IO;
    }
    io->poll_fd = fd;
    enum err err = io->ops->poll_watch(io);
    if (err != ERR_OK) {
        (void)close(fd);
        io->poll_fd = -1;
    }
    return err;
}

enum err io_poll_start(struct io *io, struct io_poll *poll)
{
    CHECK(poll->ready != NULL);
    CHECK(poll->io == NULL || poll->io == io);
    if (io->poll_fd < 0) {
        enum err err = open_polls(io);
        if (err != ERR_OK) {
            return err;
        }
    }
    struct epoll_event event = {.data.ptr = poll};
    event.events |= (poll->events & IO_POLL_READ) != 0 ? (uint32_t)EPOLLIN : 0U;
    event.events |=
        (poll->events & IO_POLL_WRITE) != 0 ? (uint32_t)EPOLLOUT : 0U;
    int operation = poll->io != NULL ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(io->poll_fd, operation, poll->fd, &event) != 0) {
        return errno == ENOMEM || errno == ENOSPC ? ERR_NOMEM : ERR_IO;
    }
    poll->io = io;
    return ERR_OK;
}

void io_poll_stop(struct io_poll *poll)
{
    if (poll->io != NULL) {
        /* Fails when its owner has closed it already, which does the same. */
        (void)epoll_ctl(poll->io->poll_fd, EPOLL_CTL_DEL, poll->fd, NULL);
        poll->io = NULL;
    }
}

void io_poll_dispatch(struct io *io)
{
    /* One by one, since a callback may stop any other and free it. */
    for (int i = 0; i < IO_POLL_EVENTS_MAX; i++) {
        struct epoll_event event;
        if (epoll_wait(io->poll_fd, &event, 1, 0) != 1) {
            return;
        }
        struct io_poll *poll = event.data.ptr;
        uint32_t events = 0;
        if ((event.events & (EPOLLERR | EPOLLHUP)) != 0) {
            events = poll->events;
        }
        events |= (event.events & EPOLLIN) != 0 ? (uint32_t)IO_POLL_READ : 0U;
        events |= (event.events & EPOLLOUT) != 0 ? (uint32_t)IO_POLL_WRITE : 0U;
        poll->ready(poll, events);
    }
}

void io_poll_fini(struct io *io)
{
    if (io->poll_fd >= 0) {
        (void)close(io->poll_fd);
        io->poll_fd = -1;
    }
}
