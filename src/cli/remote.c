/* A small blocking HTTP client.
 *
 * A kept connection may have been closed by the server meanwhile. That is
 * looked at before the next request is sent; when it shows only afterwards, the
 * request fails instead of being sent twice, since a push is no idempotent
 * thing.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/remote.h"

#include "cli/remote_tls.h"
#include "http/parse.h"
#include "http/tls.h"
#include "http/url.h"
#include "sys/net.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum {
    HOST_MAX = 256,
    HEAD_MAX = 64 * 1024,
    RECEIVE_SIZE = 64 * 1024,
};

struct remote {
    int fd; /* owned; -1: not connected */
    bool local;
    bool secure;
    struct remote_waiter waiter;
    const char *ca_file;         /* borrowed; NULL: the system's */
    struct tls_context *context; /* owned; made when it is needed */
    struct remote_tls *tls;      /* owned; NULL: not connected, or plain */
    struct net_address address;  /* of a Unix socket */
    char host[HOST_MAX];
    char port[8];
    char authority[HOST_MAX + 16];
    struct str headers; /* borrowed: of each request */
    struct buf input;   /* received, not used yet */
    char detail[REMOTE_DETAIL_SIZE];
};

static enum err set_url(struct remote *remote, struct str text)
{
    struct url url;
    const char *reason = NULL;

    if (url_parse(text, &url, &reason) != ERR_OK ||
        url.host.size >= sizeof(remote->host)) {
        return ERR_INVALID;
    }
    remote->secure = url.secure;
    memcpy(remote->host, url.host.data, url.host.size);
    (void)snprintf(remote->port, sizeof(remote->port), "%u",
                   (unsigned)url.port);
    (void)snprintf(remote->authority, sizeof(remote->authority), "%.*s",
                   STR_ARG(url.authority));
    return ERR_OK;
}

static enum err set_address(struct remote *remote, const char *address)
{
    struct str text = str_from(address);
    struct buf url = {0};

    if (str_starts(text, STR("unix:"))) {
        remote->local = true;
        (void)snprintf(remote->authority, sizeof(remote->authority),
                       "localhost");
        return net_parse(text, 0, &remote->address) == ERR_OK ? ERR_OK
                                                              : ERR_INVALID;
    }
    if (!str_starts(text, STR("http://")) &&
        !str_starts(text, STR("https://"))) {
        buf_append_c(&url, "http://");
    }
    buf_append_str(&url, text);
    enum err err = url.failed ? ERR_NOMEM : set_url(remote, buf_str(&url));
    buf_fini(&url);
    return err;
}

enum err
remote_open(const char *address, const char *ca_file, struct remote **out)
{
    struct remote *remote = calloc(1, sizeof(*remote));

    if (remote == NULL) {
        return ERR_NOMEM;
    }
    remote->fd = -1;
    remote->ca_file = ca_file;
    remote->waiter.wait_ms = REMOTE_WAIT_S * 1000;
    enum err err = set_address(remote, address);
    if (err != ERR_OK) {
        free(remote);
        return err;
    }
    *out = remote;
    return ERR_OK;
}

void remote_set_headers(struct remote *remote, struct str headers)
{
    remote->headers = headers;
}

static void disconnect(struct remote *remote)
{
    remote_tls_end(remote->tls);
    remote->tls = NULL;
    if (remote->fd >= 0) {
        (void)close(remote->fd);
    }
    remote->fd = -1;
    buf_clear(&remote->input);
}

void remote_close(struct remote *remote)
{
    if (remote == NULL) {
        return;
    }
    disconnect(remote);
    tls_context_destroy(remote->context);
    buf_fini(&remote->input);
    free(remote);
}

/* --- connecting ----------------------------------------------------------- */

/* Connect while the waiter does other things. */
static enum err connect_waiting(const struct remote *remote,
                                int fd,
                                const struct sockaddr *address,
                                socklen_t address_size)
{
    int flags = fcntl(fd, F_GETFL);
    int number = 0;
    socklen_t number_size = sizeof(number);

    (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    if (connect(fd, address, address_size) != 0) {
        if (errno != EINPROGRESS) {
            return err_from_errno(errno);
        }
        enum err err = remote_wait(&remote->waiter, fd, POLLOUT);
        if (err != ERR_OK) {
            return err;
        }
        (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &number_size);
    }
    (void)fcntl(fd, F_SETFL, flags);
    return number == 0 ? ERR_OK : err_from_errno(number);
}

static enum err
connect_blocking(int fd, const struct sockaddr *address, socklen_t address_size)
{
    if (connect(fd, address, address_size) == 0) {
        return ERR_OK;
    }
    return errno == ENOENT ? ERR_REFUSED : err_from_errno(errno);
}

static enum err connect_to(struct remote *remote,
                           const struct sockaddr *address,
                           socklen_t address_size)
{
    const struct timeval wait = {
        .tv_sec = remote->waiter.wait_ms / 1000,
        .tv_usec = (suseconds_t)(remote->waiter.wait_ms % 1000) * 1000,
    };
    int on = 1;
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return err_from_errno(errno);
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    enum err err = remote->waiter.wait != NULL
                       ? connect_waiting(remote, fd, address, address_size)
                       : connect_blocking(fd, address, address_size);
    if (err != ERR_OK) {
        (void)close(fd);
        return err;
    }
    remote->fd = fd;
    return ERR_OK;
}

static enum err connect_by_name(struct remote *remote)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    enum err err = ERR_DNS;

    if (getaddrinfo(remote->host, remote->port, &hints, &found) != 0) {
        return ERR_DNS;
    }
    for (struct addrinfo *at = found; at != NULL; at = at->ai_next) {
        err = connect_to(remote, at->ai_addr, at->ai_addrlen);
        if (err == ERR_OK) {
            break;
        }
    }
    freeaddrinfo(found);
    return err;
}

