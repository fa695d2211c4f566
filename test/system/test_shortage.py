"""Too little memory: the server refuses what it has no room for, goes on with
all else, loses nothing that it took, and is as before when there is room again.

OPQ_TORTURE=1 makes the short memory long.

SPDX-License-Identifier: MIT
"""

import collections
import contextlib
import os
import pathlib
import re
import resource
import threading
import time

import pytest
from harness import measures_memory, wait_until

TORTURE = os.environ.get('OPQ_TORTURE', '') not in ('', '0')
KIB = 1 << 10
MIB = 1 << 20
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
        self.start()

    def run(self):
        while not self.over.is_set():
            try:
                with self.opq.connect() as connection:
                    while not self.over.is_set():
                        self.push(connection)
            except (OSError, EOFError) as error:
                assert not isinstance(error, TimeoutError), 'it hangs'
                self.refused['cut'] += 1
                time.sleep(0.01)

    def push(self, connection):
        connection.send(self.head).send(self.body)
        answer = connection.read_response()
        if answer.status == 201:
            self.sequences.append(int(answer.headers['opq-seq']))
            return
        self.refused[answer.status] += 1
        time.sleep(0.01)
        if answer.headers.get('connection') == 'close':
            raise EOFError

    def stop(self):
        self.over.set()
        self.join()


def check(opq, receiver, loads):
    """All that was taken came, in order, and none is dead."""
    for topic, load in loads.items():
        assert load.sequences == list(range(len(load.sequences))), topic
        opq.wait_delivered(topic, len(load.sequences))
        came = receiver.sequences(topic)
        assert sorted(set(came)) == load.sequences, topic
        assert opq.topic(topic)['dead'] == 0
    print({topic: (len(load.sequences), dict(load.refused))
           for topic, load in loads.items()})


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
            for path in ('/metrics', '/opq/topics/middle/messages?limit=100'):
                with contextlib.suppress(OSError, EOFError):
                    opq.get(path)
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
