/* Scripted peers for tests of clients: a listening socket on 127.0.0.1 and a
 * thread for each connection, which runs the script. Blocking and plain, so
 * that a script reads like the conversation it is.
 *
 *     static void script(struct peer *peer, struct peer_talk *talk)
 *     {
 *         while (peer_read_request(talk)) {
 *             peer_say(talk, "HTTP/1.1 204 No Content\r\n\r\n");
 *         }
 *     }
 *
 * The connection is closed when the script returns, or reset if it says so.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_TEST_LIB_PEER_H
#define OPQ_TEST_LIB_PEER_H

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PEER_TALKS_MAX = 256, PEER_REQUEST_MAX = 64 * 1024 };

struct peer;

/* One connection. */
struct peer_talk {
    struct peer *peer;
    int fd;
    int index;   /* of the connection, from 0 */
    SSL *ssl;    /* NULL: plain */
    size_t size; /* bytes in `request` */
    size_t used; /* of them, of the last request */
    bool reset;  /* end with RST */
    bool cut;    /* end without close_notify */
    pthread_t thread;
    char request[PEER_REQUEST_MAX + 1]; /* the last one, terminated */
};

struct peer {
    void (*script)(struct peer *peer, struct peer_talk *talk);
    SSL_CTX *tls; /* set before peer_start() for TLS; borrowed */
    /* The test's, who may set another between two requests. */
    const void *_Atomic context;
    uint16_t port;
    atomic_int accepted;
    atomic_int open; /* scripts that run */
    atomic_int open_most;
    atomic_int requests;
    atomic_int resumed; /* TLS sessions */
    atomic_bool go;     /* for scripts that wait, see peer_wait_go() */
    int fd;
    pthread_t thread;
    struct peer_talk *talks[PEER_TALKS_MAX];
};

/* Begin to accept. */
void peer_start(struct peer *peer);

/* Stop accepting, break what is open, wait for the scripts. */
void peer_stop(struct peer *peer);

/* Read the head of a request and as much body as its Content-Length says.
 * False: the connection is over. */
bool peer_read_request(struct peer_talk *talk);

/* Read one byte; false: the connection is over. */
bool peer_read_byte(struct peer_talk *talk);

/* Send text, or bytes; false: the connection is over. */
bool peer_say(struct peer_talk *talk, const char *text);
bool peer_say_bytes(struct peer_talk *talk, const char *data, size_t size);

/* Wait until the client has closed, reading on. */
void peer_wait_end(struct peer_talk *talk);

/* Wait until the test sets peer->go; false: the peer is being stopped. */
bool peer_wait_go(struct peer_talk *talk);

/* --- certificates --------------------------------------------------------- */

/* What a certificate says. */
struct peer_certificate {
    const char *names; /* subjectAltName: "DNS:localhost,IP:127.0.0.1" */
    int days_from;     /* valid from so many days from now on */
    int days_until;
};

/* A CA of the test: its certificate and key. */
struct peer_ca {
    X509 *certificate;
    EVP_PKEY *key;
    char path[64]; /* its certificate in PEM; removed by peer_ca_fini() */
};

void peer_ca_init(struct peer_ca *ca);
void peer_ca_fini(struct peer_ca *ca);

/* A server context with a fresh key and a certificate by `ca`; for
 * SSL_CTX_free(). */
SSL_CTX *peer_tls(struct peer_ca *ca, const struct peer_certificate *said);

/* The same as two PEM files, certificate and key, whose paths are written to
 * `certificate_path` and `key_path`, 64 bytes each; the test removes them. */
void peer_tls_files(struct peer_ca *ca,
                    const struct peer_certificate *said,
                    char *certificate_path,
                    char *key_path);

/* --- DNS ------------------------------------------------------------------ */

enum { DNS_ADDRESSES_MAX = 8 };

/* A DNS server on 127.0.0.1 that knows one thing: what it is told to answer. */
struct dns {
    /* IPv4, of any name asked for; none: no such name. */
    const char *_Atomic addresses[DNS_ADDRESSES_MAX];
    uint32_t ttl_s;
    atomic_bool silent; /* does not answer */
    atomic_int asked;   /* for A; set addresses when nothing is asked */
    char server[32];    /* "127.0.0.1:12345" */
    int fd;
    pthread_t thread;
};

void dns_start(struct dns *dns);
void dns_stop(struct dns *dns);

#endif
