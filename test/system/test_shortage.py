"""Too little memory, too few descriptors: the server refuses what it has no
room for, goes on with all else, loses nothing that it took, and is as before
when there is room again.

OPQ_TORTURE=1 makes the short memory long.

SPDX-License-Identifier: MIT
"""

import collections
import contextlib
import http.client
import os
import pathlib
import re
import resource
import threading
import time

import pytest
from harness import Answer, measures_memory, wait_until

TORTURE = os.environ.get('OPQ_TORTURE', '') not in ('', '0')
KIB = 1 << 10
MIB = 1 << 20
# What is done besides while memory is short.
CALLS = [('GET', '/metrics', None),
         ('GET', '/opq/topics/middle/messages?limit=100', None),
         ('PUT', '/opq/topics/passing', {'retain_age': '7d'}),
         ('PUT', '/opq/topics/passing/subscriptions/s',
          {'url': 'http://127.0.0.1:9/'}),
         ('DELETE', '/opq/topics/passing', None)]
RETRIES = {'retries': 2, 'retry_schedule': '20ms'}


@pytest.fixture(params=['uring', 'epoll'])
def io(request):
    return request.param


class Load(threading.Thread):
    """Pushes of `size` bytes to one topic, one after the other; on a new
    connection when one was cut."""

    def __init__(self, opq, topic, url, size):
        super().__init__()
        self.opq = opq
        self.body = os.urandom(size)
        self.head = (f'POST /opq/push?topic={topic}&url={url} HTTP/1.1\r\n'
                     'Host: x\r\nContent-Type: text/plain\r\n'
                     f'Content-Length: {size}\r\n\r\n')
        self.over = threading.Event()
        self.sequences = []  # of what was answered 201
        self.refused = collections.Counter()
        # Requests without an answer: whether they were taken is not known.
        # By the number that was answered last before them.
        self.unknown = collections.Counter()
        self.start()

    def run(self):
        while not self.over.is_set():
            try:
                with self.opq.connect() as connection:
                    while not self.over.is_set() and self.push(connection):
                        pass
            except (OSError, EOFError) as error:
                assert not isinstance(error, TimeoutError), 'it hangs'
                last = self.sequences[-1] if self.sequences else -1
                self.unknown[last] += 1
                time.sleep(0.01)

    def push(self, connection):
        """Whether the connection is of use after it."""
        connection.send(self.head).send(self.body)
        answer = connection.read_response()
        if answer.status == 201:
            self.sequences.append(int(answer.headers['opq-seq']))
        else:
            self.refused[answer.status] += 1
            time.sleep(0.01)
        return answer.headers.get('connection') != 'close'

    def stop(self):
        self.over.set()
        self.join()


def check(opq, receiver, loads):
    """All that was taken came, and none is dead. A number that no answer
    told is that of a request whose connection was cut."""
    for topic, load in loads.items():
        print(topic, len(load.sequences), dict(load.refused),
              dict(load.unknown))
        end = opq.topic(topic)['end']
        told = [-1, *load.sequences]
        for last, following in zip(told, [*load.sequences, end]):
            untold = following - last - 1
            assert 0 <= untold <= load.unknown[last], (topic, last, following)
        opq.wait_delivered(topic, end)
        assert sorted(set(receiver.sequences(topic))) == list(range(end)), topic
        assert opq.topic(topic)['dead'] == 0


# --- memory -------------------------------------------------------------------

def limit_memory(opq, room):
    """So much more than it has now; None: no limit."""
    soft = resource.RLIM_INFINITY
    if room is not None:
        text = pathlib.Path(f'/proc/{opq.pid}/status').read_text()
        soft = room + KIB * int(
            re.search(r'VmSize:\s+(\d+)', text).group(1))
    resource.prlimit(opq.pid, resource.RLIMIT_AS,
                     (soft, resource.RLIM_INFINITY))


def ask_much(opq, count):
    """Connections, each with a half of a request of some size."""
    held = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            one = opq.connect()
            held.append(one)
            one.send('POST /opq/push?topic=half&url=http://127.0.0.1:9/ '
                     'HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n'
                     'Content-Length: 200000\r\n\r\n' + 'x' * 60_000)
    return held


@measures_memory
def test_memory_is_short(serve, receiver, io):
    """Again and again, with more and more room: whatever finds none first, a
    connection, a body, a page, a delivery, is refused and tried again."""
    opq = serve(f'--io={io}', '--shards=2', '--retry-first=20ms',
                '--retry-max=100ms', '--body-size-max=2m',
                '--checkpoint-interval=200ms',
                # A heap of each thread would be 64 MB of address space.
                environment={'MALLOC_ARENA_MAX': '1'})
    sizes = {'small': 100, 'middle': 20_000, 'large': 1_500_000,
             'other': 3_000}
    for topic in sizes:
        assert opq.request('PUT', f'/opq/topics/{topic}',
                           RETRIES).status == 201
    loads = {topic: Load(opq, topic, receiver.url(), size)
             for topic, size in sizes.items()}
    rooms = [0, 200 * KIB, 2 * MIB, 20 * MIB]
    for room in [room for room in rooms for _ in range(10 if TORTURE else 1)]:
        limit_memory(opq, room)
        held = ask_much(opq, 300)
        end = time.monotonic() + (2 if TORTURE else 0.5)
        while time.monotonic() < end:
            for method, path, body in CALLS:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    opq.request(method, path, body)
        limit_memory(opq, None)
        for one in held:
            one.close()
        assert opq.alive(), opq.explain()
        taken = {topic: len(load.sequences) for topic, load in loads.items()}
        for topic, load in loads.items():
            wait_until(lambda: len(load.sequences) > taken[topic] + 2,
                       f'pushes to {topic} after {room} bytes')
    for load in loads.values():
        load.stop()
    check(opq, receiver, loads)
    assert opq.get('/readyz').status == 200
    assert opq.stop() == 0, opq.explain()


