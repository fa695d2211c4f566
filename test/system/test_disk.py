"""A disk that fails while the server runs, as its users see it.

The writes fail since the process may not write to files any more
(RLIMIT_FSIZE), which needs no privilege and can be taken back. With root they
also run on a file system of their own that others fill.

SPDX-License-Identifier: MIT
"""

import contextlib
import json
import os
import resource
import threading

import mounts
import pytest
from harness import Answer, EventStream, Server, wait_until

# No room, or a disk that fails; or no file for the journal, when a write before
# has failed already.
REFUSED = (500, 503, 507)


@pytest.fixture
def failing(serve):
    """A server, and a function that lets its writes fail or go well."""
    opq = serve('--shards=2', '--retry-first=20ms', '--retry-max=50ms',
                '--drain=2s', command=['env', '--ignore-signal=XFSZ'])
    _, hard = resource.prlimit(opq.pid, resource.RLIMIT_FSIZE)

    def fail(yes):
        soft = 0 if yes else resource.RLIM_INFINITY
        resource.prlimit(opq.pid, resource.RLIMIT_FSIZE, (soft, hard))
    yield opq, fail
    fail(False)


def test_deletion_that_fails_leaves_the_topic_as_it_was(failing, receivers):
    opq, fail = failing
    target = receivers(lambda request: 500)
    for text in ('x', 'y'):
        opq.push_json('d', target.url(), text)
    target.wait(1)
    fail(True)
    answer = opq.request('DELETE', '/opq/topics/d')
    assert answer.status in REFUSED
    assert answer.json()['detail'].startswith('the topic could not be deleted')
    fail(False)
    target.script = lambda request: 200
    # It is delivered though nobody looks at it.
    wait_until(lambda: target.sequences('d')[-1:] == [1], 'both messages')
    opq.wait_delivered('d', 2)
    assert opq.topic('d')['end'] == 2
    wait_until(lambda: opq.push('d', target.url(), 'z').status == 201,
               'a push that is stored again')
    opq.wait_delivered('d', 3)
    assert opq.request('DELETE', '/opq/topics/d').status == 204
    assert opq.get('/opq/topics/d').status == 404


def test_deletion_that_fails_ends_no_delivery_twice(failing, receivers):
    opq, fail = failing
    go = threading.Event()
    target = receivers(lambda request: Answer(200, gate=go))
    opq.push_json('d', target.url(), 'x')
    target.wait(1)
    fail(True)
    assert opq.request('DELETE', '/opq/topics/d').status in REFUSED
    fail(False)
    go.set()
    opq.wait_delivered('d', 1)
    assert set(target.sequences('d')) == {0}
    assert opq.topic('d')['state'] == 'idle'


def test_what_is_refused_makes_no_topic(failing, receiver):
    opq, fail = failing
    url = receiver.url()

    def names():
        return [topic['name'] for topic in opq.get('/opq/topics').json()
                ['topics']]
    assert opq.push('a', 'nonsense').status == 400
    assert opq.request('POST', '/opq/push', {
        'topic': 'b', 'url': url, 'timeout': 'soon'}).status == 400
    assert opq.request('POST', '/opq/push', 'x' * (1 << 20) + 'x', {
        'Content-Type': 'text/plain', 'Opq-Topic': 'c',
        'Opq-Url': url}).status == 413
    assert opq.request('POST', '/opq/batch', [
        {'topic': 'd', 'url': url, 'sync': 'x'}]).status == 207
    fail(True)
    for name in ('e', 'f', 'g'):
        assert opq.push(name, url, 'x').status in REFUSED
        assert opq.request('PUT', f'/opq/topics/{name}-put', {
            'paused': True}).status in REFUSED
    answer = opq.request('POST', '/opq/batch', [
        {'topic': f'h{number}', 'url': url} for number in range(20)])
    assert answer.status == 207
    assert names() == []
    assert opq.get('/opq/info').json()['now']['topics'] == 0
    fail(False)

    def stored():
        return all(opq.push(name, url, 'x').status == 201
                   for name in ('e', 'h0', 'h1'))
    wait_until(stored, 'pushes that are stored again')
    assert names() == ['e', 'h0', 'h1']
    for name in names():
        opq.wait_delivered(name, opq.topic(name)['end'])
        assert receiver.sequences(name)[0] == 0


def test_push_that_is_waited_for_lives_through_the_refusal(failing, receiver):
    """Someone polls a topic that a refused push had made."""
    opq, fail = failing
    fail(True)
    assert opq.push('w', receiver.url(), 'x').status in REFUSED
    assert opq.get('/opq/topics/w/messages?wait=1s').status == 404
    fail(False)
    assert wait_until(lambda: opq.push('w', receiver.url(), 'x').status == 201)
    assert opq.get('/opq/topics/w/messages?wait=1s').status == 200


