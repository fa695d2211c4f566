"""Nothing that was answered 201 is ever lost: kill -9, a cut file system, a
full disk, SIGTERM.

Load runs from a process of its own against a target in another (load.py).
What the target saw is compared with what was answered:

    every message answered 201 came, as what it was pushed;
    per topic each message followed the one before it, without gaps;
    a repeat only ever came first after a crash: by kill -9 at most the one
    message of a topic that was in flight, by a cut also what was delivered
    since the last commit.

OPQ_TORTURE=1 makes the rounds many.

SPDX-License-Identifier: MIT
"""

import contextlib
import os
import random
import re
import signal
import threading
import time

import pytest
from harness import PATIENCE_S, Answer, RawConnection, Server, wait_until
from load import Pusher, Sink
from mounts import mounted

TORTURE = os.environ.get('OPQ_TORTURE', '') not in ('', '0')
KILL_ROUNDS = 60 if TORTURE else 5
CUT_ROUNDS = 20 if TORTURE else 2
TOPICS = [f'crash{number}' for number in range(12)]

# Small files, so that all of a journal's life happens in a test.
SMALL = ['--journal-size=16m', '--journal-file-size=4m', '--batch-size-max=2m',
         '--disk-reserve=4m', '--segment-size=256k', '--drain=10s',
         '--retry-first=20ms', '--retry-max=100ms',
         '--checkpoint-interval=500ms']


def seeded(name):
    """A generator whose seed is printed when the test fails."""
    seed = os.environ.get('OPQ_SEED') or str(random.SystemRandom().randrange(
        1 << 32))
    print(f'OPQ_SEED={seed} ({name})')
    return random.Random(seed)


class Story:
    """What was answered and what came, over all rounds."""

    def __init__(self, sink):
        self.sink = sink
        self.words = {}  # of (topic, sequence): as answered 201
        self.ends = {}   # of a topic: one past the highest answered
        self.refused = {}
        self.lost = 0

    def take(self, result):
        for topic, sequence, word in result['taken']:
            key = (topic, sequence)
            assert key not in self.words, f'{key} was given twice'
            self.words[key] = word
            self.ends[topic] = max(self.ends.get(topic, 0), sequence + 1)
        for status, count in result['refused'].items():
            self.refused[status] = self.refused.get(status, 0) + count
        self.lost += result['lost']

    def wait_delivered(self, opq):
        for topic, end in self.ends.items():
            opq.wait_delivered(topic, end, 4 * PATIENCE_S)

    def check(self, repeats):
        """`repeats`: 'none', 'in flight' (one of a topic after each crash),
        or 'any' (from some place on, after each crash)."""
        came = self.sink.deliveries()
        missing = dict(self.words)
        seen = {}    # words of all that came, answered or not
        places = {}  # of a topic: (epoch, sequence) of its last delivery
        repeated = 0
        for epoch, topic, sequence, _, word, _ in came:
            key = (topic, sequence)
            assert seen.setdefault(key, word) == word, f'{key} has changed'
            assert self.words.get(key, word) == word, f'{key} is another'
            missing.pop(key, None)
            last_epoch, last = places.get(topic, (epoch, -1))
            places[topic] = (epoch, sequence)
            if sequence == last + 1:
                continue
            assert sequence <= last, f'{topic}: {last} to {sequence}: a gap'
            assert epoch > last_epoch, f'{key} came twice in one life'
            assert repeats != 'none', f'{key} came twice'
            if repeats == 'in flight':
                assert sequence == last, f'{topic}: {last}, again {sequence}'
            repeated += last - sequence + 1
        assert not missing, f'{len(missing)} lost: {list(missing)[:5]}'
        print(f'{len(self.words)} answered 201, {len(came)} deliveries, '
              f'{repeated} repeated, {self.lost} not answered, '
              f'refused: {self.refused}')
        assert self.words, 'nothing was at stake'


def load(opq, sink, name, **options):
    settings = {'connections': 24, 'size': 300}
    settings.update(options)
    return Pusher(opq.port, sink.url(), TOPICS, name, **settings)


