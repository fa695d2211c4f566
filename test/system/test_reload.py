"""Settings, tokens, secrets and certificate read anew while the server runs.

SPDX-License-Identifier: MIT
"""

import hashlib
import http.client
import json
import os
import re
import signal
import ssl
import threading
import time

import pytest
from certificates import Authority
from harness import ROOT, RawConnection, wait_until

LIVE = re.findall(r'(?m)^LIVE\((\w+)\)',
                  (ROOT / 'src/server/config_live.def').read_text())
SETTINGS = dict(re.findall(
    r'(?m)^SETTING\((\w+), \w+, "([^"]*)"',
    (ROOT / 'src/server/config.def').read_text()))
PUSH = 'POST /opq/push?topic=t&url=http://127.0.0.1:9/ HTTP/1.1\r\nHost: a\r\n'


class Live:
    """A server whose file of settings can be written anew."""

    def __init__(self, serve, folder, *arguments, text='', **options):
        self.path = folder / 'opq.conf'
        self.path.write_text(text)
        self.opq = serve(f'--config={self.path}', '--drain=2s', *arguments,
                         **options)

    def reload(self, text, status=200, headers=None):
        self.path.write_text(text)
        answer = self.opq.request('POST', '/opq/reload', None, headers)
        assert answer.status == status, answer
        return answer.json()


@pytest.fixture(name='live')
def fixture_live(serve, tmp_path):
    def start(*arguments, **options):
        return Live(serve, tmp_path, *arguments, **options)
    return start


def write_private(path, text):
    path.touch(0o600)
    path.write_text(text)
    return path


# --- what is answered -------------------------------------------------------


def test_nothing_has_changed(live):
    assert live().reload('# nothing\n') == {
        'changed': [], 'files': [], 'restart_needed': []}


def test_every_setting_is_one_or_the_other(live, tmp_path):
    """Each setting of the table changes at once, or is told to wait."""
    other = {'tokens': str(write_private(tmp_path / 't', '')),
             'secrets': str(write_private(tmp_path / 's', '')),
             'log_format': 'json', 'debug': 'yes', 'body_memory': '32m',
             'connections_max': '77', 'pending_max': '77',
             'target_connections': '77', 'io': 'epoll', 'sync': 'none',
             'targets': 'public', 'listen': '127.0.0.1', 'syslog': 'b.log',
             'unix': 'b.sock', 'data': 'elsewhere', 'shards': '3',
             'allow_net': '10.0.0.0/8', 'deny_net': '10.0.0.0/8',
             'dns_servers': '127.0.0.1', 'port': '1', 'in_flight': '77',
             'events_url': 'http://127.0.0.1:9/',
             'insecure_open': 'yes', 'admin': 'no', 'direct': 'no',
             'sandbox': 'no'}
    given = {'tls_cert', 'tls_key', 'ca_file'}  # need files of their own
    flags = {'port', 'data', 'drain'}           # of the harness; they win
    for name, value in SETTINGS.items():
        if name not in other and re.fullmatch(r'\d+(ms|[smhdkg])?', value):
            number, unit = re.fullmatch(r'(\d+)(\w*)', value).groups()
            other[name] = f'{max(int(number) // 2 * 2 + 2, 2)}{unit}'
    # Those that must fit to each other.
    other.update(batch_size_max='2m', journal_size='512m',
                 journal_file_size='64m', body_size_max='2m')
    assert set(SETTINGS) == set(other) | given | {'drain'}
    server = live()
    text = ''.join(f'{name} = {value}\n' for name, value in other.items())
    answer = server.reload(text)
    changed = {one['name'] for one in answer['changed']}
    waiting = {one['name'] for one in answer['restart_needed']}
    assert changed == set(LIVE) - given
    assert waiting == set(other) - set(LIVE) - flags
    # Now tokens are asked for: and there are none.
    assert server.opq.request('POST', '/opq/reload').status == 401
    log = server.opq.log()
    for name in changed:
        assert re.search(rf'reload_setting.*name={name} from=', log) or (
            re.search(rf'"reload_setting".*name={name} from=', log)), name
    for name in waiting:
        assert re.search(rf'reload_needs_restart.*name={name} ', log), name


def test_waiting_settings_are_told_until_a_restart(live):
    server = live(text='shards = 1\n')
    for _ in range(2):
        answer = server.reload('shards = 2\nbody_size_max = 2m\n')
        assert answer['restart_needed'] == [
            {'name': 'shards', 'from': '1', 'to': '2'}]
    assert answer['changed'] == []
    assert server.opq.get('/opq/info').json()['shards'] == 1


