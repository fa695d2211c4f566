"""The process: settings from everywhere, exit codes, signals, cost at rest.

SPDX-License-Identifier: MIT
"""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import pytest
import sanitizer
from growth import memory_of
from harness import (BINARY, PATIENCE_S, ROOT, Server, measures_memory,
                     run_cli, subcommands, wait_until)
from load import Sink


def check_config(*arguments, environment=None):
    """Run --check-config; return (exit code, what it says)."""
    given = {name: value for name, value in os.environ.items()
             if not name.startswith('OPQ_')}
    given.update(environment or {})
    done = subprocess.run([BINARY, *arguments, '--check-config'],
                          capture_output=True, text=True, check=False,
                          timeout=PATIENCE_S, env=given)
    return done.returncode, done.stdout + done.stderr


# --- flags ------------------------------------------------------------------

class Bare(Server):
    """A server that gets exactly the arguments of the test."""

    def start(self, *more, ready=True):
        self.listening.clear()
        self.urls = []
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith('OPQ_')}
        environment.update(self.environment)
        self.process = subprocess.Popen(
            [BINARY, *self.arguments, *more], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=environment, cwd=self.data.parent)
        self._begin_reading()
        if ready:
            self.wait_ready()
        return self


FIRST_OPQ = {
    'as the first OPQ was started': [
        '-port', '0', '-debug=yes', '-syslog', 'system.log', '-admin=yes'],
    'with equal signs': [
        '-port=0', '-debug=no', '-syslog=system.log', '-admin=no'],
    'with two dashes': [
        '--port', '0', '--debug', 'yes', '--syslog', 'system.log',
        '--admin', 'yes'],
    'with serve before them': ['serve', '-port', '0', '--debug'],
}


@pytest.mark.parametrize('name', FIRST_OPQ)
def test_flags_of_the_first_opq(tmp_path, name, receiver):
    arguments = FIRST_OPQ[name]
    opq = Bare(tmp_path / 'opq-data', *arguments).start()
    try:
        assert opq.push('a', receiver.url()).status == 201
        assert len(receiver.wait(1)) == 1
        # Without -data it lies in the working directory.
        assert (tmp_path / 'opq-data/logs/system.log').exists()
        assert (tmp_path / 'opq-data/topics/a').is_dir() or \
            list((tmp_path / 'opq-data/journal').iterdir())
        admin = '-admin=no' not in arguments
        assert opq.get('/opq/topics').status == (200 if admin else 404)
        debug = any('debug' in word for word in arguments) and \
            '-debug=no' not in arguments
        said = any(' info ' in line or ' debug ' in line
                   for line in opq.output)
        assert said == debug  # to standard error as well
        assert opq.stop() == 0
    finally:
        if opq.alive():
            opq.kill()


def test_log_file_can_lie_elsewhere(serve, tmp_path):
    path = tmp_path / 'elsewhere/opq.log'
    opq = serve(f'-syslog={path}')
    assert ' listening ' in path.read_text()
    assert not (tmp_path / 'data/logs/system.log').exists()
    assert opq.stop() == 0
    assert ' stopped ' in path.read_text()


def test_log_lines_can_be_json(serve):
    opq = serve('--log-format=json')
    lines = [json.loads(line) for line in opq.log().splitlines()]
    assert any('listening' in line.values() for line in lines)


# --- settings ---------------------------------------------------------------

def test_good_settings_are_said_to_be_right(tmp_path):
    path = tmp_path / 'opq.conf'
    path.write_text('# ours\nport = 9000\nretry_first = 2s\n\n'
                    'body-size-max = 512k\nsync = none\n')
    assert check_config('--config', str(path)) == (
        0, f'{path}: the settings are right\n')
    assert check_config() == (0, 'opq: the settings are right\n')
    assert not (tmp_path / 'opq-data').exists()


