/* Which messages above a cursor are done.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/acked_file.h"

#include "base/check.h"
#include "sys/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ID_DIGITS = 16,
    NAME_SIZE_MAX = 256,
    CHUNK_PAGES = 16, /* read at once */
    CHUNK_SIZE = CHUNK_PAGES * ACKED_PAGE_SIZE,
    LOOKS_MAX = 4, /* at a page that somebody may be writing to */
};

struct acked_file {
    char *memory; /* owned: the mapping, or a copy */
    char *path;   /* owned; NULL: a copy, which is not written to */
    uint64_t id;
    uint64_t epoch;
    uint64_t end; /* one past the highest bit of a page that is there */
    struct acked_file_damage damage;
    /* A bit for each place: a whole page of ours is there, and has room. The
     * memory of others is not touched, since it may be a hole. */
    uint64_t there[ACKED_FILE_PAGES / 64];
};

/* --- names ---------------------------------------------------------------- */

enum err acked_file_folder(char path[DIR_PATH_MAX], const char *data)
{
    return dir_join(path, data, "acked");
}

enum err acked_file_path(char path[DIR_PATH_MAX],
                         const char *data,
                         struct str topic,
                         uint64_t id)
{
    char name[NAME_SIZE_MAX];
    int size = snprintf(name, sizeof(name), "acked/%.*s-%016" PRIx64,
                        (int)topic.size, topic.data, id);
    return size < 0 || (size_t)size >= sizeof(name)
               ? ERR_TOO_LARGE
               : dir_join(path, data, name);
}

bool acked_file_parse(const char *name, struct str *out_topic, uint64_t *out_id)
{
    static const char digits[] = "0123456789abcdef";
    size_t size = strlen(name);
    uint64_t id = 0;
    if (size < ID_DIGITS + 2 || name[size - ID_DIGITS - 1] != '-') {
        return false;
    }
    for (size_t at = size - ID_DIGITS; at < size; at++) {
        const char *digit = strchr(digits, name[at]);
        if (digit == NULL) {
            return false;
        }
        id = id << 4 | (uint64_t)(digit - digits);
    }
    *out_topic = (struct str){name, size - ID_DIGITS - 1};
    *out_id = id;
    return true;
}

/* --- places --------------------------------------------------------------- */

static uint32_t place_of(uint64_t number)
{
    return (uint32_t)(number % ACKED_FILE_PAGES);
}

static char *page_at(const struct acked_file *file, uint32_t place)
{
    return file->memory + (size_t)place * ACKED_PAGE_SIZE;
}

static bool is_there(const struct acked_file *file, uint32_t place)
{
    return (file->there[place / 64] >> place % 64 & 1) != 0;
}

/* Whose page a place has that is there. */
static struct acked_page_key key_of(const struct acked_file *file,
                                    uint64_t number)
{
    return (struct acked_page_key){
        .topic_id = file->id, .epoch = file->epoch, .number = number};
}

/* The page of a number; NULL: it is not there. */
static char *page_of(const struct acked_file *file, uint64_t number)
{
    uint32_t place = place_of(number);
    if (!is_there(file, place)) {
        return NULL;
    }
    char *page = page_at(file, place);
    return acked_page_number(page) == number ? page : NULL;
}

/* --- reading -------------------------------------------------------------- */

/* What a place in the file holds. */
enum content {
    CONTENT_NOTHING,
    CONTENT_OURS,   /* a whole page of the id, */
    CONTENT_OTHERS, /* or of another, */
    CONTENT_DAMAGED,
};

static enum content content_of(const char *page,
                               uint32_t place,
                               uint64_t id,
                               struct acked_page_key *out)
{
    if (acked_page_is_empty(page)) {
        return CONTENT_NOTHING;
    }
    if (!acked_page_read(page, out) || place_of(out->number) != place) {
        return CONTENT_DAMAGED;
    }
    return out->topic_id == id ? CONTENT_OURS : CONTENT_OTHERS;
}