/* Make the session of a connection. */
static enum err start_tls(struct remote *remote)
{
    enum err err = ERR_OK;

    if (remote->context == NULL) {
        err = remote_tls_context(remote->ca_file, &remote->context,
                                 remote->detail);
    }
    if (err == ERR_OK) {
        err = remote_tls_start(remote->context, remote->fd, &remote->waiter,
                               str_from(remote->host), &remote->tls,
                               remote->detail);
    }
    if (err != ERR_OK) {
        disconnect(remote);
    }
    return err;
}

/* Tell whether a kept connection is open, and nothing came unasked. */
static bool is_open(struct remote *remote)
{
    char byte;

    if (remote->tls != NULL) {
        return remote_tls_is_quiet(remote->tls);
    }
    return recv(remote->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
           errno == EAGAIN;
}

/* Connect, unless a kept connection is still open. */
static enum err ensure_connected(struct remote *remote)
{
    if (remote->fd >= 0) {
        if (is_open(remote)) {
            return ERR_OK;
        }
        disconnect(remote);
    }
    if (remote->local) {
        return connect_to(remote, &remote->address.any, remote->address.size);
    }
    enum err err = connect_by_name(remote);
    return err == ERR_OK && remote->secure ? start_tls(remote) : err;
}

/* --- a request ------------------------------------------------------------ */

static enum err socket_err(void)
{
    return errno == EAGAIN ? ERR_TIMEOUT : err_from_errno(errno);
}

/* Note why TLS failed. Returns `err`. */
static enum err note_tls(struct remote *remote, enum err err)
{
    if (err == ERR_TLS) {
        (void)snprintf(remote->detail, sizeof(remote->detail), "%s",
                       remote_tls_detail(remote->tls));
    }
    return err;
}

static enum err send_all(struct remote *remote, struct str data)
{
    if (remote->tls != NULL) {
        return note_tls(remote, remote_tls_send(remote->tls, data));
    }
    while (data.size > 0) {
        enum err err = remote_wait(&remote->waiter, remote->fd, POLLOUT);
        if (err != ERR_OK) {
            return err;
        }
        ssize_t size = send(remote->fd, data.data, data.size, MSG_NOSIGNAL);
        if (size < 0 && errno != EINTR) {
            return socket_err();
        }
        data = str_cut(data, size > 0 ? (size_t)size : 0, data.size);
    }
    return ERR_OK;
}

static enum err send_request(struct remote *remote,
                             const struct remote_request *request)
{
    struct buf head = {0};

    buf_append_c(&head, request->method);
    buf_append_byte(&head, ' ');
    buf_append_str(&head, request->target);
    buf_append_format(&head,
                      " HTTP/1.1\r\nHost: %s\r\nAccept: application/json\r\n"
                      "User-Agent: opq-cli/" OPQ_VERSION "\r\n"
                      "Content-Length: %zu\r\n",
                      remote->authority, request->body.size);
    buf_append_str(&head, remote->headers);
    buf_append_str(&head, request->headers);
    buf_append_c(&head, "\r\n");
    enum err err = buf_err(&head);
    if (err == ERR_OK) {
        err = send_all(remote, buf_str(&head));
    }
    buf_fini(&head);
    return err == ERR_OK ? send_all(remote, request->body) : err;
}

/* --- its answer ----------------------------------------------------------- */

/* Receive some more.
 * Errors: ERR_CLOSED  the server has ended the connection */
static enum err receive(struct remote *remote)
{
    if (buf_reserve(&remote->input, RECEIVE_SIZE) != ERR_OK) {
        return ERR_NOMEM;
    }
    char *to = remote->input.data + remote->input.size;
    if (remote->tls != NULL) {
        size_t size = 0;
        enum err err = remote_tls_receive(remote->tls, to, RECEIVE_SIZE, &size);
        remote->input.size += size;
        return note_tls(remote, err);
    }
    for (;;) {
        enum err err = remote_wait(&remote->waiter, remote->fd, POLLIN);
        if (err != ERR_OK) {
            return err;
        }
        ssize_t size = recv(remote->fd, to, RECEIVE_SIZE, 0);
        if (size > 0) {
            remote->input.size += (size_t)size;
            return ERR_OK;
        }
        if (size == 0) {
            return ERR_CLOSED;
        }
        if (errno != EINTR) {
            return socket_err();
        }
    }
}

/* What of the head is needed behind it, since the input moves. */
struct answer {
    int status;
    uint64_t content_length;
    bool chunked;
    bool keep_alive;
};

static enum err receive_head(struct remote *remote, struct answer *answer)
{
    const struct http_limits limits = {.head_size_max = HEAD_MAX,
                                       .target_size_max = HEAD_MAX};
    struct http_refusal refusal;
    struct http_head head;
    size_t scanned = 0;
    size_t size = 0;

    for (;;) {
        enum err err = http_parse_response(buf_str(&remote->input), &limits,
                                           &scanned, &head, &size, &refusal);
        if (err == ERR_AGAIN) {
            err = receive(remote);
            if (err != ERR_OK) {
                return err;
            }
            continue;
        }
        if (err != ERR_OK) {
            return ERR_PROTOCOL;
        }
        buf_consume(&remote->input, size);
        scanned = 0;
        if (head.status >= 200) {
            break;
        }
    }
    *answer = (struct answer){
        .status = head.status,
        .content_length = head.content_length,
        .chunked = head.chunked,
        .keep_alive = head.keep_alive,
    };
    return ERR_OK;
}

static enum err receive_chunked(struct remote *remote,
                                const struct remote_request *request,
                                int status,
                                struct buf *body)
{
    struct http_chunked chunked = {0};
    bool done = false;
    bool watched = request->took != NULL && status == 200;

    if (watched && !request->took(request->context, body)) {
        disconnect(remote);
        return ERR_OK;
    }
    while (!done) {
        size_t used = 0;
        struct str data = {NULL, 0};
        enum err err = http_chunked_next(&chunked, buf_str(&remote->input),
                                         &used, &data, &done);
        if (err == ERR_AGAIN) {
            err = receive(remote);
        } else if (err == ERR_OK) {
            buf_append_str(body, data);
            buf_consume(&remote->input, used);
            err = body->failed ? ERR_TOO_LARGE : ERR_OK;
            if (err == ERR_OK && watched &&
                !request->took(request->context, body)) {
                disconnect(remote);
                return ERR_OK;
            }
        } else {
            err = ERR_PROTOCOL;
        }
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

/* Receive `size` bytes, or all until the end. */
static enum err
receive_plain(struct remote *remote, uint64_t size, struct buf *body)
{
    while (size > 0) {
        struct str there = str_cut(buf_str(&remote->input), 0, (size_t)size);
        buf_append_str(body, there);
        if (body->failed) {
            return ERR_TOO_LARGE;
        }
        size -= size == HTTP_LENGTH_NONE ? 0 : there.size;
        buf_consume(&remote->input, there.size);
        enum err err = size > 0 ? receive(remote) : ERR_OK;
        if (err == ERR_CLOSED && size == HTTP_LENGTH_NONE) {
            return ERR_OK;
        }
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

static enum err receive_body(struct remote *remote,
                             const struct remote_request *request,
                             const struct answer *answer,
                             struct buf *body)
{
    if (answer->status == 204 || answer->status == 304) {
        return ERR_OK;
    }
    if (answer->chunked) {
        return receive_chunked(remote, request, answer->status, body);
    }
    if (answer->content_length != HTTP_LENGTH_NONE &&
        answer->content_length > REMOTE_BODY_MAX) {
        return ERR_TOO_LARGE;
    }
    return receive_plain(remote, answer->content_length, body);
}

enum err remote_send(struct remote *remote,
                     const struct remote_request *request,
                     struct remote_response *response)
{
    struct answer answer = {0};

    buf_clear(&response->body);
    response->body.size_max = REMOTE_BODY_MAX;
    enum err err = ensure_connected(remote);
    if (err != ERR_OK) {
        return err;
    }
    err = send_request(remote, request);
    if (err == ERR_OK) {
        err = receive_head(remote, &answer);
    }
    if (err == ERR_OK) {
        err = receive_body(remote, request, &answer, &response->body);
    }
    if (err != ERR_OK || !answer.keep_alive ||
        (answer.content_length == HTTP_LENGTH_NONE && !answer.chunked)) {
        disconnect(remote);
    }
    response->status = answer.status;
    return err;
}

void remote_set_wait(struct remote *remote, uint32_t wait_ms)
{
    if (wait_ms != remote->waiter.wait_ms) {
        disconnect(remote);
        remote->waiter.wait_ms = wait_ms;
    }
}

void remote_set_waiter(
    struct remote *remote,
    enum err (*wait)(void *context, int fd, short events, uint32_t wait_ms),
    void *context)
{
    remote->waiter.wait = wait;
    remote->waiter.context = context;
}

const char *remote_detail(const struct remote *remote)
{
    return remote->detail;
}

void remote_response_fini(struct remote_response *response)
{
    buf_fini(&response->body);
}
