"""Data as the first OPQ left it on disk, written from its description alone and
not with the reader that is tested: `topics/<topic>/` with `cmd`, `dlv`,
`<N>.msg`, `<N>.idx`.

SPDX-License-Identifier: MIT
"""

import random
import struct
import zlib

FILE_MESSAGES = 1000000
INDEX_EVERY = 4096


class Builder:
    """FlatBuffers, from the front: each offset points to what comes later."""

    def __init__(self):
        self.data = bytearray(4)
        self.holes = []  # (place of an offset, what it leads to)

    def align(self, size=4):
        self.data += bytes(-len(self.data) % size)

    def table(self, fields):
        """A table whose fields are all offsets; None is absent."""
        self.align(2)
        vtable = len(self.data)
        head = 4 + 2 * len(fields)
        self.data += bytes(head)
        self.align()
        place = len(self.data)
        self.data += struct.pack('<i', place - vtable)
        at = 4
        for index, field in enumerate(fields):
            if field is None:
                continue
            struct.pack_into('<H', self.data, vtable + 4 + 2 * index, at)
            self.holes.append((len(self.data), field))
            self.data += bytes(4)
            at += 4
        struct.pack_into('<HH', self.data, vtable, head, at)
        return place

    def string(self, text):
        data = text if isinstance(text, bytes) else text.encode()
        self.align()
        place = len(self.data)
        self.data += struct.pack('<I', len(data)) + data + b'\0'
        return place

    def vector(self, pairs):
        self.align()
        place = len(self.data)
        self.data += struct.pack('<I', len(pairs))
        for pair in pairs:
            self.holes.append((len(self.data), lambda p=pair: self.table(
                [lambda: self.string(p[0]), lambda: self.string(p[1])])))
            self.data += bytes(4)
        return place

    def finish(self, root):
        self.holes.append((0, root))
        while self.holes:
            hole, make = self.holes.pop(0)
            place = make()
            struct.pack_into('<I', self.data, hole, place - hole)
        return bytes(self.data)


def payload(url, fields, headers=(), shuffle=None):
    """A message: its fields with `url` and `topic`, in no particular order."""
    fields, headers = list(fields), list(headers)
    if shuffle is not None:
        random.Random(shuffle).shuffle(fields)
        random.Random(shuffle).shuffle(headers)
    builder = Builder()
    return builder.finish(lambda: builder.table(
        [lambda: builder.string(url), lambda: builder.vector(fields),
         lambda: builder.vector(headers)]))


def record(data):
    return struct.pack('<QI', len(data), zlib.crc32(data)) + data


def write_topic(folder, name, payloads, delivered=0, first=0,
                file_messages=FILE_MESSAGES):
    """Write a topic's folder; return [(file, offset, size)] of its records."""
    path = folder / 'topics' / name
    path.mkdir(parents=True)
    places = []
    for begin in range(0, len(payloads), file_messages):
        number = first + begin
        data, index, indexed = bytearray(), bytearray(), -INDEX_EVERY
        for relative, one in enumerate(
                payloads[begin:begin + file_messages]):
            if len(data) - indexed >= INDEX_EVERY:
                index += struct.pack('<II', relative, len(data))
                indexed = len(data)
            places.append((path / f'{number}.msg', len(data),
                           len(one) + 12))
            data += record(one)
        (path / f'{number}.msg').write_bytes(data)
        (path / f'{number}.idx').write_bytes(index)
    (path / 'cmd').write_bytes(struct.pack('<Q', first + len(payloads)))
    (path / 'dlv').write_bytes(struct.pack('<Q', delivered))
    return places