/* A walk over the pages of a file. */
struct walk {
    uint64_t id;
    uint32_t looks; /* at a page that is not whole, before that is believed */
    void (*page)(void *context,
                 uint32_t place,
                 const char *page,
                 const struct acked_page_key *key);
    void *context;
    struct acked_file_damage damage;
};

static void walk_page(struct walk *walk, int fd, uint32_t place, char *page)
{
    struct acked_page_key key;
    uint64_t offset = (uint64_t)place * ACKED_PAGE_SIZE;
    enum content content = content_of(page, place, walk->id, &key);
    for (uint32_t look = 1; content == CONTENT_DAMAGED && look < walk->looks;
         look++) {
        size_t size = 0;
        if (file_read_at(fd, page, ACKED_PAGE_SIZE, offset, &size) == ERR_OK &&
            size == ACKED_PAGE_SIZE) {
            content = content_of(page, place, walk->id, &key);
        }
    }
    if (content == CONTENT_DAMAGED) {
        walk->damage.offset =
            walk->damage.pages == 0 ? offset : walk->damage.offset;
        walk->damage.pages++;
    } else if (content == CONTENT_OURS && walk->page != NULL) {
        walk->page(walk->context, place, page, &key);
    }
}

/* Call `page` for each whole page of the id. */
static enum err walk_pages(struct walk *walk, int fd)
{
    char *chunk = aligned_alloc(ACKED_PAGE_SIZE, CHUNK_SIZE);
    enum err err = chunk == NULL ? ERR_NOMEM : ERR_OK;
    for (uint32_t place = 0; err == ERR_OK && place < ACKED_FILE_PAGES;
         place += CHUNK_PAGES) {
        size_t size = 0;
        err = file_read_at(fd, chunk, CHUNK_SIZE,
                           (uint64_t)place * ACKED_PAGE_SIZE, &size);
        if (err != ERR_OK || size == 0) {
            break;
        }
        memset(chunk + size, 0, CHUNK_SIZE - size);
        for (uint32_t i = 0; i < CHUNK_PAGES; i++) {
            walk_page(walk, fd, place + i, chunk + (size_t)i * ACKED_PAGE_SIZE);
        }
    }
    free(chunk);
    return err;
}

/* One past the highest message that a page has; 0: it has none. */
static uint64_t page_end(const char *page, uint64_t number)
{
    uint64_t end = 0;
    uint32_t at = acked_page_find(page, 0, true);
    while (at < ACKED_PAGE_MESSAGES) {
        uint32_t stop = acked_page_find(page, at, false);
        end = number * ACKED_PAGE_MESSAGES + stop;
        at = acked_page_find(page, stop, true);
    }
    return end;
}

/* Take up a page that was found, if it is of our epoch. */
static void take_page(void *context,
                      uint32_t place,
                      const char *page,
                      const struct acked_page_key *key)
{
    struct acked_file *file = context;
    if (key->epoch != file->epoch) {
        return;
    }
    if (file->path == NULL) {
        memcpy(page_at(file, place), page, ACKED_PAGE_SIZE);
    } else {
        acked_page_mend(page_at(file, place), key);
    }
    file->there[place / 64] |= UINT64_C(1) << place % 64;
    uint64_t end = page_end(page, key->number);
    file->end = end > file->end ? end : file->end;
}

/* --- life ----------------------------------------------------------------- */

static struct acked_file *file_make(const char *path, uint64_t id, uint64_t e)
{
    struct acked_file *file = calloc(1, sizeof(*file));
    if (file == NULL) {
        return NULL;
    }
    file->id = id;
    file->epoch = e;
    if (path != NULL) {
        file->path = strdup(path);
        if (file->path == NULL) {
            free(file);
            return NULL;
        }
    }
    return file;
}

