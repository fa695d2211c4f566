"""A DNS server of few names, whose answers may change at any time.

SPDX-License-Identifier: MIT
"""

import socket
import struct
import threading

A, AAAA = 1, 28
NO_ERROR, SERVER_FAILED, NO_NAME = 0, 2, 3


class DnsServer:
    """`names` has a list of addresses for each name, or SERVER_FAILED; None:
    no answer comes at all. The others are no names. Nothing may be kept."""

    def __init__(self, **names):
        self.names = dict(names)
        self.asked = []  # names, as they came
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(('127.0.0.1', 0))
        self.address = f'127.0.0.1:{self.socket.getsockname()[1]}'
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def close(self):
        # A datagram of nothing ends it: closing does not wake the thread.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.sendto(b'', self.socket.getsockname())
        self.thread.join()
        self.socket.close()

    def _run(self):
        while True:
            query, sender = self.socket.recvfrom(4096)
            if not query:
                return
            answer = self._answer(query)
            if answer is not None:
                self.socket.sendto(answer, sender)

    def _answer(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        name = '.'.join(labels).lower()
        kind, = struct.unpack_from('>H', query, at + 1)
        self.asked.append(name)
        found = self.names.get(name, NO_NAME)
        if found is None:
            return None
        code = found if isinstance(found, int) else NO_ERROR
        records = b''
        count = 0
        for address in found if code == NO_ERROR else []:
            family = socket.AF_INET6 if ':' in address else socket.AF_INET
            if kind == (AAAA if family == socket.AF_INET6 else A):
                data = socket.inet_pton(family, address)
                records += struct.pack('>HHHIH', 0xc00c, kind, 1, 0,
                                       len(data)) + data
                count += 1
        # Response, recursion is available; the question goes back with it.
        return (query[:2] + struct.pack('>HHHHH', 0x8180 | code, 1, count, 0,
                                        0)
                + query[12:at + 5] + records)
