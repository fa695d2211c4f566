/* The tables of bytes.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/bytes.h"

/* Written once before main(), read by any thread after. */
uint8_t bytes_classes[256];
uint8_t bytes_digits[256];

/* A set of bytes, as 128 bits: bit b of word w stands for byte 64 * w + b. No
 * byte above 0x7f is in any. */
struct set {
    uint64_t words[2];
    uint8_t class;
};

static const struct set sets[] = {
    /* letters, digits and !#$%&'*+-.^_`|~ */
    {{UINT64_C(0x3ff6cfa00000000), UINT64_C(0x57ffffffc7fffffe)}, BYTES_TOKEN},
    /* unreserved, sub-delims, % : [ ] */
    {{UINT64_C(0x2fff7ff200000000), UINT64_C(0x47fffffeaffffffe)}, BYTES_HOST},
    /* letters, digits, - . _ ~ */
    {{UINT64_C(0x3ff600000000000), UINT64_C(0x47fffffe87fffffe)},
     BYTES_UNRESERVED},
    /* printable but '#' */
    {{UINT64_C(0xfffffff600000000), UINT64_C(0x7fffffffffffffff)},
     BYTES_TARGET},
};

/* Early: those of form.c are made of them. */
__attribute__((constructor(101))) static void make_tables(void)
{
    for (unsigned code = 0; code < 128; code++) {
        for (unsigned i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
            uint64_t bit = sets[i].words[code / 64] >> (code % 64) & 1;
            bytes_classes[code] |= bit != 0 ? sets[i].class : 0;
        }
    }
    for (uint8_t value = 0; value < 16; value++) {
        bytes_digits[(unsigned char)"0123456789abcdef"[value]] =
            (uint8_t)(value + 1);
        bytes_digits[(unsigned char)"0123456789ABCDEF"[value]] =
            (uint8_t)(value + 1);
    }
}
