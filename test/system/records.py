"""Segments and records as doc/log-format.md describes them: read here anew,
so that the document, not the server, is what the tests hold on to.

SPDX-License-Identifier: MIT
"""

import struct

HEAD = struct.Struct('<8sII QQ 32s')
RECORD = struct.Struct('<II QQ I HH 16s')


def crc32c(data):
    """CRC-32C (Castagnoli), slowly."""
    crc = 0xffffffff
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xff] ^ (crc >> 8)
    return crc ^ 0xffffffff


def make_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82f63b78 if value & 1 else 0)
        table.append(value)
    return table


TABLE = make_table()
assert crc32c(b'123456789') == 0xe3069283


class Record:
    def __init__(self, data, at):
        (self.size, self.crc, self.sequence, self.pushed_at_ms,
         payload_size, self.flags, self.version, reserved) = \
            RECORD.unpack_from(data, at)
        assert self.size % 8 == 0 and self.size >= RECORD.size + payload_size
        assert self.version == 1 and reserved == bytes(16)
        end = at + RECORD.size + payload_size
        assert crc32c(data[at + 8:end]) == self.crc
        self.at = at
        self.payload = data[at + RECORD.size:end]


def read_segment(path):
    """All records of a <N>.msg, each of them checked."""
    data = path.read_bytes()
    magic, version, crc, first, _, reserved = HEAD.unpack_from(data)
    assert magic == b'OPQ-SEG\0' and version == 1 and reserved == bytes(32)
    assert crc == crc32c(data[16:64])
    assert path.name == f'{first}.msg'
    records = []
    at = HEAD.size
    while at < len(data):
        record = Record(data, at)
        assert record.sequence == first + len(records)
        records.append(record)
        at += record.size
    return records


def read_index(path):
    """[(relative sequence, offset, time)] of a <N>.idx."""
    data = path.read_bytes()
    return [(sequence, offset * 8, time_ms) for sequence, offset, time_ms in
            struct.iter_unpack('<IIQ', data)]
