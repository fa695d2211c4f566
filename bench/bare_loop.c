/* A bare HTTP loop, as fast as this machine answers: what `make bench` shows
 * the load generator against.
 *
 * One thread on io_uring: accepts and receives that stay armed, buffers that
 * the kernel picks, answers of one turn submitted together. It reads just
 * enough of a request to find its end (Content-Length), stores nothing and
 * answers 204. It trusts its client.
 *
 * usage: bare_loop PORT
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "base/str.h"

#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BUFFER_COUNT = 256, /* a power of two */
    BUFFER_SIZE = 16384,
    BUFFER_GROUP = 0,
    SUBMISSIONS = 1024,
    COMPLETIONS = 4096,
    DESCRIPTORS_MAX = 65536,
    HEAD_SIZE_MAX = 2 * BUFFER_SIZE, /* of one that came in pieces */
};

/* What a completion is of, in the low bits of its data; the rest is the
 * connection's descriptor. */
enum tag {
    TAG_ACCEPT,
    TAG_RECEIVE,
    TAG_SEND,
    TAG_BITS = 2,
    TAG_MASK = (1 << TAG_BITS) - 1,
};

/* Where in a request a connection is. */
struct place {
    size_t body_left; /* of the request that is being skipped */
    bool in_body;
    size_t head_size; /* of a head that came in part */
    char *head;       /* owned; NULL until one does */
};

static const char answer[] = "HTTP/1.1 204 No Content\r\n\r\n";

static struct io_uring ring;
static struct io_uring_buf_ring *buffers;
static char *memory; /* of the buffers */
static struct place places[DESCRIPTORS_MAX];

static struct io_uring_sqe *next_sqe(void)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    if (sqe == NULL) {
        CHECK(io_uring_submit(&ring) > 0);
        sqe = io_uring_get_sqe(&ring);
        CHECK(sqe != NULL);
    }
    return sqe;
}

static void set_data(struct io_uring_sqe *sqe, enum tag tag, int fd)
{
    io_uring_sqe_set_data64(sqe, ((uint64_t)(unsigned)fd << TAG_BITS) | tag);
}

static void receive(int fd)
{
    struct io_uring_sqe *sqe = next_sqe();
    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUFFER_GROUP;
    set_data(sqe, TAG_RECEIVE, fd);
}

