/* What a sink has accepted, topic by topic.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/sink_ledger.h"

#include "base/json_text.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    NAME_MAX_SIZE = 256,
    BITS_PER_WORD = 64,
    WORDS_MIN = 16,
    SLOTS_MIN = 64, /* a power of two */
};

struct ledger_topic {
    char name[NAME_MAX_SIZE];
    size_t name_size;
    struct sink_figures figures;
    uint64_t *seen; /* owned: a bit per sequence number */
    size_t word_count;
    struct ledger_topic *next; /* owned: the one that came after it */
};

/* A list of the topics as they came, and a table of them by name: open
 * addressing, at most half full. */
struct sink_ledger {
    struct ledger_topic *first;  /* owned; NULL: none */
    struct ledger_topic *newest; /* borrowed */
    struct ledger_topic **slots; /* owned; pointers borrowed */
    size_t slot_count;           /* a power of two, or 0 */
    size_t count;
    struct ledger_topic *last; /* looked up last; borrowed */
};

enum err sink_ledger_create(struct sink_ledger **out)
{
    struct sink_ledger *ledger = calloc(1, sizeof(*ledger));

    if (ledger == NULL) {
        return ERR_NOMEM;
    }
    *out = ledger;
    return ERR_OK;
}

void sink_ledger_destroy(struct sink_ledger *ledger)
{
    if (ledger == NULL) {
        return;
    }
    struct ledger_topic *topic = ledger->first;
    while (topic != NULL) {
        struct ledger_topic *next = topic->next;
        free(topic->seen);
        free(topic);
        topic = next;
    }
    free(ledger->slots);
    free(ledger);
}

/* The slot that has a name, or is free for it. There are slots. */
static struct ledger_topic **slot_of(const struct sink_ledger *ledger,
                                     struct str name)
{
    size_t mask = ledger->slot_count - 1;
    size_t at = (size_t)str_hash(name) & mask;

    while (ledger->slots[at] != NULL &&
           !str_equal(name, (struct str){ledger->slots[at]->name,
                                         ledger->slots[at]->name_size})) {
        at = (at + 1) & mask;
    }
    return &ledger->slots[at];
}

static struct ledger_topic *find(const struct sink_ledger *ledger,
                                 struct str name)
{
    return ledger->slot_count > 0 ? *slot_of(ledger, name) : NULL;
}

/* Have room for one more topic. */
static enum err grow(struct sink_ledger *ledger)
{
    if ((ledger->count + 1) * 2 <= ledger->slot_count) {
        return ERR_OK;
    }
    size_t count = ledger->slot_count > 0 ? ledger->slot_count * 2 : SLOTS_MIN;
    struct ledger_topic **slots = calloc(count, sizeof(struct ledger_topic *));
    if (slots == NULL) {
        return ERR_NOMEM;
    }
    free(ledger->slots);
    ledger->slots = slots;
    ledger->slot_count = count;
    for (struct ledger_topic *topic = ledger->first; topic != NULL;
         topic = topic->next) {
        *slot_of(ledger, (struct str){topic->name, topic->name_size}) = topic;
    }
    return ERR_OK;
}

static struct ledger_topic *add(struct sink_ledger *ledger, struct str name)
{
    struct ledger_topic *topic =
        grow(ledger) == ERR_OK ? calloc(1, sizeof(*topic)) : NULL;

    if (topic == NULL) {
        return NULL;
    }
    memcpy(topic->name, name.data, name.size);
    topic->name_size = name.size;
    *slot_of(ledger, name) = topic;
    if (ledger->newest != NULL) {
        ledger->newest->next = topic;
    } else {
        ledger->first = topic;
    }
    ledger->newest = topic;
    ledger->count++;
    return topic;
}

/* Make room for a sequence number's bit. */
static enum err reserve(struct ledger_topic *topic, uint64_t sequence)
{
    size_t needed = (size_t)(sequence / BITS_PER_WORD) + 1;
    size_t count = topic->word_count > 0 ? topic->word_count : WORDS_MIN;

