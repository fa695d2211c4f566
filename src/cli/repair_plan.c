/* What is wrong with a data directory.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/repair_plan.h"

#include "cli/inspect.h"
#include "log/blob.h"
#include "log/meta.h"
#include "log/segment.h"
#include "log/topic_folder.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A topic being looked at. */
struct look {
    struct repair_plan *plan;
    struct repair_topic *at;
    const struct snapshot *snapshot;
    struct topic_folder folder; /* owned */
    struct record *record;      /* owned */
    char path[DIR_PATH_MAX];
    uint64_t next;   /* number that must come next */
    bool begun;      /* it is known */
    uint64_t *named; /* owned: ids of bodies that messages name */
    size_t named_count;
    size_t named_capacity;
    bool failed; /* no memory */
};

/* Where a line about something that was found goes. */
static struct buf *note(struct repair_plan *plan)
{
    plan->found++;
    return &plan->text;
}

/* --- lists ---------------------------------------------------------------- */

/* Add a number to a list that has it once. */
static enum err add_number(uint64_t **list, size_t *count, uint64_t number)
{
    for (size_t index = 0; index < *count; index++) {
        if ((*list)[index] == number) {
            return ERR_OK;
        }
    }
    uint64_t *grown = realloc(*list, (*count + 1) * sizeof(*grown));
    if (grown == NULL) {
        return ERR_NOMEM;
    }
    grown[*count] = number;
    *list = grown;
    *count += 1;
    return ERR_OK;
}

static enum err add_named(struct look *look, uint64_t id)
{
    if (look->named_count == look->named_capacity) {
        size_t capacity = look->named_capacity * 2 + 64;
        uint64_t *named = realloc(look->named, capacity * sizeof(*named));
        if (named == NULL) {
            return ERR_NOMEM;
        }
        look->named = named;
        look->named_capacity = capacity;
    }
    look->named[look->named_count] = id;
    look->named_count++;
    return ERR_OK;
}

static enum err
add_body(struct repair_topic *topic, uint64_t sequence, uint64_t id)
{
    struct repair_body *bodies =
        realloc(topic->bodies, (topic->body_count + 1) * sizeof(*bodies));

    if (bodies == NULL) {
        return ERR_NOMEM;
    }
    bodies[topic->body_count] = (struct repair_body){sequence, id};
    topic->bodies = bodies;
    topic->body_count++;
    return ERR_OK;
}

/* The segment that holds a number, or would. */
static uint64_t segment_of(const struct look *look, uint64_t sequence)
{
    uint64_t first = UINT64_MAX;

    for (size_t index = 0; index < look->folder.count; index++) {
        if (look->folder.firsts[index] <= sequence) {
            first = look->folder.firsts[index];
        }
    }
    return first;
}

/* --- losses --------------------------------------------------------------- */

/* Numbers that are given up, unless that is known. */
static enum err
lose(struct look *look, uint64_t first, uint64_t end, const char *why)
{
    struct repair_topic *topic = look->at;

    if (first >= end || topic_gaps_has(&topic->known, first, end)) {
        return ERR_OK;
    }
    buf_append_format(note(look->plan),
                      "%s: LOST %" PRIu64 " to %" PRIu64 " (%" PRIu64
                      " messages): %s\n",
                      topic->topic->name, first, end - 1, end - first, why);
    look->plan->lost += end - first;
    return topic_gaps_add(&topic->lost, first, end);
}

/* A message that is there, but of no use. */
static enum err drop(struct look *look, uint64_t sequence, const char *why)
{
    struct repair_topic *topic = look->at;
    uint64_t segment = segment_of(look, sequence);
    enum err err = lose(look, sequence, sequence + 1, why);

    if (err == ERR_OK && segment != UINT64_MAX) {
        err = add_number(&topic->rewrite, &topic->rewrite_count, segment);
    }
    return err;
}

static enum err look_at_body(struct look *look)
{
    const struct record *record = look->record;
    const struct message_blob *blob = &record->message.blob;
    enum err err = add_named(look, blob->id);