/* Map a file, as large as it is to be. */
static enum err map(struct acked_file *file, int fd)
{
    uint64_t size = 0;
    void *memory = NULL;
    enum err err = file_size(fd, &size);
    if (err == ERR_OK && size != ACKED_FILE_SIZE) {
        err = file_truncate(fd, ACKED_FILE_SIZE);
    }
    if (err == ERR_OK) {
        err = file_map(fd, ACKED_FILE_SIZE, true, &memory);
    }
    if (err == ERR_OK) {
        file->memory = memory;
    }
    return err;
}

/* Take up what a file has, mapped or as a copy. */
static enum err read_pages(struct acked_file *file, int fd)
{
    bool copy = file->path == NULL;
    struct walk walk = {.id = file->id,
                        .looks = copy ? LOOKS_MAX : 1,
                        .page = take_page,
                        .context = file};
    enum err err = ERR_OK;
    if (copy) {
        file->memory = calloc(ACKED_FILE_PAGES, ACKED_PAGE_SIZE);
        err = file->memory == NULL ? ERR_NOMEM : ERR_OK;
    } else {
        err = map(file, fd);
    }
    if (err == ERR_OK) {
        err = walk_pages(&walk, fd);
    }
    file->damage = walk.damage;
    return err;
}

enum err acked_file_create(const char *path,
                           uint64_t id,
                           uint64_t epoch,
                           struct acked_file **out)
{
    int fd = -1;
    struct acked_file *file = file_make(path, id, epoch);
    if (file == NULL) {
        return ERR_NOMEM;
    }
    enum err err =
        file_open(path, FILE_WRITE | FILE_CREATE | FILE_TRUNCATE, &fd);
    if (err == ERR_OK) {
        err = map(file, fd);
    }
    file_close(fd);
    if (err != ERR_OK) {
        acked_file_close(file);
        return err == ERR_NOT_FOUND ? ERR_IO : err;
    }
    *out = file;
    return ERR_OK;
}

static enum err open_file(struct acked_file *file,
                          const char *path,
                          int flags,
                          struct acked_file **out)
{
    int fd = -1;
    if (file == NULL) {
        return ERR_NOMEM;
    }
    enum err err = file_open(path, flags, &fd);
    if (err == ERR_OK) {
        err = read_pages(file, fd);
    }
    file_close(fd);
    if (err != ERR_OK) {
        acked_file_close(file);
        return err;
    }
    *out = file;
    return ERR_OK;
}

enum err acked_file_open(const char *path,
                         uint64_t id,
                         uint64_t epoch,
                         struct acked_file **out)
{
    return open_file(file_make(path, id, epoch), path, FILE_WRITE, out);
}

enum err acked_file_look(const char *path,
                         uint64_t id,
                         uint64_t epoch,
                         struct acked_file **out)
{
    return open_file(file_make(NULL, id, epoch), path, FILE_READ, out);
}

enum err
acked_file_check(const char *path, uint64_t id, struct acked_file_damage *out)
{
    int fd = -1;
    struct walk walk = {.id = id, .looks = LOOKS_MAX};
    enum err err = file_open(path, FILE_READ, &fd);
    if (err == ERR_OK) {
        err = walk_pages(&walk, fd);
    }
    file_close(fd);
    if (err == ERR_OK) {
        *out = walk.damage;
    }
    return err;
}

void acked_file_close(struct acked_file *file)
{
    if (file == NULL) {
        return;
    }
    if (file->path != NULL) {
        file_unmap(file->memory, ACKED_FILE_SIZE);
    } else {
        free(file->memory);
    }
    free(file->path);
    free(file);
}

uint64_t acked_file_epoch(const struct acked_file *file)
{
    return file->epoch;
}

uint64_t acked_file_end(const struct acked_file *file)
{
    return file->end;
}

struct acked_file_damage acked_file_damage(const struct acked_file *file)
{
    return file->damage;
}

/* --- bits ----------------------------------------------------------------- */

