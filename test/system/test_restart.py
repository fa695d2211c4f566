"""SIGHUP: the server becomes its successor, and nobody notices.

Clients of every kind push all the while (steady.py): no request fails, no
connection is cut, every message is delivered once, in order. What cannot take
over does not, and the server goes on.

OPQ_TORTURE=1 makes the restarts many, and the backlog a million messages.

SPDX-License-Identifier: MIT
"""

import collections
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import threading
import time

import harness
import pytest
from growth import files_of, kinds_of_files, memory_of
from harness import (PATIENCE_S, SLOWNESS, Answer, EventStream, RawConnection,
                     Receiver, wait_until)
from load import Sink
from steady import Steady

TORTURE = os.environ.get('OPQ_TORTURE', '') not in ('', '0')
RESTARTS = 20
FEW = 20 if TORTURE else 4
BACKLOG = 1_000_000 if TORTURE else 20_000
TOPICS = [f'restart{number}' for number in range(12)]
# Aims for the longest pause of any request, on a machine that does nothing
# else: so long, and so many times the p99.9 of a quiet time before
# (doc/operations.md has figures). The load is on the same cores, in Python, and
# other tests may be at work: what is asserted leaves room for that.
PAUSE_AIM_S = 0.1
PAUSE_AIM_TIMES = 10
ROOM = 10 * SLOWNESS
QUIET_S = 60 if TORTURE else 2


@pytest.fixture
def sink():
    one = Sink()
    yield one
    one.close()


def restarts_of(opq):
    return opq.log().count(' restarted ')


def restart(opq):
    """Restart, and wait until it is over."""
    before = restarts_of(opq)
    opq.signal(signal.SIGHUP)
    wait_until(lambda: restarts_of(opq) > before or not opq.alive(),
               'a restart')
    assert opq.alive(), opq.explain()


def refused(opq):
    """Try to restart; return why it was not to be."""
    found = re.findall(r' restart_refused why=(.*)', opq.log())
    opq.signal(signal.SIGHUP)

    def look():
        return re.findall(r' restart_refused why=(.*)', opq.log())[len(found):]
    why = wait_until(look, 'a refusal')[0]
    assert opq.alive() and why.endswith('; going on'), why
    return why


def test_start_that_goes_on_for_another_process_says_so(serve):
    opq = serve('--shards=2')
    for _ in range(8):
        restart(opq)
        with EventStream(opq, '/opq/events?from=0') as events:
            started = json.loads(events.next()['data'])
        assert started['type'] == 'server.started'
        assert started['data']['smooth'] is True


def quiet_s(steady):
    """The p99.9 of answers while nothing else happens."""
    steady.mark()
    time.sleep(QUIET_S)
    return steady.mark()['p999_s']


def check(result, came, what, usual_s=None):
    """`came`: (topic, sequence, word) of each request at the target; `usual_s`:
    p99.9 of a quiet time."""
    longest_s = max(result['longest_s'], result['longest_slow_s'])
    print(f'{what}: {len(result["taken"])} requests, longest pause '
          f'{result["longest_s"] * 1000:.0f} ms, of slow senders '
          f'{result["longest_slow_s"] * 1000:.0f} ms; p99.9 of a quiet time: '
          + (f'{usual_s * 1000:.0f} ms' if usual_s else 'not measured'))
    assert not result['wrong'], result['wrong'][:10]
    words = {(topic, sequence): word
             for topic, sequence, word in result['taken']}
    assert len(words) == len(result['taken']), 'two have one number'
    assert {(topic, sequence): word for topic, sequence, word in came} == words
    assert len(came) == len(words), 'delivered twice'
    for name in {topic for topic, _, _ in came}:
        numbers = [sequence for topic, sequence, _ in came if topic == name]
        assert numbers == list(range(len(numbers))), f'{name}: out of order'
    assert longest_s < PAUSE_AIM_S * ROOM
    if usual_s:
        assert longest_s < max(PAUSE_AIM_TIMES * usual_s * 2,
                               PAUSE_AIM_S * ROOM / 2)


def wait_delivered(opq, result):
    ends = {}
    for topic, sequence, _ in result['taken']:
        ends[topic] = max(ends.get(topic, 0), sequence + 1)
    for topic, end in ends.items():
        opq.wait_delivered(topic, end, 4 * PATIENCE_S)


