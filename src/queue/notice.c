/* What the server has to tell about itself: kept, numbered, limited.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/notice.h"

#include "base/check.h"
#include "base/json_text.h"
#include "base/wall_time.h"

#include <stdlib.h>
#include <string.h>

static const char *const names[NOTICE_TYPES] = {
    [NOTICE_ENDPOINT_DOWN] = "endpoint.down",
    [NOTICE_ENDPOINT_RECOVERED] = "endpoint.recovered",
    [NOTICE_MESSAGE_DEAD] = "message.dead",
    [NOTICE_TOPIC_SLOW] = "topic.slow",
    [NOTICE_DISK_LOW] = "disk.low",
    [NOTICE_DISK_OK] = "disk.ok",
    [NOTICE_RECORD_QUARANTINED] = "record.quarantined",
    [NOTICE_SERVER_STARTED] = "server.started",
};

const char *notice_type_name(enum notice_type type)
{
    CHECK(type < NOTICE_TYPES);
    return names[type];
}

enum err notice_types_read(struct str text, uint32_t *out_types)
{
    uint32_t types = 0;
    size_t start = 0;

    while (start <= text.size) {
        struct str rest = str_cut(text, start, text.size);
        struct str name = str_cut(rest, 0, str_find(rest, ','));
        uint32_t type = 0;
        while (type < NOTICE_TYPES && !str_equal(name, str_from(names[type]))) {
            type++;
        }
        if (type == NOTICE_TYPES) {
            return ERR_INVALID;
        }
        types |= 1U << type;
        start += name.size + 1;
    }
    *out_types = types;
    return ERR_OK;
}

struct notice *notice_make(enum notice_type type,
                           uint64_t at_ms,
                           struct str subject,
                           struct str data)
{
    if (data.size > NOTICE_DATA_MAX) {
        data.size = 0;
    }
    subject = str_cut(subject, 0, NOTICE_SUBJECT_MAX);
    struct notice *notice = malloc(sizeof(*notice) + subject.size + data.size);
    if (notice == NULL) {
        return NULL;
    }
    *notice = (struct notice){
        .type = type,
        .at_ms = at_ms,
        .subject = {notice->text, subject.size},
        .data = {notice->text + subject.size, data.size},
    };
    (void)put_text(put_text(notice->text, subject), data);
    return notice;
}

void notice_json(const struct notice *notice, struct buf *to)
{
    buf_append_format(to, "{\"type\":\"%s\"", notice_type_name(notice->type));
    json_text_append_number(to, "id", notice->id);
    json_text_append_time(to, "at", notice->at_ms);
    json_text_append_text(to, "subject", notice->subject);
    if (notice->repeated > 0) {
        json_text_append_number(to, "repeated", notice->repeated);
    }
    if (notice->omitted > 0) {
        json_text_append_number(to, "omitted", notice->omitted);
    }
    buf_append_c(to, ",\"data\":{");
    buf_append_str(to, str_cut(notice->data, 1, notice->data.size));
    buf_append_c(to, "}}");
}

bool notice_fits(const struct notice *notice, uint32_t types, struct str topic)
{
    struct str subject = notice->subject;

    if ((types & 1U << notice->type) == 0) {
        return false;
    }
    return topic.size == 0 || str_equal(subject, topic) ||
           (subject.size > topic.size && subject.data[topic.size] == '/' &&
            str_starts(subject, topic));
}

/* --- the ring ------------------------------------------------------------- */

void notice_ring_init(struct notice_ring *ring, uint64_t first)
{
    CHECK(first > 0);
    *ring = (struct notice_ring){.first = first, .end = first};
}

void notice_ring_fini(struct notice_ring *ring)
{
    for (uint32_t i = 0; i < NOTICE_RING_MAX; i++) {
        free(ring->notices[i]);
        ring->notices[i] = NULL;
    }
    ring->first = ring->end;
}

void notice_ring_add(struct notice_ring *ring, struct notice *notice)
{
    struct notice **place =
        &ring->notices[(ring->end - ring->first) % NOTICE_RING_MAX];

    free(*place);
    *place = notice;
    notice->id = ring->end;
    ring->end++;
}

uint64_t notice_ring_oldest(const struct notice_ring *ring)
{
    return ring->end - ring->first <= NOTICE_RING_MAX
               ? ring->first
               : ring->end - NOTICE_RING_MAX;
}

const struct notice *notice_ring_at(const struct notice_ring *ring, uint64_t id)
{
    CHECK(id >= notice_ring_oldest(ring) && id < ring->end);
    return ring->notices[(id - ring->first) % NOTICE_RING_MAX];
}

