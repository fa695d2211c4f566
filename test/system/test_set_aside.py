"""However many messages wait for one key, target or flow: the others go.

SPDX-License-Identifier: MIT
"""

import collections
import resource
import threading
import time

import pytest
from harness import wait_until

DEAD = 6000  # more than a delivery keeps parcels of (4,096)


def create(opq, topic, **settings):
    answer = opq.request('PUT', f'/opq/topics/{topic}', settings)
    assert answer.status in (200, 201), answer


def push_all(opq, topic, items):
    """Push (url, members) in batches."""
    for start in range(0, len(items), 500):
        answer = opq.request('POST', '/opq/batch', [
            {'topic': topic, 'url': url, 'message': str(start), **members}
            for url, members in items[start:start + 500]])
        assert answer.status == 201, answer


def push_keyed(opq, receiver, count, good_of=2):
    """Push messages of a dead key, but for one in `good_of`, from the first
    on, which is of one of seven that are not."""
    push_all(opq, 'keyed', [
        (receiver.url('/dead'), {'key': 'dead'}) if number % good_of else
        (receiver.url('/good'), {'key': f'k{number % 7}'})
        for number in range(count)])


def push_new(opq, receiver, sequence):
    """Push one more of a key that is not dead, and see it delivered."""
    opq.push_json('keyed', receiver.url('/good'), 'new', key='other')
    wait_until(lambda: sequence in receiver.script.delivered, 60)


def each_once(receiver, topic):
    """Whether no message came twice; those that failed apart."""
    return max(collections.Counter(receiver.sequences(topic)).values()) == 1


class Dead:
    """A script: one path fails until it is mended."""

    def __init__(self, path='/dead'):
        self.path = path
        self.mended = threading.Event()
        self.delivered = []

    def __call__(self, request):
        if request.path == self.path and not self.mended.is_set():
            return 503
        self.delivered.append(request.sequence)
        return 200


def in_order_of_path(requests, path):
    row = [request.sequence for request in requests if request.path == path]
    return row == sorted(row)


