"""Pushers that must not notice a thing: connections that are kept for ever, in
a process of its own (load.py has the other kind, that a crash may cut).

    plain      one request at a time
    pipelined  several at once, each answered in its turn
    slow       a byte of head and body each 50 ms

SPDX-License-Identifier: MIT
"""

import collections
import gc
import json
import os
import select
import socket
import sys
import time

from load import Child, Tally, field

STEP_S = 0.05  # between two bytes of a slow sender
SIZE = 150


class Steady(Child):
    """Load. Messages are named <name>-<number>, the first word of a body."""

    file = __file__

    def __init__(self, port, url, topics, **options):
        settings = {'port': port, 'url': url, 'topics': topics,
                    'name': 'steady', 'plain': 224, 'pipelined': 24,
                    'depth': 8, 'slow': 8, 'gap_s': 0,
                    # By topic: fields in the place of that of the url; {n} is
                    # one of 16 numbers.
                    'fields': {},
                    # Only count what was answered: see `ends` of stop().
                    'tally': False}
        unknown = set(options) - set(settings)
        assert not unknown, unknown
        settings.update(options)
        super().__init__(json.dumps(settings))

    def count(self):
        """Requests answered so far."""
        return self.ask('count')

    def mark(self):
        """How long answers took since the last mark, but to slow senders, and
        what is longest begins anew:
        {count, p50_s, p99_s, p999_s, longest_s}, by tenths of milliseconds"""
        return self.ask('mark')

    def hold(self, yes):
        """Begin no push, or go on."""
        self.ask('hold' if yes else 'go')

    def stop(self):
        """Send what is begun, wait for all answers. Gives {taken: [[topic,
        sequence, word]], wrong: [what else came], longest_s: of an answer,
        longest_slow_s: of a slow sender's, after its last byte}; with `tally`
        ends: {topic: how many there are} instead of `taken`, with `gaps`:
        [topics of which numbers are missing], delayed: {topic: how many}"""
        result = self.ask('stop')
        self.close()
        return result


