/* Memory in runs of pages.
 *
 * The free runs of a size are a stack. Those at its bottom are cold: the kernel
 * has their pages, or never gave any. Above them are the warm ones, of which
 * the top one is taken first. `unused` is how few warm ones there have been
 * since the last release: so many of them nobody has wanted.
 *
 *     runs:   cold, cold, cold, | warm, warm, ... warm
 *             0                   cold                 count
 *
 * Room in the stack is made together with the runs, so that giving back never
 * fails.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sys/pages.h"

#include "base/check.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

enum {
    SLAB_SIZE = 1 << 20, /* what is got from the kernel at once */
    SHELF_COUNT = 16,    /* a size each: 1, 2, 3 ... pages */
    RIGHTS = PROT_READ | PROT_WRITE,
    MEMORY = MAP_PRIVATE | MAP_ANONYMOUS,
};

_Static_assert(SHELF_COUNT == PAGES_SIZE_MAX / PAGES_SIZE_MIN,
               "a shelf for each size");

/* Whether malloc() is to do it. */
#if defined(__SANITIZE_ADDRESS__)
enum { PLAIN = true };
#else
enum { PLAIN = false };
#endif

struct shelf {
    void **runs;   /* owned; free ones, `total` have room */
    size_t total;  /* runs there are, free or not */
    size_t count;  /* that are free */
    size_t cold;   /* of these, from the first on */
    size_t unused; /* fewest warm ones since the last release */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct shelf shelves[SHELF_COUNT]; /* under `lock` */

static void shelves_lock(void)
{
    CHECK(pthread_mutex_lock(&lock) == 0);
}

static void shelves_unlock(void)
{
    CHECK(pthread_mutex_unlock(&lock) == 0);
}

static struct shelf *shelf_of(size_t size)
{
    CHECK(size >= PAGES_SIZE_MIN && size <= PAGES_SIZE_MAX &&
          size % PAGES_SIZE_MIN == 0);
    return &shelves[size / PAGES_SIZE_MIN - 1];
}

/* Make room for `total` runs: of pages, too, for it outlives all users. */
static bool shelf_grow(struct shelf *shelf, size_t total)
{
    size_t before = shelf->total * sizeof(void *);
    size_t after = total * sizeof(void *);
    void *runs = shelf->runs == NULL ? mmap(NULL, after, RIGHTS, MEMORY, -1, 0)
                                     : mremap((void *)shelf->runs, before,
                                              after, MREMAP_MAYMOVE);
    if (runs == MAP_FAILED) {
        return false;
    }
    shelf->runs = runs;
    return true;
}

/* Get a slab for an empty shelf. */
static bool shelf_fill(struct shelf *shelf, size_t size)
{
    size_t added = SLAB_SIZE / size;
    size_t total = shelf->total + added;
    char *slab = mmap(NULL, SLAB_SIZE, RIGHTS, MEMORY, -1, 0);
    if (slab == MAP_FAILED) {
        return false;
    }
    if (!shelf_grow(shelf, total)) {
        (void)munmap(slab, SLAB_SIZE);
        return false;
    }
    for (size_t i = 0; i < added; i++) {
        shelf->runs[i] =
            slab + (added - 1 - i) * size; /* the first one first */
    }
    shelf->total = total;
    shelf->count = added;
    shelf->cold = added;
    shelf->unused = 0;
    return true;
}

size_t pages_fit(size_t size)
{
    return (size + PAGES_SIZE_MIN - 1) / PAGES_SIZE_MIN * PAGES_SIZE_MIN;
}

void *pages_take(size_t size)
{
    struct shelf *shelf = shelf_of(size);
    void *run = NULL;
    if (PLAIN) {
        return malloc(size);
    }
    shelves_lock();
    if (shelf->count > 0 || shelf_fill(shelf, size)) {
        run = shelf->runs[--shelf->count];
        if (shelf->cold > shelf->count) {
            shelf->cold = shelf->count;
        }
        size_t warm = shelf->count - shelf->cold;
        shelf->unused = shelf->unused < warm ? shelf->unused : warm;
    }
    shelves_unlock();
    return run;
}

void pages_give(void *memory, size_t size)
{
    struct shelf *shelf = shelf_of(size);
    if (PLAIN) {
        free(memory);
        return;
    }
    shelves_lock();
    CHECK(shelf->count < shelf->total);
    shelf->runs[shelf->count++] = memory;
    shelves_unlock();
}

/* Take a warm run out of a shelf, when one is to be released. */
static void *take_unused(struct shelf *shelf)
{
    void *run = NULL;
    shelves_lock();
    if (shelf->unused > 0) {
        shelf->unused--;
        run = shelf->runs[shelf->cold];
        shelf->runs[shelf->cold] = shelf->runs[--shelf->count];
    }
    shelves_unlock();
    return run;
}

/* Put a run back below the warm ones. */
static void put_cold(struct shelf *shelf, void *run)
{
    shelves_lock();
    CHECK(shelf->count < shelf->total);
    shelf->runs[shelf->count] = run;
    if (shelf->cold < shelf->count) {
        shelf->runs[shelf->count] = shelf->runs[shelf->cold];
        shelf->runs[shelf->cold] = run;
    }
    shelf->count++;
    shelf->cold++;
    shelves_unlock();
}

size_t pages_release(void)
{
    size_t released = 0;
    for (size_t i = 0; i < SHELF_COUNT; i++) {
        struct shelf *shelf = &shelves[i];
        size_t size = (i + 1) * PAGES_SIZE_MIN;
        void *run = NULL;
        while ((run = take_unused(shelf)) != NULL) {
            (void)madvise(run, size, MADV_DONTNEED); /* locked: it stays */
            released += size;
            put_cold(shelf, run);
        }
        shelves_lock();
        shelf->unused = shelf->count - shelf->cold;
        shelves_unlock();
    }
    return released;
}

void pages_ahead(uint32_t number)
{
    enum {
        EACH = 64,        /* objects, */
        STEP = 256 << 10, /* that are not larger than this in all */
    };
    if (PLAIN || number % EACH != 0) {
        return;
    }
    void *volatile memory = malloc(STEP); /* lest it be taken for nothing */
    free(memory);
}
