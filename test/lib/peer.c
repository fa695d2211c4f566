/* Scripted peers for tests of clients.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/peer.h"

#include "base/check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- connections --------------------------------------------------------- */

static ssize_t talk_read(struct peer_talk *talk, char *to, size_t size)
{
    if (talk->ssl != NULL) {
        int count = SSL_read(talk->ssl, to, (int)size);
        return count > 0 ? count : 0;
    }
    ssize_t count;
    do {
        count = recv(talk->fd, to, size, 0);
    } while (count < 0 && errno == EINTR);
    return count;
}

bool peer_say_bytes(struct peer_talk *talk, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t count;
        if (talk->ssl != NULL) {
            count = SSL_write(talk->ssl, data, (int)size);
        } else {
            count = send(talk->fd, data, size, MSG_NOSIGNAL);
        }
        if (count <= 0) {
            return false;
        }
        data += count;
        size -= (size_t)count;
    }
    return true;
}

bool peer_say(struct peer_talk *talk, const char *text)
{
    return peer_say_bytes(talk, text, strlen(text));
}

bool peer_read_byte(struct peer_talk *talk)
{
    char byte;
    return talk_read(talk, &byte, 1) == 1;
}

/* The size of the request that `request` begins with; 0: not known yet. */
static size_t request_size(struct peer_talk *talk)
{
    talk->request[talk->size] = '\0';
    const char *end = strstr(talk->request, "\r\n\r\n");
    if (end == NULL) {
        return 0;
    }
    size_t size = (size_t)(end - talk->request) + 4;
    const char *field = strcasestr(talk->request, "\r\ncontent-length:");
    if (field != NULL && field < end) {
        size += strtoul(field + 17, NULL, 10);
    }
    return size;
}

bool peer_read_request(struct peer_talk *talk)
{
    memmove(talk->request, talk->request + talk->used, talk->size - talk->used);
    talk->size -= talk->used;
    talk->used = 0;
    for (;;) {
        size_t size = request_size(talk);
        if (size > 0 && size <= talk->size) {
            talk->used = size;
            atomic_fetch_add(&talk->peer->requests, 1);
            return true;
        }
        ssize_t count = talk_read(talk, talk->request + talk->size,
                                  PEER_REQUEST_MAX - talk->size);
        if (count <= 0) {
            return false;
        }
        talk->size += (size_t)count;
    }
}

void peer_wait_end(struct peer_talk *talk)
{
    char bytes[4096];
    while (talk_read(talk, bytes, sizeof(bytes)) > 0) {
    }
}

bool peer_wait_go(struct peer_talk *talk)
{
    struct pollfd poll_fd = {.fd = talk->fd, .events = POLLRDHUP};
    while (!atomic_load(&talk->peer->go)) {
        if (poll(&poll_fd, 1, 1) != 0) {
            return false; /* closed, by the client or peer_stop() */
        }
    }
    return true;
}