# --- descriptors --------------------------------------------------------------

FILES = 200


def with_few_files(serve, io, *more):
    return serve(f'--io={io}', '--shards=2', '--retry-first=20ms',
                 '--retry-max=100ms', '--journal-size=64m', '--drain=2s',
                 '--journal-file-size=4m', '--batch-size-max=2m',
                 '--checkpoint-interval=300ms', *more,
                 command=['/bin/sh', '-c', f'ulimit -n {FILES}; exec "$@"',
                          'sh'])


def processor_s(opq):
    """Processor time that it has used."""
    text = pathlib.Path(f'/proc/{opq.pid}/stat').read_text()
    fields = text.rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def files_of(opq):
    return len(os.listdir(f'/proc/{opq.pid}/fd'))


def push_to_new_topics(opq, connection, url, names):
    """Each message is large, so that journal and segments need files. On a
    busy disk the journal's next one may be late; then it says so."""
    body = 'x' * 200_000

    def push(name):
        connection.send(f'POST /opq/push?topic={name}&url={url} HTTP/1.1\r\n'
                        'Host: x\r\nContent-Type: text/plain\r\n'
                        f'Content-Length: {len(body)}\r\n\r\n{body}')
        answer = connection.read_response()
        assert answer.status == 201 or (
            answer.status == 503 and answer.headers['retry-after']), answer
        return answer.status == 201

    for name in names:
        wait_until(lambda: push(name), f'room for {name}')


def test_clients_take_all_descriptors(serve, receiver, io):
    """They get as many as leaves the others some: journal, segments and
    deliveries go on; those past that are told so, or cut; nobody spins."""
    opq = with_few_files(serve, io)
    with opq.connect() as early, contextlib.ExitStack() as stack:
        push_to_new_topics(opq, early, receiver.url(), ['early'])
        crowd = [stack.enter_context(opq.connect())
                 for _ in range(2 * FILES)]
        push_to_new_topics(opq, early, receiver.url(),
                           [f'during{number}' for number in range(60)])
        for number in range(60):
            topic = f'during{number}'
            wait_until(lambda: receiver.sequences(topic) == [0],
                       'deliveries')
        told = 0
        for one in crowd:
            one.socket.settimeout(0.01)
            with contextlib.suppress(EOFError, OSError):
                assert one.read_response().status == 503
                told += 1
        assert files_of(opq) < FILES
        before_s = processor_s(opq)
        time.sleep(1)
        used_s = processor_s(opq) - before_s
        print(f'{told} were told, {files_of(opq)} descriptors, '
              f'{used_s:.2f} s of processor time in a second')
        assert used_s < 0.3 and told > 0
        lines = opq.log().splitlines()
        assert not [line for line in lines if ' error ' in line and
                    ' journal_out_of_files ' not in line], lines
        assert sum(' connections_refused ' in line for line in lines) in (1, 2)
    wait_until(lambda: files_of(opq) < FILES / 2, 'their end')
    assert opq.push_json('after', receiver.url())
    opq.wait_delivered('after', 1)
    opq.kill()
    opq.start()
    names = ['early', 'after', *(f'during{number}' for number in range(60))]
    assert {opq.topic(name)['end'] for name in names} == {1}


def test_targets_take_all_descriptors(serve, receivers, io):
    """They get their share, and what finds none waits; producers are served."""
    gate = threading.Event()
    receiver = receivers(lambda request: Answer(gate=gate), host='')
    opq = with_few_files(serve, io)
    count = FILES
    names = [f't{number}' for number in range(count)]
    for number, name in enumerate(names):
        assert opq.request('PUT', f'/opq/topics/{name}',
                           RETRIES).status == 201
        url = receiver.url().replace('127.0.0.1', f'127.1.0.{number + 1}')
        assert opq.push(name, url, 'x' * 10_000).status == 201
    seen = 0

    def stopped():
        nonlocal seen
        before, seen = seen, len(receiver.requests)
        time.sleep(0.3)
        return seen == before
    wait_until(stopped, 'an end of connections')
    assert 10 < len(receiver.requests) < count / 2
    before_s = processor_s(opq)
    time.sleep(1)
    assert processor_s(opq) - before_s < 0.5
    gate.set()
    for name in names:
        opq.wait_delivered(name, 1)
        assert opq.topic(name)['dead'] == 0
    assert {request.attempt for request in receiver.requests} == {1}
    assert len(receiver.requests) == count


def test_an_attempt_that_found_no_descriptor_is_none(serve, receiver, io):
    """However often it is made: nothing is dead of what the server lacks."""
    opq = with_few_files(serve, io)
    names = [f't{number}' for number in range(10)]
    with opq.connect() as connection:
        for name in names:
            assert opq.request('PUT', f'/opq/topics/{name}',
                               RETRIES).status == 201
        connection.send('GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n')
        assert connection.read_response().status == 200
        resource.prlimit(opq.pid, resource.RLIMIT_NOFILE, (3, FILES))
        for name in names:
            connection.send(
                f'POST /opq/push?topic={name}&url={receiver.url()} HTTP/1.1'
                '\r\nHost: x\r\nContent-Length: 1\r\n'
                'Content-Type: text/plain\r\n\r\nx')
            assert connection.read_response().status == 201
        wait_until(lambda: opq.log().count(' delivery_short ') >= 5,
                   'attempts')
        assert not receiver.requests
        resource.prlimit(opq.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
    for name in names:
        opq.wait_delivered(name, 1)
        assert opq.topic(name)['dead'] == 0
    assert {request.attempt for request in receiver.requests} == {1}
    assert ' message_dead ' not in opq.log()
