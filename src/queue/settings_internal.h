/* What the files of queue/settings share: the table, and what a type can do.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_SETTINGS_INTERNAL_H
#define OPQ_QUEUE_SETTINGS_INTERNAL_H

#include "queue/settings.h"

#include <stddef.h>

struct setting;

/* What a type of settings can do. `field` is the setting's in a struct. A value
 * that has no sense is ERR_INVALID, and then the field is as it was; so it is
 * after ERR_NOMEM. */
struct settings_type {
    size_t size; /* of the field; 0: it is text, a `char *` */
    /* Take a value as the API gives it, without blanks around it. */
    enum err (*set)(const struct setting *setting,
                    struct str value,
                    void *field);
    /* Take a value as the store keeps it (unescaped). */
    enum err (*read)(const struct setting *setting,
                     struct str value,
                     void *field);
    /* Append the value as JSON. */
    void (*show)(const struct setting *setting,
                 const void *field,
                 struct buf *to);
    /* Append the value as the store keeps it (not escaped). */
    void (*write)(const struct setting *setting,
                  const void *field,
                  struct buf *to);
    /* Append what is wrong with a value that set() refused, and where: ": ...";
     * nothing when what is wanted says it. NULL: it always does. */
    void (*explain)(const struct setting *setting,
                    struct str value,
                    struct buf *to);
};

/* A line of settings.def. */
struct setting {
    const char *name;
    const char *stored;
    const struct settings_type *type;
    unsigned scopes; /* bits of enum settings_scope */
    size_t offset;   /* of the field */
    const char *value;
    uint64_t max;
    const char *wanted;
    const char *words;
};

extern const struct settings_type settings_type_flag;
extern const struct settings_type settings_type_either;
extern const struct settings_type settings_type_choice;
extern const struct settings_type settings_type_ordinal;
extern const struct settings_type settings_type_count;
extern const struct settings_type settings_type_count64;
extern const struct settings_type settings_type_size;
extern const struct settings_type settings_type_span;
extern const struct settings_type settings_type_span64;
extern const struct settings_type settings_type_retries;
extern const struct settings_type settings_type_rate;
extern const struct settings_type settings_type_batch;
extern const struct settings_type settings_type_share;
extern const struct settings_type settings_type_schedule;
extern const struct settings_type settings_type_statuses;
extern const struct settings_type settings_type_secrets;
extern const struct settings_type settings_type_name;
extern const struct settings_type settings_type_url;
extern const struct settings_type settings_type_text;
extern const struct settings_type settings_type_filter;
extern const struct settings_type settings_type_headers;

/* A setting by its number, from 0; NULL past the last. */
const struct setting *settings_at(unsigned index);

/* The field of a setting. */
static inline void *settings_field(struct settings *settings,
                                   const struct setting *setting)
{
    return (char *)settings + setting->offset;
}

/* The field of a setting that is only read. */
static inline const void *settings_field_of(const struct settings *settings,
                                            const struct setting *setting)
{
    return (const char *)settings + setting->offset;
}

/* Append what a value must be, for people. */
void settings_wanted(const struct setting *setting, struct buf *to);

#endif
