"""Bodies larger than `body_buffer`: through files, in constant memory.

SPDX-License-Identifier: MIT
"""

import hashlib
import http.client
import json
import os
import random
import select
import socket
import threading
import time

import pytest
from certificates import Authority
from harness import Server, measures_memory, run_cli, wait_until
from mounts import mounted

MIB = 1 << 20
LARGE = ['--body-size-max=256m', '--retry-first=20ms', '--retry-max=100ms',
         '--checkpoint-interval=200ms', '--disk-reserve=4m']
BACK_ENDS = ['epoll', 'uring']


def pieces(size, seed):
    """A body of `size` bytes, piece by piece; the same for the same seed."""
    generator = random.Random(seed)
    block = generator.randbytes(MIB)
    for number in range(0, size, MIB):
        yield (number.to_bytes(8, 'big') + block)[:min(MIB, size - number)]


def digest(size, seed):
    whole = hashlib.sha256()
    for piece in pieces(size, seed):
        whole.update(piece)
    return whole.hexdigest()


def body_of(size, seed):
    return b''.join(pieces(size, seed))


class Sink:
    """A target that keeps no bodies: their sizes and checksums alone."""

    def __init__(self, pace=0, status=200, tls=None):
        self.pace = pace  # seconds to wait after each 64 KiB
        self.status = status
        self.tls = tls
        self.came = []  # (sequence, size, sha256, whole)
        self.changed = threading.Condition()
        self.socket = socket.create_server(('127.0.0.1', 0), backlog=64)
        self.url = (f'http{"s" if tls else ""}://127.0.0.1:'
                    f'{self.socket.getsockname()[1]}/sink')
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                one, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(one,),
                             daemon=True).start()

    def _serve(self, one):
        try:
            if self.tls:
                one = self.tls.wrap_socket(one, server_side=True)
            file = one.makefile('rb')
            while self._request(one, file):
                pass
        except OSError:
            pass
        finally:
            one.close()

    def _request(self, one, file):
        line = file.readline()
        if not line:
            return False
        fields = http.client.parse_headers(file)
        left = int(fields['Content-Length'])
        size, whole = 0, hashlib.sha256()
        # At a pace, by size: how much a single read gives is the kernel's.
        read = file.read if self.pace else file.read1
        try:
            while left > 0:
                piece = read(min(left, 65536))
                if not piece:
                    break
                whole.update(piece)
                size += len(piece)
                left -= len(piece)
                if self.pace:
                    time.sleep(self.pace)
        except OSError:
            pass
        with self.changed:
            self.came.append((int(fields['Opq-Seq']), size,
                              whole.hexdigest(), left == 0))
            self.changed.notify_all()
        if left:
            return False
        one.sendall(b'HTTP/1.1 %d Because\r\nContent-Length: 0\r\n\r\n'
                    % self.status)
        return True

    def wait(self, count, patience_s=60):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.came) >= count,
                                         patience_s), self.came
            return list(self.came)

    def close(self):
        # Closed alone, it would go on to take the connection it waits for.
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


@pytest.fixture
def sink():
    one = Sink()
    yield one
    one.close()


def push(opq, topic, url, size, seed, chunked=False, headers=None):
    """A raw push, sent piece by piece; returns the answer."""
    connection = http.client.HTTPConnection('127.0.0.1', opq.port, timeout=120)
    fields = {'Opq-Topic': topic, 'Opq-Url': url,
              'Content-Type': 'application/x-large', **(headers or {})}
    if not chunked:
        fields['Content-Length'] = str(size)
    try:
        connection.request('POST', '/opq/push', pieces(size, seed), fields,
                           encode_chunked=chunked)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def files(opq, *folders):
    """Names of the bodies on disk."""
    found = []
    for folder in folders or ('blobs', 'topics'):
        path = opq.data / folder
        found += [str(one.relative_to(opq.data)) for one in path.rglob('*')
                  if one.parent.name == 'blobs' and one.is_file()]
    return sorted(found)


def memory_kib(opq, name):
    with open(f'/proc/{opq.pid}/status', encoding='ascii') as status:
        for line in status:
            if line.startswith(name + ':'):
                return int(line.split()[1])
    raise AssertionError(name)


def head_of(opq, topic, url, size, *more):
    return '\r\n'.join([
        'POST /opq/push HTTP/1.1', f'Host: 127.0.0.1:{opq.port}',
        f'Opq-Topic: {topic}', f'Opq-Url: {url}', 'Content-Type: x/y',
        f'Content-Length: {size}', *more, '', ''])


