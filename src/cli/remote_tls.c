/* TLS of the subcommands, over blocking sockets.
 *
 * What the session has for the network is sent before anything is waited for,
 * so both sides never wait for each other.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/remote_tls.h"

#include "http/tls.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

enum {
    CIPHER_SIZE = 16 * 1024,
};

struct remote_tls {
    int fd;                             /* borrowed */
    const struct remote_waiter *waiter; /* borrowed */
    struct tls *tls;                    /* owned */
    struct str left; /* in `cipher`: received, not taken by the session */
    char cipher[CIPHER_SIZE];
};

enum err remote_tls_context(const char *ca_file,
                            struct tls_context **out,
                            char detail[REMOTE_DETAIL_SIZE])
{
    enum err err = tls_context_create_client(ca_file, out);

    if (err == ERR_OK || err == ERR_NOMEM) {
        return err;
    }
    (void)snprintf(detail, REMOTE_DETAIL_SIZE, "--ca-file %s: %s",
                   ca_file != NULL ? ca_file : "of the system",
                   err == ERR_NOT_FOUND ? "no such file"
                                        : "no certificates in PEM");
    return ERR_TLS;
}

enum err remote_wait(const struct remote_waiter *waiter, int fd, short events)
{
    return waiter->wait == NULL
               ? ERR_OK
               : waiter->wait(waiter->context, fd, events, waiter->wait_ms);
}

static enum err socket_err(void)
{
    return errno == EAGAIN ? ERR_TIMEOUT : err_from_errno(errno);
}

/* Send what the session has for the network. */
static enum err flush(struct remote_tls *session)
{
    struct str output = tls_output(session->tls);

    while (output.size > 0) {
        enum err err = remote_wait(session->waiter, session->fd, POLLOUT);
        if (err != ERR_OK) {
            return err;
        }
        ssize_t size =
            send(session->fd, output.data, output.size, MSG_NOSIGNAL);
        if (size < 0 && errno != EINTR) {
            return socket_err();
        }
        if (size > 0) {
            tls_output_sent(session->tls, (size_t)size);
        }
        output = tls_output(session->tls);
    }
    return ERR_OK;
}

/* Give the session bytes from the network.
 * Errors: ERR_CLOSED   there are no more
 *         ERR_TIMEOUT  with MSG_DONTWAIT: none now
 *         ERR_RESET    it takes none: a server that asks TLS without end */
static enum err feed(struct remote_tls *session, int flags)
{
    struct str *left = &session->left;

    while (left->size == 0) {
        enum err err = (flags & MSG_DONTWAIT) == 0
                           ? remote_wait(session->waiter, session->fd, POLLIN)
                           : ERR_OK;
        if (err != ERR_OK) {
            return err;
        }
        ssize_t size = recv(session->fd, session->cipher, CIPHER_SIZE, flags);
        if (size == 0) {
            return ERR_CLOSED;
        }
        if (size < 0 && errno != EINTR) {
            return socket_err();
        }
        *left = (struct str){session->cipher, size > 0 ? (size_t)size : 0};
    }
    size_t taken = tls_feed(session->tls, *left);
    *left = str_cut(*left, taken, left->size);
    return taken > 0 ? ERR_OK : ERR_RESET;
}

static enum err shake(struct remote_tls *session)
{
    for (;;) {
        enum err shaken = tls_handshake(session->tls);
        enum err err = flush(session); /* of a failure, the alert */
        if (shaken != ERR_AGAIN) {
            return shaken;
        }
        if (err == ERR_OK) {
            err = feed(session, 0);
        }
        if (err != ERR_OK) {
            return err;
        }
    }
}

enum err remote_tls_start(struct tls_context *context,
                          int fd,
                          const struct remote_waiter *waiter,
                          struct str host,
                          struct remote_tls **out,
                          char detail[REMOTE_DETAIL_SIZE])
{
    struct remote_tls *session = calloc(1, sizeof(*session));

    if (session == NULL) {
        return ERR_NOMEM;
    }
    session->fd = fd;
    session->waiter = waiter;
    enum err err = tls_create_client(context, host, NULL, &session->tls);
    if (err == ERR_INVALID) {
        (void)snprintf(detail, REMOTE_DETAIL_SIZE,
                       "no TLS session for this name");
        err = ERR_TLS;
    } else if (err == ERR_OK) {
        err = shake(session);
        if (err == ERR_TLS) {
            (void)snprintf(detail, REMOTE_DETAIL_SIZE, "%s",
                           tls_detail(session->tls));
        }
    }
    if (err != ERR_OK) {
        tls_destroy(session->tls);
        free(session);
        return err;
    }
    *out = session;
    return ERR_OK;
}

enum err remote_tls_send(struct remote_tls *session, struct str data)
{
    while (data.size > 0) {
        size_t size = 0;
        enum err err = tls_write(session->tls, data, &size);
        if (err != ERR_OK && err != ERR_AGAIN) {
            return err;
        }
        data = str_cut(data, size, data.size);
        /* What the session waits for is room, which this makes. */
        err = flush(session);
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

enum err remote_tls_receive(struct remote_tls *session,
                            char *to,
                            size_t size,
                            size_t *out_size)
{
    for (;;) {
        enum err err = tls_read(session->tls, to, size, out_size);
        if (err != ERR_AGAIN) {
            return err;
        }
        err = flush(session);
        if (err == ERR_OK) {
            err = feed(session, 0);
        }
        if (err != ERR_OK) {
            return err == ERR_CLOSED ? ERR_RESET : err; /* no close_notify */
        }
    }
}

bool remote_tls_is_quiet(struct remote_tls *session)
{
    for (;;) {
        char byte;
        size_t size = 0;
        if (tls_read(session->tls, &byte, 1, &size) != ERR_AGAIN) {
            return false;
        }
        enum err err = feed(session, MSG_DONTWAIT);
        if (err != ERR_OK) {
            return err == ERR_TIMEOUT;
        }
    }
}

const char *remote_tls_detail(const struct remote_tls *session)
{
    return tls_detail(session->tls);
}

void remote_tls_end(struct remote_tls *session)
{
    if (session == NULL) {
        return;
    }
    tls_end(session->tls);
    struct str output = tls_output(session->tls);
    (void)send(session->fd, output.data, output.size,
               MSG_NOSIGNAL | MSG_DONTWAIT);
    tls_destroy(session->tls);
    free(session);
}