# --- under load -------------------------------------------------------------

@pytest.mark.parametrize('io, shards, count', [
    ('uring', 3, RESTARTS), ('epoll', 1, FEW), ('uring', 1, FEW),
    ('epoll', 3, FEW)])
def test_nobody_notices(serve, sink, io, shards, count):
    opq = serve(f'--io={io}', f'--shards={shards}')
    steady = Steady(opq.port, sink.url(), TOPICS)
    wait_until(lambda: steady.count() > 1000, 'load')
    usual_s = quiet_s(steady)
    for _ in range(count):
        seen = steady.count()
        restart(opq)
        wait_until(lambda: steady.count() > seen + 300, 'work')
    result = steady.stop()
    wait_delivered(opq, result)
    assert opq.alive()
    assert restarts_of(opq) == count
    deliveries = sink.deliveries()
    assert {attempt for _, _, _, attempt, _, _ in deliveries} == {1}
    check(result, [(topic, sequence, word) for _, topic, sequence, _, word, _
                   in deliveries], f'{io}, {shards} shards', usual_s)
    assert not re.search(r' (warn|error) ', opq.log()), opq.explain()


@pytest.mark.parametrize('io', ['uring', 'epoll'] if TORTURE else ['uring'])
def test_receiver_is_slow(serve, receivers, io):
    receiver = receivers(lambda request: Answer(delay_s=0.5))
    opq = serve(f'--io={io}', '--shards=3')
    steady = Steady(opq.port, receiver.url(), TOPICS[:8], plain=16,
                    pipelined=4, depth=2, slow=4, gap_s=0.4)
    for count in range(FEW):
        receiver.wait(8 * (count + 1))
        restart(opq)
    result = steady.stop()
    for topic in TOPICS[8:]:
        assert not receiver.of_topic(topic)
    # So many would take long: the rest is fast.
    receiver.script = lambda request: None
    wait_delivered(opq, result)
    check(result, [(request.topic, request.sequence,
                    request.body.split(b' ', 1)[0].decode())
                   for request in list(receiver.requests)], 'slow receiver')


