/* Time zones, from the bytes of a TZif file.
 *
 * The file, by RFC 8536, 3: a header and a block of data in 32 bits, for old
 * programs; then both again with 64 bits; then the rule between two newlines.
 * A block is: the seconds of the changes, the type that each changes to, the
 * types (offset, summer or not, name), the names, leap seconds, and two rows of
 * indicators that only matter to rules of the system's own.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/zone.h"

#include "base/buf.h"
#include "base/date.h"
#include "base/zone_rule.h"

#include <stdlib.h>

enum {
    HEADER_SIZE = 44,
    HEADER_UNUSED = 15, /* bytes behind the version */
    TYPE_SIZE = 6,
    TYPES_MAX = 256,
    LEAP_SIZE = 8,               /* of a leap second, besides its time... */
    SECOND_SIZE_OLD = 4,         /* ... and of a second, in the first block */
    OFFSET_MIN = -26 * 3600 + 1, /* RFC 8536, 3.2: more than -25 h, and less */
    OFFSET_MAX = 26 * 3600 - 1,  /* than 26 h is what readers have to take */
    SECONDS_PER_DAY = 86400,
};

struct zone {
    struct zone_rule rule;
    bool has_rule;
    int32_t first;    /* the offset before all changes */
    uint32_t count;   /* changes */
    int64_t *seconds; /* owned: of the changes, ascending */
    int32_t *offsets; /* owned: from them on */
};

struct header {
    uint8_t version;
    uint32_t utc_count;
    uint32_t standard_count;
    uint32_t leap_count;
    uint32_t change_count;
    uint32_t type_count;
    uint32_t name_size;
};

/* --- names ---------------------------------------------------------------- */

static bool is_name_byte(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '.' || byte == '_' ||
           byte == '+' || byte == '-';
}

bool zone_name_valid(struct str name)
{
    bool begins = true; /* a part */

    if (name.size > ZONE_NAME_MAX) {
        return false;
    }
    for (size_t index = 0; index < name.size; index++) {
        char byte = name.data[index];
        bool slash = byte == '/';
        if (begins ? slash || byte == '.' : false) {
            return false;
        }
        if (!slash && !is_name_byte(byte)) {
            return false;
        }
        begins = slash;
    }
    return !begins;
}

/* --- reading -------------------------------------------------------------- */

/* Numbers of a TZif file have their highest byte first. */
static uint32_t read_u32(struct reader *reader)
{
    return __builtin_bswap32(reader_u32(reader));
}

static int64_t read_i64(struct reader *reader)
{
    return (int64_t)__builtin_bswap64(reader_u64(reader));
}

static enum err read_header(struct reader *reader, struct header *header)
{
    struct str magic = reader_bytes(reader, 4);

    header->version = reader_u8(reader);
    (void)reader_bytes(reader, HEADER_UNUSED);
    header->utc_count = read_u32(reader);
    header->standard_count = read_u32(reader);
    header->leap_count = read_u32(reader);
    header->change_count = read_u32(reader);
    header->type_count = read_u32(reader);
    header->name_size = read_u32(reader);
    if (reader->failed || !str_equal(magic, STR("TZif"))) {
        return ERR_CORRUPT;
    }
    return header->version < '2' ? ERR_UNSUPPORTED : ERR_OK;
}

/* Pass over the block of 32 bits. */
static enum err skip_old_block(struct reader *reader)
{
    struct header old;
    enum err err = read_header(reader, &old);

    if (err != ERR_OK) {
        return err;
    }
    uint64_t size = (uint64_t)old.change_count * (SECOND_SIZE_OLD + 1) +
                    (uint64_t)old.type_count * TYPE_SIZE + old.name_size +
                    (uint64_t)old.leap_count * LEAP_SIZE + old.standard_count +
                    old.utc_count;
    if (size > reader_left(reader)) {
        return ERR_CORRUPT;
    }
    (void)reader_bytes(reader, (size_t)size);
    return ERR_OK;
}

static enum err read_changes(struct reader *reader, struct zone *zone)
{
    for (uint32_t index = 0; index < zone->count; index++) {
        zone->seconds[index] = read_i64(reader);
        if (index > 0 && zone->seconds[index] <= zone->seconds[index - 1]) {
            return ERR_CORRUPT;
        }
    }
    return reader->failed ? ERR_CORRUPT : ERR_OK;
}

/* Read the types: their indexes, one for each change, and then they. */
static enum err
read_types(struct reader *reader, struct zone *zone, uint32_t type_count)
{
    struct str indexes = reader_bytes(reader, zone->count);
    int32_t offsets[TYPES_MAX] = {0};

    for (uint32_t type = 0; type < type_count; type++) {
        offsets[type] = (int32_t)read_u32(reader);
        (void)reader_bytes(reader, TYPE_SIZE - sizeof(offsets[type]));
        if (offsets[type] < OFFSET_MIN || offsets[type] > OFFSET_MAX) {
            return ERR_CORRUPT;
        }
    }
    if (reader->failed) {
        return ERR_CORRUPT;
    }
    zone->first = offsets[0];
    for (uint32_t index = 0; index < zone->count; index++) {
        uint8_t type = (uint8_t)indexes.data[index];
        if (type >= type_count) {
            return ERR_CORRUPT;
        }
        zone->offsets[index] = offsets[type];
    }
    return ERR_OK;
}

/* Read the rule, which is the rest of the bytes. */
static enum err read_rule(struct reader *reader, struct zone *zone)
{
    if (reader_u8(reader) != '\n') {
        return ERR_CORRUPT;
    }
    struct str rest = reader_bytes(reader, reader_left(reader));
    size_t size = str_find(rest, '\n');
    if (size == rest.size) {
        return ERR_CORRUPT;
    }
    zone->has_rule = size > 0;
    return zone->has_rule ? zone_rule_parse(str_cut(rest, 0, size), &zone->rule)
                          : ERR_OK;
}