def test_wrong_settings_are_named_by_line_all_at_once(tmp_path):
    path = tmp_path / 'opq.conf'
    path.write_text('port = 9000\nprot = 1\nsync = perhaps\n'
                    'timeout = soon\nport = 70000\n')
    code, text = check_config('--config', str(path), environment={
        'OPQ_SHARDS': 'many', 'OPQ_DEBGU': 'yes'})
    assert code == 78
    for place in (f'{path}:2: ', f'{path}:3: ', f'{path}:4: ', f'{path}:5: ',
                  'OPQ_SHARDS: ', 'OPQ_DEBGU: '):
        assert place in text, text
    assert f'{path}:1: ' not in text
    lines = {line.split(': ')[0]: line for line in text.splitlines()}
    assert 'port' in lines[f'{path}:2'].split(': ', 1)[1]   # a suggestion
    assert 'debug' in lines['OPQ_DEBGU'].split(': ', 1)[1]


@pytest.mark.parametrize('arguments', [
    ['--port', '70000'], ['--port'], ['--no-such'], ['--sync=maybe'],
    ['stray', 'words'], ['--timeout=1ms'], ['--shards=65'],
    ['--journal-size=16m', '--journal-file-size=8m'],
    ['--config', '/nowhere/opq.conf'], ['--listen=0.0.0.0'],
    ['--listen=no address'], ['--deny-net=10.0.0.0/33'],
    ['--ca-file=/nowhere/ca.pem'], ['--ca-file=/dev/null'], ['--listen=,'],
    ['--dns-servers=not a server'],
    ['--body-memory=1m'], ['--data='], ['--unix=/nowhere/opq.sock'],
])
def test_wrong_settings_end_with_78(tmp_path, arguments):
    opq = Bare(tmp_path / 'opq-data', *arguments)
    if arguments[0] == 'stray':
        assert run_cli(*arguments).returncode == 64  # no such subcommand
        return
    opq.start('--port=0', ready=False)
    assert opq.wait() == 78, opq.output
    assert '\n'.join(opq.output) != ''
    if '--unix' in arguments[0]:
        return  # only a start can tell
    # And a check of them says the same, without a start.
    code, text = check_config(*arguments)
    assert code == 78, text


def test_address_that_the_machine_lacks_is_passed_over_with_a_word(serve):
    opq = serve('--listen=192.0.2.1,127.0.0.1', '--insecure-open')
    assert 'address_missing address=192.0.2.1' in opq.log()
    alone = serve('--listen=192.0.2.1', '--insecure-open', name='alone',
                  ready=False)
    assert alone.wait() == 78
    assert '192.0.2.1: the machine has no such address' in \
        '\n'.join(alone.output)


def test_flag_wins_over_environment_over_file(tmp_path):
    path = tmp_path / 'opq.conf'
    path.write_text('body_size_max = 10k\nbatch_count_max = 10\n'
                    'target_size_max = 1k\ndrain = 1s\n')
    opq = Bare(tmp_path / 'opq-data', '--port=0', '--body-size-max=30k',
               environment={'OPQ_CONFIG': str(path),
                            'OPQ_BODY_SIZE_MAX': '20k',
                            'OPQ_BATCH_COUNT_MAX': '20'}).start()
    limits = opq.get('/opq/info').json()['limits']
    assert opq.stop() == 0
    assert limits['body_size_max'] == 30 * 1024
    assert limits['batch_count_max'] == 20
    assert limits['target_size_max'] == 1024


def test_open_address_needs_consent(serve):
    opq = serve('--listen=0.0.0.0', '--insecure-open', '--drain=1s',
                ready=False)
    wait_until(lambda: opq.urls, 'a listening socket')
    port = re.search(r'http://0\.0\.0\.0:(\d+)', opq.urls[0]).group(1)
    socket.create_connection(('127.0.0.1', int(port))).close()


def test_help_and_version():
    help_ = run_cli('help')
    assert help_.returncode == 0
    for word in ('--port', '--retry-first', '--check-config', 'push',
                 'verify'):
        assert word in help_.stdout
    for words in (['--help'], ['serve', '--help'], ['--port', '1', '-h']):
        assert run_cli(*words).stdout == help_.stdout
    version = run_cli('version')
    assert re.fullmatch(r'opq \d+\.\d+\.\d+\S*\n', version.stdout)
    assert run_cli('nonsense').returncode == 64


