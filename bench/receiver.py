#!/usr/bin/python3
"""A target that remembers when what came: in a process of its own.

    bench/receiver.py PORT DELAY_MS

Each POST is answered 200 after DELAY_MS. `GET /` gives all so far as JSON:
{"most": requests under way at once, "came": [[Unix seconds, body], ...]}, and
forgets them.

SPDX-License-Identifier: MIT
"""

import asyncio
import json
import sys
import time


class Receiver:
    """What came, over all connections."""

    def __init__(self, delay_s):
        self.delay_s = delay_s
        self.came = []
        self.now = self.most = 0

    def take(self, body):
        self.came.append((time.time(), body.decode('latin-1')))
        self.now += 1
        self.most = max(self.most, self.now)

    def report(self):
        text = json.dumps({'most': self.most, 'came': self.came})
        self.came, self.most = [], self.now
        return text.encode()


class Connection(asyncio.Protocol):
    """Requests one after the other, not pipelined."""

    def __init__(self, receiver):
        self.receiver = receiver
        self.data = b''
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data
        head, end, body = self.data.partition(b'\r\n\r\n')
        if not end:
            return
        size = 0
        for line in head.split(b'\r\n')[1:]:
            name, _, value = line.partition(b':')
            if name.lower() == b'content-length':
                size = int(value)
        if len(body) < size:
            return
        self.data = body[size:]
        if head.startswith(b'GET '):
            self.answer(self.receiver.report())
            return
        self.receiver.take(body[:size])
        if self.receiver.delay_s:
            asyncio.get_running_loop().call_later(self.receiver.delay_s,
                                                  self.done)
        else:
            self.done()

    def done(self):
        self.receiver.now -= 1
        self.answer(b'')

    def answer(self, body):
        self.transport.write(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s'
                             % (len(body), body))


async def main():
    port, delay_ms = map(int, sys.argv[1:])
    receiver = Receiver(delay_ms / 1000)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(receiver), '127.0.0.1', port, backlog=4096)
    await server.serve_forever()


if __name__ == '__main__':
    asyncio.run(main())
