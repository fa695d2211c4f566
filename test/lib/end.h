/* One end of a connection on the event loop, that remembers all it was told
 * and checks what holds for every socket: no callback from inside of a call
 * that starts something, none after closed(), one ended(), a closed() in a
 * later turn than io_close(). The other end is a descriptor that the test has.
 *
 * Threads: the test's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_TEST_LIB_END_H
#define OPQ_TEST_LIB_END_H

#include "base/buf.h"
#include "sys/io.h"
#include "sys/net.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct end {
    struct io_socket socket;
    struct io *io;
    struct buf in;
    int connected;
    int received;
    int ended;
    int sent;
    int closed;
    enum err connect_err;
    enum err end_err;
    enum err sent_err;
    uint64_t close_turn; /* the turn in which it was closed */
    int fd;              /* when it was closed */
    size_t unsent;       /* likewise */
    bool echo;
    bool pause_each;         /* pause in received() */
    struct end *close_other; /* close it in received() */
    bool close_in_received;
    bool close_in_sent;
    bool close_in_ended;
    char echoed[IO_RECEIVE_SIZE];
};

/* Say that a call begins, or has ended, that must not call back. */
void end_starting(bool starting);

/* Tell whether a callback may come now. */
bool end_may_call(void);

/* Make an end of a descriptor, which it owns. */
void end_init(struct io *io, struct end *end, int fd);

/* Make an end of a Unix socket pair. Gives: the other, non-blocking. */
int end_pair(struct io *io, struct end *end);

/* Make the accepted end of a TCP connection. Gives: the other, non-blocking. */
int end_tcp_pair(struct io *io, struct end *end);

/* Start receiving. */
void end_receive(struct end *end);

/* Start sending. Borrows: data, until sent. */
void end_send(struct end *end, const void *data, size_t size);

/* Start closing. */
void end_close(struct end *end);

/* Close, if it is not yet, wait for it, and free what was received. */
void end_finish(struct end *end);

/* Listen at a free port of an address, or at a Unix path. Gives: the
 * descriptor, -1 without such a family here; and its address. */
int end_listen(const char *text, struct net_address *out_address);

/* Close a TCP descriptor so that its peer gets a reset. */
void end_reset_tcp(int fd);

/* Bytes that differ from place to place. Gives: memory, for free(). */
char *end_pattern(size_t size);

#endif
