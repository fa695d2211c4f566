/* Where things lie in a record: doc/log-format.md, 2, and the fixed part of the
 * payload as record.c writes it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_RECORD_LAYOUT_H
#define OPQ_LOG_RECORD_LAYOUT_H

#include "log/record.h"

/* The header. */
enum {
    RECORD_AT_SIZE = 0,
    RECORD_AT_CRC = 4,
    RECORD_AT_SEQUENCE = 8, /* the checksum begins here */
    RECORD_AT_PUSHED_AT = 16,
    RECORD_AT_PAYLOAD_SIZE = 24,
    RECORD_AT_FLAGS = 28,
    RECORD_AT_VERSION = 30,
    RECORD_AT_BODY_SIZE = 32, /* of a body that lies beside; else zeros */
    RECORD_AT_RESERVED = 40,  /* zeros, up to the payload */
    RECORD_VERSION = 1,
    RECORD_FLAG_RAW = 1,
    RECORD_FLAG_BLOB = 2, /* the body lies beside */
};

/* The fields of table Message, in the order of schema/opq.fbs. */
enum {
    RECORD_FIELD_URL,
    RECORD_FIELD_BODY,
    RECORD_FIELD_HEADER,
    RECORD_FIELD_RAW,
    RECORD_FIELD_CONTENT_TYPE,
    RECORD_FIELD_METHOD,
    RECORD_FIELD_TIMEOUT,
    RECORD_FIELD_PUSHED_AT,
    RECORD_FIELD_COUNT,
    /* Those of a body that lies beside. */
    RECORD_FIELD_BLOB_ID = RECORD_FIELD_COUNT,
    RECORD_FIELD_BLOB_SIZE,
    RECORD_FIELD_BLOB_CRC,
    RECORD_FIELD_COUNT_BLOB,
    RECORD_FIELD_OPTIONS = RECORD_FIELD_COUNT_BLOB,
    RECORD_FIELD_COUNT_OPTIONS,
};

/* The fields of table Options, in the order of schema/opq.fbs. */
enum {
    RECORD_OPTION_KEY,
    RECORD_OPTION_LABEL,
    RECORD_OPTION_RETRY_SCHEDULE,
    RECORD_OPTION_DEDUP_ID,
    RECORD_OPTION_COLLAPSE,
    RECORD_OPTION_FLOW_KEY,
    RECORD_OPTION_CALLBACK,
    RECORD_OPTION_FAILURE_CALLBACK,
    RECORD_OPTION_ID,
    RECORD_OPTION_TOPIC,
    RECORD_OPTION_DEAD,
    RECORD_OPTION_SUBSCRIPTION,
    RECORD_OPTION_TEXT_COUNT, /* those before it are text */
    RECORD_OPTION_NOT_BEFORE = RECORD_OPTION_TEXT_COUNT,
    RECORD_OPTION_EXPIRES_AT,
    RECORD_OPTION_RETRIES,
    RECORD_OPTION_PRIORITY,
    RECORD_OPTION_COUNT,
};

/* The fixed part of the payload. Each field of Message has four bytes, in
 * order, behind the table's own offset; the last, of eight, is then aligned. */
enum {
    RECORD_VTABLE = 4,
    RECORD_PAIR_VTABLE = RECORD_VTABLE + 4 + 2 * RECORD_FIELD_COUNT,
    RECORD_TABLE = RECORD_PAIR_VTABLE + 8,
    RECORD_TABLE_SIZE = 4 + 4 * (RECORD_FIELD_COUNT - 1) + 8,
    RECORD_FIXED_SIZE = RECORD_TABLE + RECORD_TABLE_SIZE,
    RECORD_PAIR_SIZE = 12,
    RECORD_PAIR_KEY = 4,
    RECORD_PAIR_VALUE = 8,
};

/* Where a body lies beside, the table goes on with three more fields; where
 * there are options, then with the offset to them. The vtable follows such a
 * table; the place of the short one stays empty. */
enum {
    RECORD_BLOB_ID = RECORD_TABLE + RECORD_TABLE_SIZE,
    RECORD_BLOB_SIZE = RECORD_BLOB_ID + 8,
    RECORD_BLOB_CRC = RECORD_BLOB_SIZE + 8,
    RECORD_BLOB_END = RECORD_BLOB_CRC + 4,
};

_Static_assert(RECORD_BLOB_ID % 8 == 0, "a u64 of FlatBuffers is aligned");
_Static_assert((RECORD_TABLE + 4 + 4 * RECORD_FIELD_PUSHED_AT) % 8 == 0,
               "a u64 of FlatBuffers is aligned");
_Static_assert(RECORD_TABLE % 4 == 0 && RECORD_PAIR_VTABLE % 2 == 0,
               "tables are aligned");
_Static_assert(RECORD_HEADER_SIZE % 8 == 0, "the payload is aligned");

/* Where in struct message_options the text of a field lies. */
extern const uint16_t record_option_texts[RECORD_OPTION_TEXT_COUNT];

/* Tell whether a header's size of a body beside goes with its flags. */
bool record_body_size_valid(const char *header);

#endif
