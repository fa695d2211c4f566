/* A set of numbers that lie near one another.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/sparse_set.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

enum {
    WORD_BITS = 64,
    WORDS = SPARSE_SET_RUN / WORD_BITS,
    RUNS_FIRST = 4,
};

static uint64_t mask_of(uint64_t number)
{
    return (uint64_t)1 << (number % WORD_BITS);
}

static uint64_t *word_of(const struct sparse_set_run *run, uint64_t number)
{
    return &run->bits[number % SPARSE_SET_RUN / WORD_BITS];
}

/* The place of the first run that is not below one. */
static uint32_t place_of(const struct sparse_set *set, uint64_t number)
{
    uint32_t low = 0;
    uint32_t high = set->run_count;

    if (high > 0 && set->runs[high - 1].number < number) {
        return high; /* they come in ascending order, nearly always */
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (set->runs[middle].number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The run that a number is or would be in; NULL: there is none. */
static struct sparse_set_run *find(const struct sparse_set *set,
                                   uint64_t number)
{
    uint64_t wanted = number / SPARSE_SET_RUN;
    uint32_t place = place_of(set, wanted);

    return place < set->run_count && set->runs[place].number == wanted
               ? &set->runs[place]
               : NULL;
}

void sparse_set_fini(struct sparse_set *set)
{
    for (uint32_t i = 0; i < set->run_count; i++) {
        free(set->runs[i].bits);
    }
    free(set->runs);
    *set = (struct sparse_set){0};
}

/* Have room for one more run. */
static enum err grow(struct sparse_set *set)
{
    if (set->run_count < set->run_room) {
        return ERR_OK;
    }
    if (set->run_count >= SPARSE_SET_RUNS_MAX) {
        return ERR_FULL;
    }
    uint32_t room = set->run_room == 0 ? RUNS_FIRST : 2 * set->run_room;
    struct sparse_set_run *runs = realloc(set->runs, room * sizeof(*set->runs));
    if (runs == NULL) {
        return ERR_NOMEM;
    }
    set->runs = runs;
    set->run_room = room;
    return ERR_OK;
}

/* Make the run of a number, which there is not yet. */
static enum err
make(struct sparse_set *set, uint64_t number, struct sparse_set_run **out)
{
    uint64_t wanted = number / SPARSE_SET_RUN;
    uint32_t place = place_of(set, wanted);
    enum err err = grow(set);

    if (err != ERR_OK) {
        return err;
    }
    uint64_t *bits = calloc(WORDS, sizeof(*bits));
    if (bits == NULL) {
        return ERR_NOMEM;
    }
    struct sparse_set_run *run = &set->runs[place];
    memmove(run + 1, run, (set->run_count - place) * sizeof(*run));
    *run = (struct sparse_set_run){.number = wanted, .bits = bits};
    set->run_count++;
    *out = run;
    return ERR_OK;
}

/* Take `count` runs out, which begin with one. */
static void
drop(struct sparse_set *set, struct sparse_set_run *run, uint32_t count)
{
    size_t behind = (size_t)(set->runs + set->run_count - (run + count));

    for (uint32_t i = 0; i < count; i++) {
        set->count -= run[i].count;
        free(run[i].bits);
    }
    memmove(run, run + count, behind * sizeof(*run));
    set->run_count -= count;
}

enum err sparse_set_add(struct sparse_set *set, uint64_t number)
{
    struct sparse_set_run *run = find(set, number);

    if (run == NULL) {
        enum err err = make(set, number, &run);
        if (err != ERR_OK) {
            return err;
        }
    }
    uint64_t *word = word_of(run, number);
    if ((*word & mask_of(number)) == 0) {
        *word |= mask_of(number);
        run->count++;
        set->count++;
    }
    return ERR_OK;
}

/* Take a number out of its run; the last one takes the run along. */
static void
take_out(struct sparse_set *set, struct sparse_set_run *run, uint64_t number)
{
    uint64_t *word = word_of(run, number);

    if ((*word & mask_of(number)) == 0) {
        return;
    }
    *word &= ~mask_of(number);
    run->count--;
    set->count--;
    if (run->count == 0) {
        drop(set, run, 1);
    }
}

void sparse_set_remove(struct sparse_set *set, uint64_t number)
{
    struct sparse_set_run *run = find(set, number);

    if (run != NULL) {
        take_out(set, run, number);
    }
}

void sparse_set_remove_below(struct sparse_set *set, uint64_t end)
{
    uint32_t whole = place_of(set, end / SPARSE_SET_RUN);

    if (whole > 0) {
        drop(set, set->runs, whole);
    }
    while (set->count > 0) {
        uint64_t first = sparse_set_next(set, 0);
        if (first >= end) {
            break;
        }
        take_out(set, &set->runs[0], first);
    }
}

bool sparse_set_has(const struct sparse_set *set, uint64_t number)
{
    const struct sparse_set_run *run = find(set, number);

    return run != NULL && (*word_of(run, number) & mask_of(number)) != 0;
}

/* The first bit of a run at or above one, that is set, or with `flip` all ones
 * is not; SPARSE_SET_RUN: none. */
static uint64_t
bit_from(const struct sparse_set_run *run, uint64_t bit, uint64_t flip)
{
    while (bit < SPARSE_SET_RUN) {
        uint64_t word = run->bits[bit / WORD_BITS] ^ flip;
        word &= UINT64_MAX << (bit % WORD_BITS);
        if (word != 0) {
            return bit / WORD_BITS * WORD_BITS +
                   (uint64_t)__builtin_ctzll(word);
        }
        bit = (bit / WORD_BITS + 1) * WORD_BITS;
    }
    return SPARSE_SET_RUN;
}

uint64_t sparse_set_next(const struct sparse_set *set, uint64_t from)
{
    uint64_t wanted = from / SPARSE_SET_RUN;

    for (uint32_t i = place_of(set, wanted); i < set->run_count; i++) {
        const struct sparse_set_run *run = &set->runs[i];
        uint64_t bit =
            bit_from(run, run->number == wanted ? from % SPARSE_SET_RUN : 0, 0);
        if (bit < SPARSE_SET_RUN) {
            return run->number * SPARSE_SET_RUN + bit;
        }
    }
    return UINT64_MAX;
}

uint64_t sparse_set_next_absent(const struct sparse_set *set, uint64_t from)
{
    const struct sparse_set_run *run = NULL;

    while ((run = find(set, from)) != NULL) {
        uint64_t bit = bit_from(run, from % SPARSE_SET_RUN, UINT64_MAX);
        from = run->number * SPARSE_SET_RUN + bit;
        if (bit < SPARSE_SET_RUN) {
            break;
        }
    }
    return from;
}