class Sender:
    """One connection."""

    def __init__(self, loop, depth, slow, number):
        self.loop = loop
        self.depth = depth
        self.slow = slow
        self.ahead = number % 8 if slow else 0  # eighths sent at once, first
        self.socket = socket.create_connection(
            ('127.0.0.1', loop.settings['port']))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = b''
        self.unsent = b''  # of the slow
        self.under_way = collections.deque()  # (topic, word, since when)
        self.due_s = 0     # to push the next

    def fill(self):
        """Have as many requests under way as may be."""
        if self.loop.stopping or self.loop.holding or self.unsent:
            return
        data = b''
        while len(self.under_way) < self.depth:
            data += self.loop.request(self)
        if self.slow:
            self.unsent = data
            for _ in range(self.ahead * len(data) // 8):
                self.drip(0)
            self.ahead = 0
        elif data:
            self.socket.sendall(data)

    def drip(self, now):
        """Send one byte more."""
        self.socket.sendall(self.unsent[:1])
        self.unsent = self.unsent[1:]
        if not self.unsent:
            topic, word, _ = self.under_way[0]
            self.under_way[0] = (topic, word, now)

    def receive(self, now):
        data = self.socket.recv(65536)
        if not data:
            raise EOFError('closed')
        self.pending += data
        while True:
            end = self.pending.find(b'\r\n\r\n')
            if end < 0:
                return
            head = self.pending[:end + 2]
            size = end + 4 + int(field(head, b'Content-Length'))
            if len(self.pending) < size:
                return
            self.pending = self.pending[size:]
            self.take(head, now)

    def take(self, head, now):
        topic, word, since = self.under_way.popleft()
        if head[9:12] != b'201' or field(head, b'Opq-Topic') != topic.encode():
            self.loop.wrong.append(f'{word}: {head!r}')
        else:
            self.loop.note(topic, word, head)
        if field(head, b'Connection') == b'close':
            self.loop.wrong.append(f'{word}: its connection is closed')
        kind = 'slow' if self.slow else 'plain'
        if self.unsent and self.slow:
            self.loop.wrong.append(f'{word}: answered before it was sent')
        self.loop.longest[kind] = max(self.loop.longest[kind], now - since)
        if not self.slow:
            self.loop.spans[int((now - since) * 10000)] += 1


class Loop:
    def __init__(self, settings):
        self.settings = settings
        self.epoll = select.epoll()
        self.epoll.register(0, select.EPOLLIN)
        self.number = 0
        self.taken = []
        self.wrong = []
        self.longest = {'plain': 0, 'slow': 0}
        # How many answers took so many tenths of a millisecond, since the last
        # mark: a list would take long to be sorted, with answers waiting.
        self.spans = collections.Counter()
        self.tally = Tally()
        self.delayed = collections.Counter()
        self.stopping = False
        self.holding = False
        self.senders = {}
        for kind, depth in (('plain', 1), ('pipelined', settings['depth']),
                            ('slow', 1)):
            for number in range(settings[kind]):
                one = Sender(self, depth, kind == 'slow', number)
                self.senders[one.socket.fileno()] = one
                self.epoll.register(one.socket, select.EPOLLIN)
        self.slow = [one for one in self.senders.values() if one.slow]

    def request(self, sender):
        topics = self.settings['topics']
        topic = topics[self.number % len(topics)]
        word = f'{self.settings["name"]}-{self.number}'
        self.number += 1
        sender.under_way.append((topic, word, time.monotonic()))
        body = f'{word} '.encode()
        if not sender.slow:
            body = body.ljust(SIZE, b'.')
        head = (f'POST /opq/push HTTP/1.1\r\nHost: opq\r\n'
                f'Content-Type: application/octet-stream\r\n'
                f'Opq-Topic: {topic}\r\n{self.fields(topic)}')
        if self.number % 3 == 0:
            return head.encode() + (b'Transfer-Encoding: chunked\r\n\r\n'
                                    b'%x\r\n%b\r\n0\r\n\r\n' %
                                    (len(body), body))
        return f'{head}Content-Length: {len(body)}\r\n\r\n'.encode() + body

    def fields(self, topic):
        given = self.settings['fields'].get(topic)
        if given is None:
            return f'Opq-Url: {self.settings["url"]}\r\n'
        return given.replace('{n}', str(self.number // 16 % 16))

    def note(self, topic, word, head):
        """A push was answered as it should be."""
        if field(head, b'Opq-Due') is not None:
            self.delayed[topic] += 1
            return
        sequence = int(field(head, b'Opq-Seq'))
        if not self.settings['tally']:
            self.taken.append([topic, sequence, word])
        elif not self.tally.add(topic, sequence):
            self.wrong.append(f'{word}: {topic} has {sequence} twice')

    def result(self):
        result = {'wrong': self.wrong, 'longest_s': self.longest['plain'],
                  'longest_slow_s': self.longest['slow']}
        if not self.settings['tally']:
            return {'taken': self.taken, **result}
        return {'ends': self.tally.next, 'delayed': self.delayed,
                'gaps': [name for name, ahead in self.tally.ahead.items()
                         if ahead], **result}

    def run(self):
        next_s = time.monotonic()
        while True:
            for number, _ in self.epoll.poll(STEP_S / 2):
                if number == 0:
                    if not self.command():
                        return
                elif number in self.senders:
                    self.event(self.senders[number])
            now = time.monotonic()
            if now >= next_s:
                next_s = now + STEP_S
                for one in list(self.senders.values()):
                    self.guard(one, self.step, one, now)
            if self.stopping and not any(
                    one.under_way for one in self.senders.values()):
                print(json.dumps(self.result()), flush=True)
                self.stopping = False
                return

    def step(self, one, now):
        while one.unsent:
            one.drip(now)
            if not self.stopping:  # else all the rest
                return
        if one.under_way:
            return
        if now >= one.due_s:
            one.fill()

    def event(self, one):
        now = time.monotonic()
        self.guard(one, one.receive, now)
        one.due_s = now + self.settings['gap_s']
        if not self.settings['gap_s']:
            self.guard(one, one.fill)

    def guard(self, one, do, *arguments):
        """A connection that breaks is what must not be."""
        try:
            do(*arguments)
        except (OSError, EOFError) as error:
            self.wrong.append(f'{list(one.under_way)}: {error!r}')
            del self.senders[one.socket.fileno()]
            one.socket.close()

    def measured(self):
        spans, self.spans = self.spans, collections.Counter()
        self.longest = {'plain': 0, 'slow': 0}
        count = sum(spans.values())

        def percentile(share):
            left = count * share
            for span in sorted(spans):
                left -= spans[span]
                if left <= 0:
                    return span / 10000
            return 0
        return {'count': count, 'p50_s': percentile(0.5),
                'p99_s': percentile(0.99), 'p999_s': percentile(0.999),
                'longest_s': percentile(1)}

    def command(self):
        line = os.read(0, 100)
        if line == b'count\n':
            print(len(self.taken) + self.tally.count, flush=True)
        elif line == b'mark\n':
            print(json.dumps(self.measured()), flush=True)
        elif line in (b'hold\n', b'go\n'):
            self.holding = line == b'hold\n'
            print('true', flush=True)
        self.stopping = self.stopping or line == b'stop\n'
        return bool(line)


if __name__ == '__main__':
    gc.disable()  # its stops would be taken for the server's
    Loop(json.loads(sys.argv[1])).run()