def crash_at_random(rng, opq, sink, pusher, crash):
    """Crash when a random number of pushes or deliveries has happened."""
    if rng.random() < 0.5:
        wanted = rng.randrange(1, 4000)
        wait_until(lambda: pusher.count() >= wanted, 'enough pushes',
                   4 * PATIENCE_S)
    else:
        wanted = sink.count() + rng.randrange(1, 3000)
        wait_until(lambda: sink.count() >= wanted, 'enough deliveries',
                   4 * PATIENCE_S)
    assert opq.alive(), opq.explain()
    crash()
    wait_until(pusher.over, 'the pusher to see that the server went',
               2 * PATIENCE_S)
    return pusher.result()


@pytest.mark.parametrize('shards', [1, 2])
@pytest.mark.parametrize('sync', ['disk', 'none'])
def test_kill_9_loses_nothing_and_repeats_what_was_in_flight(
        serve, shards, sync):
    """sync=none survives the process, too: only a power cut may lose it."""
    rng = seeded('kill')
    rounds = KILL_ROUNDS if TORTURE or (shards, sync) == (2, 'disk') else 2
    sink = Sink()
    story = Story(sink)
    opq = serve(f'--shards={shards}', f'--sync={sync}', *SMALL)
    for number in range(rounds):
        pusher = load(opq, sink, f'k{number}')
        story.take(crash_at_random(rng, opq, sink, pusher, opq.kill))
        sink.mark()
        opq.start()
    story.wait_delivered(opq)
    assert opq.stop() == 0
    story.check('in flight')
    assert set(re.findall(r'quarantined=(\d+)', opq.log())) == {'0'}
    sink.close()


def test_kill_9_while_recovering_loses_nothing(serve):
    """A recovery that is itself killed is no different from the first."""
    rng = seeded('recovery')
    sink = Sink()
    story = Story(sink)
    opq = serve('--shards=2', *SMALL)
    for number in range(KILL_ROUNDS):
        pusher = load(opq, sink, f'r{number}')
        story.take(crash_at_random(rng, opq, sink, pusher, opq.kill))
        sink.mark()
        for _ in range(3):
            lines = opq.log().count('\n')
            opq.start(ready=False)
            # Somewhere between the first line of its log and the end.
            wanted = lines + rng.randrange(1, 6)
            wait_until(lambda: opq.log().count('\n') >= wanted
                       or opq.listening.is_set(), 'lines in the log')
            opq.kill()
            sink.mark()
        opq.start()
    story.wait_delivered(opq)
    assert opq.stop() == 0
    story.check('in flight')
    sink.close()


def test_kill_9_of_pushes_that_wait_for_a_dead_target(serve, receivers):
    """Nothing is delivered before the crash: all of it comes from disk."""
    receiver = receivers()
    receiver.script = lambda request: 503
    opq = serve('--shards=2', *SMALL)
    pusher = Pusher(opq.port, receiver.url(), TOPICS, 'd', limit=2000,
                    connections=24)
    wait_until(pusher.over, 'the end of the pushes')
    result = pusher.result()
    assert len(result['taken']) == 2000
    opq.kill()
    opq.start()
    receiver.script = lambda request: 200
    for topic in TOPICS:
        count = sum(name == topic for name, *_ in result['taken'])
        opq.wait_delivered(topic, count)
        order = list(dict.fromkeys(receiver.sequences(topic)))
        assert order == list(range(count))
    words = {(request.topic, request.sequence): request.body.split(b' ')[0]
             for request in receiver.requests}
    for topic, sequence, word in result['taken']:
        assert words[topic, sequence] == word.encode()


def no_file_system(why):
    """Skip, but not in the long form, which would show nothing then."""
    if TORTURE:
        pytest.fail(why)
    pytest.skip(why)


# --- the power goes ---------------------------------------------------------

