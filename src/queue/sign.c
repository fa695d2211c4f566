/* Signatures of deliveries, by OpenSSL.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/sign.h"

#include "base/check.h"
#include "queue/private_lines.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stddef.h>
#include <string.h>

enum {
    HMAC_SIZE = 32,
    ED25519_SIZE = 64,
};

/* Forget the running signature. */
static void give_up(struct sign *sign)
{
    for (uint32_t i = 0; i < sign->key_count; i++) {
        EVP_PKEY_free(sign->keys[i]);
    }
    sign->key_count = 0;
    sign->mac_count = 0;
    sign->failed = false;
    if (sign->whole.capacity > 0) {
        buf_fini(&sign->whole);
    }
}

static enum err add_mac(struct sign *sign,
                        const struct secrets *secrets,
                        const struct secret *secret)
{
    static char digest[] = "SHA256";
    const OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    void **mac = &sign->macs[sign->mac_count];

    if (*mac == NULL) {
        *mac = EVP_MAC_CTX_new(secrets_hmac(secrets));
    }
    if (*mac == NULL ||
        EVP_MAC_init(*mac, (const unsigned char *)secret->value.data,
                     secret->value.size, parameters) != 1) {
        ERR_clear_error();
        return ERR_NOMEM;
    }
    sign->mac_count++;
    return ERR_OK;
}

static enum err add_key(struct sign *sign, const struct secret *secret)
{
    if (EVP_PKEY_up_ref(secret->key) != 1) {
        ERR_clear_error();
        return ERR_NOMEM;
    }
    sign->keys[sign->key_count] = secret->key;
    sign->key_count++;
    return ERR_OK;
}

/* Take a secret, if there is room. */
static enum err add(struct sign *sign,
                    const struct secrets *secrets,
                    const struct secret *secret)
{
    if (sign->mac_count + sign->key_count == SIGN_KEYS_MAX) {
        return ERR_OK;
    }
    return secret->kind == SECRET_KIND_HMAC ? add_mac(sign, secrets, secret)
                                            : add_key(sign, secret);
}

/* Take all secrets of a name that are in force.
 * Errors: ERR_NOT_FOUND, ERR_INVALID, ERR_NOMEM */
static enum err add_name(struct sign *sign,
                         const struct secrets *secrets,
                         struct str name,
                         uint64_t now_ms)
{
    uint32_t count = 0;
    const struct secret *secret = secrets_find(secrets, name, &count);
    bool found = false;
    bool signs = false;

    if (!private_lines_is_name(name)) {
        return ERR_INVALID;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (secret[i].not_after_ms <= now_ms) {
            continue;
        }
        found = true;
        if (secret[i].kind == SECRET_KIND_TEXT) {
            continue;
        }
        signs = true;
        enum err err = add(sign, secrets, &secret[i]);
        if (err != ERR_OK) {
            return err;
        }
    }
    return signs ? ERR_OK : found ? ERR_INVALID : ERR_NOT_FOUND;
}

static enum err add_names(struct sign *sign,
                          const struct secrets *secrets,
                          struct str names,
                          uint64_t now_ms,
                          struct str *out_name)
{
    struct str left = names;

    do {
        size_t end = str_find(left, ',');
        struct str name = str_trim(str_cut(left, 0, end));
        left = str_cut(left, end + 1, left.size);
        enum err err = add_name(sign, secrets, name, now_ms);
        if (err != ERR_OK) {
            *out_name = name;
            return err;
        }
    } while (left.size > 0);
    return ERR_OK;
}

/* Room for all that Ed25519 signs, or no keys for it. */
static enum err prepare_whole(struct sign *sign,
                              const struct sign_content *content)
{
    if (sign->key_count == 0) {
        return ERR_OK;
    }
    if (content->body_size > SIGN_WHOLE_SIZE_MAX) {
        if (sign->mac_count == 0) {
            return ERR_TOO_LARGE;
        }
        for (uint32_t i = 0; i < sign->key_count; i++) {
            EVP_PKEY_free(sign->keys[i]);
        }
        sign->key_count = 0;
        return ERR_OK;
    }
    return buf_reserve(&sign->whole, content->id.size + PUT_DECIMAL_MAX + 2 +
                                         (size_t)content->body_size);
}