static void send_answer(int fd)
{
    struct io_uring_sqe *sqe = next_sqe();
    io_uring_prep_send(sqe, fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    set_data(sqe, TAG_SEND, fd);
}

/* The body's length that a head tells; 0 when it tells none. */
static size_t body_size(const char *head, size_t size)
{
    static const char name[] = "\r\ncontent-length:";
    const char *end = head + size;
    for (const char *at = head; at < end; at++) {
        at = memchr(at, '\r', (size_t)(end - at));
        if (at == NULL || (size_t)(end - at) <= sizeof(name)) {
            return 0;
        }
        if (strncasecmp(at, name, sizeof(name) - 1) == 0) {
            return strtoul(at + sizeof(name) - 1, NULL, 10);
        }
    }
    return 0;
}

/* Begin with a body when the head is whole: returns the bytes of `data` that
 * belong to the head, all of them when it goes on. */
static size_t take_head(struct place *place, const char *data, size_t size)
{
    const char *head = data;
    size_t head_size = size;
    if (place->head_size > 0) {
        CHECK(place->head_size + size <= HEAD_SIZE_MAX);
        memcpy(place->head + place->head_size, data, size);
        head = place->head;
        head_size += place->head_size;
    }
    const char *end = memmem(head, head_size, "\r\n\r\n", 4);
    if (end != NULL) {
        size_t used = (size_t)(end - head) + 4 - place->head_size;
        place->body_left = body_size(head, (size_t)(end - head) + 2);
        place->in_body = true;
        place->head_size = 0;
        return used;
    }
    if (place->head_size == 0) {
        CHECK(size <= HEAD_SIZE_MAX);
        if (place->head == NULL) {
            place->head = malloc(HEAD_SIZE_MAX);
            CHECK(place->head != NULL);
        }
        memcpy(place->head, data, size);
    }
    place->head_size += size;
    return size;
}

static void take(int fd, const char *data, size_t size)
{
    struct place *place = &places[fd];
    while (size > 0) {
        if (!place->in_body) {
            size_t used = take_head(place, data, size);
            data += used;
            size -= used;
        }
        size_t used = place->body_left < size ? place->body_left : size;
        place->body_left -= used;
        data += used;
        size -= used;
        if (place->in_body && place->body_left == 0) {
            place->in_body = false;
            send_answer(fd);
        }
    }
}

static void accepted(int fd)
{
    int one = 1;
    CHECK(fd >= 0 && fd < DESCRIPTORS_MAX);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    char *head = places[fd].head;
    places[fd] = (struct place){.head = head};
    receive(fd);
}

static void received(const struct io_uring_cqe *cqe, int fd)
{
    if (cqe->res > 0) {
        unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        char *buffer = memory + (size_t)id * BUFFER_SIZE;
        take(fd, buffer, (size_t)cqe->res);
        io_uring_buf_ring_add(buffers, buffer, BUFFER_SIZE, (uint16_t)id,
                              io_uring_buf_ring_mask(BUFFER_COUNT), 0);
        io_uring_buf_ring_advance(buffers, 1);
    }
    if ((cqe->flags & IORING_CQE_F_MORE) != 0) {
        return;
    }
    if (cqe->res > 0 || cqe->res == -ENOBUFS) {
        receive(fd);
    } else {
        (void)close(fd);
    }
}

static void completed(const struct io_uring_cqe *cqe)
{
    int fd = (int)(cqe->user_data >> TAG_BITS);
    switch (cqe->user_data & TAG_MASK) {
    case TAG_ACCEPT:
        accepted(cqe->res);
        CHECK((cqe->flags & IORING_CQE_F_MORE) != 0);
        break;
    case TAG_RECEIVE:
        received(cqe, fd);
        break;
    default:
        break; /* a send that failed: the receive tells */
    }
}

static void make_ring(void)
{
    struct io_uring_params parameters = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_CQSIZE,
        .cq_entries = COMPLETIONS,
    };
    CHECK(io_uring_queue_init_params(SUBMISSIONS, &ring, &parameters) == 0);
    size_t size = BUFFER_COUNT * sizeof(struct io_uring_buf);
    buffers = mmap(NULL, size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(buffers != MAP_FAILED);
    memory = malloc((size_t)BUFFER_COUNT * BUFFER_SIZE);
    CHECK(memory != NULL);
    struct io_uring_buf_reg registration = {
        .ring_addr = (uint64_t)(uintptr_t)buffers,
        .ring_entries = BUFFER_COUNT,
        .bgid = BUFFER_GROUP,
    };
    CHECK(io_uring_register_buf_ring(&ring, &registration, 0) == 0);
    io_uring_buf_ring_init(buffers);
    for (int id = 0; id < BUFFER_COUNT; id++) {
        io_uring_buf_ring_add(buffers, memory + (size_t)id * BUFFER_SIZE,
                              BUFFER_SIZE, (uint16_t)id,
                              io_uring_buf_ring_mask(BUFFER_COUNT), id);
    }
    io_uring_buf_ring_advance(buffers, BUFFER_COUNT);
}

static int listen_on(uint64_t port)
{
    int one = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(fd, 4096) != 0) {
        perror("bare_loop");
        exit(1);
    }
    return fd;
}

int main(int argument_count, char **arguments)
{
    uint64_t port = 0;
    if (argument_count != 2 ||
        str_to_u64(str_from(arguments[1]), &port) != ERR_OK || port == 0 ||
        port > UINT16_MAX) {
        (void)fprintf(stderr, "usage: bare_loop PORT\n");
        return 64;
    }
    int listener = listen_on(port);
    make_ring();
    struct io_uring_sqe *sqe = next_sqe();
    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    set_data(sqe, TAG_ACCEPT, listener);
    for (;;) {
        int rc = io_uring_submit_and_wait(&ring, 1);
        CHECK(rc >= 0 || rc == -EINTR);
        struct io_uring_cqe *cqe;
        unsigned head;
        unsigned count = 0;
        io_uring_for_each_cqe(&ring, head, cqe)
        {
            completed(cqe);
            count++;
        }
        io_uring_cq_advance(&ring, count);
    }
}
