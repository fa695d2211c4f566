/* A message as it is stored: a fixed header, then a FlatBuffers `Message`.
 *
 * The bytes are those of doc/log-format.md, "Record"; schema/opq.fbs describes
 * the table, so that `flatc` decodes any stored message. The encoder writes
 * straight into the caller's buffer, in one pass over known sizes; the reader
 * checks every offset against the bounds and trusts nothing.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_RECORD_H
#define OPQ_LOG_RECORD_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RECORD_HEADER_SIZE = 48,
    RECORD_ALIGN = 8,
    MESSAGE_PAIRS_MAX = 100, /* fields, and likewise headers, of a message */
    MESSAGE_PRIORITY_MAX = 9,
};

struct pair {
    struct str key;   /* borrowed */
    struct str value; /* borrowed */
};

/* How the body of a message is kept, and so how it is delivered. */
enum message_kind {
    MESSAGE_KIND_FORM, /* `fields`, delivered urlencoded (the first OPQ's) */
    MESSAGE_KIND_RAW,  /* `body`, delivered byte for byte */
};

/* A body that is too large for a record, in a file of its own: log/blob.h. */
struct message_blob {
    uint64_t id;   /* random; names the file */
    uint64_t size; /* bytes; 0: the body is in the message */
    uint32_t crc;  /* CRC-32C of them */
};

#define MESSAGE_RETRIES_UNSET UINT32_MAX /* as its topic says */

/* What a push may ask for besides, and what OPQ notes with a message that it
 * stores a second time. Most messages have none of it: the table `Options` of
 * schema/opq.fbs is absent then. Empty and 0: not given. */
struct message_options {
    struct str key;              /* ordering key */
    struct str label;            /* for people and filters */
    struct str retry_schedule;   /* "5s,1m,10m", as given */
    struct str dedup_id;         /* what makes it a duplicate */
    struct str collapse;         /* only the newest of these is sent */
    struct str flow_key;         /* of the rate that it counts for */
    struct str callback;         /* URL told of its delivery */
    struct str failure_callback; /* URL told of its end without delivery */
    struct str id;               /* given when it was first stored; empty: made
                                    of topic and sequence */
    struct str topic;        /* where it belongs, while it waits elsewhere */
    struct str dead;         /* of a dead letter: why, a JSON object */
    struct str subscription; /* for which alone it is; empty: all */
    uint64_t not_before_ms;  /* wall clock; not delivered before */
    uint64_t expires_at_ms;  /* wall clock; not delivered after */
    uint32_t retries;        /* MESSAGE_RETRIES_UNSET: not given */
    uint32_t priority;       /* 0 to MESSAGE_PRIORITY_MAX, which is first */
};

/* A message in memory: slices of wherever its bytes are. */
struct message {
    struct str url;
    enum message_kind kind;
    uint32_t field_count;
    /* MESSAGE_KIND_FORM: in order of arrival, without url and topic, which
     * the message and its topic say already; delivery puts them back. */
    const struct pair *fields;
    uint32_t header_count;
    const struct pair *headers; /* to deliver, already filtered */
    struct str body;            /* MESSAGE_KIND_RAW */
    struct message_blob blob;   /* MESSAGE_KIND_RAW; then `body` is empty */
    struct str content_type;    /* MESSAGE_KIND_RAW; empty: none */
    struct str method;          /* empty: POST */
    uint32_t timeout_ms;        /* of an attempt; 0: the topic's */
    uint64_t pushed_at_ms;      /* wall clock, since 1970 */
    const struct message_options *options; /* borrowed; NULL: none */
};

/* A stored message, read back. The pairs are in `memory`. */
struct record {
    uint64_t sequence;
    uint32_t size; /* bytes on disk, header and padding included */
    struct message message;
    struct message_options options; /* message.options, if there are any */
    struct pair memory[2 * MESSAGE_PAIRS_MAX];
};

/* Bytes that record_encode() will write for a message.
 *
 * Errors: ERR_TOO_LARGE  more than UINT32_MAX / 2, or too many pairs
 */
MUST_CHECK enum err record_size(const struct message *message,
                                size_t *out_size);

/* Write a record of `size` bytes, as record_size() gave, to `to` (8-byte
 * aligned), with sequence number and checksum. */
void record_encode(const struct message *message,
                   uint64_t sequence,
                   void *to,
                   size_t size);

/* Give an encoded record another sequence number, and its checksum. */
void record_renumber(void *record, uint64_t sequence);

/* Fill in what is known of a body only once it is whole: where it lies, and
 * when the message was pushed. The record was encoded with a `blob.size` other
 * than 0, whatever it was. */
void record_set_blob(void *record,
                     const struct message_blob *blob,
                     uint64_t pushed_at_ms);

/* Tell whether the body of an encoded record lies beside.
 * Gives: `*out_blob`. */
bool record_blob(const void *record, struct message_blob *out_blob);

/* Read only the header: enough to walk a segment.
 *
 * Gives:  `*out_size` (with padding) and `*out_sequence`.
 * Errors: ERR_AGAIN    fewer bytes than the header, or than the record
 *         ERR_CORRUPT  no record begins here
 */
MUST_CHECK enum err record_peek(struct str bytes,
                                size_t *out_size,
                                uint64_t *out_sequence,
                                uint64_t *out_pushed_at_ms);

/* Check that `bytes` are one record, by its header, checksum and padding; what
 * the payload holds is not looked at.
 *
 * Errors: ERR_AGAIN    there is more of it than `bytes`
 *         ERR_CORRUPT  it is not whole, or not all of `bytes`
 */
MUST_CHECK enum err record_check(struct str bytes);

/* Bytes of a record that record_wrap() makes of a payload. */
size_t record_wrap_size(size_t payload_size);

/* Make a record of a payload that another program wrote: FlatBuffers bytes of a
 * `Message` without a body beside, as the first OPQ stored them. Nothing of it
 * is checked; record_decode() does. `to` has record_wrap_size() bytes. */
void record_wrap(struct str payload,
                 uint64_t sequence,
                 uint64_t pushed_at_ms,
                 void *to);

/* Check and read a record at the beginning of `bytes`.
 *
 * Borrows: bytes, as long as `out_record` is used.
 * Gives:   `*out_record`; its content is undefined after an error.
 * Errors:  ERR_AGAIN    it does not all lie in `bytes`
 *          ERR_CORRUPT  its checksum or structure is wrong
 */
MUST_CHECK enum err record_decode(struct str bytes, struct record *out_record);

#endif