def test_topics_that_were_refused_take_no_place(serve, receiver):
    opq = serve('--shards=1', '--topics-max=2', '--drain=2s',
                command=['env', '--ignore-signal=XFSZ'])
    soft, hard = resource.prlimit(opq.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(opq.pid, resource.RLIMIT_FSIZE, (0, hard))
    for number in range(5):
        assert opq.push(f'x{number}', receiver.url()).status in REFUSED
    resource.prlimit(opq.pid, resource.RLIMIT_FSIZE, (soft, hard))
    wait_until(lambda: opq.push('a', receiver.url()).status == 201)
    assert opq.push('b', receiver.url()).status == 201
    answer = opq.push('c', receiver.url())
    assert answer.status == 503
    assert answer.headers['retry-after'] == '1'
    assert opq.push('d', receiver.url()).status == 503
    assert opq.log().count('topics_max_reached') == 1


def test_readiness_comes_back_though_nobody_pushes(serve, receiver):
    opq = serve('--shards=1', '--checkpoint-interval=100ms', '--drain=2s',
                command=['env', '--ignore-signal=XFSZ'])
    soft, hard = resource.prlimit(opq.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(opq.pid, resource.RLIMIT_FSIZE, (0, hard))

    def unready():
        opq.push('a', receiver.url())
        return opq.get('/readyz').status == 503
    wait_until(unready, 'the word that nothing can be written')
    assert 'disk is full' in opq.get('/readyz').json()['detail']
    resource.prlimit(opq.pid, resource.RLIMIT_FSIZE, (soft, hard))
    wait_until(lambda: opq.get('/readyz').status == 200, 'readiness')
    assert opq.push('a', receiver.url()).status == 201


def test_dead_letter_that_finds_no_room_says_so(failing, receivers):
    opq, fail = failing
    go = threading.Event()
    target = receivers(lambda request: Answer(500, gate=go))
    for number in range(4):
        opq.push_json(f'd{number}', target.url(), 'x', retries=0)
    target.wait(4)
    fail(True)
    go.set()

    def because(number):
        return opq.get(f'/opq/topics/d{number}/messages/0').json()['because']
    for number in range(4):
        wait_until(lambda number=number: 'full' in because(number) or
                   'busy' in because(number), 'the word that it is the disk')
        assert 'which failed (' in because(number)
        assert 'tried again' in because(number)
    wait_until(lambda: any('the disk is full' in because(number)
                           for number in range(4)))
    fail(False)
    wait_until(lambda: len(opq.get('/opq/dlq').json()['letters']) == 4)
    assert [opq.topic(f'd{number}')['lag'] for number in range(4)] == [0] * 4


def test_replay_whose_change_fails_stays_as_it_was(failing, receiver):
    opq, fail = failing
    for number in range(100):
        opq.push_json('t', receiver.url(), str(number))
    opq.wait_delivered('t', 100)
    answer = opq.request('POST', '/opq/replays?topic=t&from=0&rate=10/1s')
    assert answer.status == 201, answer
    one = f"/opq/replays/{answer.json()['id']}"
    fail(True)
    assert opq.request('POST', f'{one}/pause').status in REFUSED
    assert opq.get(one).json()['state'] == 'running'
    assert opq.request('DELETE', one).status in REFUSED
    assert opq.get(one).json()['state'] == 'running'
    assert len(opq.get('/opq/replays').json()['replays']) == 1
    fail(False)
    wait_until(lambda: opq.get(one).json()['state'] == 'done')
    assert set(receiver.sequences('t')) == set(range(100))
    assert wait_until(
        lambda: opq.request('DELETE', one).status == 204, 'its deletion')
    assert opq.get(one).status == 404


# --- a disk that is full of what others wrote --------------------------------


def fill(folder, leave=0):
    """Write a file until there is no room but for `leave` bytes; returns its
    path."""
    path = folder / 'others'
    with open(path, 'ab', buffering=0) as file:
        for size in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while free_of(folder) > leave or not leave:
                    file.write(bytes(size))
    if not leave:
        assert free_of(folder) == 0
    return path


def free_of(folder):
    figures = os.statvfs(folder)
    return figures.f_bavail * figures.f_frsize


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own of 96 MiB."""
    with mounts.mounted(tmp_path, 'ext4', 96) as system:
        if isinstance(system, str):
            pytest.skip(system)
        yield system


@pytest.fixture
def on_small_disk(small_disk):
    server = Server(small_disk.path / 'data', '--shards=1',
                    '--journal-size=16m', '--journal-file-size=4m',
                    '--memory=4m', '--batch-size-max=2m',
                    '--segment-size=1m', '--disk-reserve=16m',
                    '--retry-first=20ms', '--retry-max=100ms',
                    '--checkpoint-interval=200ms')
    server.start()
    yield server
    if server.alive():
        server.stop()


def push_of(opq, topic, url, message):
    return opq.request('POST', '/opq/push', {
        'topic': topic, 'url': url, 'message': message})


def refused(opq, url):
    answer = opq.push('x', url)
    assert answer.status in (201, 507), answer
    return answer.status == 507


def wait_handed_on(opq, topic):
    """Wait for a topic that comes into being when its first message, which
    was delayed, is due; and for its delivery."""
    wait_until(lambda: opq.get(f'/opq/topics/{topic}').status == 200)
    opq.wait_delivered(topic, 1)


@pytest.mark.parametrize('leave', [0, 8 << 20])
def test_full_disk_refuses_pushes_and_delivers_all(on_small_disk, small_disk,
                                                   receivers, leave):
    """Pushes are refused, all that was accepted drains, and while there is a
    reserve its dead letters are stored, and what was delayed handed on; room
    returns, and pushes with it."""
    opq = on_small_disk
    go = threading.Event()
    target = receivers(lambda request: Answer(200, gate=go))
    bad = receivers(lambda request: Answer(404, gate=go))
    count = 200
    for number in range(count):
        opq.push_json('t', target.url(), f'{number} ' + 'x' * 5000)
    opq.push_json('d', bad.url(), 'dead', retries=0)
    opq.push_json('w', target.url(), 'later', delay='1s')
    with EventStream(opq, '/opq/events?types=disk.low,disk.ok') as events:
        others = fill(small_disk.path, leave)
        wait_until(lambda: refused(opq, target.url()), 'a push refused')
        low = json.loads(events.next()['data'])
        assert low['type'] == 'disk.low'
        assert low['data']['free'] < low['data']['reserve'] == 16 << 20
        assert opq.get('/readyz').status == 503
        assert opq.get('/opq/info').json()['now']['disk_low'] is True
        go.set()
        opq.wait_delivered('t', count)
        assert target.sequences('t') == list(range(count))
        if leave:
            wait_until(lambda: opq.topic('d')['dead'] == 1)
            assert opq.topic('d')['lag'] == 0
            wait_handed_on(opq, 'w')
        assert refused(opq, target.url())
        others.unlink()
        # Nobody pushes, and still it is found out.
        assert json.loads(events.next()['data'])['type'] == 'disk.ok'
    assert opq.get('/readyz').status == 200
    assert opq.push('x', target.url()).status == 201
    wait_until(lambda: opq.topic('d')['dead'] == 1)
    wait_handed_on(opq, 'w')
    end = opq.topic('x')['end']
    opq.wait_delivered('x', end)
    opq.kill()
    opq.start()
    assert opq.topic('t')['end'] == count
    assert opq.topic('t')['lag'] == 0
    assert opq.topic('x')['end'] == end


def journal_files(opq):
    return list((opq.data / 'journal').rglob('*.jnl'))


def test_reserve_is_not_spent_on_the_journal(on_small_disk, small_disk,
                                             receivers):
    """What is owed takes more of the journal than it has files for."""
    opq = on_small_disk
    go = threading.Event()
    bad = receivers(lambda request: Answer(404, gate=go))
    good = receivers()
    for number in range(60):
        opq.push_json('t', good.url(), 'x' * 35000)
        opq.wait_delivered('t', number + 1)
    count = 40
    for number in range(count):
        opq.push_json(f'd{number % 10}', bad.url(), 'x' * 35000, retries=0)
    assert len(journal_files(opq)) == 2
    fill(small_disk.path, 14 << 20)
    wait_until(lambda: refused(opq, good.url()), 'a push refused')
    go.set()
    wait_until(lambda: all(opq.topic(f'd{number}')['dead'] == count // 10
                           for number in range(10)), 'all dead letters')
    assert len(journal_files(opq)) == 2


def test_disk_is_looked_at_though_nobody_pushes(on_small_disk, small_disk):
    """Others fill it while the server has nothing to do; and when it starts
    so, it says so as well."""
    opq = on_small_disk

    def events():
        return EventStream(opq, '/opq/events?types=disk.low,disk.ok&from=0')
    with events() as stream:
        others = fill(small_disk.path, 8 << 20)
        assert json.loads(stream.next()['data'])['type'] == 'disk.low'
    assert opq.get('/readyz').status == 503
    assert opq.stop() == 0
    opq.start(ready=False)
    opq.listening.wait()
    with events() as stream:
        assert json.loads(stream.next()['data'])['type'] == 'disk.low'
        others.unlink()
        assert json.loads(stream.next()['data'])['type'] == 'disk.ok'
    assert opq.get('/readyz').status == 200


@pytest.mark.parametrize('moment', range(10))
def test_disk_fills_at_any_moment(on_small_disk, small_disk, receivers,
                                  moment):
    """What was answered with 201 is delivered, whenever the disk gets full."""
    opq = on_small_disk
    target = receivers()
    accepted = []
    others = None
    for number in range(200):
        if number == 20 * moment:
            others = fill(small_disk.path)
        if number == 20 * moment + 10:
            others.unlink()
        answer = push_of(opq, 't', target.url(), f'{number} ' + 'x' * 9000)
        assert answer.status in (201, 507), answer
        if answer.status == 201:
            accepted.append(number)
    wait_until(lambda: push_of(opq, 't', target.url(), 'last').status == 201)
    opq.wait_delivered('t', len(accepted) + 1)
    bodies = [one.body.decode().split()[0] for one in target.of_topic('t')]
    assert list(dict.fromkeys(bodies)) == [*map(str, accepted), 'last']
    opq.kill()
    opq.start()
    assert opq.topic('t')['end'] == len(accepted) + 1
