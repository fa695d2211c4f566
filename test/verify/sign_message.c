/* Sign a body as a delivery is signed, for others to verify.
 *
 * usage: sign_message SECRETS NAMES ID TIMESTAMP < body
 *
 * Prints the value of webhook-signature, with the secrets of that file and
 * those names. The body is given to sign.h by pieces, as one that lies in a
 * file.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/sign.h"

#include <stdio.h>
#include <stdlib.h>

enum { BODY_SIZE_MAX = 16 << 20, PIECE_SIZE = 1000 };

static char body[BODY_SIZE_MAX];

static int refuse(const char *what, struct str why)
{
    (void)fprintf(stderr, "sign_message: %s: %.*s\n", what, STR_ARG(why));
    return 1;
}

int main(int argc, char **argv)
{
    struct buf errors = {0};
    struct secrets *secrets = NULL;
    struct sign sign = {.failed = false};
    struct str wrong = STR("");
    char value[SIGN_SIZE_MAX];
    size_t value_size = 0;

    if (argc != 5) {
        (void)fprintf(stderr, "usage: sign_message SECRETS NAMES ID "
                              "TIMESTAMP < body\n");
        return 2;
    }
    if (secrets_load(argv[1], &errors, &secrets) != ERR_OK) {
        return refuse("secrets", buf_str(&errors));
    }
    size_t size = fread(body, 1, sizeof(body), stdin);
    struct sign_content content = {.id = str_from(argv[3]), .body_size = size};
    if (str_to_u64(str_from(argv[4]), &content.timestamp_s) != ERR_OK ||
        sign_begin(&sign, secrets, str_from(argv[2]), &content, &wrong) !=
            ERR_OK) {
        return refuse("cannot sign with", wrong);
    }
    secrets_release(secrets);
    for (size_t at = 0; at < size; at += PIECE_SIZE) {
        sign_update(&sign, str_cut((struct str){body, size}, at, PIECE_SIZE));
    }
    if (sign_finish(&sign, value, &value_size) != ERR_OK) {
        return refuse("cannot sign", STR(""));
    }
    sign_fini(&sign);
    (void)printf("%.*s\n", (int)value_size, value);
    return 0;
}
