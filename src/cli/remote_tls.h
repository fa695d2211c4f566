/* TLS of the subcommands that talk to a server: the blocking side of http/tls.
 *
 *     context -> { start -> send, receive -> end }*
 *
 * Threads: one.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_REMOTE_TLS_H
#define OPQ_CLI_REMOTE_TLS_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>

struct tls_context;
struct remote_tls;

/* How a socket is waited for, if not by blocking: see remote_set_waiter(). */
struct remote_waiter {
    enum err (*wait)(void *context, int fd, short events, uint32_t wait_ms);
    void *context;    /* borrowed */
    uint32_t wait_ms; /* at most */
};

enum {
    REMOTE_DETAIL_SIZE = 512, /* of a text that says what failed, with NUL */
};

/* Make what sessions share; `ca_file` in PEM, NULL takes the system's.
 *
 * Gives:  `*out`, for tls_context_destroy().
 * Errors: ERR_NOMEM
 *         ERR_TLS  the file cannot be used: `detail`
 */
MUST_CHECK enum err remote_tls_context(const char *ca_file,
                                       struct tls_context **out,
                                       char detail[REMOTE_DETAIL_SIZE]);

/* Wait for a socket; without wait() the call behind this one blocks.
 * Errors: those of wait() */
MUST_CHECK enum err
remote_wait(const struct remote_waiter *waiter, int fd, short events);

/* Make a session on a connected socket, and do the handshake.
 *
 * Gives:   `*out`, for remote_tls_end().
 * Borrows: fd, waiter, until then.
 * Blocks:  for the server, as long as the socket's timeouts or the waiter say.
 * Errors:  ERR_TLS (`detail`), ERR_TIMEOUT, ERR_RESET, ERR_CLOSED, ERR_NOMEM,
 *          ERR_IO, those of the waiter
 */
MUST_CHECK enum err remote_tls_start(struct tls_context *context,
                                     int fd,
                                     const struct remote_waiter *waiter,
                                     struct str host,
                                     struct remote_tls **out,
                                     char detail[REMOTE_DETAIL_SIZE]);

/* Send all of it.
 *
 * Blocks, errors: as remote_tls_start()
 */
MUST_CHECK enum err remote_tls_send(struct remote_tls *session,
                                    struct str data);

/* Receive some bytes, at most `size`.
 *
 * Blocks, errors: as remote_tls_start(), and
 *         ERR_CLOSED  the server ended the stream in order
 *         ERR_RESET   it was cut off
 */
MUST_CHECK enum err remote_tls_receive(struct remote_tls *session,
                                       char *to,
                                       size_t size,
                                       size_t *out_size);

/* Tell whether the session is open and nothing came that is not TLS's own, so
 * that a further request can be sent. Does not block. */
bool remote_tls_is_quiet(struct remote_tls *session);

/* Why it failed with ERR_TLS; borrowed from the session. */
const char *remote_tls_detail(const struct remote_tls *session);

/* Say the end, if that can be done at once, and free it. Accepts NULL. */
void remote_tls_end(struct remote_tls *session);

#endif