def test_options_of_subcommands_are_in_their_help_and_in_the_manual():
    """All that is completed; the many of bench are in its help alone."""
    manual = (ROOT / 'doc/man/opq.1.scd').read_text().replace('\\', '')
    common = {'--url', '--ca-file', '--token-file', '--json', '--help'}
    takes = dict(re.findall(r"^    ([a-z]+)\)\n +flags='(.*\n.*)'$",
                            run_cli('completion', 'bash').stdout, re.M))
    assert len(takes) > 30
    for command, options in takes.items():
        given = set(re.findall('--[a-z-]+', options)) - common
        if command == 'serve':
            continue
        help_ = run_cli(command, '--help').stdout
        for name in sorted(given):
            word = f'--?{name[2:]}\\b'
            assert re.search(word, help_), (command, name)
            assert command == 'bench' or re.search(word, manual), (
                command, name)


def test_manual_page_has_all_settings_and_subcommands(tmp_path):
    page = tmp_path / 'opq.1'
    subprocess.run([ROOT / 'tools/manual', BINARY, ROOT / 'doc/man/opq.1.scd',
                    page], check=True, timeout=PATIENCE_S)
    text = re.sub(r'\\f.|\\', '', page.read_text())
    help_ = run_cli('help').stdout
    names = re.findall(r'(?m)^  (--[a-z-]+) ', help_)
    assert len(names) > 40
    for name in names:
        assert re.search(f'(?m)^{name} ', text), name
    table = run_cli('topic-settings-table').stdout
    for name, default in re.findall(r'(?m)^\| `(\w+)` \| .*? \| (.*?) \|',
                                    table):
        assert re.search(f'(?m)^{name} {default}$', text), name
    assert {'push', 'subscriptions'} <= set(subcommands())
    for name in subcommands():
        assert re.search(f'(?m)^(\\w+ TOPIC, )?{name}( |$)', text), name


# --- what is in use ---------------------------------------------------------

def test_port_in_use_ends_with_69(serve, tmp_path):
    with socket.create_server(('127.0.0.1', 0)) as other:
        port = other.getsockname()[1]
        opq = serve('-port', str(port), ready=False)
        assert opq.wait() == 69
        said = '\n'.join(opq.output)
        assert '127.0.0.1: the address is in use' in said
        assert 'the address is in use' in opq.log()
    opq.start()  # and it was but the port: the data is fine
    assert opq.port == port


def test_start_right_after_a_kill_gets_its_port(serve):
    """The kernel closes the sockets of a killed process a little later."""
    opq = serve()
    opq.arguments += ['-port', str(opq.port)]
    for _ in range(12):
        clients = [opq.connect() for _ in range(20)]
        opq.kill()
        opq.start()
        for client in clients:
            client.close()


def test_port_of_another_opq_is_in_use(serve):
    first = serve('--drain=1s')
    second = serve('-port', str(first.port), name='other', ready=False)
    assert second.wait() == 69
    assert first.get('/healthz').status == 200


def test_data_that_is_no_directory_ends_with_73(serve, tmp_path):
    (tmp_path / 'file').write_text('')
    opq = serve(name='file', ready=False)
    assert opq.wait() == 73
    assert 'data directory' in '\n'.join(opq.output)


def test_server_that_starts_on_a_full_disk_is_not_ready(serve):
    opq = serve('--disk-reserve=1024g', ready=False)
    opq.listening.wait(PATIENCE_S)
    wait_until(lambda: opq.get('/readyz').status == 503, 'a refusal')
    answer = opq.get('/readyz')
    assert answer.status == 503
    assert 'disk' in answer.body.decode()
    assert opq.get('/healthz').status == 200


# --- signals ----------------------------------------------------------------

def test_sigusr1_opens_the_log_anew(serve, tmp_path):
    opq = serve('--drain=1s')
    path = tmp_path / 'data/logs/system.log'
    old = path.with_suffix('.old')
    path.rename(old)
    before = old.read_text()
    opq.signal(signal.SIGUSR1)
    wait_until(path.exists, 'a new log file')
    wait_until(lambda: 'log_reopened' in path.read_text(), 'its first line')
    assert opq.stop() == 0
    assert ' stopped ' in path.read_text()
    assert ' stopped ' not in old.read_text()
    assert old.read_text().startswith(before)