    if (err == ERR_OK) {
        err = blob_verify(look->plan->directory, look->path, record->sequence,
                          blob);
    }
    if (err == ERR_NOT_FOUND) {
        return drop(look, record->sequence, "the file of its body is missing");
    }
    if (err == ERR_CORRUPT) {
        err = drop(look, record->sequence, "the file of its body is damaged");
        return err == ERR_OK ? add_body(look->at, record->sequence, blob->id)
                             : err;
    }
    return err;
}

static enum err take_record(void *context, uint64_t sequence, struct str bytes)
{
    struct look *look = context;
    enum err err = ERR_OK;

    if (!look->begun) {
        look->begun = true;
        look->next = sequence;
    }
    if (sequence > look->next) {
        err = lose(look, look->next, sequence,
                   "neither a segment nor a journal has them whole");
    }
    look->next = sequence + 1;
    if (err == ERR_OK && record_decode(bytes, look->record) != ERR_OK) {
        return drop(look, sequence, "its payload cannot be read");
    }
    return err == ERR_OK && look->record->message.blob.size > 0
               ? look_at_body(look)
               : err;
}

/* --- findings ------------------------------------------------------------- */

static void take_finding(void *context, const struct topic_finding *finding)
{
    struct look *look = context;
    struct repair_topic *topic = look->at;
    const char *remedy = "it is written anew";
    enum err err = ERR_OK;

    switch (finding->kind) {
    case TOPIC_FINDING_INDEX:
        err =
            add_number(&topic->indexes, &topic->index_count, finding->segment);
        remedy = "it is built anew";
        break;
    case TOPIC_FINDING_TAIL:
        topic->tail = finding->segment;
        topic->tail_at = finding->offset > SEGMENT_HEAD_SIZE
                             ? finding->offset
                             : SEGMENT_HEAD_SIZE;
        topic->state = true;
        remedy = "it is cut, its bytes are set aside";
        break;
    case TOPIC_FINDING_STATE:
        topic->state = true;
        break;
    case TOPIC_FINDING_GAP:
        topic->state = true;
        remedy = "the gap is noted, unless a journal has them";
        err = add_number(&topic->rewrite, &topic->rewrite_count,
                         finding->segment);
        break;
    default:
        topic->state = true;
        remedy = "what is whole is written anew, the file is set aside";
        err = add_number(&topic->rewrite, &topic->rewrite_count,
                         finding->segment);
        break;
    }
    look->failed = look->failed || err != ERR_OK;
    buf_append_format(note(look->plan),
                      "%s: %s at offset %" PRIu64 ": %s: %s\n",
                      topic->topic->name, finding->file, finding->offset,
                      finding->what, remedy);
}

/* A name in a topic's blobs/: "<sequence>-<id>". */
static bool parse_body(const char *name, uint64_t *out_sequence, uint64_t *out)
{
    struct str text = str_from(name);
    size_t hyphen = str_find(text, '-');

    return str_to_u64(str_cut(text, 0, hyphen), out_sequence) == ERR_OK &&
           hyphen < text.size && blob_incoming_parse(name + hyphen + 1, out);
}

static int compare_ids(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;

    return a < b ? -1 : a > b ? 1 : 0;
}

static enum err visit_body(void *context, const char *name, bool is_directory)
{
    struct look *look = context;
    uint64_t sequence = 0;
    uint64_t id = 0;

    if (is_directory || !parse_body(name, &sequence, &id) ||
        sequence < look->at->topic->oldest) {
        return ERR_OK; /* none, or one that the next start removes */
    }
    if (look->named_count > 0 && bsearch(&id, look->named, look->named_count,
                                         sizeof(id), compare_ids) != NULL) {
        return ERR_OK;
    }
    buf_append_format(note(look->plan),
                      "%s: blobs/%s: no message names it: it is set aside\n",
                      look->at->topic->name, name);
    return add_body(look->at, sequence, id);
}

static enum err look_at_bodies(struct look *look)
{
    char blobs[DIR_PATH_MAX];
    enum err err = blob_folder(blobs, look->path);

