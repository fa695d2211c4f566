/* Bearer tokens by the hash of each.
 *
 * What happens: the file is read line by line into a table of hashes, in open
 * addressing by the first bytes of a hash, at most half full; the text is
 * wiped. What can fail: a line. Policy: as with secrets, each line that is
 * wrong is told by its number, and nothing of the token on it.
 *
 * Who asks chooses the token but not its hash, so where a look-up ends early
 * tells him nothing that he could use.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/tokens.h"

#include "base/check.h"
#include "base/nearest.h"
#include "queue/private_lines.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct tokens {
    atomic_uint holders;
    EVP_MD *sha256; /* owned */
    uint32_t count;
    uint32_t mask;         /* slots less one; they are a power of two */
    struct token slots[1]; /* without a scope: empty. There are mask + 1 */
};

enum { SCOPE_COUNT = 3 };

static const struct scope {
    struct str name;
    enum tokens_scope bit;
} scopes[SCOPE_COUNT] = {
    {{"publish", 7}, TOKENS_SCOPE_PUBLISH},
    {{"read", 4}, TOKENS_SCOPE_READ},
    {{"admin", 5}, TOKENS_SCOPE_ADMIN},
};

static const struct str hash_prefix = {"sha256:", 7};

/* --- life ----------------------------------------------------------------- */

struct tokens *tokens_hold(struct tokens *tokens)
{
    (void)atomic_fetch_add(&tokens->holders, 1);
    return tokens;
}

void tokens_release(struct tokens *tokens)
{
    if (tokens == NULL) {
        return;
    }
    unsigned holders = atomic_fetch_sub(&tokens->holders, 1);
    CHECK(holders > 0);
    if (holders == 1) {
        EVP_MD_free(tokens->sha256);
        free(tokens);
    }
}

/* Make a table with room for `count`. Errors: ERR_NOMEM */
static enum err table_create(size_t count, struct tokens **out)
{
    size_t slots = 8;

    while (slots < 2 * count) {
        slots *= 2;
    }
    struct tokens *tokens =
        calloc(1, sizeof(*tokens) + (slots - 1) * sizeof(struct token));
    if (tokens == NULL) {
        return ERR_NOMEM;
    }
    atomic_init(&tokens->holders, 1);
    tokens->mask = (uint32_t)(slots - 1);
    tokens->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (tokens->sha256 == NULL) {
        ERR_clear_error(); /* TLS looks there */
        free(tokens);
        return ERR_NOMEM;
    }
    *out = tokens;
    return ERR_OK;
}

/* --- hashes --------------------------------------------------------------- */

static bool hash_text(const struct tokens *tokens,
                      struct str text,
                      unsigned char hash[TOKENS_HASH_SIZE])
{
    unsigned size = 0;

    if (EVP_Digest(text.data, text.size, hash, &size, tokens->sha256, NULL) !=
        1) {
        ERR_clear_error();
        return false;
    }
    return size == TOKENS_HASH_SIZE;
}

static int digit_of(char byte)
{
    if (byte >= '0' && byte <= '9') {
        return byte - '0';
    }
    if (byte >= 'a' && byte <= 'f') {
        return byte - 'a' + 10;
    }
    return byte >= 'A' && byte <= 'F' ? byte - 'A' + 10 : -1;
}

