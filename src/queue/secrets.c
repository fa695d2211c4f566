/* Secrets by name.
 *
 * What happens: the file is read into one block, which the table keeps. Lines
 * are cut where they lie, keys decoded in place, and the lines sorted by name,
 * those of one name in the order of the file. What can fail: a line. Policy:
 * all lines are looked at, each that is wrong is told by its number, and
 * nothing of what it says, since a mistyped line may have a secret anywhere.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/secrets.h"

#include "base/base64.h"
#include "base/check.h"
#include "base/wall_time.h"
#include "http/parse.h"
#include "queue/private_lines.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct secrets {
    atomic_uint holders;
    char *text; /* owned; what the items borrow */
    size_t text_size;
    EVP_MAC *hmac; /* owned */
    uint32_t count;
    struct secret items[]; /* sorted by name */
};

static const struct str hmac_prefix = {"whsec_", 6};
static const struct str ed25519_prefix = {"whsk_", 5};
static const struct str public_prefix = {"whpk_", 5};

/* --- life ----------------------------------------------------------------- */

static void table_free(struct secrets *secrets)
{
    for (uint32_t i = 0; i < secrets->count; i++) {
        EVP_PKEY_free(secrets->items[i].key); /* which wipes it */
    }
    EVP_MAC_free(secrets->hmac);
    private_lines_wipe(secrets->text, secrets->text_size);
    free(secrets);
}

struct secrets *secrets_hold(struct secrets *secrets)
{
    (void)atomic_fetch_add(&secrets->holders, 1);
    return secrets;
}

void secrets_release(struct secrets *secrets)
{
    if (secrets == NULL) {
        return;
    }
    unsigned holders = atomic_fetch_sub(&secrets->holders, 1);
    CHECK(holders > 0);
    if (holders == 1) {
        table_free(secrets);
    }
}

/* --- reading -------------------------------------------------------------- */

/* Decode the base64 behind a prefix, where it lies in the table's text. */
static enum err decode_in_place(const struct secrets *secrets,
                                struct str text,
                                size_t prefix_size,
                                struct str *out_bytes)
{
    struct str digits = str_cut(text, prefix_size, text.size);
    char *to = secrets->text + (digits.data - secrets->text);
    size_t size = 0;

    if (base64_decode(digits, to, &size) != ERR_OK) {
        return ERR_INVALID;
    }
    *out_bytes = (struct str){to, size};
    return ERR_OK;
}

/* Make a key of a seed, with its public half behind it or not. Returns what is
 * wrong, NULL when nothing is. */
static const char *make_ed25519(struct str bytes, void **out_key)
{
    unsigned char half[SECRETS_ED25519_SIZE];
    const unsigned char *seed = (const unsigned char *)bytes.data;
    size_t size = sizeof(half);

    if (bytes.size != SECRETS_ED25519_SIZE && bytes.size != 2 * sizeof(half)) {
        return "an Ed25519 key is 32 or 64 bytes in base64";
    }
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed,
                                                 SECRETS_ED25519_SIZE);
    if (key == NULL || EVP_PKEY_get_raw_public_key(key, half, &size) != 1) {
        EVP_PKEY_free(key);
        ERR_clear_error(); /* TLS looks there */
        return "no Ed25519 key can be made of it";
    }
    if (bytes.size == 2 * sizeof(half) &&
        CRYPTO_memcmp(half, seed + SECRETS_ED25519_SIZE, sizeof(half)) != 0) {
        EVP_PKEY_free(key);
        return "the second half of the Ed25519 key is not its public key";
    }
    *out_key = key;
    return NULL;
}

/* Read a value. Returns what is wrong, NULL when nothing is. */
static const char *read_value(const struct secrets *secrets,
                              struct str value,
                              struct secret *secret)
{
    struct str bytes = STR("");