def test_path_of_the_webhook_is_not_told(live):
    """Who knows it may post there: it is as secret as a token."""
    server = live()
    urls = ['http://127.0.0.1:9/hook/secret-1', 'http://127.0.0.1:9?secret-2',
            'http://127.0.0.1:9/hook/secret-3']
    for url in urls:
        answer = server.reload(f'events_url = {url}\n')
        told = answer['restart_needed'][0]
        assert told['name'] == 'events_url'
        assert told['to'] == 'http://127.0.0.1:9/...'
        server.opq.signal(signal.SIGHUP)
        wait_until(lambda: server.opq.log().count(' restarted ') ==
                   urls.index(url) + 1, 'the restart')
    assert 'reload_needs_restart name=events_url' in server.opq.log()
    assert 'secret' not in server.opq.log()
    assert not any('secret' in line for line in server.opq.output)


def test_flags_and_environment_win(live):
    server = live('--timeout=7s', environment={'OPQ_RETRY_MAX': '3m'})
    answer = server.reload('timeout = 5s\nretry_max = 1m\nretry_first = 2s\n')
    assert answer['changed'] == [
        {'name': 'retry_first', 'from': '1000ms', 'to': '2000ms'}]


@pytest.mark.parametrize('text, errors', [
    ('prt = 1\nbody_sise_max = 2m\ntimeout = x\n', [
        ':1: unknown setting prt; did you mean port?',
        ':2: unknown setting body_sise_max; did you mean body_size_max?',
        ':3: timeout']),
    # Cut there, it would name another file.
    ('syslog = opq\0.log\n', [':1: has a NUL byte']),
    ('retry_first = 1h\nretry_max = 1m', ['retry_first must be at most']),
    ('tokens = /nowhere/at/all', ['tokens: /nowhere/at/all cannot be read']),
    ('secrets = /nowhere/at/all', ['secrets: /nowhere/at/all cannot']),
    ('tls_cert = /nowhere/a', ['tls_cert needs tls_key']),
    ('listen = 0.0.0.0', ['cannot listen on 0.0.0.0']),
    # Right by itself, but not beside what stays as it is.
    ('batch_size_max = 64k\nbody_memory = 64k\n',
     ['body_memory must be at least', 'wait for a restart']),
])
def test_wrong_settings_change_nothing(live, text, errors):
    server = live()
    text += '\nhead_size_max = 2k\n'
    answer = server.reload(text, 400)
    assert answer['status'] == 400
    assert len(answer['errors']) >= len(errors)
    for error in errors:
        assert any(error in line for line in answer['errors']), answer
    limits = server.opq.get('/opq/info').json()['limits']
    assert limits['head_size_max'] == 64 * 1024
    assert 'reload_refused' in server.opq.log()


def test_file_that_has_gone(live):
    server = live()
    server.path.unlink()
    answer = server.opq.request('POST', '/opq/reload')
    assert answer.status == 400
    assert str(server.path) in answer.json()['errors'][0]


@pytest.mark.parametrize('name', ['tokens', 'secrets', 'config'])
def test_a_pipe_holds_nobody(live, tmp_path, name):
    """To open it would wait for a writer, and all clients with it."""
    server = live()
    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe, 0o600)
    if name == 'config':
        pipe.rename(server.path)
    else:
        server.path.write_text(f'{name} = {pipe}\n')
    answer = server.opq.request('POST', '/opq/reload', patience_s=10)
    assert answer.status == 400, answer
    assert server.opq.get('/readyz').status == 200


def test_two_at_once(live):
    server = live()
    with server.opq.connect() as connection:
        connection.send('POST /opq/reload HTTP/1.1\r\nHost: a\r\n\r\n' * 2)
        assert [connection.read_response().status for _ in range(2)] == [
            200, 409]
        connection.send('POST /opq/reload HTTP/1.1\r\nHost: a\r\n\r\n')
        assert connection.read_response().status == 200


