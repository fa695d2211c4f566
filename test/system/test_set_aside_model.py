"""Thousands of messages at targets that flip, across kills, restarts and other
settings: each is delivered, those of a key in order, and only what was in
flight at a kill comes twice.

OPQ_RANDOM_SEED makes it another one.

SPDX-License-Identifier: MIT
"""

import collections
import os
import random
import threading
import time

import pytest
from harness import Answer, wait_until
from test_set_aside import create, push_all

SEED = int(os.environ.get('OPQ_RANDOM_SEED', '3'))
MESSAGES = 4000
TARGETS = 4
STEPS = 8
CONCURRENCY = 16


class Flipping:
    """A script of a target that is well, or fails in one of some ways."""

    ways = (None, 'held', 'reset', 'some', 'down')

    def __init__(self, delivered):
        self.way = None
        self.delivered = delivered  # sequences of all targets, as they came
        self.lock = threading.Lock()

    def __call__(self, request):
        way = self.way
        if way == 'held':
            return Answer(429, headers={'Retry-After': '1'})
        if way == 'reset':
            return Answer(reset=True)
        if way == 'down' or (way == 'some' and request.sequence % 2):
            return Answer(503)
        with self.lock:
            self.delivered.append(request.sequence)
        return 200


class World:
    def __init__(self, opq, receivers, seed):
        self.opq = opq
        self.random = random.Random(seed)
        self.delivered = []
        self.scripts = [Flipping(self.delivered) for _ in range(TARGETS)]
        self.targets = [receivers(script) for script in self.scripts]
        self.keys = []
        self.kills = 0

    def push(self, count):
        """Half of them of one key, some of none; a key may be at many."""
        items = []
        for _ in range(count):
            key = self.random.choice(
                ['hot', f'k{self.random.randrange(200)}'])
            target = self.random.choice(self.targets)
            self.keys.append(key)
            items.append((target.url(), {'key': key}))
        push_all(self.opq, 't', items)

    def flip(self):
        for script in self.scripts:
            script.way = self.random.choice(Flipping.ways)

    def kill(self):
        self.kills += 1
        self.opq.kill()
        self.opq.start()

    def stop(self):
        self.opq.stop()
        self.opq.start()

    def restart(self):
        before = self.opq.log().count(' info restarted ')
        self.opq.signal(1)
        wait_until(lambda: self.opq.log().count(' info restarted ') > before)

    def change(self):
        create(self.opq, 't', paused=True)
        create(self.opq, 't', paused=False,
               endpoint_concurrency=self.random.choice([0, 1, 3]))

    def step(self):
        self.random.choice([self.flip, self.flip, self.kill, self.stop,
                            self.restart, self.change])()
        over = time.monotonic() + self.random.random() / 4
        wait_until(lambda: time.monotonic() > over)


@pytest.mark.parametrize('seed', [SEED, SEED + 1])
def test_targets_flip_and_servers_die(serve, receivers, seed):
    opq = serve('--retry-first=20ms', '--retry-max=100ms', '--drain=2s',
                '--shards=2')
    create(opq, 't', order='key', concurrency=CONCURRENCY,
           retry_schedule='20ms,100ms')
    world = World(opq, receivers, seed)
    world.flip()
    world.push(MESSAGES // 2)
    for number in range(STEPS):
        world.step()
        if number == STEPS // 2:
            world.push(MESSAGES // 2)
    for script in world.scripts:
        script.way = None
    opq.wait_delivered('t', MESSAGES, 60)
    times = collections.Counter(world.delivered)
    assert sorted(times) == list(range(MESSAGES))
    assert len(world.delivered) <= MESSAGES + CONCURRENCY * world.kills
    last = {}
    for sequence in dict.fromkeys(world.delivered):  # the first time each
        key = world.keys[sequence]
        assert last.get(key, -1) < sequence
        last[key] = sequence