/* --- the limit ------------------------------------------------------------ */

/* What was shown of late: a type with a subject. */
struct kind {
    struct list link;
    uint64_t hash; /* of the subject */
    uint64_t end_ms;
    struct notice *held; /* owned; the last that was not shown; NULL: none */
    enum notice_type type;
    size_t subject_size;
    char subject[];
};

static struct kind *kind_of(struct list *link)
{
    return CONTAINER_OF(link, struct kind, link);
}

void notice_limit_init(struct notice_limit *limit)
{
    *limit = (struct notice_limit){0};
    list_init(&limit->kinds);
}

void notice_limit_fini(struct notice_limit *limit)
{
    struct list *link = NULL;

    while ((link = list_take_first(&limit->kinds)) != NULL) {
        free(kind_of(link)->held);
        free(kind_of(link));
    }
    limit->count = 0;
}

/* Forget those whose time is over, up to the first that has something to show:
 * that one is taken soon. */
static void forget(struct notice_limit *limit, uint64_t now_ms)
{
    while (!list_empty(&limit->kinds)) {
        const struct kind *first = kind_of(limit->kinds.next);
        if (first->end_ms > now_ms || first->held != NULL) {
            return;
        }
        free(kind_of(list_take_first(&limit->kinds)));
        limit->count--;
    }
}

static struct kind *find(const struct notice_limit *limit,
                         const struct notice *notice,
                         uint64_t hash)
{
    for (struct list *link = limit->kinds.next; link != &limit->kinds;
         link = link->next) {
        struct kind *kind = kind_of(link);
        if (kind->hash == hash && kind->type == notice->type &&
            str_equal((struct str){kind->subject, kind->subject_size},
                      notice->subject)) {
            return kind;
        }
    }
    return NULL;
}

/* Tell whether any number of them may come at once. */
static bool is_common(enum notice_type type)
{
    return type == NOTICE_MESSAGE_DEAD || type == NOTICE_TOPIC_SLOW ||
           type == NOTICE_RECORD_QUARANTINED;
}

static struct kind *kind_make(struct notice_limit *limit,
                              const struct notice *notice,
                              uint64_t hash)
{
    uint32_t max =
        is_common(notice->type) ? NOTICE_KINDS_COMMON_MAX : NOTICE_KINDS_MAX;
    if (limit->count >= max) {
        return NULL;
    }
    struct kind *kind = calloc(1, sizeof(*kind) + notice->subject.size);
    if (kind == NULL) {
        return NULL;
    }
    kind->type = notice->type;
    kind->hash = hash;
    kind->subject_size = notice->subject.size;
    (void)put_text(kind->subject, notice->subject);
    limit->count++;
    return kind;
}

/* It is shown: the time of its kind begins. */
static struct notice *show(struct notice_limit *limit,
                           struct kind *kind,
                           struct notice *notice,
                           uint64_t now_ms)
{
    kind->end_ms = now_ms + NOTICE_SPAN_MS;
    list_append(&limit->kinds, &kind->link);
    notice->omitted = limit->omitted;
    limit->omitted = 0;
    return notice;
}

struct notice *notice_limit_add(struct notice_limit *limit,
                                struct notice *notice,
                                uint64_t now_ms)
{
    uint64_t hash = str_hash(notice->subject);

    forget(limit, now_ms);
    struct kind *kind = find(limit, notice, hash);
    if (kind != NULL) {
        if (kind->held != NULL) {
            notice->repeated = kind->held->repeated + 1;
            free(kind->held);
        }
        kind->held = notice;
        return NULL;
    }
    kind = kind_make(limit, notice, hash);
    if (kind == NULL) {
        limit->omitted++;
        free(notice);
        return NULL;
    }
    return show(limit, kind, notice, now_ms);
}

struct notice *notice_limit_take(struct notice_limit *limit, uint64_t now_ms)
{
    forget(limit, now_ms);
    if (list_empty(&limit->kinds) ||
        kind_of(limit->kinds.next)->end_ms > now_ms) {
        return NULL;
    }
    struct kind *kind = kind_of(limit->kinds.next);
    struct notice *notice = kind->held;
    kind->held = NULL;
    list_remove(&kind->link);
    return show(limit, kind, notice, now_ms);
}

uint64_t notice_limit_due_ms(const struct notice_limit *limit)
{
    for (struct list *link = limit->kinds.next; link != &limit->kinds;
         link = link->next) {
        if (kind_of(link)->held != NULL) {
            return kind_of(link)->end_ms;
        }
    }
    return UINT64_MAX;
}