def test_command(live):
    server = live('--shards=2')
    assert server.opq.run('reload').stdout == 'nothing has changed\n'
    server.path.write_text('timeout = 5s\ntopics_max = 3\n')
    lines = server.opq.run('reload').stdout.splitlines()
    assert [line.split() for line in lines] == [
        ['changed', 'timeout:', '30000ms', '->', '5000ms'],
        ['restart_needed', 'topics_max:', '100000', '->', '3']]
    done = server.opq.run('reload', '--json')
    assert json.loads(done.stdout)['restart_needed'][0]['name'] == 'topics_max'
    server.path.write_text('tineout = 5s\n')
    done = server.opq.run('reload')
    assert done.returncode == 1
    assert f'{server.path}:1: unknown setting tineout' in done.stderr


# --- what it does -----------------------------------------------------------


@pytest.mark.parametrize('shards', [1, 3])
def test_limits_of_requests(live, shards):
    server = live(f'--shards={shards}')

    def statuses():
        """On many connections, so that every shard is asked."""
        seen = set()
        for _ in range(12):
            seen.add((
                server.opq.exchange(f'{PUSH}Content-Type: text/plain\r\n'
                                    f'Content-Length: 5000\r\n\r\n'
                                    + 'x' * 5000).status,
                server.opq.exchange(f'GET /opq/info HTTP/1.1\r\nHost: a\r\n'
                                    f'X-A: {"x" * 3000}\r\n\r\n').status,
                server.opq.exchange(f'GET /opq/info?{"x" * 500} HTTP/1.1\r\n'
                                    'Host: a\r\n\r\n').status))
        return seen
    assert statuses() == {(201, 200, 200)}
    server.reload('body_size_max = 4k\nhead_size_max = 2k\n'
                  'target_size_max = 300\n')
    assert statuses() == {(413, 431, 414)}
    limits = server.opq.get('/opq/info').json()['limits']
    assert (limits['body_size_max'], limits['head_size_max'],
            limits['target_size_max']) == (4096, 2048, 300)
    server.reload('')
    assert statuses() == {(201, 200, 200)}


def test_request_under_way_goes_on(live):
    """Its head would be refused by now, and is read once more."""
    server = live()
    with server.opq.connect() as connection:
        connection.send(f'{PUSH}X-A: {"x" * 3000}\r\nContent-Length: 10\r\n'
                        'Content-Type: text/plain\r\n\r\n12345')
        wait_until(lambda: server.opq.get(
            '/opq/info').json()['now']['connections'] >= 2)
        server.reload('head_size_max = 1k\ntarget_size_max = 256\n')
        connection.send('67890')
        assert connection.read_response().status == 201


def closes_within(server, sent, patience_s):
    with server.opq.connect() as connection:
        if sent:
            connection.send(sent)
        start = time.monotonic()
        connection.read_all()
        return time.monotonic() - start < patience_s


@pytest.mark.parametrize('name, sent', [
    ('idle_timeout', ''), ('head_timeout', 'GET /opq'),
    ('body_timeout', f'{PUSH}Content-Length: 9\r\n\r\n1')])
def test_deadlines(live, name, sent):
    server = live()
    server.reload(f'{name} = 100ms\n')
    assert closes_within(server, sent, 8)


def test_connections(live):
    server = live('--shards=1')
    server.reload('connections_max = 3\n')
    kept = [server.opq.connect() for _ in range(3)]
    for connection in kept:
        connection.send('GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n')
        assert connection.read_response().status == 200
    with server.opq.connect() as connection:
        connection.send('GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n')
        assert connection.read_response().status == 503
    kept[0].send('POST /opq/reload HTTP/1.1\r\nHost: a\r\n\r\n')
    server.path.write_text('')
    assert kept[0].read_response().status == 200
    for connection in kept:
        connection.close()


def test_level_and_form_of_the_log(live):
    server = live()
    server.reload('debug = yes\nlog_format = json\n')
    last = server.opq.log().splitlines()[-1]
    assert json.loads(last)
    wait_until(lambda: any('"event"' in line or '{' in line
                           for line in server.opq.output))
    server.reload('')
    server.opq.request('POST', '/opq/reload')
    assert ' info audit ' in server.opq.log().splitlines()[-1]


def test_attempts_and_back_off(live, receivers):
    answers = iter([500] * 3)
    receiver = receivers(lambda request: next(answers, 200))
    server = live('--shards=1', text='retry_first = 1h\nretry_max = 1h\n')
    server.reload('retry_first = 20ms\nretry_max = 50ms\n')
    server.opq.push_json('t', receiver.url(), 'hello')
    server.opq.wait_delivered('t', 1)
    assert len(receiver.requests) == 4
    gate = threading.Event()
    slow = receivers(lambda request: gate.wait(60) and 200)
    server.reload('timeout = 100ms\nretry_first = 20ms\nretry_max = 50ms\n')
    server.opq.push_json('u', slow.url(), 'hello')
    wait_until(lambda: len(slow.requests) >= 2)
    gate.set()
    server.opq.wait_delivered('u', 1)


