/* The body of a delivery, read from its file while it is sent.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/body_source.h"

#include "base/check.h"
#include "base/crc32c.h"
#include "sys/file.h"

#include <stdlib.h>
#include <sys/uio.h>

struct body_source {
    struct http_source http;
    struct io *io; /* borrowed */
    struct message_blob blob;
    int fd;      /* owned */
    char *piece; /* owned */
    size_t piece_size;
    uint64_t offset;        /* of the next piece */
    uint32_t crc;           /* of those before */
    bool wanted;            /* a piece is asked for */
    bool reading;           /* op runs */
    bool stale;             /* what it reads is of a sending that is over */
    bool dead;              /* destroyed meanwhile */
    struct body_scan *scan; /* borrowed; NULL: what is read is sent */
    struct iovec part;
    struct io_file_op op;
};

static void source_free(struct body_source *source)
{
    file_close(source->fd);
    free(source->piece);
    free(source);
}

static void read_done(struct io_file_op *op, enum err err, size_t size);

static void read_next(struct body_source *source)
{
    uint64_t left = source->blob.size - source->offset;

    CHECK(left > 0);
    source->part.iov_base = source->piece;
    source->part.iov_len =
        left < source->piece_size ? (size_t)left : source->piece_size;
    source->op = (struct io_file_op){
        .done = read_done,
        .fd = source->fd,
        .parts = &source->part,
        .part_count = 1,
        .offset = source->offset,
    };
    source->reading = true;
    io_read_at(source->io, &source->op);
}

/* Look at what was read. `*out_why` says what is wrong with it.
 * Errors: ERR_IO, ERR_CORRUPT */
static enum err check(struct body_source *source,
                      enum err err,
                      size_t size,
                      bool *out_last,
                      const char **out_why)
{
    if (err != ERR_OK) {
        *out_why = "the body cannot be read";
        return ERR_IO;
    }
    if (size == 0) {
        *out_why = "the body's file is too short";
        return ERR_CORRUPT;
    }
    source->crc = crc32c(source->crc, source->piece, size);
    source->offset += size;
    *out_last = source->offset == source->blob.size;
    if (*out_last && source->crc != source->blob.crc) {
        *out_why = "the body's checksum is wrong";
        return ERR_CORRUPT;
    }
    return ERR_OK;
}

/* Give what was read, or say why not. */
static void give(struct body_source *source, enum err err, size_t size)
{
    const char *why = NULL;
    bool last = false;

    err = check(source, err, size, &last, &why);
    if (err != ERR_OK) {
        http_source_fail(&source->http, err, why);
        return;
    }
    http_source_give(&source->http, (struct str){source->piece, size}, last);
}

/* As give(), to who reads it through. */
static void scan_on(struct body_source *source, enum err err, size_t size)
{
    struct body_scan *scan = source->scan;
    const char *why = NULL;
    bool last = false;

    err = check(source, err, size, &last, &why);
    if (err == ERR_OK) {
        scan->piece(scan, (struct str){source->piece, size});
    }
    if (err == ERR_OK && !last) {
        read_next(source);
        return;
    }
    source->scan = NULL;
    scan->done(scan, err);
}

static void read_done(struct io_file_op *op, enum err err, size_t size)
{
    struct body_source *source = CONTAINER_OF(op, struct body_source, op);

    source->reading = false;
    if (source->dead) {
        source_free(source);
    } else if (source->stale) {
        source->stale = false;
        if (source->wanted) {
            read_next(source);
        }
    } else if (source->scan != NULL) {
        scan_on(source, err, size);
    } else {
        source->wanted = false;
        give(source, err, size);
    }
}

static void source_start(struct http_source *http)
{
    struct body_source *source = CONTAINER_OF(http, struct body_source, http);

    source->offset = 0;
    source->crc = 0;
    source->wanted = false;
    source->stale = source->reading;
}

static void source_next(struct http_source *http)
{
    struct body_source *source = CONTAINER_OF(http, struct body_source, http);

    source->wanted = true;
    if (!source->reading) {
        read_next(source);
    }
}

enum err body_source_create(struct io *io,
                            int fd,
                            const struct message_blob *blob,
                            size_t piece_size,
                            struct body_source **out)
{
    struct body_source *source = calloc(1, sizeof(*source));

    CHECK(blob->size > 0);
    if (source == NULL) {
        return ERR_NOMEM;
    }
    source->piece = malloc(piece_size);
    if (source->piece == NULL) {
        free(source);
        return ERR_NOMEM;
    }
    source->piece_size = piece_size;
    source->http.start = source_start;
    source->http.next = source_next;
    source->io = io;
    source->fd = fd;
    source->blob = *blob;
    *out = source;
    return ERR_OK;
}

void body_source_destroy(struct body_source *source)
{
    if (source == NULL) {
        return;
    }
    if (source->reading) {
        source->dead = true;
        return;
    }
    source_free(source);
}

void body_source_scan(struct body_source *source, struct body_scan *scan)
{
    CHECK(!source->reading);
    CHECK(source->scan == NULL);
    source->scan = scan;
    source->offset = 0;
    source->crc = 0;
    read_next(source);
}

struct http_source *body_source_http(struct body_source *source)
{
    return &source->http;
}
