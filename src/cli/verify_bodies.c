/* The bodies in files that records name.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/verify_bodies.h"

#include "log/blob.h"
#include "sys/dir.h"

#include <stdlib.h>
#include <string.h>

static enum err add(struct verify_bodies *bodies, const struct verify_body *one)
{
    if (bodies->count == bodies->capacity) {
        size_t capacity = bodies->capacity * 2 + 16;
        struct verify_body *grown =
            realloc(bodies->bodies, capacity * sizeof(*grown));
        if (grown == NULL) {
            return ERR_NOMEM;
        }
        bodies->bodies = grown;
        bodies->capacity = capacity;
    }
    bodies->bodies[bodies->count] = *one;
    bodies->count++;
    return ERR_OK;
}

static enum err verify(const struct verify_bodies *bodies,
                       const char *topic,
                       const struct record *record)
{
    char topics[DIR_PATH_MAX];
    char path[DIR_PATH_MAX];
    enum err err = dir_join(topics, bodies->directory, "topics");

    if (err == ERR_OK) {
        err = dir_join(path, topics, topic);
    }
    return err != ERR_OK ? err
                         : blob_verify(bodies->directory, path,
                                       record->sequence, &record->message.blob);
}

enum err verify_bodies_check(struct verify_bodies *bodies,
                             const char *topic,
                             const struct record *record,
                             bool in_journal)
{
    if (record->message.blob.size == 0) {
        return ERR_OK;
    }
    struct verify_body one = {
        .sequence = record->sequence,
        .err = verify(bodies, topic, record),
        .in_journal = in_journal,
    };
    if (one.err == ERR_OK || one.err == ERR_NOMEM) {
        return one.err;
    }
    one.topic = strdup(topic);
    enum err err = one.topic == NULL ? ERR_NOMEM : add(bodies, &one);
    if (err != ERR_OK) {
        free(one.topic);
    }
    return err;
}

/* Forget those of a topic below `oldest`, or only those in the journal. */
static void forget(struct verify_bodies *bodies,
                   const char *topic,
                   uint64_t oldest,
                   bool journal_only)
{
    size_t kept = 0;

    for (size_t index = 0; index < bodies->count; index++) {
        struct verify_body *body = &bodies->bodies[index];
        if (strcmp(body->topic, topic) == 0 && body->sequence < oldest &&
            (body->in_journal || !journal_only)) {
            free(body->topic);
            continue;
        }
        bodies->bodies[kept] = *body;
        kept++;
    }
    bodies->count = kept;
}

void verify_bodies_trim(struct verify_bodies *bodies,
                        const char *topic,
                        uint64_t oldest)
{
    forget(bodies, topic, oldest, false);
}

void verify_bodies_delete(struct verify_bodies *bodies, const char *topic)
{
    forget(bodies, topic, UINT64_MAX, true);
}

void verify_bodies_fini(struct verify_bodies *bodies)
{
    for (size_t index = 0; index < bodies->count; index++) {
        free(bodies->bodies[index].topic);
    }
    free(bodies->bodies);
    bodies->bodies = NULL;
    bodies->count = 0;
    bodies->capacity = 0;
}