# --- keys -------------------------------------------------------------------


def bearer(token):
    return {'Authorization': f'Bearer {token}'}


def test_tokens_change(live, tmp_path):
    first, second = 'the-first-token-of-all', 'the-second-token-of-all'
    tokens = write_private(tmp_path / 'tokens', f'a read,admin {first}\n')
    server = live(f'--tokens={tokens}', '--shards=3')

    def statuses(token):
        return {server.opq.request('GET', '/opq/topics', None,
                                   bearer(token)).status for _ in range(12)}
    assert statuses(first) == {200} and statuses(second) == {401}
    tokens.write_text(f'a read {first}\nb rd {second}\n')
    answer = server.reload('', 400, bearer(first))
    assert answer['errors'] == [
        f'{tokens}:2: scopes are publish, read, admin, by commas without '
        'blanks; did you mean read?']
    digest = hashlib.sha256(second.encode()).hexdigest()
    tokens.write_text(f'b read,admin sha256:{digest}\n')
    answer = server.reload('', 200, bearer(first))
    assert answer == {'changed': [], 'files': ['tokens'], 'restart_needed': []}
    assert statuses(first) == {401} and statuses(second) == {200}
    tokens.chmod(0o644)
    assert 'chmod 600' in server.reload('', 400, bearer(second))['errors'][0]
    assert statuses(second) == {200}


def test_tokens_come_and_go(live, tmp_path):
    token = 'the-first-token-of-all'
    tokens = write_private(tmp_path / 'tokens', f'a read,admin {token}\n')
    server = live()
    assert server.opq.get('/opq/topics').status == 200
    server.reload(f'tokens = {tokens}\n')
    assert server.opq.get('/opq/topics').status == 401
    server.reload('', 200, bearer(token))
    assert server.opq.get('/opq/topics').status == 200


def test_tokens_stay_where_others_can_ask(live, tmp_path):
    """The new file alone would be right, but what is open stays open."""
    token = 'the-first-token-of-all'
    tokens = write_private(tmp_path / 'tokens', f'a read,admin {token}\n')
    server = live(text=f'tokens = {tokens}\nlisten = 0.0.0.0\n', ready=False)
    opq = server.opq
    wait_until(lambda: opq.urls)
    opq.port = int(opq.urls[0].rpartition(':')[2])
    answer = server.reload('listen = 127.0.0.1\n', 400, bearer(token))
    assert f'cannot listen on 0.0.0.0:{opq.port}' in answer['errors'][0]
    assert opq.get('/opq/topics').status == 401


def test_secrets_change(live, tmp_path, receiver):
    secrets = write_private(tmp_path / 'secrets', 'text one\n')
    server = live(f'--secrets={secrets}')
    answer = server.opq.request('PUT', '/opq/topics/t/subscriptions/s', {
        'url': receiver.url(), 'headers': {'X-Secret': '${secret:text}'}})
    assert answer.status == 201, answer

    def delivered(count):
        answer = server.opq.request('POST', '/opq/push', {
            'topic': 't', 'message': 'hello'})
        assert answer.status == 201, answer
        wait_until(lambda: len(receiver.requests) == count)
        return receiver.requests[-1].headers['x-secret']
    assert delivered(1) == 'one'
    secrets.write_text('text two\n')
    assert delivered(2) == 'one'
    answer = server.reload('')
    assert answer['files'] == ['secrets']
    assert delivered(3) == 'two'
    secrets.write_text('text\n')
    assert server.reload('', 400)['errors'][0].startswith(f'{secrets}:1: ')
    assert delivered(4) == 'two'
    assert 'two' not in server.opq.log()


# --- certificates -----------------------------------------------------------


@pytest.fixture(name='authority', scope='module')
def fixture_authority(tmp_path_factory):
    made = Authority(tmp_path_factory.mktemp('reload') / 'tls')
    for name in ('one', 'two'):
        made.server(name, 'DNS:localhost,IP:127.0.0.1')
    return made


