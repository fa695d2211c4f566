/* A page of a topic's messages.
 *
 * What a filter or an acknowledgement leaves out costs time and gives nothing,
 * so after some of that others have their turn.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_page.h"

#include "admin/api_render.h"
#include "base/check.h"

enum { WORK_MAX = 1000 }; /* messages looked at in a turn */

static struct api_page *page_of(struct api_reading *reading)
{
    return CONTAINER_OF(reading, struct api_page, reading);
}

static void wait_end(struct api_page *page)
{
    page->waiting = false;
    store_watch_remove(&page->watch);
    io_timer_stop(page->there->io, &page->timer);
}

static void page_end(struct api_page *page, enum err err, const char *subject)
{
    CHECK(page->open);
    page->open = false;
    wait_end(page);
    api_reading_close(&page->reading);
    page->done(page, err, subject);
}

/* At the end of the log: wait for more, or end the page. */
static void at_end(struct api_page *page)
{
    struct io *io = page->there->io;

    if (page->count > 0 || page->cancelled || page->there->stopping ||
        io_now_ms(io) >= page->due_ms) {
        page_end(page, ERR_OK, "");
        return;
    }
    page->woken = false;
    if (!page->waiting) {
        page->waiting = true;
        store_watch_add(page->reading.reader->topic, &page->watch);
    }
    io_timer_start(io, &page->timer, page->due_ms - io_now_ms(io));
}

/* Note what the filter left out. */
static void pass(struct api_page *page, uint64_t first, uint64_t end)
{
    struct store_range *last =
        page->passed_count > 0 ? &page->passed[page->passed_count - 1] : NULL;

    if (last != NULL && last->end == first) {
        last->end = end;
    } else if (page->passed_count < API_PAGE_PASSED_MAX) {
        page->passed[page->passed_count] = (struct store_range){first, end};
        page->passed_count++;
    }
}

static void add(struct api_page *page, const struct record *record)
{
    const struct topic *topic = topic_of(page->reading.reader->topic);
    struct buf *to = page->to;

    if (page->form == API_PAGE_EVENTS) {
        buf_append_c(to, "id: ");
        buf_append_u64(to, record->sequence);
        buf_append_c(to, "\nevent: message\ndata: {");
    } else {
        buf_append_c(to, page->count > 0 ? ",\n{" : "\n{");
    }
    api_render_message(topic, record, to);
    buf_append_c(to, page->form == API_PAGE_EVENTS ? "}\n\n" : "}");
    page->count++;
}

static bool is_acknowledged(const struct store_cursor *cursor,
                            uint64_t sequence)
{
    if (sequence < cursor->next) {
        return true;
    }
    for (uint32_t index = 0; index < cursor->range_count; index++) {
        if (sequence >= cursor->ranges[index].first &&
            sequence < cursor->ranges[index].end) {
            return true;
        }
    }
    return false;
}

/* The cursor whose acknowledged messages are left out; NULL: there is none. */
static const struct store_cursor *cursor_of(const struct api_page *page)
{
    struct store_topic *view = NULL;

    if (page->subscription[0] == '\0' ||
        store_view_open(page->reading.reader->topic,
                        str_from(page->subscription), false, &view) != ERR_OK) {
        return NULL;
    }
    return &view->cursor;
}

/* Take a record that was read. */
static void take(struct api_page *page,
                 const struct store_cursor *cursor,
                 const struct record *record)
{
    uint64_t end = record->sequence + 1;

    if (cursor != NULL && is_acknowledged(cursor, record->sequence)) {
        if (record->sequence > page->next) {
            pass(page, page->next, record->sequence); /* damaged on disk */
        }
    } else if (!filter_matches(page->filter, &record->message)) {
        pass(page, page->next, end);
    } else {
        if (record->sequence > page->next) {
            pass(page, page->next, record->sequence);
        }
        add(page, record);
    }
    page->next = end;
}

static bool is_full(const struct api_page *page)
{
    return page->count >= page->limit || page->to->size >= page->size_max;
}

/* Read until the page is full, the log ends, or something must be waited
 * for. */
static void page_read(struct api_page *page)
{
    const struct store_topic *stored = page->reading.reader->topic;
    const struct store_cursor *cursor = cursor_of(page);
    struct record record;

    if (page->changed) {
        page_end(page, ERR_OK, "");
        return;
    }
    for (uint32_t left = WORK_MAX; !is_full(page) && left > 0; left--) {
        if (page->held) {
            at_end(page);
            return;
        }
        enum err err = api_reading_next(&page->reading, page->next, &record);
        if (err == ERR_OK) {
            take(page, cursor, &record);
        } else if (err == ERR_RANGE && page->next < stored->bounds.oldest) {
            page->next = stored->bounds.oldest; /* dropped meanwhile */
        } else if (err == ERR_NOT_FOUND) {
            at_end(page);
            return;
        } else if (err == ERR_AGAIN) {
            return;
        } else {
            page_end(page, err, "reading the topic");
            return;
        }
    }
    if (is_full(page) || page->cancelled || page->there->stopping) {
        page_end(page, ERR_OK, "");
        return;
    }
    io_timer_start(page->there->io, &page->timer, 0);
}

/* --- what happens meanwhile ----------------------------------------------- */

static void page_ready(struct api_reading *reading)
{
    page_read(page_of(reading));
}

static void page_gone(struct api_reading *reading)
{
    struct api_page *page = page_of(reading);

    /* Before the store frees the list that the watch is in. */
    wait_end(page);
    page_end(page, ERR_NOT_FOUND,
             page->subscription[0] == '\0' ? "topic" : "subscription");
}

static void page_changed(struct api_reading *reading)
{
    struct api_page *page = page_of(reading);

    page->changed = true;
    if (!reading->busy) { /* else it ends when the bytes are there */
        io_timer_start(page->there->io, &page->timer, 0);
    }
}

static void page_stopping(struct api_reading *reading)
{
    struct api_page *page = page_of(reading);

    if (page->waiting) {
        page_end(page, ERR_OK, "");
    }
}

/* Messages came. The store is calling all watches: read in the next turn. */
static void page_moved(struct store_watch *watch)
{
    struct api_page *page = CONTAINER_OF(watch, struct api_page, watch);

    if (!page->woken) {
        page->woken = true;
        io_timer_start(page->there->io, &page->timer, 0);
    }
}

static void page_expired(struct io_timer *timer)
{
    struct api_page *page = CONTAINER_OF(timer, struct api_page, timer);

    if (!page->reading.busy) { /* else it goes on when the bytes are there */
        page_read(page);
    }
}

/* --- begin ---------------------------------------------------------------- */

void api_page_begin(struct api_page *page)
{
    struct topic *topic = NULL;

    CHECK(!page->open);
    page->count = 0;
    page->passed_count = 0;
    page->changed = false;
    page->reading.subscription = page->subscription;
    page->reading.changed = page_changed;
    page->reading.ready = page_ready;
    page->reading.gone = page_gone;
    page->reading.stopping = page_stopping;
    page->watch.moved = page_moved;
    page->timer.expired = page_expired;
    page->due_ms = io_now_ms(page->there->io) + page->wait_ms;
    enum err err =
        shard_topic(page->there, str_from(page->topic), false, &topic);
    if (err == ERR_OK) {
        err = api_reading_open(&page->reading, page->api, page->there, topic);
    }
    if (err != ERR_OK) {
        page->done(page, err, "topic");
        return;
    }
    page->open = true;
    page_read(page);
}

void api_page_cancel(struct api_page *page)
{
    page->cancelled = true;
    if (page->waiting) {
        page_end(page, ERR_OK, "");
    }
}