# --- cost at rest -----------------------------------------------------------

def tasks(opq):
    return pathlib.Path(f'/proc/{opq.pid}/task').iterdir()


def wakeups(opq):
    """Times that any thread has waited for something, in all."""
    return {task.name: int(re.search(
        r'\nvoluntary_ctxt_switches:\t(\d+)',
        (task / 'status').read_text()).group(1)) for task in tasks(opq)}


def at_rest(opq, seconds):
    """Wait until nothing has moved for so long; return the last figures."""
    def still():
        nonlocal last, since
        now = wakeups(opq)
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since >= seconds
    last, since = wakeups(opq), time.monotonic()
    wait_until(still, f'{seconds} s without a wake-up', 2 * PATIENCE_S)
    return last


sleeps = pytest.mark.skipif(sanitizer.kind_of(BINARY) == 'thread',
                            reason='TSan has a thread of its own that wakes')


@sleeps
@pytest.mark.parametrize('io', ['auto', 'epoll'])
def test_idle_process_sleeps(serve, io):
    opq = serve('--shards=2', f'--io={io}', '--drain=1s')
    at_rest(opq, 3)


@sleeps
def test_process_sleeps_again_after_work(serve, receiver):
    opq = serve('--shards=2', '--drain=1s', '--checkpoint-interval=200ms',
                '--idle-timeout=300ms', '--target-idle-timeout=300ms')
    for number in range(20):
        assert opq.push(f't{number % 5}', receiver.url()).status == 201
    for number in range(5):
        opq.wait_delivered(f't{number}', 4)
    at_rest(opq, 3)


@sleeps
def test_process_sleeps_beside_idle_connections(serve):
    opq = serve('--shards=2', '--drain=1s')
    held = [opq.connect() for _ in range(20)]
    for one in held:
        one.send('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n')
        assert one.read_response().status == 200
    at_rest(opq, 3)
    for one in held:
        one.close()


def resident_mib(opq):
    return memory_of(opq) / (1 << 20)


@pytest.mark.parametrize('io', ['auto', 'epoll'])
def test_stop_at_rest_closes_many_connections_to_targets(serve, io):
    """The store has nothing to write, so the loop ends while they are being
    closed: their ends must not be waited for by another thread."""
    opq = serve(f'--io={io}', '--shards=1', '--checkpoint-interval=100ms')
    sink = Sink()
    for _ in range(3):
        assert opq.request('POST', '/opq/batch', [
            {'topic': f'c{number}', 'url': sink.url(), 'message': 'x'}
            for number in range(1000)]).status == 201
        wait_until(lambda: sink.count() % 1000 == 0 and sink.count() > 0)
        wait_until(lambda: opq.get('/opq/info').json()['now'][
            'journal_bytes'] == 0, 'rest')
        assert opq.stop() == 0
        opq.start()
    sink.close()


@measures_memory
def test_memory_at_rest_and_after_work_is_small(serve, receiver):
    opq = serve('--shards=2', '--drain=1s')
    idle_mib = resident_mib(opq)
    assert idle_mib < 20, idle_mib
    items = [{'topic': f'm{number % 500}', 'url': receiver.url(),
              'message': 'x' * 200} for number in range(1000)]
    for _ in range(3):
        assert opq.request('POST', '/opq/batch', items).status == 201
    receiver.wait(3000, 2 * PATIENCE_S)
    for number in range(0, 500, 50):
        opq.wait_delivered(f'm{number}', 6)
    print(f'idle {idle_mib:.1f} MiB, after 3,000 messages of 500 topics '
          f'{resident_mib(opq):.1f} MiB')
    assert resident_mib(opq) < 64


@measures_memory
def test_memory_of_a_burst_goes_back(serve):
    """What is pushed to many topics is in memory until it is in segments."""
    opq = serve('--shards=2', '--checkpoint-interval=2s', '--drain=1s')
    items = [{'topic': f'm{number}', 'url': 'http://127.0.0.1:9/',
              'message': 'x' * 2000} for number in range(400)]
    for item in items:
        opq.request('PUT', f'/opq/topics/{item["topic"]}', {'paused': True})
    before_mib = resident_mib(opq)
    for _ in range(36):
        assert opq.request('POST', '/opq/batch', items).status == 201
    burst_mib = resident_mib(opq)
    assert burst_mib > before_mib + 16, (before_mib, burst_mib)
    wait_until(lambda: resident_mib(opq) < (before_mib + burst_mib) / 2,
               f'memory: {before_mib:.1f} MiB before, {burst_mib:.1f} after',
               2 * PATIENCE_S)
    print(f'{before_mib:.1f} MiB, in a burst {burst_mib:.1f}, then '
          f'{resident_mib(opq):.1f}')