def test_a_dead_key_with_thousands_behind_it_stops_no_other(opq, receiver):
    dead = receiver.script = Dead()
    create(opq, 'keyed', order='key', concurrency=32, retry_schedule='200ms')
    push_keyed(opq, receiver, DEAD * 4 // 3, good_of=4)
    good = {number for number in range(DEAD * 4 // 3) if number % 4 == 0}
    wait_until(lambda: good <= set(dead.delivered), 60)
    assert len(dead.delivered) == len(good)
    behind = opq.get('/opq/topics/keyed/messages/7001').json()
    assert (behind['state'], behind['behind']) == ('waiting', 1)
    assert 'ordering key' in behind['because']
    assert opq.get('/opq/topics/keyed/messages/7000').json()['state'] == (
        'delivered')
    assert opq.topic('keyed')['lag'] == DEAD

    push_new(opq, receiver, DEAD * 4 // 3)
    dead.mended.set()
    opq.wait_delivered('keyed', DEAD * 4 // 3 + 1, 60)
    assert len(dead.delivered) == len(set(dead.delivered))
    last = [request.headers.get('opq-prev-seq')
            for request in receiver.requests if request.path == '/dead']
    assert last[-1] == str(DEAD * 4 // 3 - 2)
    assert in_order_of_path(receiver.requests, '/dead')


@pytest.mark.parametrize('how', ['stop', 'kill', 'restart'])
def test_nothing_delivered_comes_again_after(opq, receiver, how):
    """Each message between those of the dead key is a gap of its own: far more
    than a cursor has ranges."""
    dead = receiver.script = Dead()
    create(opq, 'keyed', order='key', concurrency=16, retry_schedule='200ms')
    push_keyed(opq, receiver, 4000)
    wait_until(lambda: len(set(dead.delivered)) == 2000, 60)
    pid = opq.pid
    if how == 'restart':
        opq.signal(1)
        wait_until(lambda: 'restarted' in opq.log() or
                   'handed_over' in opq.log())
    elif how == 'stop':
        opq.stop()
        opq.start()
    else:
        opq.kill()
        opq.start()
    assert (opq.pid == pid) == (how == 'restart')
    push_new(opq, receiver, 4000)
    assert len(dead.delivered) == len(set(dead.delivered)) == 2001
    dead.mended.set()
    opq.wait_delivered('keyed', 4001, 60)
    assert len(dead.delivered) == len(set(dead.delivered)) == 4001
    assert in_order_of_path(receiver.requests, '/dead')


def test_a_move_back_over_what_is_done_sends_all_of_it_once_more(
        opq, receiver):
    """And what was done before it hides nothing from a kill."""
    dead = receiver.script = Dead()
    create(opq, 'keyed', order='key', concurrency=16, retry_schedule='200ms')
    push_keyed(opq, receiver, 2000)
    wait_until(lambda: len(dead.delivered) == 1000, 60)
    answer = opq.request('POST', '/opq/replay', {
        'topic': 'keyed', 'cmd': '501'})
    assert answer.status == 201
    wait_until(lambda: len(dead.delivered) > 1100)
    opq.kill()
    opq.start()
    dead.mended.set()
    opq.wait_delivered('keyed', 2000, 60)
    times = collections.Counter(dead.delivered)
    assert all(times[number] == 1 for number in range(0, 501, 2))
    assert all(times[number] == 0 for number in range(1, 501, 2))
    assert all(times[number] == 1 for number in range(501, 2000, 2))
    assert all(times[number] >= 2 for number in range(502, 2000, 2))


@pytest.mark.parametrize('how', ['stop', 'kill'])
def test_what_found_no_room_on_disk_is_kept_later(serve, receiver, how):
    opq = serve('--retry-first=20ms', '--drain=2s',
                command=['env', '--ignore-signal=XFSZ'])
    _, hard = resource.prlimit(opq.pid, resource.RLIMIT_FSIZE)
    dead = receiver.script = Dead()
    create(opq, 'keyed', order='key', retry_schedule='50ms', paused=True)
    push_keyed(opq, receiver, 2000)
    create(opq, 'keyed', paused=False)
    resource.prlimit(opq.pid, resource.RLIMIT_FSIZE, (0, hard))
    wait_until(lambda: len(set(dead.delivered)) == 1000, 60)
    resource.prlimit(opq.pid, resource.RLIMIT_FSIZE, (hard, hard))
    if how == 'stop':
        opq.stop()
    else:
        over = time.monotonic() + 2  # it is tried again each second
        wait_until(lambda: time.monotonic() > over)
        opq.kill()
    opq.start()
    push_new(opq, receiver, 2000)
    assert len(dead.delivered) == len(set(dead.delivered)) == 1001


def test_a_dead_target_with_thousands_waiting_stops_no_other(
        opq, receiver, receivers):
    dead = Dead()
    other = receivers(dead)
    create(opq, 'mixed', order='none', concurrency=64)
    push_all(opq, 'mixed', [
        (other.url('/dead') if number % 2 else receiver.url(), {})
        for number in range(2 * DEAD)])
    receiver.wait(DEAD, 60)
    wait_until(lambda: opq.topic('mixed')['lag'] == DEAD)
    late = opq.get(f'/opq/topics/mixed/messages/{2 * DEAD - 1}').json()
    assert late['state'] == 'waiting'
    assert late['endpoint'] == other.url('')
    dead.mended.set()
    opq.wait_delivered('mixed', 2 * DEAD, 60)
    assert each_once(receiver, 'mixed')
    assert sorted(dead.delivered) == list(range(1, 2 * DEAD, 2))


def test_many_keys_with_one_dead_target_stop_no_other(
        opq, receiver, receivers):
    dead = Dead()
    other = receivers(dead)
    create(opq, 'keyed', order='key', concurrency=64)
    items = []
    for number in range(DEAD):  # two of each key there, then one elsewhere
        items.append((other.url('/dead'), {'key': f'k{number // 2}'}))
    for number in range(DEAD):
        items.append((receiver.url(), {'key': f'good{number % 50}'}))
    for number in range(0, DEAD // 2, 100):
        items.append((receiver.url('/after'), {'key': f'k{number}'}))
    push_all(opq, 'keyed', items)
    receiver.wait(DEAD, 60)
    assert not any(request.path == '/after' for request in receiver.requests)
    after = opq.get(f'/opq/topics/keyed/messages/{2 * DEAD + 1}').json()
    assert (after['state'], after['behind']) == ('waiting', 200)
    dead.mended.set()
    opq.wait_delivered('keyed', len(items), 60)
    assert each_once(receiver, 'keyed')
    assert sorted(dead.delivered) == list(range(DEAD))
    arrived = {sequence: at for at, sequence in enumerate(dead.delivered)}
    assert all(arrived[first] < arrived[first + 1]
               for first in range(0, DEAD, 2))


def test_a_slow_flow_with_thousands_waiting_stops_no_other(opq, receiver):
    create(opq, 'flows', order='none', concurrency=64, flow_rate='20/1s')
    push_all(opq, 'flows', [
        (receiver.url('/slow'), {'flow_key': 'slow'})
        for number in range(DEAD)])
    push_all(opq, 'flows', [
        (receiver.url('/quick'), {}) for number in range(500)])
    wait_until(lambda: sum(request.path == '/quick'
                           for request in receiver.requests) == 500, 30)
    assert len(receiver.requests) < 500 + DEAD / 2
    create(opq, 'flows', flow_rate='0')
    opq.wait_delivered('flows', DEAD + 500, 60)
    assert each_once(receiver, 'flows')


def test_what_is_aside_comes_back_beside_what_is_ready(opq, receiver):
    """With priorities much is ready at each moment: that holds nothing up."""
    create(opq, 'keyed', order='key', concurrency=2, paused=True)
    push_all(opq, 'keyed', [
        (receiver.url('/first'), {'key': 'one', 'priority': 9})
        for _ in range(200)])
    push_all(opq, 'keyed', [
        (receiver.url('/last'), {}) for _ in range(3000)])
    create(opq, 'keyed', paused=False)
    opq.wait_delivered('keyed', 3200, 60)
    paths = [request.path for request in receiver.requests]
    assert paths[:1000].count('/first') == 200
    assert in_order_of_path(receiver.requests, '/first')