static void shake_and_talk(struct peer_talk *talk)
{
    struct peer *peer = talk->peer;
    if (peer->tls != NULL) {
        talk->ssl = SSL_new(peer->tls);
        CHECK(talk->ssl != NULL && SSL_set_fd(talk->ssl, talk->fd) == 1);
        if (SSL_accept(talk->ssl) != 1) {
            SSL_free(talk->ssl);
            return;
        }
        atomic_fetch_add(&peer->resumed, SSL_session_reused(talk->ssl));
    }
    peer->script(peer, talk);
    if (talk->ssl != NULL) {
        if (!talk->cut) {
            (void)SSL_shutdown(talk->ssl);
        }
        SSL_set_shutdown(talk->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        SSL_free(talk->ssl);
    }
}

static void *talk_main(void *context)
{
    struct peer_talk *talk = context;
    struct peer *peer = talk->peer;
    int count = atomic_fetch_add(&peer->open, 1) + 1;
    int most = atomic_load(&peer->open_most);
    while (count > most &&
           !atomic_compare_exchange_weak(&peer->open_most, &most, count)) {
    }
    shake_and_talk(talk);
    atomic_fetch_sub(&peer->open, 1);
    if (talk->reset) {
        struct linger linger = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(talk->fd, SOL_SOCKET, SO_LINGER, &linger,
                         sizeof(linger));
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        (void)dup2(fd, talk->fd); /* closes it; peer_stop() has the number */
        (void)close(fd);
    } else {
        (void)shutdown(talk->fd, SHUT_RDWR);
    }
    return NULL;
}

static void *accept_main(void *context)
{
    struct peer *peer = context;
    for (;;) {
        int fd = accept(peer->fd, NULL, NULL);
        if (fd < 0) {
            return NULL;
        }
        int on = 1;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        int index = atomic_load(&peer->accepted);
        CHECK(index < PEER_TALKS_MAX);
        struct peer_talk *talk = calloc(1, sizeof(*talk));
        CHECK(talk != NULL);
        talk->peer = peer;
        talk->fd = fd;
        talk->index = index;
        peer->talks[index] = talk;
        atomic_fetch_add(&peer->accepted, 1); /* before the client can know */
        CHECK(pthread_create(&talk->thread, NULL, talk_main, talk) == 0);
    }
}

/* A socket bound to 127.0.0.1 and a free port. */
static int bind_any(int type, uint16_t *out_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK(bind(fd, (struct sockaddr *)&address, size) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    *out_port = ntohs(address.sin_port);
    return fd;
}

void peer_start(struct peer *peer)
{
    peer->fd = bind_any(SOCK_STREAM, &peer->port);
    CHECK(listen(peer->fd, 128) == 0);
    (void)signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    CHECK(pthread_create(&peer->thread, NULL, accept_main, peer) == 0);
}

void peer_stop(struct peer *peer)
{
    (void)shutdown(peer->fd, SHUT_RDWR);
    CHECK(pthread_join(peer->thread, NULL) == 0);
    for (int i = 0; i < atomic_load(&peer->accepted); i++) {
        struct peer_talk *talk = peer->talks[i];
        (void)shutdown(talk->fd, SHUT_RDWR);
        CHECK(pthread_join(talk->thread, NULL) == 0);
        (void)close(talk->fd);
        free(talk);
    }
    (void)close(peer->fd);
}

/* --- certificates -------------------------------------------------------- */

static void add_extension(X509 *certificate, int kind, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension =
        X509V3_EXT_conf_nid(NULL, &context, kind, value);
    CHECK(extension != NULL);
    CHECK(X509_add_ext(certificate, extension, -1) == 1);
    X509_EXTENSION_free(extension);
}

static X509 *certificate_create(EVP_PKEY *key, const char *name, long serial)
{
    X509 *certificate = X509_new();
    CHECK(certificate != NULL);
    CHECK(X509_set_version(certificate, 2) == 1);
    CHECK(ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial) == 1);
    CHECK(X509_set_pubkey(certificate, key) == 1);
    CHECK(X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN",
                                     MBSTRING_ASC, (const unsigned char *)name,
                                     -1, -1, 0) == 1);
    return certificate;
}

static void
sign(X509 *certificate, struct peer_ca *ca, const struct peer_certificate *said)
{
    const long day_s = 86400;
    CHECK(X509_gmtime_adj(X509_getm_notBefore(certificate),
                          said->days_from * day_s) != NULL);
    CHECK(X509_gmtime_adj(X509_getm_notAfter(certificate),
                          said->days_until * day_s) != NULL);
    CHECK(X509_set_issuer_name(certificate,
                               X509_get_subject_name(ca->certificate)) == 1);
    CHECK(X509_sign(certificate, ca->key, EVP_sha256()) > 0);
}

/* A file of its own for PEM; `path` has 64 bytes. */
static FILE *open_pem(char *path)
{
    (void)snprintf(path, 64, "/tmp/opq-test-XXXXXX");
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    FILE *file = fdopen(fd, "w");
    CHECK(file != NULL);
    return file;
}

void peer_ca_init(struct peer_ca *ca)
{
    const struct peer_certificate said = {.days_from = -1, .days_until = 10};
    ca->key = EVP_EC_gen("P-256");
    CHECK(ca->key != NULL);
    ca->certificate = certificate_create(ca->key, "a CA of a test", 1);
    add_extension(ca->certificate, NID_basic_constraints, "critical,CA:TRUE");
    sign(ca->certificate, ca, &said);
    FILE *file = open_pem(ca->path);
    CHECK(PEM_write_X509(file, ca->certificate) == 1);
    CHECK(fclose(file) == 0);
}

void peer_ca_fini(struct peer_ca *ca)
{
    (void)unlink(ca->path);
    X509_free(ca->certificate);
    EVP_PKEY_free(ca->key);
}

static X509 *server_certificate(struct peer_ca *ca,
                                const struct peer_certificate *said,
                                EVP_PKEY *key)
{
    X509 *certificate = certificate_create(key, "a server of a test", 2);
    add_extension(certificate, NID_subject_alt_name, said->names);
    sign(certificate, ca, said);
    return certificate;
}