@measures_memory
def test_pages_that_nobody_takes_cost_little_and_hold_up_nobody(serve,
                                                               receiver):
    """Each of 20 clients asks for 100 pages of 1 MB at once."""
    opq = serve('--shards=1', '--body-memory=8m', '--drain=2s')
    opq.request('PUT', '/opq/topics/p', {'paused': True})
    for _ in range(5):
        assert opq.request('POST', '/opq/batch', [
            {'topic': 'p', 'url': receiver.url(), 'message': 'x' * 9000}
            for _ in range(40)]).status == 201
    page = 'GET /opq/topics/p/messages?limit=1000 HTTP/1.1\r\nHost: x\r\n\r\n'
    clients = [opq.connect() for _ in range(20)]
    for client in clients:
        client.send(page * 100)
    for _ in range(20):
        assert opq.push_json('q', receiver.url(), 'x')
    print(f'with 2,000 pages asked for: {resident_mib(opq):.1f} MiB')
    assert resident_mib(opq) < 100
    # Who takes what he asked for gets it, in order, or is told to come again.
    for client in clients[1:]:
        client.close()
    statuses = [clients[0].read_response().status for _ in range(100)]
    assert set(statuses) <= {200, 503}
    assert statuses[-1] == 200
    clients[0].close()


def test_no_descriptor_is_left_behind(serve, receiver):
    opq = serve('--shards=2', '--drain=1s', '--target-idle-timeout=50ms')

    def count():
        return len(os.listdir(f'/proc/{opq.pid}/fd'))
    opq.push('fd', receiver.url())
    opq.wait_delivered('fd', 1)
    before = None

    def settled():
        nonlocal before
        now = count()
        same, before = now == before, now
        return same
    wait_until(settled, 'a steady count')
    for _ in range(50):
        with opq.connect() as connection:
            connection.send('GET / HT')
        opq.push('fd', receiver.url())
    opq.wait_delivered('fd', 51)
    wait_until(lambda: count() <= before + 1, f'{before} descriptors again')


@pytest.mark.parametrize('io', ['epoll', 'uring', 'auto'])
def test_either_back_end_serves(serve, receiver, io):
    opq = serve(f'--io={io}', '--drain=1s', ready=False)
    opq.listening.wait(PATIENCE_S)
    if io == 'uring' and not opq.alive():
        assert opq.wait() == 70
        pytest.skip('the kernel does not allow io_uring here')
    opq.wait_ready()
    for _ in range(5):
        assert opq.push('io', receiver.url()).status == 201
    opq.wait_delivered('io', 5)
    if io != 'auto':
        assert io in opq.get('/opq/info').json()['io']


@pytest.mark.parametrize('io', ['epoll', 'uring'])
@pytest.mark.parametrize('signals', [(signal.SIGTERM,),
                                     (signal.SIGHUP, signal.SIGTERM)])
def test_end_with_many_connections_to_targets(serve, receivers, io, signals):
    """They are closed in the last moment; the process does not hang on them."""
    receiver = receivers(host='')  # on all loopback addresses
    opq = serve(f'--io={io}', '--shards=2', '--drain=1s')
    count = 400
    for number in range(count):
        host = f'127.1.{number // 250}.{number % 250 + 1}'
        url = receiver.url().replace('127.0.0.1', host)
        assert opq.push(f't{number}', url, 'x').status == 201
    receiver.wait(count)
    for number in signals:
        before = opq.log().count(' restarted ')
        opq.signal(number)
        if number == signal.SIGHUP:
            wait_until(lambda: opq.log().count(' restarted ') > before,
                       'the restart')
    assert opq.wait() == 0, opq.explain()