    if (look->named_count > 0) {
        qsort(look->named, look->named_count, sizeof(look->named[0]),
              compare_ids);
    }
    if (err == ERR_OK) {
        err = dir_each(blobs, visit_body, look);
    }
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* Indexes without a segment; topic.conf; `gaps`. */
static enum err look_at_files(struct look *look)
{
    struct repair_topic *topic = look->at;
    const char *name = topic->topic->name;
    char *memory = NULL;
    struct topic_conf conf;
    enum err err = ERR_OK;

    for (size_t index = 0; err == ERR_OK && index < look->folder.index_count;
         index++) {
        uint64_t first = look->folder.indexes[index];
        if (segment_of(look, first) != first) {
            buf_append_format(note(look->plan),
                              "%s: %" PRIu64
                              ".idx: its segment is missing: it is set aside\n",
                              name, first);
            err = add_number(&topic->indexes, &topic->index_count, first);
        }
    }
    topic->conf = topic_conf_load(look->path, &memory, &conf) == ERR_CORRUPT;
    free(memory);
    if (topic->conf) {
        buf_append_format(
            note(look->plan),
            "%s: topic.conf is damaged: it is set aside; settings that no "
            "journal has are the defaults again\n",
            name);
    }
    if (topic->gaps) {
        buf_append_format(note(look->plan),
                          "%s: gaps is damaged: it is written anew\n", name);
    }
    return err;
}

/* --- topics --------------------------------------------------------------- */

/* One past the last number that a cursor says was given. */
static uint64_t cursor_end(const struct topic_cursor *cursor)
{
    uint32_t count = cursor == NULL ? 0 : cursor->range_count;
    uint64_t next = cursor == NULL ? 0 : cursor->next;

    return count > 0 && cursor->ranges[count - 1].end > next
               ? cursor->ranges[count - 1].end
               : next;
}

/* The same, of all that says anything. */
static uint64_t given_end(const struct look *look)
{
    const struct snapshot_topic *topic = look->at->topic;
    uint64_t end = look->next > topic->cmd_end ? look->next : topic->cmd_end;

    end = topic->oldest > end ? topic->oldest : end;
    for (size_t index = 0; index < snapshot_count(look->snapshot); index++) {
        const struct snapshot_topic *of = snapshot_at(look->snapshot, index);
        if (!of->deleted && (of == topic || of->conf.parent == topic->id)) {
            uint64_t cursor = cursor_end(of->cursor);
            end = cursor > end ? cursor : end;
        }
    }
    return end;
}

static enum err look_at_topic(struct look *look, struct snapshot *snapshot)
{
    struct repair_topic *topic = look->at;
    const struct snapshot_visit visit = {
        .record = take_record, .finding = take_finding, .context = look};
    bool known = (topic->topic->cmd_end > 0 || topic->topic->oldest > 0) &&
                 !topic_conf_retains(&topic->topic->conf);