@pytest.mark.parametrize('direct', ['yes', 'no'])
@pytest.mark.parametrize('kind', ['ext4', 'xfs'])
def test_cut_file_system_loses_nothing(tmp_path, kind, direct):
    rng = seeded('cut')
    with mounted(tmp_path, kind, 400) as system:
        if isinstance(system, str):
            no_file_system(system)
        sink = Sink()
        story = Story(sink)
        opq = Server(system.path / 'data', '--shards=2', f'--direct={direct}',
                     *SMALL)
        rounds = CUT_ROUNDS if TORTURE or direct == 'yes' else 1
        try:
            for number in range(rounds):
                opq.start()
                pusher = load(opq, sink, f'c{number}')

                def crash():
                    system.cut()
                    # What it does then is its own business, as long as it
                    # promises nothing more; it has to end, or be ended.
                    pusher.ask('count')
                    opq.kill()
                story.take(crash_at_random(rng, opq, sink, pusher, crash))
                sink.mark()
                system.umount()
                assert system.mount() is None
            opq.start()
            story.wait_delivered(opq)
            assert opq.stop() == 0, opq.explain()
        finally:
            if opq.alive():
                opq.kill()
        story.check('any')
        sink.close()


def test_server_that_lost_its_disk_promises_nothing_more(tmp_path):
    """After the cut no push is answered 201, and none hangs."""
    with mounted(tmp_path, 'ext4', 400) as system:
        if isinstance(system, str):
            no_file_system(system)
        opq = Server(system.path / 'data', '--shards=1', *SMALL)
        opq.start()
        try:
            url = 'http://127.0.0.1:9/'
            assert opq.push('disk', url).status == 201
            system.cut()
            statuses = set()
            for _ in range(5):
                try:
                    statuses.add(opq.push('disk', url).status)
                except OSError:
                    break  # it has ended itself
            assert statuses <= {500, 503, 507}, statuses
            if not opq.alive():
                assert opq.wait() == 74
        finally:
            if opq.alive():
                opq.kill()
        system.umount()
        assert system.mount() is None
        opq.start()
        assert opq.topic('disk')['end'] >= 1
        message = opq.get('/opq/topics/disk/messages/0')
        assert message.status == 200
        assert opq.stop() == 0


def test_disk_that_is_lost_below_a_mapped_file_ends_the_server(
        tmp_path, receivers):
    """A delivery moves the cursor in its mapped page: where XFS has shut
    down, the kernel refuses that with SIGBUS."""
    gate = threading.Event()
    receiver = receivers(lambda request: Answer(gate=gate))
    with mounted(tmp_path, 'xfs', 400) as system:
        if isinstance(system, str):
            no_file_system(system)
        opq = Server(system.path / 'data', '--shards=1', *SMALL)
        opq.start()
        try:
            assert opq.push('disk', receiver.url()).status == 201
            receiver.wait(1)
            os.sync()  # or the page is dirty, and may be written to
            system.cut()
            gate.set()
            assert opq.wait() == 74
        finally:
            if opq.alive():
                opq.kill()
        system.umount()
        assert system.mount() is None
        opq.start()
        opq.wait_delivered('disk', 1)
        assert set(receiver.sequences('disk')) == {0}
        assert opq.stop() == 0


# --- the disk is full -------------------------------------------------------

def push_until_refused(opq, topic, url, name, size):
    """Push until there is no room; return the words of those taken, and the
    last answer. 503 may pass by itself, unless it stays."""
    taken = []
    refused_s = None
    with RawConnection(opq.port) as connection:
        while True:
            word = f'{name}-{len(taken)}'
            body = f'{word} '.ljust(size, 'x')
            connection.send(
                f'POST /opq/push?topic={topic}&url={url} HTTP/1.1\r\n'
                f'Host: x\r\nContent-Length: {size}\r\n\r\n{body}')
            answer = connection.read_response()
            if answer.status == 201:
                taken.append(word)
                refused_s = None
                assert len(taken) * size < 1 << 30, 'it never became full'
                continue
            assert answer.headers['retry-after'] == '1'
            refused_s = refused_s or time.monotonic()
            if answer.status == 507:
                return taken, answer
            # The next file of the journal is not ready, which passes.
            assert answer.status == 503, answer
            assert time.monotonic() - refused_s < PATIENCE_S, answer


