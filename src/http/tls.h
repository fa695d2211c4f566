/* TLS over memory: bytes of the network in and out, bytes of the application
 * in and out, and no socket anywhere.
 *
 *     create -> handshake* -> read and write -> end -> destroy
 *
 * Whatever was done, look at tls_output() afterwards: there may be bytes for
 * the network, of a handshake or an alert too. Input that is not taken at once
 * is taken after tls_handshake() or tls_read().
 *
 * TLS 1.2 and later. A client always verifies the chain and the name or
 * address, names the server (SNI), offers "http/1.1", and resumes sessions by
 * the tickets that its caller keeps.
 *
 * Threads: a context and its sessions belong to one.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_HTTP_TLS_H
#define OPQ_HTTP_TLS_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>

struct tls_context; /* what sessions have in common */
struct tls;         /* a session: one side of one connection */

/* What resumes a session with the same peer; zeroed at first. Kept by the
 * client's caller, per name and port, longer than the sessions it is given
 * to. */
struct tls_ticket {
    void *session; /* owned; NULL: none yet */
};

/* Make what clients share. `ca_file` in PEM; NULL takes the system's.
 *
 * Errors: ERR_NOMEM
 *         ERR_NOT_FOUND  no such file
 *         ERR_INVALID    it has no certificates
 */
MUST_CHECK enum err tls_context_create_client(const char *ca_file,
                                              struct tls_context **out);

/* Make what servers share: a chain, its own certificate first, and its key,
 * both in PEM.
 *
 * Errors: ERR_NOMEM
 *         ERR_NOT_FOUND  no such file
 *         ERR_INVALID    they are not that, or do not belong together
 */
MUST_CHECK enum err tls_context_create_server(const char *certificate_file,
                                              const char *key_file,
                                              struct tls_context **out);

/* Free it. Accepts NULL. Sessions live on. */
void tls_context_destroy(struct tls_context *context);

/* Forget what was kept for resuming. */
void tls_ticket_fini(struct tls_ticket *ticket);

/* Begin a session with a server of this name, or numeric address.
 *
 * Borrows: ticket, until tls_destroy(); may be NULL
 * Errors:  ERR_NOMEM
 *          ERR_INVALID  not a name that can be verified
 */
MUST_CHECK enum err tls_create_client(struct tls_context *context,
                                      struct str host,
                                      struct tls_ticket *ticket,
                                      struct tls **out);

/* Wait for a client. Errors: ERR_NOMEM */
MUST_CHECK enum err tls_create_server(struct tls_context *context,
                                      struct tls **out);

/* Free it. Accepts NULL. */
void tls_destroy(struct tls *tls);

/* Take bytes from the network; returns how many were taken. */
size_t tls_feed(struct tls *tls, struct str input);

/* Go on with the handshake.
 *
 * Errors: ERR_AGAIN  the peer's bytes must come first
 *         ERR_TLS    it failed, or verification did: tls_detail()
 */
MUST_CHECK enum err tls_handshake(struct tls *tls);

/* Read decrypted bytes, up to `size`.
 *
 * Errors: ERR_AGAIN   no more before the peer's bytes come
 *         ERR_CLOSED  the peer ended the stream in order (close_notify)
 *         ERR_TLS     broken: tls_detail()
 */
MUST_CHECK enum err
tls_read(struct tls *tls, char *to, size_t size, size_t *out_size);

/* Encrypt bytes, as many as there is room for.
 *
 * Errors: ERR_AGAIN  not before output was sent, or input came
 *         ERR_TLS    broken: tls_detail()
 */
MUST_CHECK enum err
tls_write(struct tls *tls, struct str data, size_t *out_size);

/* Say that nothing more will be written (close_notify). */
void tls_end(struct tls *tls);

/* Bytes for the network that lie in one piece; empty: none. Borrowed, and they
 * stay in place, until tls_output_sent(). */
struct str tls_output(struct tls *tls);

/* `size` bytes of the output are sent; the next may lie elsewhere. */
void tls_output_sent(struct tls *tls, size_t size);

/* Tell whether the session was resumed. */
bool tls_resumed(const struct tls *tls);

/* Why it failed, for people: "certificate has expired". Static, or borrowed
 * from the session. */
const char *tls_detail(const struct tls *tls);

#endif
