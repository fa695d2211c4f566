/* Base64, read.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/base64.h"

#include <stdint.h>

/* The value of a digit; 64 when it is none. */
static uint32_t digit_value(char digit)
{
    if (digit >= 'A' && digit <= 'Z') {
        return (uint32_t)(digit - 'A');
    }
    if (digit >= 'a' && digit <= 'z') {
        return (uint32_t)(digit - 'a') + 26;
    }
    if (digit >= '0' && digit <= '9') {
        return (uint32_t)(digit - '0') + 52;
    }
    return digit == '+' ? 62 : digit == '/' ? 63 : 64;
}

enum err base64_decode(struct str text, char *to, size_t *out_size)
{
    size_t padding = 0;
    size_t size = 0;
    uint32_t bits = 0;

    if (text.size % 4 != 0) {
        return ERR_INVALID;
    }
    while (padding < 2 && padding < text.size &&
           text.data[text.size - 1 - padding] == '=') {
        padding++;
    }
    for (size_t index = 0; index < text.size - padding; index++) {
        uint32_t digit = digit_value(text.data[index]);
        if (digit == 64) {
            return ERR_INVALID;
        }
        bits = bits << 6 | digit;
        if (index % 4 != 0) {
            /* After 2, 3 and 4 digits a further byte is complete. */
            to[size] = (char)(bits >> (6 - 2 * (index % 4)) & 0xff);
            size++;
        }
    }
    *out_size = size;
    return ERR_OK;
}