@pytest.mark.parametrize('io', BACK_ENDS)
@pytest.mark.parametrize('chunked', [False, True])
def test_large_body_is_delivered_as_it_was(serve, sink, io, chunked):
    opq = serve(*LARGE, f'--io={io}', '--shards=2')
    size = 64 * MIB + 12345
    # Two topics, of which each shard has one or a body is carried over.
    for number in range(3):
        status, body = push(opq, f'large{number}', sink.url, size, number,
                            chunked)
        assert (status, body) == (201, b'success')
    came = sink.wait(3)
    assert sorted(one[2] for one in came) == sorted(
        digest(size, number) for number in range(3))
    assert {one[1] for one in came} == {size}


@measures_memory
@pytest.mark.parametrize('io', BACK_ENDS)
def test_memory_stays_as_it_is_when_idle(serve, sink, io):
    opq = serve(*LARGE, f'--io={io}')
    push(opq, 'warm', sink.url, 2 * MIB, 0)
    sink.wait(1)
    with open(f'/proc/{opq.pid}/clear_refs', 'w', encoding='ascii') as refs:
        refs.write('5')  # VmHWM begins anew
    idle = memory_kib(opq, 'VmRSS')
    size = 64 * MIB
    threads = [threading.Thread(target=push, args=(
        opq, f'topic{number}', sink.url, size, number, number % 2 == 1))
        for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    came = sink.wait(5)[1:]
    assert sorted(one[2] for one in came) == sorted(
        digest(size, number) for number in range(4))
    assert memory_kib(opq, 'VmHWM') < idle + 16 * 1024


def test_tls_target_gets_a_large_body(serve, tmp_path):
    authority = Authority(tmp_path / 'ca')
    one = Sink(tls=authority.server('s', 'IP:127.0.0.1'))
    opq = serve(*LARGE, f'--ca-file={authority.file}')
    size = 20 * MIB + 1
    assert push(opq, 'tls', one.url, size, 5)[0] == 201
    assert one.wait(1)[0] == (0, size, digest(size, 5), True)
    one.close()


def test_small_bodies_stay_in_the_journal(serve, receiver):
    opq = serve(*LARGE)
    assert push(opq, 'small', receiver.url(), MIB, 1)[0] == 201
    assert receiver.wait(1)[0].body == body_of(MIB, 1)
    assert files(opq) == []
    assert opq.get('/opq/info').json()['limits']['body_buffer'] == MIB


def test_large_message_has_its_place_type_and_headers(serve, receiver):
    opq = serve(*LARGE)
    status, body = push(opq, 'fields', receiver.url('/a?b'), 2 * MIB, 1,
                        headers={'Opq-Forward-X-A': '1', 'Opq-Method': 'PUT',
                                 'Accept': 'application/json'})
    assert status == 201
    answer = json.loads(body)
    assert (answer['topic'], answer['seq']) == ('fields', 0)
    request = receiver.wait(1)[0]
    assert (request.method, request.target) == ('PUT', '/a?b')
    assert request.headers['content-type'] == 'application/x-large'
    assert request.headers['x-a'] == '1'
    assert request.headers['webhook-id'] == answer['id']
    assert request.headers['content-length'] == str(2 * MIB)
    assert request.body == body_of(2 * MIB, 1)
    opq.wait_delivered('fields', 1)
    shown = opq.get('/opq/topics/fields/messages/0').json()
    assert shown['body_omitted'] is True
    assert shown['body_size'] == 2 * MIB
    assert 'body' not in shown and 'body_base64' not in shown
    assert f'[{2 * MIB} bytes in a file]' in opq.run('message', 'fields',
                                                     '0').stdout
    listed = opq.get('/opq/topics/fields/messages').json()['messages'][0]
    assert listed['body_size'] == 2 * MIB


def test_kill_9_during_an_upload_leaves_nothing(serve, sink):
    opq = serve(*LARGE)
    with opq.connect() as connection:
        connection.send(head_of(opq, 'cut', sink.url, 64 * MIB))
        connection.send(body_of(8 * MIB, 1))
        wait_until(lambda: files(opq), 'a file')
        opq.kill()
    assert len(files(opq)) == 1
    opq.start()
    wait_until(lambda: files(opq) == [], 'its removal')
    assert opq.get('/opq/topics').json()['total'] == 0


@pytest.mark.parametrize('shards', [1, 3])
def test_kill_9_right_after_201_loses_nothing(serve, receivers, shards):
    """Before it is placed, and while its delivery is under way."""
    opq = serve(*LARGE, '--checkpoint-interval=1h', f'--shards={shards}')
    slow = Sink(pace=0.05)
    size = 8 * MIB
    for number in range(3):
        assert push(opq, f'kill{number}', slow.url, size, number)[0] == 201
    opq.kill()
    slow.close()
    opq.start()
    for number in range(3):
        opq.request('POST', f'/opq/topics/kill{number}/pause')
    names = files(opq)
    assert len(names) == 3 and all(name.startswith('topics/')
                                   for name in names)
    for number in range(3):
        opq.request('POST', f'/opq/topics/kill{number}/resume')
    # The target is gone: it is still waiting, and still whole.
    opq.stop()
    verified = run_cli('verify', str(opq.data))
    assert verified.returncode == 0, verified.stdout


@pytest.mark.parametrize('kind', ['ext4', 'xfs'])
def test_cut_file_system_loses_no_body(tmp_path, kind):
    """As when the power goes: before and after bodies are placed."""
    size = 2 * MIB + 77
    with mounted(tmp_path, kind, 600) as system:
        if isinstance(system, str):
            pytest.skip(system)
        opq = Server(system.path / 'data', '--shards=2', *LARGE,
                     '--journal-size=16m', '--journal-file-size=4m',
                     '--batch-size-max=2m', '--body-buffer=64k')
        taken = {}
        try:
            for number in range(4):
                opq.start()
                for seed in range(number * 10, number * 10 + 6):
                    topic = f'cut{seed % 3}'
                    status, answer = push(
                        opq, topic, 'http://127.0.0.1:9/', size, seed,
                        headers={'Accept': 'application/json'})
                    assert status == 201
                    taken[topic, json.loads(answer)['seq']] = seed
                with opq.connect() as connection:
                    connection.send(head_of(opq, 'half', 'http://a/', size))
                    connection.send(body_of(MIB, 1))
                    if number % 2 == 1:  # after a checkpoint, or before it
                        wait_until(lambda: len(files(opq, 'blobs')) == 1,
                                   'placing')
                    system.cut()
                    opq.kill()
                system.umount()
                assert system.mount() is None
            opq.start()
            verify_all(opq, taken, size)
            assert opq.stop() == 0, opq.explain()
        finally:
            if opq.alive():
                opq.kill()
            system.umount()
            assert system.mount() is None
        assert run_cli('verify', str(opq.data)).returncode == 0


def verify_all(opq, taken, size):
    """Each body is in its place, whole; and nothing else is there."""
    wait_until(lambda: files(opq, 'blobs') == [], 'placing')
    names = files(opq, 'topics')
    assert len(names) == len(taken)
    for name in names:
        _, topic, _, file = name.split('/')
        seed = taken[topic, int(file.split('-')[0])]
        content = (opq.data / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest(size, seed)


def test_retry_sends_the_whole_body_again(serve, sink):
    opq = serve(*LARGE)
    sink.status = 503
    size = 4 * MIB
    assert push(opq, 'again', sink.url, size, 7)[0] == 201
    sink.wait(2)
    opq.kill()
    sink.status = 200
    before = len(sink.wait(2))
    opq.start()
    came = sink.wait(before + 1)
    assert came[-1] == (0, size, digest(size, 7), True)
    opq.wait_delivered('again', 1)


def test_replay_purge_and_delete(serve, sink):
    opq = serve(*LARGE)
    for number in range(3):
        assert push(opq, 'life', sink.url, 3 * MIB, number)[0] == 201
    opq.wait_delivered('life', 3)
    wait_until(lambda: len(files(opq, 'topics')) == 3, 'placing')
    answer = opq.request('POST', '/opq/replay?topic=life&cmd=1')
    assert answer.status == 201
    came = sink.wait(5)
    assert [one[0] for one in came] == [0, 1, 2, 1, 2]
    assert came[3][2] == digest(3 * MIB, 1)
    opq.wait_delivered('life', 3)
    assert opq.request('POST',
                       '/opq/topics/life/purge?before=2').status == 200
    wait_until(lambda: len(files(opq)) == 1, 'the purge')
    assert files(opq)[0].startswith('topics/life/blobs/2-')
    assert opq.request('DELETE', '/opq/topics/life').status == 204
    wait_until(lambda: files(opq) == [] and not
               list(opq.data.glob('trash-*')), 'the deletion')


def test_push_that_its_shard_refuses_leaves_no_file(serve, sink):
    """Whether it was received by the topic's own shard, or carried over."""
    opq = serve(*LARGE, '--shards=3', '--topics-max=1')
    answers = [push(opq, f'many{number}', sink.url, 2 * MIB, number)[0]
               for number in range(12)]
    assert answers.count(201) == 3 and answers.count(503) == 9
    wait_until(lambda: len(files(opq)) == 3, 'their removal')


def test_retention_takes_bodies_along(serve, sink):
    opq = serve(*LARGE, '--segment-size=8m')
    opq.request('PUT', '/opq/topics/kept', {'retain_count': 1})
    for number in range(12):
        assert push(opq, 'kept', sink.url, 3 * MIB, number)[0] == 201
    opq.wait_delivered('kept', 12)

    def only_kept():
        oldest = opq.topic('kept')['oldest']
        names = files(opq)
        return (0 < len(names) <= 5 and
                len(names) == 12 - oldest and
                all(int(name.split('/')[-1].split('-')[0]) >= oldest
                    for name in files(opq, 'topics')))
    wait_until(only_kept, 'retention', 60)


@pytest.mark.parametrize('how', ['close', 'reset', 'slow'])
def test_body_that_never_ends_is_removed(serve, sink, how):
    opq = serve(*LARGE, '--body-timeout=300ms')
    with opq.connect() as connection:
        connection.send(head_of(opq, 'half', sink.url, 16 * MIB))
        connection.send(body_of(4 * MIB, 1))
        wait_until(lambda: files(opq), 'a file')
        if how == 'slow':
            assert connection.read_response().status == 408
        elif how == 'reset':
            connection.reset()
        else:
            connection.close()
        wait_until(lambda: files(opq) == [], 'its removal')
    assert opq.get('/opq/topics').json()['total'] == 0
    assert push(opq, 'half', sink.url, 2 * MIB, 1)[0] == 201


def test_refusals_come_before_the_body(serve, sink):
    opq = serve(*LARGE, '--shards=1')
    for head, status in [
            (head_of(opq, 'no/topic', sink.url, 8 * MIB), 400),
            (head_of(opq, 'a', 'ftp://x/', 8 * MIB), 400),
            (head_of(opq, 'nobody', '', 8 * MIB), 400),
            (head_of(opq, 'a', sink.url, 300 * MIB), 413)]:
        with opq.connect() as connection:
            head = head.replace('\r\n\r\n',
                                '\r\nExpect: 100-continue\r\n\r\n')
            answer = connection.send(head).read_response()
            assert answer.status == status, answer
            assert answer.headers['connection'] == 'close'
    with opq.connect() as connection:
        connection.send(head_of(opq, 'a', sink.url, 2 * MIB,
                                'Expect: 100-continue'))
        assert connection.read_response().status == 100
        connection.send(body_of(2 * MIB, 3))
        assert connection.read_response().status == 201
    assert sink.wait(1)[0][2] == digest(2 * MIB, 3)


def test_chunked_body_past_the_limit_is_refused_and_removed(serve, sink):
    opq = serve(*LARGE, '--body-size-max=4m')
    with opq.connect() as connection:
        head = head_of(opq, 'a', sink.url, 0).replace(
            'Content-Length: 0', 'Transfer-Encoding: chunked')
        connection.send(head)
        for _ in range(4):
            connection.send(b'100000\r\n' + bytes(MIB) + b'\r\n')
        wait_until(lambda: files(opq), 'a file')
        connection.send(b'1\r\n')
        assert connection.read_response().status == 413
    wait_until(lambda: files(opq) == [], 'its removal')
    assert opq.get('/opq/topics').json()['total'] == 0


def test_body_that_would_take_the_reserve_is_refused_at_once(serve, sink):
    room = os.statvfs('/tmp')
    free = room.f_bavail * room.f_frsize
    reserve = max(free - 64 * MIB, 0) >> 20
    opq = serve('--body-size-max=1g', f'--disk-reserve={reserve}m')
    with opq.connect() as connection:
        answer = connection.send(
            head_of(opq, 'a', sink.url, 1 << 30,
                    'Expect: 100-continue')).read_response()
    assert answer.status == 507
    assert files(opq) == []


def test_disk_that_fills_up_ends_an_upload(tmp_path, sink):
    """Of a body whose length nobody told."""
    with mounted(tmp_path, 'ext4', 120) as system:
        if isinstance(system, str):
            pytest.skip(system)
        opq = Server(system.path / 'data', '--shards=1', *LARGE,
                     '--journal-size=16m', '--journal-file-size=4m',
                     '--batch-size-max=2m').start()
        try:
            with opq.connect() as connection:
                connection.send(head_of(opq, 'a', sink.url, 0).replace(
                    'Content-Length: 0', 'Transfer-Encoding: chunked'))
                for _ in range(200):
                    connection.send(b'100000\r\n' + bytes(MIB) + b'\r\n')
                    if select.select([connection.socket], [], [], 0)[0]:
                        break
                assert connection.read_response().status == 507
            wait_until(lambda: files(opq) == [], 'its removal')
            wait_until(lambda: push(opq, 'a', sink.url, 2 * MIB, 1)[0] == 201,
                       'room again')
            assert sink.wait(1)[0][2] == digest(2 * MIB, 1)
            assert opq.stop() == 0, opq.explain()
        finally:
            if opq.alive():
                opq.kill()


@pytest.mark.parametrize('kind', ['application/json',
                                  'application/x-www-form-urlencoded',
                                  'multipart/form-data; boundary=x'])
def test_other_kinds_must_fit_into_memory(serve, kind):
    opq = serve(*LARGE)
    with opq.connect() as connection:
        answer = connection.send(
            f'POST /opq/push HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\n'
            f'Content-Length: {3 * MIB}\r\n\r\n').read_response()
    assert answer.status == 413
    assert 'batch_size_max' in answer.json()['detail']


def test_damaged_and_missing_bodies_are_skipped_and_told(serve, receivers):
    target = Sink()
    opq = serve(*LARGE)
    opq.request('PUT', '/opq/topics/bad', {'paused': True})
    size = 3 * MIB
    for number in range(4):
        assert push(opq, 'bad', target.url, size, number)[0] == 201
    wait_until(lambda: len(files(opq, 'topics')) == 4, 'placing')
    opq.stop()
    names = sorted(files(opq), key=lambda name: int(
        name.split('/')[-1].split('-')[0]))
    with open(opq.data / names[0], 'r+b') as body:
        body.seek(size - 5)
        body.write(b'\0wrong')
        body.truncate(size)
    (opq.data / names[1]).unlink()
    with open(opq.data / names[2], 'r+b') as body:
        body.truncate(size - 1)
    verified = run_cli('verify', str(opq.data), '--json')
    assert verified.returncode == 1
    assert json.loads(verified.stdout)['damaged'] == 3
    text = run_cli('verify', str(opq.data)).stdout
    assert text.count('body') == 3, text
    dumped = run_cli('dump', 'bad', '3', '--data', str(opq.data))
    assert json.loads(dumped.stdout)['body_size'] == size
    opq.start()
    opq.request('POST', '/opq/topics/bad/resume')
    opq.wait_delivered('bad', 4)
    # The first was cut before its end; the last one is whole.
    came = sorted(target.wait(2))
    assert [(one[0], one[3]) for one in came] == [(0, False), (3, True)]
    assert came[0][1] < size
    assert came[1][2] == digest(size, 3)
    assert '"quarantined":3' in opq.get('/opq/info').body.decode()
    assert opq.log().count('body_damaged') == 3
    target.close()


def test_target_that_takes_a_body_slowly_is_not_timed_out(serve):
    slow = Sink(pace=0.05)
    opq = serve(*LARGE, '--timeout=1s')
    size = 8 * MIB  # 128 times 64 KiB: over 6 s
    assert push(opq, 'slow', slow.url, size, 1)[0] == 201
    # More than it takes in a second is with the kernel at the end.
    opq.wait_delivered('slow', 1)
    assert slow.wait(1) == [(0, size, digest(size, 1), True)]
    assert opq.topic('slow')['since_start']['failed'] == 0
    slow.close()


def test_target_that_takes_nothing_is_timed_out(serve):
    """And its topic's other messages wait, as after any failure."""
    with socket.create_server(('127.0.0.1', 0)) as deaf:
        opq = serve(*LARGE, '--timeout=300ms')
        url = f'http://127.0.0.1:{deaf.getsockname()[1]}/'
        assert push(opq, 'deaf', url, 32 * MIB, 1)[0] == 201
        wait_until(lambda: opq.topic('deaf')['attempts'] >= 1, 'a failure')
        assert opq.topic('deaf')['last_error']['class'] == 'timeout'


def test_stop_in_the_middle_of_an_upload(serve, sink):
    opq = serve(*LARGE, '--drain=300ms')
    with opq.connect() as connection:
        connection.send(head_of(opq, 'stop', sink.url, 16 * MIB))
        connection.send(body_of(4 * MIB, 1))
        wait_until(lambda: files(opq), 'a file')
        assert opq.stop() == 0
    assert files(opq) == []