@pytest.mark.parametrize('io', ['uring', 'epoll'] if TORTURE else ['epoll'])
def test_topic_has_a_backlog(serve, sink, receivers, io):
    gone = Receiver()
    gone.close()
    opq = serve(f'--io={io}', '--shards=3', '--retry-first=1h',
                '--retry-max=1h')
    lines = 1000
    for _ in range(BACKLOG // lines):
        answer = opq.request(
            'POST', '/opq/batch', [{'topic': 'backlog', 'url': gone.url(),
                                    'message': f'{number}'}
                                   for number in range(lines)])
        assert answer.status == 201, answer
    steady = Steady(opq.port, sink.url(), TOPICS, plain=64, pipelined=8,
                    slow=4)
    wait_until(lambda: steady.count() > 200, 'load')
    usual_s = quiet_s(steady)
    for _ in range(FEW):
        seen = steady.count()
        restart(opq)
        wait_until(lambda: steady.count() > seen + 200, 'work')
    result = steady.stop()
    wait_delivered(opq, result)
    check(result, [(topic, sequence, word) for _, topic, sequence, _, word, _
                   in sink.deliveries()], f'backlog of {BACKLOG}', usual_s)
    backlog = opq.topic('backlog')
    assert backlog['delivered'] == 0, backlog


def cost_of_restart(opq):
    """What one reads until it serves: (system calls, bytes)."""
    wait_until(lambda: opq.get('/opq/info').json()['now'][
        'journal_bytes'] == 0, 'rest')
    path = pathlib.Path(f'/proc/{opq.pid}/io')

    def read():
        fields = dict(line.split(': ')
                      for line in path.read_text().splitlines())
        return [int(fields[name]) for name in ('syscr', 'rchar')]
    before = read()
    restart(opq)
    return [after - one for after, one in zip(read(), before)]


def test_a_backlog_costs_a_restart_nothing(serve):
    """A topic is opened, not read: with 100,000 messages that wait as with
    1,000."""
    gone = Receiver()
    gone.close()
    opq = serve('--shards=2', '--retry-first=1h', '--retry-max=1h',
                '--checkpoint-interval=100ms')
    items = [{'topic': 'backlog', 'url': gone.url(), 'message': f'{number}'}
             for number in range(1000)]
    costs = []
    for count in (1, 99):
        for _ in range(count):
            assert opq.request('POST', '/opq/batch', items).status == 201
        costs.append(cost_of_restart(opq))
    (few_calls, few_bytes), (many_calls, many_bytes) = costs
    print(f'{few_calls} calls for {few_bytes} bytes; with a backlog '
          f'{many_calls} for {many_bytes}')
    assert many_calls < few_calls + 200
    assert max(few_bytes, many_bytes) < 4 << 20


def calls_of_restart(opq, out):
    """What a successor asks the system for until it serves: (calls, files of
    topics)."""
    wait_until(lambda: opq.get('/opq/info').json()['now'][
        'journal_bytes'] == 0, 'rest')
    restart(opq)

    def look():
        lines = out.read_text('utf-8', 'replace').splitlines()
        begin = max(number for number, line in enumerate(lines)
                    if re.match(rf'{opq.pid} +execve\(', line))
        until = [number for number, line in enumerate(lines)
                 if ' restarted clients=' in line and number > begin]
        return lines[begin:until[0]] if until else None
    lines = wait_until(look, 'the trace')
    return len(lines), sum('/topics/' in line for line in lines)


@pytest.mark.skipif(shutil.which('strace') is None, reason='needs strace')
def test_topics_at_rest_cost_a_restart_nothing(serve, receiver, tmp_path):
    """Their folders are not looked at, so that clients wait as long with many
    as with few. What calls there are read the list of topics, and have memory
    made for them."""
    out = tmp_path / 'trace'
    opq = serve('--shards=1', '--checkpoint-interval=100ms', command=[
        'strace', '-D', '-f', '-qq', '-s', '200', '-o', str(out)])
    costs = []
    for names in (range(20), range(20, 420)):
        items = [{'topic': f'many{name}', 'url': receiver.url(),
                  'message': 'one'} for name in names]
        answer = opq.request('POST', '/opq/batch', items)
        assert answer.status == 201, answer
        for name in names:
            opq.wait_delivered(f'many{name}', 1, 4 * PATIENCE_S)
        calls_of_restart(opq, out)  # once, for what is begun to rest
        costs.append(calls_of_restart(opq, out))
    (few_calls, few_files), (many_calls, many_files) = costs
    print(f'{few_calls} calls, {few_files} for files of 20 topics; with 400 '
          f'more {many_calls} and {many_files}')
    assert many_files == few_files == 0
    assert many_calls < few_calls + 100
    assert {f'many{name}' for name in range(420)} <= {
        topic['name'] for topic in opq.get(
            '/opq/topics?limit=1000').json()['topics']}
    opq.push('many7', receiver.url(), 'two')
    opq.wait_delivered('many7', 2)


# --- over many restarts ------------------------------------------------------

@harness.measures_memory
@pytest.mark.parametrize('io', ['uring', 'epoll'])
def test_nothing_grows(serve, sink, io):
    """Descriptors and memory are after 50 as after 5."""
    opq = serve(f'--io={io}', '--shards=2')
    files, memory = collections.Counter(), None
    clients = [opq.connect() for _ in range(16)]
    for number in range(50):
        for client in clients:
            client.send('GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n')
        restart(opq)
        assert {client.read_response().status for client in clients} == {200}
        opq.push_json('one', sink.url(), 'x' * 10000)
        opq.wait_delivered('one', number + 1)
        if number < 5:
            # A file of the journal may be in the making.
            files |= kinds_of_files(opq)
        if number == 4:
            memory = memory_of(opq)
    wait_until(lambda: kinds_of_files(opq) <= files, f'as many as {files}')
    print(f'{io}: {sum(files.values())} descriptors, {memory >> 10} KiB, '
          f'{memory_of(opq) >> 10} KiB after 45 more restarts')
    assert memory_of(opq) < memory + (4 << 20)
    assert sink.count() == 50
    for client in clients:
        client.close()


# --- what cannot take over --------------------------------------------------

@pytest.fixture
def program(tmp_path, monkeypatch):
    """A copy of the program, to be replaced."""
    path = tmp_path / 'opq'
    shutil.copy(harness.BINARY, path)
    monkeypatch.setattr(harness, 'BINARY', str(path))
    return path


def replace(path, content=None, mode=0o755):
    """Put another program there, as packages do; None: nothing."""
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_text(content)
        path.chmod(mode)


BROKEN = {
    'missing': ((None,), 'not found'),
    'not executable': (('#!/bin/sh\nexit 0\n', 0o644), ''),
    'no program': (('nonsense\n',), ''),
    'empty': (('',), ''),
    'refuses': (('#!/bin/sh\necho so >&2\necho it is >&2\nexit 1\n',),
                'exit code 1: it is'),
    'crashes': (('#!/bin/sh\nkill -SEGV $$\n',), 'exit code 139'),
    'says nothing': (('#!/bin/sh\nexit 0\n',), 'it does not say'),
    'hangs': (('#!/bin/sh\nexec sleep 100\n',), 'it did not end'),
    'talks for ever': (('#!/bin/sh\nexec yes >&2\n',), 'it did not end'),
    'hangs in silence': (('#!/bin/sh\nexec 2>&-\nexec sleep 100\n',),
                         'it did not end'),
}


def test_broken_program_is_refused(serve, program, receiver):
    good = program.read_bytes()
    opq = serve()
    with opq.connect() as client:
        client.send('GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n')
        assert client.read_response().status == 200
        files = files_of(opq)
        for kind, (what, why) in BROKEN.items():
            if kind in ('hangs', 'hangs in silence') and not TORTURE:
                continue  # for ten seconds; one that talks does so, too
            replace(program, *what)
            said = refused(opq)
            assert why in said and str(program) in said, (kind, said)
            client.send('GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n')
            assert client.read_response().status == 200, kind
            assert files_of(opq) == files, kind
        replace(program, '')
        program.write_bytes(good)
        restart(opq)
        client.send('GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n')
        assert client.read_response().status == 200
    assert opq.push('on', receiver.url()).status == 201
    receiver.wait(1)


@pytest.mark.parametrize('how', ['sleep 60', 'yes >&2'])
def test_stop_while_a_program_is_tried(serve, program, tmp_path, how):
    """Which hangs, or talks for ever: a stop does not wait for its end."""
    opq = serve()
    replace(program, f'#!/bin/sh\ntouch {tmp_path}/tried\nexec {how}\n')
    opq.signal(signal.SIGHUP)
    wait_until((tmp_path / 'tried').exists, 'the trial')
    begun = time.monotonic()
    assert opq.stop() == 0
    assert time.monotonic() - begun < 5 * SLOWNESS
    assert 'a signal came to stop' in opq.log()


def test_nobody_notices_what_is_refused(serve, program, sink):
    """The load of all kinds of clients goes on while programs are tried."""
    opq = serve('--shards=2')
    steady = Steady(opq.port, sink.url(), TOPICS)
    wait_until(lambda: steady.count() > 1000, 'load')
    usual_s = quiet_s(steady)
    for kind in ('missing', 'refuses', 'crashes', 'no program'):
        replace(program, *BROKEN[kind][0])
        refused(opq)
    result = steady.stop()
    wait_delivered(opq, result)
    assert restarts_of(opq) == 0
    check(result, [(topic, sequence, word) for _, topic, sequence, _, word, _
                   in sink.deliveries()], 'broken programs', usual_s)


def test_program_that_cannot_be_run_at_last(serve, program):
    """It passed, and is gone when it is to begin: back to the former one, of
    which nothing but its open file is left; the next one is found again."""
    good = program.read_bytes()
    opq = serve('--shards=2')
    with opq.connect() as client:
        client.send('GET /readyz HT')
        for _ in range(3):
            replace(program, '#!/bin/sh\nrm "$0"\n'
                    'echo "opq: ready to take over" >&2\n')
            restart(opq)
            assert not program.exists()
        program.write_bytes(good)
        program.chmod(0o755)
        restart(opq)
        client.send('TP/1.1\r\nHost: x\r\n\r\n')
        assert client.read_response().status == 200
    assert opq.log().count(' restart_failed ') == 3


TRIED = '''#!/bin/sh
touch {folder}/tried
while [ ! -e {folder}/go ]; do sleep 0.01; done
echo "opq: ready to take over" >&2
'''


def test_successor_that_cannot_begin_goes_back(serve, program, tmp_path):
    """Its port is taken by another at the last moment. The former program
    gets all of it again, and the port, which is free by then."""
    good = tmp_path / 'good'
    shutil.copy(program, good)
    settings = tmp_path / 'opq.conf'
    with socket.create_server(('127.0.0.1', 0)) as one, \
            socket.create_server(('127.0.0.1', 0)) as other:
        first, port = one.getsockname()[1], other.getsockname()[1]
    write_settings(settings, 'shards = 2', f'port = {first}')
    # Without --port of this harness, which would decide.
    opq = serve(command=['/bin/sh', '-c', 'exec "$1" "$4" "$5" --config '
                         f'{settings}', 'sh'])
    with opq.connect() as client:
        client.send('GET /readyz HT')
        write_settings(settings, 'shards = 2', f'port = {port}')
        replace(program, TRIED.format(folder=tmp_path))
        opq.signal(signal.SIGHUP)
        wait_until((tmp_path / 'tried').exists, 'the trial')
        with socket.create_server(('127.0.0.1', port)):
            good.rename(program)
            (tmp_path / 'go').touch()
            wait_until(lambda: ' restart_failed ' in opq.log(), 'the way back')
        wait_until(lambda: restarts_of(opq) == 1, 'the former program')
        client.send('TP/1.1\r\nHost: x\r\n\r\n')
        assert client.read_response().status == 200
        opq.port = port
        assert opq.get('/readyz').status == 200
        restart(opq)
        client.send('GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n')
        assert client.read_response().status == 200
    assert os.readlink(f'/proc/{opq.pid}/exe') == str(program)


def test_program_that_is_tried_inherits_nothing(serve, program, tmp_path):
    """Neither sockets nor files, nor signals that are blocked."""
    opq = serve('--shards=2')
    replace(program, '#!/bin/sh\ncd /proc/$$\n'
            f'ls -l fd > {tmp_path}/files\n'
            # Without a child: the shell blocks all signals while it makes one.
            'while read name value; do\n'
            '[ "$name" != SigBlk: ] || echo "blocked $value" >&2\n'
            'done < status\nexit 1\n')
    with opq.connect():
        assert 'blocked 0000000000000000' in refused(opq)
    files = re.findall(r'-> (.*)', (tmp_path / 'files').read_text())
    assert files and not [name for name in files if 'socket' in name
                          or 'anon' in name or str(opq.data) in name], files


def test_link_to_versions(serve, tmp_path, monkeypatch):
    """The link is what is started, and what a restart follows."""
    link = tmp_path / 'current'
    for name in ('one', 'two'):
        shutil.copy(harness.BINARY, tmp_path / name)
    link.symlink_to('one')
    monkeypatch.setattr(harness, 'BINARY', str(link))
    opq = serve()
    link.unlink()
    link.symlink_to('two')
    restart(opq)
    assert os.readlink(f'/proc/{opq.pid}/exe') == str(tmp_path / 'two')


# --- settings ---------------------------------------------------------------

def write_settings(path, *lines):
    path.write_text('\n'.join(lines) + '\n')


def test_settings_change(serve, tmp_path):
    settings = tmp_path / 'opq.conf'
    write_settings(settings, 'shards = 1')
    opq = serve('--config', str(settings))
    with opq.connect() as client:
        for shards in (3, 2, 1, 4):
            write_settings(settings, f'shards = {shards}')
            restart(opq)
            client.send('GET /opq/info HTTP/1.1\r\nHost: x\r\n\r\n')
            assert client.read_response().json()['shards'] == shards
            for _ in range(8):  # each listening socket is served
                assert opq.get('/readyz').status == 200
        write_settings(settings, 'shards = 2', 'shardz = 3')
        assert 'shardz' in refused(opq)
        client.send('GET /opq/info HTTP/1.1\r\nHost: x\r\n\r\n')
        assert client.read_response().json()['shards'] == 4


def listens(port, host='127.0.0.1'):
    try:
        socket.create_connection((host, port), PATIENCE_S).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize('shards', [1, 3])
def test_addresses_that_overlap(serve, tmp_path, shards):
    """One address, all of them, and back; one more, and one less. Clients of
    whichever are kept, and there is no moment in which nobody listens."""
    settings = tmp_path / 'opq.conf'
    with socket.create_server(('127.0.0.1', 0)) as one:
        port = one.getsockname()[1]

    def listen(*addresses):
        write_settings(settings, f'port = {port}', f'shards = {shards}',
                       'insecure_open = yes',
                       f'listen = {", ".join(addresses)}')
    listen('127.0.0.1')
    # Without --port of this harness, which would decide.
    opq = serve(command=['/bin/sh', '-c', 'exec "$1" "$4" "$5" --config '
                         f'{settings}', 'sh'])
    refusals, over = [], threading.Event()

    def knock():
        while not over.is_set():
            try:
                with RawConnection(port) as client:
                    client.send('GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n')
                    client.read_response()
            except (OSError, EOFError, AssertionError) as error:
                refusals.append(error)
    knocking = threading.Thread(target=knock)
    knocking.start()
    try:
        with opq.connect() as client:
            for addresses, reached in [
                    (('0.0.0.0',), {'127.0.0.1', '127.0.0.2'}),
                    (('127.0.0.1',), {'127.0.0.1'}),
                    (('127.0.0.1', '127.0.0.2'), {'127.0.0.1', '127.0.0.2'}),
                    (('0.0.0.0', '::1'), {'127.0.0.1', '127.0.0.2'}),
                    (('127.0.0.1', '::'), {'127.0.0.1'}),
                    (('127.0.0.1', '::1'), {'127.0.0.1'})]:
                listen(*addresses)
                restart(opq)
                for host in ('127.0.0.1', '127.0.0.2'):
                    assert listens(port, host) == (host in reached), addresses
                client.send('GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n')
                assert client.read_response().status == 200
            # Both at once cannot be had at a start, so not here either.
            listen('127.0.0.1', '0.0.0.0')
            assert 'in use' in refused(opq)
            # Another has one of all addresses.
            with socket.create_server(('127.0.0.3', port)):
                listen('0.0.0.0')
                assert 'in use' in refused(opq)
            assert opq.get('/readyz').status == 200
    finally:
        over.set()
        knocking.join()
    assert not refusals, refusals


def test_a_unix_socket_that_cannot_be_had_is_refused(serve, tmp_path):
    """The old program goes on; one with blanks in its path comes, stays, and
    goes again."""
    settings = tmp_path / 'opq.conf'
    write_settings(settings)
    opq = serve(f'--config={settings}')
    stale = tmp_path / 'stale'
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(stale))
    with opq.connect() as client:
        client.send('GET /readyz HT')
        for path in (tmp_path / ('x' * 200), tmp_path / 'nowhere/sock',
                     settings, tmp_path):
            write_settings(settings, f'unix = {path}')
            assert f'cannot listen on unix:{path}' in refused(opq)
        for path in (tmp_path / 'a b', stale):
            write_settings(settings, f'unix = {path}')
            for _ in range(2):
                restart(opq)
                with socket.socket(socket.AF_UNIX) as one:
                    one.connect(str(path))
        client.send('TP/1.1\r\nHost: x\r\n\r\n')
        assert client.read_response().status == 200


def test_port_changes(serve, tmp_path):
    """The old one is closed, clients of it are kept; one in use is refused."""
    settings = tmp_path / 'opq.conf'
    some = [socket.create_server(('127.0.0.1', 0)) for _ in range(3)]
    first, second, taken = (one.getsockname()[1] for one in some)
    some[0].close()
    some[1].close()
    write_settings(settings, f'port = {first}')
    # Without --port of this harness, which would decide.
    opq = serve(command=['/bin/sh', '-c', 'exec "$1" "$4" "$5" --config '
                         f'{settings}', 'sh'])
    with some[2], opq.connect() as client:
        assert opq.port == first
        write_settings(settings, f'port = {taken}')
        assert 'in use' in refused(opq)
        assert opq.get('/readyz').status == 200
        write_settings(settings, f'port = {second}')
        restart(opq)
        assert not listens(first)
        opq.port = second
        assert opq.get('/readyz').status == 200
        client.send('GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n')
        assert client.read_response().status == 200