@pytest.mark.parametrize('kind, size_mib', [('ext4', 96), ('xfs', 320)])
@pytest.mark.parametrize('reserve', ['4m', '0'])
def test_full_disk_refuses_pushes_and_goes_on_by_itself(
        tmp_path, receivers, kind, size_mib, reserve):
    """With a reserve pushes are refused before the disk is full; without one
    it really is full, of which nothing may go wrong either."""
    with mounted(tmp_path, kind, size_mib) as system:
        if isinstance(system, str):
            no_file_system(system)
        ballast = system.path / 'ballast'
        room = 60 << 20
        ballast.write_bytes(bytes(system.free() - room))
        receiver = receivers(lambda request: 503)
        opq = Server(system.path / 'data', '--shards=1', *SMALL,
                     f'--disk-reserve={reserve}')
        opq.start()
        try:
            taken, answer = push_until_refused(opq, 'full', receiver.url(),
                                               'a', 60000)
            assert answer.body == (b'InsufficientStorage: no room on '
                                   b'disk; try again when there is\n')
            wait_until(lambda: opq.get('/readyz').status == 503,
                       'unreadiness')
            # Deliveries, and the cursor, go on.
            receiver.script = lambda request: 200
            opq.wait_delivered('full', len(taken))

            ballast.unlink()
            wait_until(lambda: opq.push('full', receiver.url(),
                                        'room').status == 201,
                       'pushes taken again')
            wait_until(lambda: opq.get('/readyz').status == 200, 'readiness')
            end = opq.topic('full')['end']
            opq.wait_delivered('full', end)
            came = receiver.of_topic('full')
            order = list(dict.fromkeys(one.sequence for one in came))
            assert order == list(range(end))
            words = {one.sequence: one.body.split(b' ')[0].decode()
                     for one in came}
            assert [words[number] for number in range(len(taken))] == taken
            assert opq.stop() == 0, opq.explain()
            opq.start()
            assert opq.topic('full')['end'] == end
            assert opq.topic('full')['delivered'] == end
            assert opq.stop() == 0, opq.explain()
        finally:
            if opq.alive():
                opq.kill()


@pytest.mark.parametrize('reserve', ['4m', '0'])
def test_kill_9_on_a_full_disk_recovers(tmp_path, receivers, reserve):
    with mounted(tmp_path, 'ext4', 96) as system:
        if isinstance(system, str):
            no_file_system(system)
        ballast = system.path / 'ballast'
        ballast.write_bytes(bytes(system.free() - (60 << 20)))
        receiver = receivers(lambda request: 503)
        opq = Server(system.path / 'data', '--shards=1', *SMALL,
                     f'--disk-reserve={reserve}')
        opq.start()
        try:
            taken, _ = push_until_refused(opq, 'full', receiver.url(), 'a',
                                          60000)
            opq.kill()
            if reserve == '0':
                # Not a byte is left, whatever the server had set aside.
                fill = system.path / 'fill'
                with fill.open('wb', buffering=0) as file:
                    with contextlib.suppress(OSError):
                        while True:
                            file.write(bytes(4096))
            opq.start(ready=False)
            wait_until(opq.listening.is_set, 'a start on a full disk')
            assert opq.alive(), opq.explain()
            receiver.script = lambda request: 200
            wait_until(lambda: opq.get('/opq/topics/full').status == 200,
                       'the topic')
            opq.wait_delivered('full', len(taken))
            order = list(dict.fromkeys(receiver.sequences('full')))
            assert order == list(range(len(taken)))
            ballast.unlink()
            wait_until(lambda: opq.push('full', receiver.url(),
                                        'room').status == 201,
                       'pushes taken again')
            opq.wait_delivered('full', len(taken) + 1)
            assert opq.stop() == 0, opq.explain()
        finally:
            if opq.alive():
                opq.kill()