    look->next = topic->topic->oldest;
    look->begun = known;
    enum err err = topic_gaps_load(look->path, &topic->known);
    topic->gaps = err == ERR_CORRUPT;
    err = topic->gaps ? ERR_OK : err;
    if (err == ERR_OK) {
        err = snapshot_read(snapshot, topic->topic, 0, &visit);
    }
    topic->end = given_end(look);
    if (err == ERR_OK) {
        err =
            lose(look, look->next, topic->end, "the segments end before them");
    }
    if (err == ERR_OK) {
        err = look_at_files(look);
    }
    if (err == ERR_OK) {
        err = look_at_bodies(look);
    }
    return look->failed ? ERR_NOMEM : err;
}

static struct repair_topic *add_topic(struct repair_plan *plan,
                                      const struct snapshot_topic *topic)
{
    if (plan->topic_count == plan->topic_capacity) {
        size_t capacity = plan->topic_capacity * 2 + 16;
        struct repair_topic *topics =
            realloc(plan->topics, capacity * sizeof(*topics));
        if (topics == NULL) {
            return NULL;
        }
        plan->topics = topics;
        plan->topic_capacity = capacity;
    }
    struct repair_topic *added = &plan->topics[plan->topic_count];
    *added = (struct repair_topic){.topic = topic};
    plan->topic_count++;
    return added;
}

static void free_topic(struct repair_topic *topic)
{
    topic_gaps_fini(&topic->lost);
    topic_gaps_fini(&topic->known);
    free(topic->rewrite);
    free(topic->indexes);
    free(topic->bodies);
}

static enum err plan_topic(struct repair_plan *plan,
                           struct snapshot *snapshot,
                           const struct snapshot_topic *topic)
{
    struct look look = {
        .plan = plan, .at = add_topic(plan, topic), .snapshot = snapshot};
    uint64_t found = plan->found;

    if (look.at == NULL) {
        return ERR_NOMEM;
    }
    look.record = malloc(sizeof(*look.record));
    enum err err = look.record == NULL ? ERR_NOMEM : ERR_OK;
    if (err == ERR_OK) {
        err = snapshot_path(snapshot, topic, look.path);
    }
    if (err == ERR_OK) {
        err = topic_folder_list(look.path, &look.folder);
        err = err == ERR_NOT_FOUND ? ERR_OK : err; /* only in a journal yet */
    }
    if (err == ERR_OK) {
        err = look_at_topic(&look, snapshot);
    }
    topic_folder_fini(&look.folder);
    free(look.record);
    free(look.named);
    if (plan->found == found) {
        free_topic(look.at);
        plan->topic_count--;
    }
    return err;
}

/* --- the rest ------------------------------------------------------------- */

static void take_damage(void *context, const struct inspect_damage *damage)
{
    struct repair_plan *plan = context;

    plan->journal_damaged = true;
    buf_append_format(note(plan),
                      "%s at offset %" PRIu64
                      ": no whole entry: the journal is set aside, "
                      "what is whole of it goes to the topics\n",
                      damage->path, damage->offset);
}

static enum err look_at_journals(struct repair_plan *plan)
{
    const struct inspect_visit visit = {.damage = take_damage, .context = plan};
    struct inspect *inspect = NULL;

    enum err err = inspect_held(plan->directory, &inspect);
    if (err == ERR_OK) {
        err = inspect_journals(inspect, &visit);
    }
    inspect_close(inspect);
    return err;
}

static enum err visit_topics(void *context, const char *name, bool is_directory)
{
    struct repair_plan *plan = context;

    if (!is_directory) {
        buf_append_format(note(plan),
                          "topics/%s: it is a file: it is set aside\n", name);
    }
    return ERR_OK;
}

enum err repair_plan_meta(struct repair_plan *plan, const char *directory)
{
    struct meta meta;
    char path[DIR_PATH_MAX];

    plan->directory = directory;
    enum err err = meta_load(directory, &meta);
    if (err == ERR_NOT_FOUND) {
        int fd = -1;
        err = dir_join(path, directory, "topics");
        if (err == ERR_OK) {
            err = file_open(path, FILE_READ, &fd);
        }
        file_close(fd);
        if (err != ERR_OK) {
            return ERR_NOT_FOUND;
        }
    } else if (err != ERR_CORRUPT) {
        return err;
    }
    plan->meta = true;
    buf_append_format(note(plan), "meta is %s: it is written anew\n",
                      err == ERR_CORRUPT ? "damaged" : "missing");
    return ERR_OK;
}

enum err repair_plan_look(struct repair_plan *plan, struct snapshot *snapshot)
{
    char topics[DIR_PATH_MAX];

    plan->entries = snapshot_entries(snapshot);
    enum err err = look_at_journals(plan);
    if (err == ERR_OK) {
        err = dir_join(topics, plan->directory, "topics");
    }
    if (err == ERR_OK) {
        err = dir_each(topics, visit_topics, plan);
        err = err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    for (size_t index = 0; err == ERR_OK && index < snapshot_count(snapshot);
         index++) {
        const struct snapshot_topic *topic = snapshot_at(snapshot, index);
        if (!topic->deleted && topic->conf.parent == 0) {
            err = plan_topic(plan, snapshot, topic);
        }
    }
    return err == ERR_OK ? buf_err(&plan->text) : err;
}

void repair_plan_fini(struct repair_plan *plan)
{
    for (size_t index = 0; index < plan->topic_count; index++) {
        free_topic(&plan->topics[index]);
    }
    free(plan->topics);
    buf_fini(&plan->text);
}
