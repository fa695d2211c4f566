/* TLS over memory, by OpenSSL and a pair of BIOs: what OpenSSL reads and
 * writes is one end, `network` is the other. Both directions have a ring of
 * TLS_RING_SIZE bytes, so nothing here grows, and output is sent from where it
 * lies.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/tls.h"

#include "base/check.h"
#include "sys/net.h"

#include <errno.h>
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TLS_RING_SIZE = 18 * 1024, /* a full record with its overhead, and some */
    TLS_HOST_SIZE_MAX = 256,   /* bytes, NUL included */
    TLS_DETAIL_SIZE = 160,
};

/* ALPN, each name behind its size. */
static const unsigned char alpn_protocols[] = {8,   'h', 't', 't', 'p',
                                               '/', '1', '.', '1'};

struct tls_context {
    SSL_CTX *ssl; /* owned */
};

struct tls {
    SSL *ssl;                  /* owned; has the other end of the pair */
    BIO *network;              /* owned */
    struct tls_ticket *ticket; /* borrowed; NULL: none */
    char detail[TLS_DETAIL_SIZE];
};

/* --- contexts ------------------------------------------------------------ */

/* Why a file cannot be used, from the queue of errors, which is emptied. */
static enum err file_err(void)
{
    enum err err = ERR_INVALID;
    unsigned long code = ERR_get_error();
    while (code != 0) {
        if (ERR_SYSTEM_ERROR(code) && ERR_GET_REASON(code) == ENOENT) {
            err = ERR_NOT_FOUND;
        } else if (ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE) {
            err = ERR_NOMEM;
        }
        code = ERR_get_error();
    }
    return err;
}

/* A server has given something to resume with. Returns 1 to keep it. */
static int ticket_came(SSL *ssl, SSL_SESSION *session)
{
    struct tls *tls = SSL_get_app_data(ssl);
    if (tls->ticket == NULL) {
        return 0;
    }
    tls_ticket_fini(tls->ticket);
    tls->ticket->session = session;
    return 1;
}

