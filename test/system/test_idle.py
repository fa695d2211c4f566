"""What many topics cost while nothing happens in them: memory, wake-ups, and
the time of a start. What came of it stands in doc/performance.md.

OPQ_IDLE_TOPICS says how many topics, OPQ_IDLE_SECONDS for how long wake-ups are
counted.

SPDX-License-Identifier: MIT
"""

import os
import pathlib
import re
import time

import pytest
import sanitizer
from growth import memory_of
from harness import BINARY, SLOWNESS, wait_until
from load import Sink

TOPICS = int(os.environ.get('OPQ_IDLE_TOPICS', '10000'))
SECONDS = float(os.environ.get('OPQ_IDLE_SECONDS', '6'))
BATCH = 1000

# Bytes of memory for a topic: with holes where its message was, and after a
# start, when there are none.
AFTER_WORK_MAX = 4800
AFTER_START_MAX = 2900
WAKEUPS_MAX = 2  # a second, of all threads
START_S_MAX = 20 * SLOWNESS


def wakeups(opq):
    """By thread: how often it has waited for something."""
    counts = {}
    for task in pathlib.Path(f'/proc/{opq.pid}/task').iterdir():
        try:
            text = (task / 'status').read_text()
        except FileNotFoundError:
            continue  # a thread of io_uring's that has ended
        found = re.search(r'Name:\t(.*)(?s:.*)\n'
                          r'voluntary_ctxt_switches:\t(\d+)', text)
        counts[f'{found[1]} {task.name}'] = int(found[2])
    return counts


def count_wakeups(opq):
    """By thread: how often it woke up in SECONDS."""
    before = wakeups(opq)
    time.sleep(SECONDS)  # this is what is measured: time without an event
    after = wakeups(opq)
    return {name: count - before.get(name, 0) for name, count in after.items()
            if count != before.get(name, 0)}


def wait_at_rest(opq):
    """Until what was pushed is in segments and nothing is written any more."""
    def sums():
        return {name: value for name, value in (
            line.split(' ') for line in
            opq.get('/metrics').body.decode().splitlines() if line[0] != '#')
            if name.startswith(('opq_unflushed_bytes', 'opq_journal_bytes'))}
    wait_until(lambda: {float(value) for value in sums().values()} == {0},
               'rest')


def timed_start(opq):
    """Start; return seconds to readiness."""
    begun = time.monotonic()
    opq.start()
    return time.monotonic() - begun


@pytest.mark.skipif(sanitizer.kind_of(BINARY) is not None,
                    reason='sanitizers use memory, and threads, of their own')
def test_topics_at_rest_cost_little(serve):
    opq = serve('--checkpoint-interval=1s')
    sink = Sink()
    empty = memory_of(opq)

    def each():
        return (memory_of(opq) - empty) / TOPICS
    for first in range(0, TOPICS, BATCH):
        answer = opq.request('POST', '/opq/batch', [
            {'topic': f'idle{number}', 'url': sink.url(), 'message': 'x'}
            for number in range(first, min(first + BATCH, TOPICS))])
        assert answer.status == 201, answer
    wait_until(lambda: sink.count() == TOPICS, 'all deliveries')
    wait_at_rest(opq)
    after_work = each()
    woken = count_wakeups(opq)
    assert opq.stop() == 0
    start_s = timed_start(opq)
    after_start = each()
    opq.kill()
    killed_s = timed_start(opq)
    print(f'{TOPICS} topics at rest: {after_work:.0f} bytes each, '
          f'{after_start:.0f} after a start; an empty server '
          f'{empty >> 10} KiB, now {memory_of(opq) >> 10} KiB; '
          f'{sum(woken.values()) / SECONDS:.2f} wake-ups a second {woken}; '
          f'ready {start_s:.2f} s after a stop, {killed_s:.2f} s after kill -9')
    sink.close()
    assert after_work < AFTER_WORK_MAX
    assert after_start < AFTER_START_MAX
    assert sum(woken.values()) < WAKEUPS_MAX * SECONDS, woken
    assert max(start_s, killed_s) < START_S_MAX