static enum err allocate(struct zone *zone, uint32_t count)
{
    zone->count = count;
    if (count == 0) {
        return ERR_OK;
    }
    zone->seconds = calloc(count, sizeof(*zone->seconds));
    zone->offsets = calloc(count, sizeof(*zone->offsets));
    return zone->seconds == NULL || zone->offsets == NULL ? ERR_NOMEM : ERR_OK;
}

static enum err read_zone(struct reader *reader, struct zone *zone)
{
    struct header header;

    enum err err = skip_old_block(reader);
    if (err == ERR_OK) {
        err = read_header(reader, &header);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (header.leap_count > 0) {
        return ERR_UNSUPPORTED;
    }
    if (header.type_count == 0 || header.type_count > TYPES_MAX ||
        header.change_count > reader_left(reader) / sizeof(int64_t)) {
        return ERR_CORRUPT;
    }
    err = allocate(zone, header.change_count);
    if (err == ERR_OK) {
        err = read_changes(reader, zone);
    }
    if (err == ERR_OK) {
        err = read_types(reader, zone, header.type_count);
    }
    if (err != ERR_OK) {
        return err;
    }
    (void)reader_bytes(reader, header.name_size);
    (void)reader_bytes(reader, header.standard_count);
    (void)reader_bytes(reader, header.utc_count);
    return reader->failed ? ERR_CORRUPT : read_rule(reader, zone);
}

enum err zone_create(struct str bytes, struct zone **out)
{
    struct reader reader = reader_of(bytes);
    struct zone *zone = NULL;

    if (bytes.size > ZONE_FILE_SIZE_MAX) {
        return ERR_CORRUPT;
    }
    enum err err = zone_create_utc(&zone);
    if (err == ERR_OK) {
        err = read_zone(&reader, zone);
    }
    if (err != ERR_OK) {
        zone_destroy(zone);
        return err;
    }
    *out = zone;
    return ERR_OK;
}

enum err zone_create_utc(struct zone **out)
{
    struct zone *zone = calloc(1, sizeof(*zone));

    if (zone == NULL) {
        return ERR_NOMEM;
    }
    *out = zone;
    return ERR_OK;
}

void zone_destroy(struct zone *zone)
{
    if (zone == NULL) {
        return;
    }
    free(zone->seconds);
    free(zone->offsets);
    free(zone);
}

/* --- asking --------------------------------------------------------------- */

/* How many changes are at or before a second. */
static uint32_t changes_until(const struct zone *zone, int64_t second)
{
    uint32_t low = 0;
    uint32_t high = zone->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (zone->seconds[middle] <= second) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The offset before change `index`; of 0 that at the beginning. */
static int32_t offset_before(const struct zone *zone, uint32_t index)
{
    return index == 0 ? zone->first : zone->offsets[index - 1];
}

/* The span behind the last change. */
static struct zone_span rule_span(const struct zone *zone, int64_t second)
{
    struct zone_rule_span found = zone_rule_span_of(&zone->rule, second);
    struct zone_span span = {.start = found.start,
                             .end = found.end,
                             .offset = found.offset,
                             .before = found.before};

    if (zone->count > 0 && span.start < zone->seconds[zone->count - 1]) {
        span.start = zone->seconds[zone->count - 1];
        span.before = offset_before(zone, zone->count - 1);
    }
    return span;
}

struct zone_span zone_span_of(const struct zone *zone, int64_t second)
{
    uint32_t until = changes_until(zone, second);
    struct zone_span span = {.start = INT64_MIN, .end = INT64_MAX};

    if (until == zone->count && zone->has_rule) {
        return rule_span(zone, second);
    }
    span.offset = offset_before(zone, until);
    span.before = span.offset;
    if (until > 0) {
        span.start = zone->seconds[until - 1];
        span.before = offset_before(zone, until - 1);
    }
    if (until < zone->count) {
        span.end = zone->seconds[until];
    }
    return span;
}

struct zone_time zone_time_at(int64_t second, int32_t offset)
{
    int64_t shown = second + offset;
    int64_t of_day = shown % SECONDS_PER_DAY;

    of_day += of_day < 0 ? SECONDS_PER_DAY : 0;
    struct date date = date_from_days((shown - of_day) / SECONDS_PER_DAY);
    return (struct zone_time){
        .year = date.year,
        .month = (int32_t)date.month,
        .day = (int32_t)date.day,
        .hour = (int32_t)(of_day / 3600),
        .minute = (int32_t)(of_day / 60 % 60),
        .second = (int32_t)(of_day % 60),
    };
}

struct zone_time zone_time_of(const struct zone *zone, int64_t second)
{
    return zone_time_at(second, zone_span_of(zone, second).offset);
}

unsigned zone_seconds_of(const struct zone *zone,
                         const struct zone_time *time,
                         int64_t out_seconds[ZONE_ANSWERS_MAX])
{
    int64_t days = date_to_days(time->year, time->month, time->day);
    int32_t of_day = (time->hour * 60 + time->minute) * 60 + time->second;
    int64_t shown = days * SECONDS_PER_DAY + of_day;
    int64_t second = shown - OFFSET_MAX;
    unsigned count = 0;

    /* Each span that the answer may lie in shows the time at most once. */
    while (second <= shown - OFFSET_MIN && count < ZONE_ANSWERS_MAX) {
        struct zone_span span = zone_span_of(zone, second);
        int64_t found = shown - span.offset;
        if (found >= span.start && found < span.end) {
            out_seconds[count] = found;
            count++;
        }
        if (span.end == INT64_MAX) {
            break;
        }
        second = span.end;
    }
    return count;
}