/* Choose "http/1.1" if the client offers it, else go on without. */
static int choose_protocol(SSL *ssl,
                           const unsigned char **out,
                           unsigned char *out_size,
                           const unsigned char *offered,
                           unsigned int offered_size,
                           void *context)
{
    (void)ssl;
    (void)context;
    unsigned char *chosen = NULL;
    if (SSL_select_next_proto(&chosen, out_size, alpn_protocols,
                              sizeof(alpn_protocols), offered,
                              offered_size) != OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static struct tls_context *context_create(const SSL_METHOD *method)
{
    struct tls_context *context = malloc(sizeof(*context));
    if (context == NULL) {
        return NULL;
    }
    ERR_clear_error();
    context->ssl = SSL_CTX_new(method);
    if (context->ssl == NULL ||
        SSL_CTX_set_min_proto_version(context->ssl, TLS1_2_VERSION) != 1) {
        tls_context_destroy(context);
        return NULL;
    }
    (void)SSL_CTX_set_options(context->ssl,
                              SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    (void)SSL_CTX_set_mode(context->ssl,
                           SSL_MODE_ENABLE_PARTIAL_WRITE |
                               SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                               SSL_MODE_RELEASE_BUFFERS);
    return context;
}

enum err tls_context_create_client(const char *ca_file,
                                   struct tls_context **out)
{
    struct tls_context *context = context_create(TLS_client_method());
    if (context == NULL) {
        return ERR_NOMEM;
    }
    int loaded = ca_file != NULL
                     ? SSL_CTX_load_verify_file(context->ssl, ca_file)
                     : SSL_CTX_set_default_verify_paths(context->ssl);
    if (loaded != 1) {
        tls_context_destroy(context);
        return file_err();
    }
    if (SSL_CTX_set_alpn_protos(context->ssl, alpn_protocols,
                                sizeof(alpn_protocols)) != 0) {
        tls_context_destroy(context);
        return ERR_NOMEM;
    }
    SSL_CTX_set_verify(context->ssl, SSL_VERIFY_PEER, NULL);
    (void)SSL_CTX_set_session_cache_mode(
        context->ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context->ssl, ticket_came);
    *out = context;
    return ERR_OK;
}

enum err tls_context_create_server(const char *certificate_file,
                                   const char *key_file,
                                   struct tls_context **out)
{
    struct tls_context *context = context_create(TLS_server_method());
    if (context == NULL) {
        return ERR_NOMEM;
    }
    if (SSL_CTX_use_certificate_chain_file(context->ssl, certificate_file) !=
            1 ||
        SSL_CTX_use_PrivateKey_file(context->ssl, key_file, SSL_FILETYPE_PEM) !=
            1 ||
        SSL_CTX_check_private_key(context->ssl) != 1) {
        tls_context_destroy(context);
        return file_err();
    }
    SSL_CTX_set_alpn_select_cb(context->ssl, choose_protocol, NULL);
    /* Clients keep what resumes a session; here nothing is to grow. */
    (void)SSL_CTX_set_session_cache_mode(context->ssl, SSL_SESS_CACHE_OFF);
    *out = context;
    return ERR_OK;
}

void tls_context_destroy(struct tls_context *context)
{
    if (context != NULL) {
        SSL_CTX_free(context->ssl);
        free(context);
    }
}

void tls_ticket_fini(struct tls_ticket *ticket)
{
    SSL_SESSION_free(ticket->session);
    ticket->session = NULL;
}

/* --- sessions ------------------------------------------------------------ */

static struct tls *session_create(struct tls_context *context)
{
    struct tls *tls = calloc(1, sizeof(*tls));
    BIO *internal = NULL;
    if (tls == NULL) {
        return NULL;
    }
    ERR_clear_error();
    tls->ssl = SSL_new(context->ssl);
    if (tls->ssl == NULL ||
        BIO_new_bio_pair(&internal, TLS_RING_SIZE, &tls->network,
                         TLS_RING_SIZE) != 1) {
        tls_destroy(tls);
        return NULL;
    }
    SSL_set_bio(tls->ssl, internal, internal);
    (void)SSL_set_app_data(tls->ssl, tls);
    return tls;
}

/* Have the peer's certificate checked against a name or numeric address. */
static enum err expect_host(SSL *ssl, struct str host)
{
    char name[TLS_HOST_SIZE_MAX];
    struct net_address address;
    if (host.size > 0 && host.data[host.size - 1] == '.') {
        host.size--; /* certificates have no dot of the root */
    }
    if (host.size == 0 || host.size >= sizeof(name)) {
        return ERR_INVALID;
    }
    memcpy(name, host.data, host.size);
    name[host.size] = '\0';
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    if (net_parse(host, 0, &address) == ERR_OK) {
        return X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1 ? ERR_OK
                                                               : ERR_INVALID;
    }
    X509_VERIFY_PARAM_set_hostflags(param,
                                    X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (X509_VERIFY_PARAM_set1_host(param, name, host.size) != 1 ||
        SSL_set_tlsext_host_name(ssl, name) != 1) {
        return ERR_INVALID;
    }
    return ERR_OK;
}

enum err tls_create_client(struct tls_context *context,
                           struct str host,
                           struct tls_ticket *ticket,
                           struct tls **out)
{
    struct tls *tls = session_create(context);
    if (tls == NULL) {
        return ERR_NOMEM;
    }
    enum err err = expect_host(tls->ssl, host);
    if (err != ERR_OK) {
        tls_destroy(tls);
        return err;
    }
    tls->ticket = ticket;
    if (ticket != NULL && ticket->session != NULL) {
        /* A failure costs a full handshake. */
        (void)SSL_set_session(tls->ssl, ticket->session);
    }
    SSL_set_connect_state(tls->ssl);
    *out = tls;
    return ERR_OK;
}

enum err tls_create_server(struct tls_context *context, struct tls **out)
{
    struct tls *tls = session_create(context);
    if (tls == NULL) {
        return ERR_NOMEM;
    }
    SSL_set_accept_state(tls->ssl);
    *out = tls;
    return ERR_OK;
}

void tls_destroy(struct tls *tls)
{
    if (tls == NULL) {
        return;
    }
    if (tls->ssl != NULL) {
        /* Else OpenSSL takes the session for broken, and its ticket too. */
        SSL_set_shutdown(tls->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        SSL_free(tls->ssl);
    }
    (void)BIO_free(tls->network);
    free(tls);
}

size_t tls_feed(struct tls *tls, struct str input)
{
    int size = input.size < INT_MAX ? (int)input.size : INT_MAX;
    int taken = size > 0 ? BIO_write(tls->network, input.data, size) : 0;
    return taken > 0 ? (size_t)taken : 0;
}

/* Say what went wrong, by the verdict on the certificate if it is that. */
static void note_failure(struct tls *tls)
{
    long verdict = SSL_get_verify_result(tls->ssl);
    unsigned long code = ERR_peek_error();
    const char *reason = ERR_reason_error_string(code);
    if (verdict != X509_V_OK) {
        reason = X509_verify_cert_error_string(verdict);
    } else if (reason == NULL) {
        reason = "broken TLS session";
    }
    (void)snprintf(tls->detail, sizeof(tls->detail), "%s", reason);
    ERR_clear_error();
}

/* What a call of OpenSSL that did not succeed means. */
static enum err outcome_err(struct tls *tls, int rc)
{
    switch (SSL_get_error(tls->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return ERR_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return ERR_CLOSED;
    default:
        note_failure(tls);
        return ERR_TLS;
    }
}

/* OpenSSL wants the queue of errors empty before each call. To look is much
 * cheaper than to clear it. */
static void clear_errors(void)
{
    if (ERR_peek_error() != 0) {
        ERR_clear_error();
    }
}

/* Tell whether reading cannot give anything: the peer has sent no more, and
 * nothing is under way inside, such as an answer to a new key that waits for
 * room. OpenSSL would take and free a buffer of a record to find that out. */
static bool has_no_input(struct tls *tls)
{
    return BIO_ctrl_wpending(tls->network) == 0 && !SSL_has_pending(tls->ssl) &&
           SSL_is_init_finished(tls->ssl) && !SSL_want_write(tls->ssl) &&
           SSL_get_shutdown(tls->ssl) == 0;
}

enum err tls_handshake(struct tls *tls)
{
    clear_errors();
    int rc = SSL_do_handshake(tls->ssl);
    if (rc == 1) {
        return ERR_OK;
    }
    enum err err = outcome_err(tls, rc);
    if (err == ERR_CLOSED) {
        (void)snprintf(tls->detail, sizeof(tls->detail),
                       "peer ended the handshake");
        return ERR_TLS;
    }
    return err;
}

enum err tls_read(struct tls *tls, char *to, size_t size, size_t *out_size)
{
    if (has_no_input(tls)) {
        return ERR_AGAIN;
    }
    clear_errors();
    size_t count = 0;
    int rc = SSL_read_ex(tls->ssl, to, size, &count);
    if (rc == 1) {
        *out_size = count;
        return ERR_OK;
    }
    return outcome_err(tls, rc);
}

enum err tls_write(struct tls *tls, struct str data, size_t *out_size)
{
    if (data.size == 0) {
        *out_size = 0;
        return ERR_OK;
    }
    clear_errors();
    size_t count = 0;
    int rc = SSL_write_ex(tls->ssl, data.data, data.size, &count);
    if (rc == 1) {
        *out_size = count;
        return ERR_OK;
    }
    enum err err = outcome_err(tls, rc);
    return err == ERR_CLOSED ? ERR_TLS : err;
}

void tls_end(struct tls *tls)
{
    clear_errors();
    (void)SSL_shutdown(tls->ssl); /* before the end of a handshake: nothing */
    clear_errors();
}

struct str tls_output(struct tls *tls)
{
    char *data = NULL;
    int size = BIO_nread0(tls->network, &data);
    return size > 0 ? (struct str){data, (size_t)size} : (struct str){NULL, 0};
}

void tls_output_sent(struct tls *tls, size_t size)
{
    char *data = NULL;
    CHECK(size <= INT_MAX);
    int taken = BIO_nread(tls->network, &data, (int)size);
    CHECK(taken == (int)size);
}

bool tls_resumed(const struct tls *tls)
{
    return SSL_session_reused(tls->ssl) == 1;
}

const char *tls_detail(const struct tls *tls)
{
    return tls->detail;
}