/* Begin with what stands before the body. */
static void update_head(struct sign *sign, const struct sign_content *content)
{
    char number[PUT_DECIMAL_MAX + 2];
    char *end = put_text(number, STR("."));

    end = put_decimal(end, content->timestamp_s);
    end = put_text(end, STR("."));
    sign_update(sign, content->id);
    sign_update(sign, (struct str){number, (size_t)(end - number)});
}

enum err sign_begin(struct sign *sign,
                    const struct secrets *secrets,
                    struct str names,
                    const struct sign_content *content,
                    struct str *out_name)
{
    give_up(sign);
    enum err err =
        add_names(sign, secrets, names, content->timestamp_s * 1000, out_name);
    if (err == ERR_OK) {
        err = prepare_whole(sign, content);
    }
    if (err != ERR_OK) {
        give_up(sign);
        return err;
    }
    update_head(sign, content);
    return ERR_OK;
}

void sign_update(struct sign *sign, struct str bytes)
{
    if (bytes.size == 0) {
        return;
    }
    for (uint32_t i = 0; i < sign->mac_count; i++) {
        if (EVP_MAC_update(sign->macs[i], (const unsigned char *)bytes.data,
                           bytes.size) != 1) {
            sign->failed = true;
        }
    }
    if (sign->key_count > 0) {
        buf_append_str(&sign->whole, bytes);
    }
}

/* Write one signature: a blank unless it is the first, its version, base64. */
static char *
put_signature(char *to, bool first, struct str version, struct str bytes)
{
    char *end = put_text(to, first ? STR("") : STR(" "));

    end = put_text(end, version);
    int size =
        EVP_EncodeBlock((unsigned char *)end, (const unsigned char *)bytes.data,
                        (int)bytes.size);
    return end + size;
}

static enum err finish_mac(void *mac, char *to, bool first, char **out_end)
{
    unsigned char bytes[HMAC_SIZE];
    size_t size = 0;

    if (EVP_MAC_final(mac, bytes, &size, sizeof(bytes)) != 1) {
        return ERR_NOMEM;
    }
    CHECK(size == sizeof(bytes));
    *out_end = put_signature(to, first, STR("v1,"),
                             (struct str){(const char *)bytes, size});
    return ERR_OK;
}

static enum err
finish_key(void *key, struct str whole, char *to, bool first, char **out_end)
{
    unsigned char bytes[ED25519_SIZE];
    size_t size = sizeof(bytes);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool done =
        context != NULL &&
        EVP_DigestSignInit(context, NULL, NULL, NULL, key) == 1 &&
        EVP_DigestSign(context, bytes, &size, (const unsigned char *)whole.data,
                       whole.size) == 1;

    EVP_MD_CTX_free(context);
    if (!done) {
        return ERR_NOMEM;
    }
    CHECK(size == sizeof(bytes));
    *out_end = put_signature(to, first, STR("v1a,"),
                             (struct str){(const char *)bytes, size});
    return ERR_OK;
}

static enum err put_all(struct sign *sign, char *to, size_t *out_size)
{
    char *end = to;
    enum err err = sign->failed ? ERR_NOMEM : buf_err(&sign->whole);

    for (uint32_t i = 0; err == ERR_OK && i < sign->mac_count; i++) {
        err = finish_mac(sign->macs[i], end, end == to, &end);
    }
    for (uint32_t i = 0; err == ERR_OK && i < sign->key_count; i++) {
        err = finish_key(sign->keys[i], buf_str(&sign->whole), end, end == to,
                         &end);
    }
    if (err != ERR_OK) {
        ERR_clear_error(); /* TLS looks there */
        return err;
    }
    CHECK((size_t)(end - to) <= SIGN_SIZE_MAX);
    *out_size = (size_t)(end - to);
    return ERR_OK;
}

enum err sign_finish(struct sign *sign, char *to, size_t *out_size)
{
    CHECK(sign->mac_count + sign->key_count > 0);
    enum err err = put_all(sign, to, out_size);
    give_up(sign);
    return err;
}

void sign_fini(struct sign *sign)
{
    give_up(sign);
    for (uint32_t i = 0; i < SIGN_KEYS_MAX; i++) {
        EVP_MAC_CTX_free(sign->macs[i]);
        sign->macs[i] = NULL;
    }
}