    if (value.size == 0) {
        return "a name and a value are needed";
    }
    if (value.size > SECRETS_VALUE_SIZE_MAX) {
        return "the value is too long";
    }
    if (str_starts(value, public_prefix)) {
        return "that is a public key: receivers need it, not the sender";
    }
    if (str_starts(value, hmac_prefix)) {
        if (decode_in_place(secrets, value, hmac_prefix.size, &bytes) !=
                ERR_OK ||
            bytes.size < SECRETS_HMAC_SIZE_MIN ||
            bytes.size > SECRETS_HMAC_SIZE_MAX) {
            return "behind whsec_ are 24 to 64 bytes in base64";
        }
        secret->kind = SECRET_KIND_HMAC;
        secret->value = bytes;
        return NULL;
    }
    if (str_starts(value, ed25519_prefix)) {
        if (decode_in_place(secrets, value, ed25519_prefix.size, &bytes) !=
            ERR_OK) {
            return "behind whsk_ are 32 or 64 bytes in base64";
        }
        secret->kind = SECRET_KIND_ED25519;
        return make_ed25519(bytes, &secret->key);
    }
    if (!http_is_field_value(value)) {
        return "a text has visible characters only";
    }
    secret->kind = SECRET_KIND_TEXT;
    secret->value = value;
    return NULL;
}

/* Read what stands behind a value. Returns what is wrong, or NULL. */
static const char *read_rest(struct str rest, struct secret *secret)
{
    static const struct str not_after = {"not_after=", 10};
    struct str word = private_lines_word(&rest);

    secret->not_after_ms = UINT64_MAX;
    if (word.size == 0) {
        return NULL;
    }
    if (!str_starts(word, not_after) || private_lines_word(&rest).size > 0) {
        return "behind name and value only not_after=TIME may stand";
    }
    if (wall_time_parse(str_cut(word, not_after.size, word.size),
                        &secret->not_after_ms) != ERR_OK) {
        return "not_after is no time such as 2027-01-02T03:04:05Z";
    }
    return NULL;
}

/* Read a line that is not empty. Returns what is wrong, or NULL. */
static const char *read_line(const struct secrets *secrets,
                             struct str name,
                             struct str rest,
                             struct secret *secret)
{
    struct str value = private_lines_word(&rest);

    if (!private_lines_is_name(name)) {
        return "a name has 1 to 64 of A-Z a-z 0-9 . _ -";
    }
    if (str_starts(name, hmac_prefix) || str_starts(name, ed25519_prefix)) {
        return "the name comes first, then the value";
    }
    secret->name = name;
    const char *wrong = read_rest(rest, secret);
    return wrong != NULL ? wrong : read_value(secrets, value, secret);
}

/* Put a line behind all that have its name or a lesser one. */
static void insert(struct secrets *secrets, const struct secret *secret)
{
    uint32_t at = secrets->count;

    while (at > 0 &&
           str_compare(secrets->items[at - 1].name, secret->name) > 0) {
        at--;
    }
    memmove(&secrets->items[at + 1], &secrets->items[at],
            (secrets->count - at) * sizeof(*secret));
    secrets->items[at] = *secret;
    secrets->count++;
}

/* Read all lines.
 * Errors: ERR_INVALID */
static enum err
read_lines(struct secrets *secrets, const char *where, struct buf *errors)
{
    struct private_lines lines = {
        .left = {secrets->text, secrets->text_size},
        .where = where,
        .errors = errors,
    };
    struct str name;
    struct str rest;

    while (private_lines_next(&lines, &name, &rest)) {
        struct secret secret = {.key = NULL};
        const char *wrong = read_line(secrets, name, rest, &secret);
        if (wrong == NULL) {
            insert(secrets, &secret);
        } else {
            private_lines_refuse(&lines, wrong, NULL);
        }
    }
    return lines.refused ? ERR_INVALID : ERR_OK;
}

enum err secrets_parse(char *text,
                       size_t size,
                       const char *where,
                       struct buf *errors,
                       struct secrets **out)
{
    size_t lines = private_lines_count((struct str){text, size});
    struct secrets *secrets =
        calloc(1, sizeof(*secrets) + lines * sizeof(struct secret));

    if (secrets == NULL) {
        private_lines_wipe(text, size);
        return ERR_NOMEM;
    }
    atomic_init(&secrets->holders, 1);
    secrets->text = text;
    secrets->text_size = size;
    secrets->hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    if (secrets->hmac == NULL) {
        ERR_clear_error();
        table_free(secrets);
        return ERR_NOMEM;
    }
    enum err err = read_lines(secrets, where, errors);
    if (err != ERR_OK) {
        table_free(secrets);
        return err;
    }
    *out = secrets;
    return ERR_OK;
}

