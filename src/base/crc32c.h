/* CRC-32C (Castagnoli, RFC 3720 appendix B.4), with the CPU's instruction
 * where it has one.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_BASE_CRC32C_H
#define OPQ_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of `size` bytes, going on from `crc` (0 to begin).
 * crc32c(crc32c(0, a), b) is the checksum of a and b in a row. */
uint32_t crc32c(uint32_t crc, const void *data, size_t size);

/* The same by tables, for CPUs without the instruction; tests compare. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t size);

#endif