# --- stopping in order ------------------------------------------------------

@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_stop_under_load_loses_and_repeats_nothing(serve, number):
    rng = seeded('stop')
    sink = Sink()
    story = Story(sink)
    opq = serve('--shards=2', *SMALL)

    def stop():
        opq.signal(number)
        assert opq.wait() == 0, opq.explain()
    for turn in range(KILL_ROUNDS if TORTURE else 3):
        pusher = load(opq, sink, f's{turn}')
        story.take(crash_at_random(rng, opq, sink, pusher, stop))
        sink.mark()
        opq.start()
        # A stop in order leaves nothing to be read again.
        assert set(re.findall(r' records=(\d+)', opq.log())) == {'0'}
    story.wait_delivered(opq)
    assert opq.stop() == 0
    story.check('none')
    sink.close()


def test_stop_waits_for_what_is_in_flight(serve, receivers):
    gate = threading.Event()
    receiver = receivers(lambda request: Answer(gate=gate))
    opq = serve('--drain=20s')
    opq.push('slow', receiver.url(), 'first')
    opq.push('slow', receiver.url(), 'second')
    receiver.wait(1)
    opq.signal(signal.SIGTERM)
    wait_until(lambda: 'stopping' in opq.log(), 'the begin of the drain')
    assert opq.alive()
    gate.set()
    assert opq.wait() == 0
    assert receiver.sequences('slow') == [0]  # nothing new was begun
    opq.start()
    opq.wait_delivered('slow', 2)
    assert receiver.sequences('slow') == [0, 1]


def test_second_signal_ends_the_drain(serve, receivers):
    receiver = receivers(lambda request: Answer(hang=True))
    opq = serve('--drain=1h')
    opq.push('hang', receiver.url())
    receiver.wait(1)
    opq.signal(signal.SIGTERM)
    wait_until(lambda: ' stopping ' in opq.log(), 'the begin of the drain')
    assert opq.alive()
    opq.signal(signal.SIGTERM)
    assert opq.wait() == 0
    assert 'drain_hurried' in opq.log()


def test_drain_ends_by_its_time(serve, receivers):
    receiver = receivers(lambda request: Answer(hang=True))
    opq = serve('--drain=300ms')
    opq.push('hang', receiver.url())
    receiver.wait(1)
    assert opq.stop() == 0
    receiver.script = lambda request: 200
    opq.start()
    opq.wait_delivered('hang', 1)
    assert receiver.sequences('hang') == [0, 0]


# --- two processes ----------------------------------------------------------

def test_second_process_on_the_same_data_is_refused(serve, receiver,
                                                    tmp_path):
    opq = serve('--drain=2s')
    opq.push('mine', receiver.url())
    second = Server(tmp_path / 'data')
    second.start(ready=False)
    assert second.wait() == 69
    assert f'data directory {tmp_path}/data: another process has it' in \
        '\n'.join(second.output)
    opq.push('mine', receiver.url())
    opq.wait_delivered('mine', 2)
    opq.kill()
    second.start()  # what a killed process leaves is in nobody's way
    assert second.topic('mine')['end'] == 2
    assert second.stop() == 0


def test_stopped_server_can_start_with_another_number_of_shards(serve,
                                                                tmp_path):
    sink = Sink()
    story = Story(sink)
    opq = serve('--shards=1', *SMALL)
    for turn, shards in enumerate([1, 3, 2, 1]):
        if turn > 0:
            opq = serve(f'--shards={shards}', *SMALL)
        pusher = load(opq, sink, f'n{turn}', limit=600)
        wait_until(pusher.over, 'the end of the pushes')
        story.take(pusher.result())
        if turn % 2 == 0:
            story.wait_delivered(opq)
            assert opq.stop() == 0
        else:
            opq.kill()
        sink.mark()
        assert f'shards {shards}\n' in (
            tmp_path / 'data/meta').read_text()
    opq = serve('--shards=2', *SMALL)
    story.wait_delivered(opq)
    story.check('in flight')
    sink.close()