enum err
secrets_load(const char *path, struct buf *errors, struct secrets **out)
{
    char *text = NULL;
    size_t size = 0;
    enum err err = private_lines_load("secrets", path, SECRETS_FILE_SIZE_MAX,
                                      errors, &text, &size);

    return err == ERR_OK ? secrets_parse(text, size, path, errors, out) : err;
}

/* --- using ---------------------------------------------------------------- */

const struct secret *secrets_find(const struct secrets *secrets,
                                  struct str name,
                                  uint32_t *out_count)
{
    uint32_t low = 0;
    uint32_t high = secrets != NULL ? secrets->count : 0;
    uint32_t count = high;

    *out_count = 0;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (str_compare(secrets->items[middle].name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    uint32_t end = low;
    while (end < count && str_equal(secrets->items[end].name, name)) {
        end++;
    }
    if (end == low) {
        return NULL;
    }
    *out_count = end - low;
    return &secrets->items[low];
}

void *secrets_hmac(const struct secrets *secrets)
{
    return secrets->hmac;
}

/* Find the next "${secret:" from `at` on; its position, or the text's size. */
static size_t find_reference(struct str value, size_t at)
{
    static const struct str opening = {"${secret:", 9};

    while (at < value.size) {
        at += str_find(str_cut(value, at, value.size), '$');
        if (str_starts(str_cut(value, at, value.size), opening)) {
            return at;
        }
        at++;
    }
    return value.size;
}

bool secrets_is_named(struct str value)
{
    return find_reference(value, 0) < value.size;
}

/* The text of a name. Errors: ERR_NOT_FOUND, ERR_INVALID */
static enum err find_text(const struct secrets *secrets,
                          struct str name,
                          uint64_t now_ms,
                          struct str *out_text)
{
    uint32_t count = 0;
    const struct secret *secret = secrets_find(secrets, name, &count);
    enum err err = ERR_NOT_FOUND;

    for (uint32_t i = 0; i < count; i++) {
        if (secret[i].not_after_ms <= now_ms) {
            continue;
        }
        if (secret[i].kind == SECRET_KIND_TEXT) {
            *out_text = secret[i].value;
            return ERR_OK;
        }
        err = ERR_INVALID;
    }
    return err;
}

/* A piece of a value: what stands as it is, then what a secret stands for. */
struct piece {
    struct str plain;
    struct str name;
    struct str text;
};

/* Take the next piece off a value. Errors: ERR_NOT_FOUND, ERR_INVALID, with the
 * name in the piece */
static enum err next_piece(const struct secrets *secrets,
                           uint64_t now_ms,
                           struct str *value,
                           struct piece *piece)
{
    enum { OPENING_SIZE = 9 };
    size_t at = find_reference(*value, 0);
    struct str left = str_cut(*value, at, value->size);

    *piece = (struct piece){.plain = str_cut(*value, 0, at)};
    if (left.size == 0) {
        *value = left;
        return ERR_OK;
    }
    left = str_cut(left, OPENING_SIZE, left.size);
    size_t end = str_find(left, '}');
    piece->name = str_cut(left, 0, end);
    *value = str_cut(left, end + 1, left.size);
    if (end == left.size || !private_lines_is_name(piece->name)) {
        return ERR_INVALID;
    }
    return find_text(secrets, piece->name, now_ms, &piece->text);
}

enum err secrets_expand(const struct secrets *secrets,
                        struct str value,
                        uint64_t now_ms,
                        struct buf *to,
                        struct str *out_name)
{
    size_t size = 0;
    struct piece piece;

    /* Twice: first all of it is looked at, then it is written where there is
     * room, so that no text is left behind in memory that was grown out of. */
    for (struct str left = value; left.size > 0;) {
        enum err err = next_piece(secrets, now_ms, &left, &piece);
        if (err != ERR_OK) {
            *out_name = piece.name;
            return err;
        }
        size += piece.plain.size + piece.text.size;
    }
    if (buf_reserve(to, size) != ERR_OK) {
        return ERR_NOMEM;
    }
    for (struct str left = value; left.size > 0;) {
        enum err err = next_piece(secrets, now_ms, &left, &piece);
        CHECK(err == ERR_OK);
        buf_append_str(to, piece.plain);
        buf_append_str(to, piece.text);
    }
    return ERR_OK;
}