/* Begin the page of a number in its place, whatever that has. */
static enum err page_begin(struct acked_file *file, uint64_t number)
{
    static const char zeros[ACKED_PAGE_SIZE];
    uint32_t place = place_of(number);
    struct acked_page_key key = key_of(file, number);
    int fd = -1;
    enum err err = file_open(file->path, FILE_WRITE, &fd);
    if (err == ERR_OK) {
        file->there[place / 64] &= ~(UINT64_C(1) << place % 64);
        err = file_write_at(fd, zeros, sizeof(zeros),
                            (uint64_t)place * ACKED_PAGE_SIZE, false);
    }
    file_close(fd);
    if (err != ERR_OK) {
        return err == ERR_NOT_FOUND ? ERR_IO : err;
    }
    acked_page_begin(page_at(file, place), &key);
    file->there[place / 64] |= UINT64_C(1) << place % 64;
    return ERR_OK;
}

enum err acked_file_add(struct acked_file *file,
                        uint64_t floor,
                        uint64_t first,
                        uint64_t end)
{
    CHECK(file->path != NULL && floor <= first);
    uint64_t limit =
        (floor / ACKED_PAGE_MESSAGES + ACKED_FILE_PAGES) * ACKED_PAGE_MESSAGES;
    if (limit < floor || first >= limit) {
        return first < end ? ERR_RANGE : ERR_OK;
    }
    uint64_t stop = end < limit ? end : limit;
    while (first < stop) {
        uint64_t number = first / ACKED_PAGE_MESSAGES;
        uint64_t begin = number * ACKED_PAGE_MESSAGES;
        uint64_t left = begin + ACKED_PAGE_MESSAGES - first;
        uint64_t until = stop - first < left ? stop : first + left;
        if (page_of(file, number) == NULL) {
            enum err err = page_begin(file, number);
            if (err != ERR_OK) {
                return err;
            }
        }
        struct acked_page_key key = key_of(file, number);
        acked_page_set(page_of(file, number), &key, (uint32_t)(first - begin),
                       (uint32_t)(until - begin));
        file->end = until > file->end ? until : file->end;
        first = until;
    }
    return stop < end ? ERR_RANGE : ERR_OK;
}

/* The first message at or above `from` that is noted; UINT64_MAX: none. */
static uint64_t find_noted(const struct acked_file *file, uint64_t from)
{
    uint64_t number = from / ACKED_PAGE_MESSAGES;
    uint32_t at = (uint32_t)(from % ACKED_PAGE_MESSAGES);
    for (uint32_t i = 0; i < ACKED_FILE_PAGES && from < file->end; i++) {
        const char *page = page_of(file, number);
        if (page != NULL) {
            at = acked_page_find(page, at, true);
            if (at < ACKED_PAGE_MESSAGES) {
                return number * ACKED_PAGE_MESSAGES + at;
            }
        }
        number++;
        at = 0;
        from = number * ACKED_PAGE_MESSAGES;
    }
    return UINT64_MAX;
}

/* Where the run of a message that is noted ends. */
static uint64_t find_end(const struct acked_file *file, uint64_t from)
{
    uint64_t number = from / ACKED_PAGE_MESSAGES;
    uint32_t at = (uint32_t)(from % ACKED_PAGE_MESSAGES);
    for (uint32_t i = 0; i < ACKED_FILE_PAGES; i++) {
        const char *page = page_of(file, number);
        if (page == NULL) {
            break;
        }
        at = acked_page_find(page, at, false);
        if (at < ACKED_PAGE_MESSAGES) {
            break;
        }
        number++;
        at = 0;
    }
    return number * ACKED_PAGE_MESSAGES + at;
}

bool acked_file_next(const struct acked_file *file,
                     uint64_t from,
                     struct topic_range *out)
{
    uint64_t first = find_noted(file, from);
    if (first == UINT64_MAX) {
        return false;
    }
    *out = (struct topic_range){first, find_end(file, first)};
    return true;
}