SSL_CTX *peer_tls(struct peer_ca *ca, const struct peer_certificate *said)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    CHECK(key != NULL && tls != NULL);
    X509 *certificate = server_certificate(ca, said, key);
    CHECK(SSL_CTX_use_certificate(tls, certificate) == 1);
    CHECK(SSL_CTX_use_PrivateKey(tls, key) == 1);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return tls;
}

void peer_tls_files(struct peer_ca *ca,
                    const struct peer_certificate *said,
                    char *certificate_path,
                    char *key_path)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    CHECK(key != NULL);
    X509 *certificate = server_certificate(ca, said, key);
    FILE *file = open_pem(certificate_path);
    CHECK(PEM_write_X509(file, certificate) == 1);
    CHECK(fclose(file) == 0);
    file = open_pem(key_path);
    CHECK(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1);
    CHECK(fclose(file) == 0);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

/* --- DNS ----------------------------------------------------------------- */

enum {
    DNS_HEAD_SIZE = 12,
    DNS_MESSAGE_MAX = 1024,
    DNS_TYPE_A = 1,
    DNS_REFUSED_NAME = 3, /* NXDOMAIN */
};

/* Where the question ends: behind its name, type and class. */
static size_t question_end(const uint8_t *message, size_t size)
{
    size_t at = DNS_HEAD_SIZE;
    while (at < size && message[at] != 0) {
        at += message[at] + 1U;
    }
    return at + 5;
}

/* One A record whose name points to that of the question. */
static size_t put_record(const struct dns *dns, int index, uint8_t *to)
{
    const uint8_t record[] = {0xc0,
                              DNS_HEAD_SIZE,
                              0,
                              DNS_TYPE_A,
                              0,
                              1,
                              (uint8_t)(dns->ttl_s >> 24),
                              (uint8_t)(dns->ttl_s >> 16),
                              (uint8_t)(dns->ttl_s >> 8),
                              (uint8_t)dns->ttl_s,
                              0,
                              4};
    memcpy(to, record, sizeof(record));
    CHECK(inet_pton(AF_INET, dns->addresses[index], to + sizeof(record)) == 1);
    return sizeof(record) + 4;
}

/* Make an answer of a question, in place; returns its size. */
static size_t make_answer(struct dns *dns, uint8_t *message, size_t end)
{
    bool wants_a = message[end - 3] == DNS_TYPE_A;
    uint8_t count = 0;
    size_t size = end;
    message[2] = 0x81; /* a response, recursion desired */
    message[3] = 0x80; /* and available */
    while (count < DNS_ADDRESSES_MAX && dns->addresses[count] != NULL) {
        if (wants_a) {
            size += put_record(dns, count, message + size);
        }
        count++;
    }
    if (count == 0) {
        message[3] |= DNS_REFUSED_NAME;
    }
    memset(message + 6, 0, 6);
    message[7] = wants_a ? count : 0;
    atomic_fetch_add(&dns->asked, wants_a ? 1 : 0);
    return size;
}

static void *dns_main(void *context)
{
    struct dns *dns = context;
    uint8_t message[DNS_MESSAGE_MAX];
    for (;;) {
        struct sockaddr_in from;
        socklen_t from_size = sizeof(from);
        ssize_t size = recvfrom(dns->fd, message, 512, 0,
                                (struct sockaddr *)&from, &from_size);
        if (size < DNS_HEAD_SIZE) {
            return NULL; /* dns_stop() */
        }
        size_t end = question_end(message, (size_t)size);
        if (atomic_load(&dns->silent) || end > (size_t)size) {
            continue;
        }
        size_t answer_size = make_answer(dns, message, end);
        (void)sendto(dns->fd, message, answer_size, 0, (struct sockaddr *)&from,
                     from_size);
    }
}

void dns_start(struct dns *dns)
{
    uint16_t port = 0;
    dns->fd = bind_any(SOCK_DGRAM, &port);
    (void)snprintf(dns->server, sizeof(dns->server), "127.0.0.1:%u", port);
    CHECK(pthread_create(&dns->thread, NULL, dns_main, dns) == 0);
}

void dns_stop(struct dns *dns)
{
    /* A datagram without a head ends the thread. */
    struct sockaddr_in address;
    socklen_t size = sizeof(address);
    CHECK(getsockname(dns->fd, (struct sockaddr *)&address, &size) == 0);
    CHECK(sendto(dns->fd, "", 0, 0, (struct sockaddr *)&address, size) == 0);
    CHECK(pthread_join(dns->thread, NULL) == 0);
    (void)close(dns->fd);
}
