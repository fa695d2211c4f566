/* What a message is by its content: "sha256:" and the hash of what the target
 * gets to see of it, each part with its size before it, so that no two rows of
 * parts are one row of bytes.
 *
 * Headers are left out: a producer that sends the same again does so with
 * another date, trace id or user agent. SHA-256 and not a keyed hash, since the
 * id is stored and has to be the same after a restart.
 *
 * The id of an event is made likewise, of its source and id alone.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/accept_internal.h"

#include "base/buf.h"
#include "queue/cloudevents.h"

#include <openssl/evp.h>

enum { DIGEST_SIZE = 32 };

static bool add_number(EVP_MD_CTX *digest, uint64_t number)
{
    char bytes[8];

    put_u64(bytes, number);
    return EVP_DigestUpdate(digest, bytes, sizeof(bytes)) == 1;
}

static bool add(EVP_MD_CTX *digest, struct str part)
{
    return add_number(digest, part.size) &&
           (part.size == 0 ||
            EVP_DigestUpdate(digest, part.data, part.size) == 1);
}

static bool add_message(EVP_MD_CTX *digest, const struct message *message)
{
    struct str method =
        message->method.size > 0 ? message->method : STR("POST");
    bool good = add(digest, message->url) && add(digest, method) &&
                add_number(digest, message->kind);

    if (message->kind == MESSAGE_KIND_RAW) {
        return good && add(digest, message->content_type) &&
               add(digest, message->body);
    }
    good = good && add_number(digest, message->field_count);
    for (uint32_t index = 0; good && index < message->field_count; index++) {
        good = add(digest, message->fields[index].key) &&
               add(digest, message->fields[index].value);
    }
    return good;
}

/* Write what stands before, and the digits of the digest. */
static enum err
finish(EVP_MD_CTX *digest, bool good, struct str prefix, char *to)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[DIGEST_SIZE];

    if (!good || EVP_DigestFinal_ex(digest, bytes, NULL) != 1) {
        return ERR_NOMEM;
    }
    to = put_text(to, prefix);
    for (size_t index = 0; index < DIGEST_SIZE; index++) {
        to[2 * index] = digits[bytes[index] >> 4];
        to[2 * index + 1] = digits[bytes[index] & 15];
    }
    return ERR_OK;
}

enum err accept_content_id(const struct message *message, char *to)
{
    if (message->blob.size > 0) {
        return ERR_UNSUPPORTED;
    }
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    bool good = digest != NULL &&
                EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1 &&
                add_message(digest, message);
    enum err err = finish(digest, good, STR("sha256:"), to);
    EVP_MD_CTX_free(digest);
    return err;
}

enum err accept_event_id(const struct message *message, char *to)
{
    struct cloudevents_problem problem;
    struct cloudevents_event event;
    struct buf memory = {0};

    enum err err = cloudevents_read(message, &memory, &event, &problem);
    if (err != ERR_OK) {
        buf_fini(&memory);
        return err == ERR_NOMEM ? err : ERR_UNSUPPORTED;
    }
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    bool good = digest != NULL &&
                EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1 &&
                add(digest, cloudevents_value(&event, STR("source"))) &&
                add(digest, cloudevents_value(&event, STR("id")));
    err = finish(digest, good, STR("events:"), to);
    EVP_MD_CTX_free(digest);
    buf_fini(&memory);
    return err;
}