def shown(port, context):
    """The name in the certificate that a new connection gets."""
    with RawConnection(port, tls=context) as connection:
        subject = connection.socket.getpeercert()['subject']
        return dict(pair[0] for pair in subject)['commonName']


def install(authority, folder, name, key=None):
    for end, of in (('pem', name), ('key', key or name)):
        text = (authority.folder / f'{of}.{end}').read_text()
        (folder / f'here.{end}').write_text(text)
        (folder / f'here.{end}').chmod(0o600)


class Load:
    """Clients that push over TLS, some on new connections each time."""

    def __init__(self, port, context):
        self.port = port
        self.context = context
        self.over = threading.Event()
        self.done = [0, 0, 0, 0]
        self.failed = []
        self.threads = [threading.Thread(target=self._run, args=(index,))
                        for index in range(len(self.done))]
        for thread in self.threads:
            thread.start()

    def _run(self, index):
        client = None
        while not self.over.is_set():
            try:
                if client is None:
                    client = http.client.HTTPSConnection(
                        '127.0.0.1', self.port, timeout=60,
                        context=self.context)
                client.request('GET', '/healthz')
                answer = client.getresponse()
                answer.read()
                assert answer.status == 200
                self.done[index] += 1
            except Exception as error:
                self.failed.append(repr(error))
                client = None
                continue
            if index % 2 == 0:
                client.close()
                client = None
        if client:
            client.close()

    def wait_for(self, count):
        target = [one + count for one in self.done]
        wait_until(lambda: self.failed or all(
            one >= wanted for one, wanted in zip(self.done, target)))

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


@pytest.mark.parametrize('backend', ['epoll', 'uring'])
def test_certificate_changes_under_load(live, tmp_path, authority, backend):
    context = ssl.create_default_context(cafile=authority.file)
    install(authority, tmp_path, 'one')
    server = live(f'--tls-cert={tmp_path / "here.pem"}', f'--io={backend}',
                  f'--tls-key={tmp_path / "here.key"}', '--shards=2',
                  tls=context)
    port = server.opq.port
    assert shown(port, context) == 'one'
    with server.opq.connect() as before:
        load = Load(port, context)
        try:
            for turn in range(10):
                name = 'two' if turn % 2 == 0 else 'one'
                load.wait_for(5)
                install(authority, tmp_path, name)
                answer = server.reload('')
                assert answer['files'] == ['tls_cert', 'tls_key']
                assert {shown(port, context) for _ in range(6)} == {name}
            load.wait_for(5)
        finally:
            load.end()
        assert load.failed == []
        before.send('GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n')
        assert before.read_response().status == 200
    install(authority, tmp_path, 'two', key='one')
    answer = server.reload('', 400)
    assert 'no certificate and its key' in answer['errors'][0]
    assert shown(port, context) == 'one'


def test_certificate_cannot_come_or_go(live, tmp_path, authority):
    install(authority, tmp_path, 'one')
    server = live()
    answer = server.reload(f'tls_cert = {tmp_path / "here.pem"}\n'
                           f'tls_key = {tmp_path / "here.key"}\n')
    assert {one['name'] for one in answer['restart_needed']} == {
        'tls_cert', 'tls_key'}
    assert server.opq.get('/healthz').status == 200


# --- beside a smooth restart ------------------------------------------------


def test_tokens_are_asked_for_behind_a_restart(live, tmp_path):
    token = 'the-first-token-of-all'
    tokens = write_private(tmp_path / 'tokens', f'a read,admin {token}\n')
    server = live(text=f'tokens = {tokens}\ntimeout = 5s\n')
    with server.opq.connect() as connection:
        ask = ('GET /opq/topics HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer '
               f'{token}\r\n\r\n')
        connection.send(ask)
        assert connection.read_response().status == 200
        server.path.write_text(f'tokens = {tokens}\ntimeout = 6s\n')
        server.opq.signal(signal.SIGHUP)
        wait_until(lambda: ' restarted ' in server.opq.log())
        connection.send(ask)
        assert connection.read_response().status == 200
        connection.send('GET /opq/topics HTTP/1.1\r\nHost: a\r\n\r\n')
        assert connection.read_response().status == 401
    answer = server.reload(f'tokens = {tokens}\ntimeout = 7s\n', 200,
                           bearer(token))
    assert answer['changed'] == [
        {'name': 'timeout', 'from': '6000ms', 'to': '7000ms'}]