static bool read_hash(struct str digits, unsigned char hash[TOKENS_HASH_SIZE])
{
    if (digits.size != (size_t)2 * TOKENS_HASH_SIZE) {
        return false;
    }
    for (size_t i = 0; i < TOKENS_HASH_SIZE; i++) {
        int high = digit_of(digits.data[2 * i]);
        int low = digit_of(digits.data[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        hash[i] = (unsigned char)(high * 16 + low);
    }
    return true;
}

/* The slot of a hash, or the empty one where it would be. */
static uint32_t find_slot(const struct tokens *tokens,
                          const unsigned char hash[TOKENS_HASH_SIZE])
{
    uint32_t at = 0;

    memcpy(&at, hash, sizeof(at));
    for (at &= tokens->mask; tokens->slots[at].scopes != 0;
         at = (at + 1) & tokens->mask) {
        if (CRYPTO_memcmp(tokens->slots[at].hash, hash, TOKENS_HASH_SIZE) ==
            0) {
            break;
        }
    }
    return at;
}

/* --- reading -------------------------------------------------------------- */

static bool is_letter(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '-' || byte == '.' ||
           byte == '_';
}

static bool is_token(struct str text)
{
    for (size_t i = 0; i < text.size; i++) {
        char byte = text.data[i];
        if (!is_letter(byte) && byte != '~' && byte != '+' && byte != '/' &&
            byte != '=') {
            return false;
        }
    }
    return text.size >= TOKENS_SIZE_MIN && text.size <= TOKENS_SIZE_MAX;
}

/* Read a list of scopes. Returns what is wrong, or NULL; `*out_near` is a scope
 * that was nearly named, or NULL. */
static const char *
read_scopes(struct str text, uint8_t *out_scopes, const char **out_near)
{
    *out_near = NULL;
    while (text.size > 0) {
        size_t end = str_find(text, ',');
        struct str word = str_cut(text, 0, end);
        struct nearest nearest = nearest_of(word);
        uint8_t bit = 0;
        for (size_t i = 0; i < SCOPE_COUNT; i++) {
            bit =
                str_equal(word, scopes[i].name) ? (uint8_t)scopes[i].bit : bit;
            nearest_offer(&nearest, scopes[i].name.data);
        }
        if (bit == 0) {
            *out_near = nearest.name;
            return "scopes are publish, read, admin, by commas without blanks";
        }
        *out_scopes |= bit;
        text = str_cut(text, end + 1, text.size);
    }
    return *out_scopes == 0 ? "a name, scopes and a token are needed" : NULL;
}

/* Read what stands for a token. Returns what is wrong, or NULL. */
static const char *
read_token(const struct tokens *tokens, struct str text, struct token *token)
{
    if (text.size == 0) {
        return "a name, scopes and a token are needed";
    }
    if (str_starts(text, hash_prefix)) {
        struct str digits = str_cut(text, hash_prefix.size, text.size);
        return read_hash(digits, token->hash)
                   ? NULL
                   : "behind sha256: are 64 digits in hex";
    }
    if (!is_token(text)) {
        return "a token is 20 to 256 of A-Z a-z 0-9 - . _ ~ + / =";
    }
    return hash_text(tokens, text, token->hash) ? NULL : "it cannot be hashed";
}

/* Read a line that is not empty. Returns what is wrong, or NULL. */
static const char *read_line(struct tokens *tokens,
                             struct str name,
                             struct str line,
                             const char **out_near)
{
    struct token token = {.scopes = 0};
    struct str scope_list = private_lines_word(&line);
    struct str text = private_lines_word(&line);

    *out_near = NULL;
    if (!private_lines_is_name(name)) {
        return "a name has 1 to 64 of A-Z a-z 0-9 . _ -";
    }
    const char *wrong = read_scopes(scope_list, &token.scopes, out_near);
    if (wrong == NULL) {
        wrong = read_token(tokens, text, &token);
    }
    if (wrong == NULL && private_lines_word(&line).size > 0) {
        wrong = "nothing may stand behind the token";
    }
    if (wrong != NULL) {
        return wrong;
    }
    struct token *slot = &tokens->slots[find_slot(tokens, token.hash)];
    if (slot->scopes != 0) {
        return "this token stands on a line before";
    }
    memcpy(token.name, name.data, name.size);
    *slot = token;
    tokens->count++;
    return NULL;
}

/* Read all lines. Errors: ERR_INVALID */
static enum err read_lines(struct tokens *tokens,
                           struct str text,
                           const char *where,
                           struct buf *errors)
{
    struct private_lines lines = {
        .left = text, .where = where, .errors = errors};
    struct str name;
    struct str rest;

    while (private_lines_next(&lines, &name, &rest)) {
        const char *near = NULL;
        const char *wrong = read_line(tokens, name, rest, &near);
        if (wrong != NULL) {
            private_lines_refuse(&lines, wrong, near);
        }
    }
    return lines.refused ? ERR_INVALID : ERR_OK;
}

enum err tokens_parse(char *text,
                      size_t size,
                      const char *where,
                      struct buf *errors,
                      struct tokens **out)
{
    struct tokens *tokens = NULL;
    struct str all = {text, size};
    enum err err = table_create(private_lines_count(all), &tokens);

    if (err == ERR_OK) {
        err = read_lines(tokens, all, where, errors);
    }
    private_lines_wipe(text, size);
    if (err != ERR_OK) {
        tokens_release(tokens);
        return err;
    }
    *out = tokens;
    return ERR_OK;
}

enum err tokens_load(const char *path, struct buf *errors, struct tokens **out)
{
    char *text = NULL;
    size_t size = 0;
    enum err err = private_lines_load("tokens", path, TOKENS_FILE_SIZE_MAX,
                                      errors, &text, &size);

    return err == ERR_OK ? tokens_parse(text, size, path, errors, out) : err;
}

/* --- using ---------------------------------------------------------------- */

const struct token *tokens_find(const struct tokens *tokens, struct str token)
{
    unsigned char hash[TOKENS_HASH_SIZE];

    if (!is_token(token) || !hash_text(tokens, token, hash)) {
        return NULL;
    }
    const struct token *slot = &tokens->slots[find_slot(tokens, hash)];
    return slot->scopes != 0 ? slot : NULL;
}

uint32_t tokens_count(const struct tokens *tokens)
{
    return tokens->count;
}

const char *tokens_scope_name(enum tokens_scope scope)
{
    for (size_t i = 0; i < SCOPE_COUNT; i++) {
        if (scopes[i].bit == scope) {
            return scopes[i].name.data;
        }
    }
    return "";
}