    if (needed <= topic->word_count) {
        return ERR_OK;
    }
    while (count < needed) {
        count *= 2;
    }
    uint64_t *seen = realloc(topic->seen, count * sizeof(*seen));
    if (seen == NULL) {
        return ERR_NOMEM;
    }
    memset(seen + topic->word_count, 0,
           (count - topic->word_count) * sizeof(*seen));
    topic->seen = seen;
    topic->word_count = count;
    return ERR_OK;
}

static void count(struct ledger_topic *topic, uint64_t sequence)
{
    struct sink_figures *figures = &topic->figures;
    uint64_t *word = &topic->seen[sequence / BITS_PER_WORD];
    uint64_t bit = UINT64_C(1) << (sequence % BITS_PER_WORD);

    figures->accepted++;
    if ((*word & bit) != 0) {
        figures->duplicates++;
        return;
    }
    *word |= bit;
    if (figures->distinct == 0) {
        figures->lowest = sequence;
        figures->highest = sequence;
    }
    figures->distinct++;
    figures->disorder += sequence < figures->highest ? 1 : 0;
    figures->lowest = sequence < figures->lowest ? sequence : figures->lowest;
    figures->highest =
        sequence > figures->highest ? sequence : figures->highest;
    figures->missing =
        figures->highest - figures->lowest + 1 - figures->distinct;
}

enum err sink_ledger_note(struct sink_ledger *ledger,
                          struct str topic,
                          uint64_t sequence)
{
    struct ledger_topic *found = ledger->last;

    if (sequence >= SINK_LEDGER_SEQUENCE_MAX || topic.size >= NAME_MAX_SIZE) {
        return ERR_RANGE;
    }
    if (found == NULL || found->name_size != topic.size ||
        memcmp(found->name, topic.data, topic.size) != 0) {
        found = find(ledger, topic);
    }
    if (found == NULL) {
        found = add(ledger, topic);
    }
    if (found == NULL || reserve(found, sequence) != ERR_OK) {
        return ERR_NOMEM;
    }
    ledger->last = found;
    count(found, sequence);
    return ERR_OK;
}

void sink_ledger_topic(const struct sink_ledger *ledger,
                       struct str topic,
                       struct sink_figures *out_figures)
{
    const struct ledger_topic *found = find(ledger, topic);

    *out_figures = found != NULL ? found->figures : (struct sink_figures){0};
}

void sink_ledger_sum(const struct sink_ledger *ledger,
                     struct sink_figures *out_figures)
{
    struct sink_figures sum = {0};

    for (const struct ledger_topic *topic = ledger->first; topic != NULL;
         topic = topic->next) {
        sum.accepted += topic->figures.accepted;
        sum.distinct += topic->figures.distinct;
        sum.duplicates += topic->figures.duplicates;
        sum.disorder += topic->figures.disorder;
        sum.missing += topic->figures.missing;
    }
    *out_figures = sum;
}

void sink_ledger_json(const struct sink_ledger *ledger, struct buf *to)
{
    bool first = true;

    buf_append_byte(to, '[');
    for (const struct ledger_topic *topic = ledger->first; topic != NULL;
         topic = topic->next) {
        buf_append_c(to, first ? "{\"topic\":\"" : ",{\"topic\":\"");
        buf_append_json(to, (struct str){topic->name, topic->name_size});
        buf_append_byte(to, '"');
        json_text_append_number(to, "accepted", topic->figures.accepted);
        json_text_append_number(to, "distinct", topic->figures.distinct);
        json_text_append_number(to, "duplicates", topic->figures.duplicates);
        json_text_append_number(to, "disorder", topic->figures.disorder);
        json_text_append_number(to, "missing", topic->figures.missing);
        json_text_append_number(to, "lowest", topic->figures.lowest);
        json_text_append_number(to, "highest", topic->figures.highest);
        buf_append_byte(to, '}');
        first = false;
    }
    buf_append_byte(to, ']');
}
