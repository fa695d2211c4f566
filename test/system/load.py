"""Many pushes and many deliveries, as fast as Python can: processes of their
own, so that neither slows the other or the tests.

    Sink     answers 200 to everything, and remembers what came: topic,
             sequence, attempt and the body's first word
    Pusher   pushes raw messages on many connections, one in flight on each,
             until it is told to stop or the server has gone; remembers which
             were answered 201

Both are driven by lines on their standard input, one answer a line.

SPDX-License-Identifier: MIT
"""

import json
import os
import select
import socket
import subprocess
import sys
import time

PATIENCE_S = 120


class Child:
    """A process that answers each line with a line."""

    file = __file__  # the program

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, self.file, *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, *words):
        line = ' '.join(map(str, words)) + '\n'
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f'{words}: the helper ended'
        return json.loads(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait(PATIENCE_S)
        self.process.stdout.close()


class Sink(Child):
    """A target that remembers deliveries."""

    def __init__(self):
        super().__init__('sink')
        self.port = self.ask('port')

    def url(self, path='/sink'):
        return f'http://127.0.0.1:{self.port}{path}'

    def count(self):
        """Deliveries so far."""
        return self.ask('count')

    def mark(self):
        """Begin a new epoch, after all that has come until now."""
        return self.ask('mark')

    def deliveries(self):
        """[[epoch, topic, sequence, attempt, word, at_s]] as they came."""
        return self.ask('dump')


class Pusher(Child):
    """Load. Messages are named <name>-<number>, the first word of a body."""

    def __init__(self, port, url, topics, name, **options):
        settings = {'port': port, 'url': url, 'topics': topics, 'name': name,
                    'connections': 32, 'size': 200, 'sync': None, 'limit': 0}
        unknown = set(options) - set(settings)
        assert not unknown, unknown
        settings.update(options)
        super().__init__('push', json.dumps(settings))

    def count(self):
        """Pushes answered 201 so far."""
        return self.ask('count')

    def over(self):
        """Whether it has ended: by its limit, or since the server went."""
        return self.ask('over')

    def stop(self):
        """Wait for what is under way; see result()."""
        return self.ask('stop')

    def result(self):
        """{taken: [[topic, sequence, word]], refused: {status: count},
        lost: answers that never came, seconds: of the pushing}"""
        result = self.ask('result')
        self.close()
        return result


# --- in the processes -------------------------------------------------------

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'


def field(head, name):
    at = head.find(b'\r\n' + name + b': ')
    if at < 0:
        return None
    at += len(name) + 4
    return head[at:head.index(b'\r\n', at)]


def now_s():
    return time.monotonic()


class Tally:
    """Which numbers of each name have come, in memory that does not grow as
    long as few are missing."""

    def __init__(self):
        self.next = {}   # by name: all below have come
        self.ahead = {}  # and these above
        self.count = 0

    def add(self, name, number):
        """False when it was there."""
        at = self.next.setdefault(name, 0)
        ahead = self.ahead.setdefault(name, set())
        if number < at or number in ahead:
            return False
        ahead.add(number)
        while at in ahead:
            ahead.remove(at)
            at += 1
        self.next[name] = at
        self.count += 1
        return True


class Commands:
    """Lines of standard input, without waiting for a whole one."""

    def __init__(self, epoll):
        self.text = b''
        self.over = False
        epoll.register(0, select.EPOLLIN)

    def take(self):
        data = os.read(0, 65536)
        self.over = not data
        *lines, self.text = (self.text + data).split(b'\n')
        return [line.decode() for line in lines]


def say(value):
    sys.stdout.write(json.dumps(value) + '\n')
    sys.stdout.flush()


class SinkLoop:
    def __init__(self):
        self.listener = socket.create_server(('127.0.0.1', 0), backlog=4096)
        self.listener.setblocking(False)
        self.epoll = select.epoll()
        self.epoll.register(self.listener, select.EPOLLIN)
        self.commands = Commands(self.epoll)
        self.sockets = {}
        self.pending = {}
        self.came = []
        self.epoch = 0

    def run(self):
        while not self.commands.over:
            for number, _ in self.epoll.poll():
                if number == 0:
                    for line in self.commands.take():
                        self.command(line)
                else:
                    self.event(number)

    def event(self, number):
        if number == self.listener.fileno():
            self.accept()
        elif number in self.sockets:
            self.receive(number)

    def settle(self):
        """Take all that has come until now."""
        while True:
            events = [number for number, _ in self.epoll.poll(0)
                      if number != 0]
            if not events:
                return
            for number in events:
                self.event(number)

    def command(self, line):
        if line == 'port':
            say(self.listener.getsockname()[1])
        elif line == 'count':
            say(len(self.came))
        elif line == 'mark':
            self.settle()
            self.epoch += 1
            say(self.epoch)
        elif line == 'dump':
            self.settle()
            say(self.came)

    def accept(self):
        while True:
            try:
                one, _ = self.listener.accept()
            except BlockingIOError:
                return
            one.setblocking(False)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sockets[one.fileno()] = one
            self.epoll.register(one, select.EPOLLIN)

    def receive(self, number):
        one = self.sockets[number]
        try:
            data = one.recv(262144)
        except BlockingIOError:
            return
        except OSError:
            data = b''
        if not data:
            del self.sockets[number]
            self.pending.pop(number, None)
            one.close()
            return
        if number in self.pending:
            data = self.pending.pop(number) + data
        while data:
            end = data.find(b'\r\n\r\n')
            size = 0
            if end >= 0:
                size = end + 4 + int(field(data[:end + 2], b'Content-Length'))
            if end < 0 or len(data) < size:
                self.pending[number] = data
                return
            answer = self.take(data[:end + 2], data[end + 4:size])
            data = data[size:]
            try:
                one.sendall(answer)
                if not answer:
                    one.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it has gone; its end is read next

    def take(self, head, body):
        """Note a request, and give its answer; an empty one cuts it off."""
        self.came.append([self.epoch, field(head, b'Opq-Topic').decode(),
                          int(field(head, b'Opq-Seq')),
                          int(field(head, b'Opq-Attempt')),
                          body.split(b' ', 1)[0].decode(), now_s()])
        return ANSWER


class PushLoop:
    def __init__(self, settings):
        self.settings = settings
        self.epoll = select.epoll()
        self.commands = Commands(self.epoll)
        self.sockets = {}
        self.under_way = {}  # of a connection: (topic, word)
        self.pending = {}
        self.number = 0
        self.taken = []
        self.refused = {}
        self.lost = 0
        self.stopping = False
        self.stop_asked = False
        self.begun_s = now_s()
        self.ended_s = None

    def run(self):
        for _ in range(self.settings['connections']):
            try:
                one = socket.create_connection(
                    ('127.0.0.1', self.settings['port']))
            except OSError:
                break
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sockets[one.fileno()] = one
            self.epoll.register(one, select.EPOLLIN)
            self.push(one)
        self.look()
        while not self.commands.over:
            for number, _ in self.epoll.poll():
                if number == 0:
                    for line in self.commands.take():
                        self.command(line)
                elif number in self.sockets:
                    self.receive(number)
            self.look()

    def look(self):
        if not self.under_way and self.ended_s is None:
            self.ended_s = now_s()
        if self.stop_asked and not self.under_way:
            self.stop_asked = False
            say(len(self.taken))

    def command(self, line):
        if line == 'count':
            say(len(self.taken))
        elif line == 'over':
            say(not self.under_way)
        elif line == 'stop':
            self.stopping = True
            self.stop_asked = True
        elif line == 'result':
            say({'taken': self.taken, 'refused': self.refused,
                 'lost': self.lost,
                 'seconds': (self.ended_s or now_s()) - self.begun_s})

    def push(self, one):
        limit = self.settings['limit']
        if self.stopping or (limit and self.number >= limit):
            return
        topics = self.settings['topics']
        topic = topics[self.number % len(topics)]
        word = f'{self.settings["name"]}-{self.number}'
        self.number += 1
        body = (word + ' ').encode().ljust(self.settings['size'], b'.')
        sync = self.settings['sync']
        head = (f'POST /opq/push HTTP/1.1\r\nHost: opq\r\n'
                f'Content-Type: application/octet-stream\r\n'
                f'Opq-Topic: {topic}\r\nOpq-Url: {self.settings["url"]}\r\n'
                + (f'Opq-Sync: {sync}\r\n' if sync else '') +
                f'Content-Length: {len(body)}\r\n\r\n')
        self.under_way[one.fileno()] = (topic, word)
        try:
            one.sendall(head.encode() + body)
        except OSError:
            self.gone(one)

    def gone(self, one):
        number = one.fileno()
        self.lost += self.under_way.pop(number, None) is not None
        del self.sockets[number]
        self.epoll.unregister(number)
        one.close()

    def receive(self, number):
        one = self.sockets[number]
        try:
            data = one.recv(65536)
        except OSError:
            data = b''
        if not data:
            self.gone(one)
            return
        data = self.pending.pop(number, b'') + data
        end = data.find(b'\r\n\r\n')
        size = 0
        if end >= 0:
            size = end + 4 + int(field(data[:end + 2], b'Content-Length'))
        if end < 0 or len(data) < size:
            self.pending[number] = data
            return
        topic, word = self.under_way.pop(number)
        status = data[9:12].decode()
        if status == '201':
            assert field(data, b'Opq-Topic').decode() == topic
            self.taken.append([topic, int(field(data, b'Opq-Seq')), word])
        else:
            self.refused[status] = self.refused.get(status, 0) + 1
        if field(data[:end + 2], b'Connection') == b'close':
            self.gone(one)
        else:
            self.push(one)


def main():
    if sys.argv[1] == 'sink':
        SinkLoop().run()
    else:
        PushLoop(json.loads(sys.argv[2])).run()


if __name__ == '__main__':
    main()
