"""Who may do what: tokens, scopes, refusals before a body, lines of the log.

Every operation of openapi.json is asked for with every token.

SPDX-License-Identifier: MIT
"""

import base64
import hashlib
import json
import os
import pathlib
import re
import socket
import subprocess

import pytest
from harness import BINARY, ROOT, RawConnection, run_cli, wait_until

DOCUMENT = json.loads((ROOT / 'src/admin/openapi.json').read_text())
METHODS = ('get', 'put', 'post', 'delete')
TOKENS = {name: f'{name}-token-0123456789-abcdef'
          for name in ('publish', 'read', 'admin', 'publish-read', 'all')}
SCOPES = {name: {'publish', 'read', 'admin'} if name == 'all'
          else set(name.split('-')) for name in TOKENS}
OPERATIONS = [(path, method.upper(), item[method].get('security'))
              for path, item in DOCUMENT['paths'].items()
              for method in METHODS if method in item]
UNKNOWN = 'nobody-has-this-token-0123'


def bearer(token):
    return {'Authorization': f'Bearer {token}'}


def write_private(path, text):
    path.touch(0o600)
    path.write_text(text)
    return path


def hashed(token):
    return 'sha256:' + hashlib.sha256(token.encode()).hexdigest()


@pytest.fixture(name='tokens')
def fixture_tokens(tmp_path):
    """A file with all of them, every second one as its hash."""
    lines = [f'{name} {",".join(sorted(SCOPES[name]))} '
             f'{hashed(token) if index % 2 else token}\n'
             for index, (name, token) in enumerate(TOKENS.items())]
    return write_private(tmp_path / 'tokens', '# who may\n' + ''.join(lines))


@pytest.fixture(name='asking')
def fixture_asking(serve, tokens):
    return serve(f'--tokens={tokens}', '--drain=2s')


def needed(method, path, security):
    """The scope that an operation needs; None: it asks nobody."""
    if security == []:
        return None
    if (method, path) in (('POST', '/opq/push'), ('POST', '/opq/batch')):
        return 'publish'
    if method == 'GET' or path.endswith('/ack'):
        return 'read'
    return 'admin'


def ask(opq, method, path, headers):
    """The head of the answer; a stream does not end by itself."""
    fields = ''.join(f'{name}: {value}\r\n' for name, value in headers.items())
    with opq.connect() as connection:
        connection.send(f'{method} {re.sub("{[a-z]+}", "0", path)} HTTP/1.1\r\n'
                        f'Host: a\r\nContent-Length: 0\r\n{fields}\r\n')
        return connection.read_head()


def test_every_operation_with_every_token(asking):
    assert len(OPERATIONS) > 50
    open_ones = {path for path, method, security in OPERATIONS
                 if needed(method, path, security) is None}
    assert open_ones == {'/healthz', '/readyz', '/openapi.json'}
    for path, method, security in OPERATIONS:
        scope = needed(method, path, security)
        at = (method, path)
        for headers in ({}, bearer(UNKNOWN), {'Authorization': 'Basic dTpw'}):
            status, fields = ask(asking, method, path, headers)
            assert (status == 401) == (scope is not None), at
            if status == 401:
                assert fields['www-authenticate'] == 'Bearer realm="opq"'
        for name, token in TOKENS.items():
            status, fields = ask(asking, method, path, bearer(token))
            if scope is None or scope in SCOPES[name]:
                assert status not in (401, 403), (at, name, status)
            else:
                assert status == 403, (at, name)
                assert f'scope="{scope}"' in fields['www-authenticate']


@pytest.mark.parametrize('method', ['HEAD', 'OPTIONS', 'PATCH', 'BREW', 'PUT'])
def test_other_methods_and_paths_need_a_token_too(asking, method):
    for path in ('/opq/topics', '/opq/push', '/nothing', '//opq/push'):
        assert ask(asking, method, path, {})[0] == 401
    scope = 'read' if method == 'HEAD' else 'admin'
    assert ask(asking, method, '/nothing', bearer(TOKENS['publish']))[0] == 403
    assert ask(asking, method, '/nothing', bearer(TOKENS[scope]))[0] == 404


@pytest.mark.parametrize('value', [
    'Bearer', 'Bearer ', 'Bearer short', f'Bearer {TOKENS["all"]}x',
    f'Bearer {TOKENS["all"][:-1]}', f'Token {TOKENS["all"]}',
    f'{TOKENS["all"]}', f'Bearer {hashed(TOKENS["read"])}',
    'Bearer ' + 'a' * 300, 'Bearer a\x80aaaaaaaaaaaaaaaaaaaaa'])
def test_what_is_no_token(asking, value):
    answer = asking.request('GET', '/opq/topics', None,
                            {'Authorization': value.encode('latin-1')})
    assert answer.status == 401
    assert answer.headers['content-type'] == 'application/problem+json'
    assert answer.json()['status'] == 401


def test_spelling_of_the_field(asking):
    token = TOKENS['read']
    for line in (f'authorization: bearer {token}',
                 f'AUTHORIZATION:BEARER {token}',
                 f'Authorization:  Bearer   {token}  '):
        answer = asking.exchange(
            f'GET /opq/topics HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n')
        assert answer.status == 200, line
    twice = f'Authorization: Bearer {token}\r\n' * 2
    answer = asking.exchange(
        f'GET /opq/topics HTTP/1.1\r\nHost: a\r\n{twice}\r\n')
    assert answer.status == 401
    # Behind more fields than the parser remembers to have read.
    many = ''.join(f'X-{number}: a\r\n' for number in range(90))
    answer = asking.exchange(
        f'GET /opq/topics HTTP/1.1\r\nHost: a\r\n{many}'
        f'Authorization: Bearer {token}\r\n\r\n')
    assert answer.status == 200


@pytest.mark.parametrize('size', [1000, 5 << 20])
@pytest.mark.parametrize('length', ['Content-Length: {}', 'Transfer-Encoding: '
                                    'chunked'])
def test_refused_before_the_body(serve, tokens, size, length):
    opq = serve(f'--tokens={tokens}', '--body-size-max=10m', '--drain=2s')
    head = ('POST /opq/push?topic=t&url=http://127.0.0.1:9/ HTTP/1.1\r\n'
            f'Host: a\r\nContent-Type: text/plain\r\n{length.format(size)}\r\n')
    for extra in ('', 'Expect: 100-continue\r\n'):
        with opq.connect() as connection:
            connection.send(f'{head}{extra}\r\n')
            answer = connection.read_response()
            assert answer.status == 401
            assert answer.headers['connection'] == 'close'
            assert connection.closed()
    with opq.connect() as connection:
        connection.send(f'{head}Expect: 100-continue\r\n'
                        f'Authorization: Bearer {TOKENS["publish"]}\r\n\r\n')
        assert connection.read_head()[0] == 100
        if 'chunked' in length:
            connection.send(f'{size:x}\r\n' + 'x' * size + '\r\n0\r\n\r\n')
        else:
            connection.send('x' * size)
        assert connection.read_response().status == 201


def test_a_connection_goes_on_behind_a_refusal(asking):
    refused = 'GET /opq/topics HTTP/1.1\r\nHost: a\r\n\r\n'
    taken = refused.replace('\r\n\r\n', '\r\nAuthorization: Bearer '
                            f'{TOKENS["read"]}\r\n\r\n')
    with asking.connect() as connection:
        connection.send(refused + taken + refused)
        assert [connection.read_response().status for _ in range(3)] == [
            401, 200, 401]


def everything_of(folder):
    """All bytes of a directory's files."""
    return b''.join(path.read_bytes() for path in folder.rglob('*')
                    if path.is_file())


@pytest.mark.parametrize('size', [10, 3 << 20])
def test_token_is_neither_stored_nor_delivered_nor_told(
        serve, tmp_path, tokens, receiver, size):
    secret = 'a-secret-text-0123456789'
    secrets = write_private(tmp_path / 'secrets', f'text {secret}\n')
    opq = serve(f'--tokens={tokens}', f'--secrets={secrets}', '--debug=yes',
                '--body-size-max=10m', '--drain=2s')
    token = TOKENS['all']
    fields = {**bearer(token), 'X-Mine': 'kept'}
    form = {'Content-Type': 'application/x-www-form-urlencoded'}
    answer = opq.request('POST', '/opq/push', f'topic=t&url={receiver.url()}',
                         {**fields, **form})
    assert answer.status == 201
    answer = opq.request(
        'POST', f'/opq/push?topic=t&url={receiver.url()}', 'x' * size,
        {**fields, 'Content-Type': 'text/plain',
         'Opq-Forward-Authorization': 'Basic dTpw'})
    assert answer.status == 201
    # In chunks, which grow out of memory.
    with opq.connect() as connection:
        connection.send(
            f'POST /opq/push?topic=t&url={receiver.url()} HTTP/1.1\r\nHost: a'
            f'\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n'
            f'Authorization: Bearer {token}\r\n\r\n')
        for _ in range(3):
            connection.send(f'{size:x}\r\n' + 'y' * size + '\r\n')
        answer = connection.send('0\r\n\r\n').read_response()
        assert answer.status == 201, answer
    wait_until(lambda: len(receiver.requests) == 3)
    got = [request.headers.get('authorization')
           for request in receiver.requests]
    assert got == [None, 'Basic dTpw', None]
    assert receiver.requests[0].headers['x-mine'] == 'kept'
    for path in ('/opq/topics/t', '/opq/info', '/opq/topics/t/messages',
                 '/opq/topics/t/messages/0/curl'):
        answer = opq.request('GET', path, None, bearer(token))
        assert answer.status == 200
        assert token.encode() not in answer.body
    for path, headers in (('/opq/topics/t/pause', bearer(token)),
                          ('/opq/topics/t/pause', bearer(UNKNOWN)),
                          ('/opq/reload', bearer(token))):
        opq.request('POST', path, None, headers)
    told = everything_of(opq.data) + '\n'.join(opq.output).encode()
    told += pathlib.Path(f'/proc/{opq.pid}/cmdline').read_bytes()
    opq.stop()
    told += everything_of(opq.data) + '\n'.join(opq.output).encode()
    for one in (*TOKENS.values(), secret, UNKNOWN):
        for form in (one.encode(), base64.b64encode(one.encode()),
                     hashlib.sha256(one.encode()).hexdigest().encode()):
            assert form not in told, one


def lines(opq, event):
    return [line.partition(f' {event} ')[2]
            for line in opq.log().splitlines() if f' {event} ' in line]


def test_changes_are_told(asking):
    admin, read = bearer(TOKENS['admin']), bearer(TOKENS['read'])
    publish = bearer(TOKENS['publish'])
    asking.request('PUT', '/opq/topics/t?concurrency=3', None, admin)
    asking.request('POST', '/opq/topics/t/pause?x=1', None, admin)
    asking.request('GET', '/opq/topics/t', None, read)
    asking.request('POST', '/opq/push', 'topic=t&url=http://127.0.0.1:9/', {
        **publish, 'Content-Type': 'application/x-www-form-urlencoded'})
    asking.request('POST', '/opq/replay', 'topic=none&cmd=0', {
        **admin, 'Content-Type': 'application/x-www-form-urlencoded'})
    asking.request('DELETE', '/opq/topics/t', None, read)
    asking.request('DELETE', '/opq/topics/t', None, admin)
    wait_until(lambda: len(lines(asking, 'audit')) == 4)
    told = [re.sub(r'peer=127\.0\.0\.1:\d+', 'peer=P', line)
            for line in lines(asking, 'audit')]
    assert [re.sub(r'status=2\d\d', 'status=2xx', line) for line in told] == [
        'peer=P token=admin method=PUT path=/opq/topics/t status=2xx',
        'peer=P token=admin method=POST path=/opq/topics/t/pause status=400',
        'peer=P token=admin method=POST path=/opq/replay status=404',
        'peer=P token=admin method=DELETE path=/opq/topics/t status=2xx']
    refused = lines(asking, 'access_refused')
    assert len(refused) == 1
    assert 'token=read method=DELETE path=/opq/topics/t status=403' in (
        refused[0])


def test_changes_are_told_without_tokens(opq):
    opq.request('PUT', '/opq/topics/t')
    told = wait_until(lambda: lines(opq, 'audit'))
    assert re.fullmatch(r'peer=127\.0\.0\.1:\d+ token=- method=PUT '
                        r'path=/opq/topics/t status=201', told[0])


def test_refusals_do_not_fill_the_log(asking):
    with asking.connect() as connection:
        for _ in range(2000):
            connection.send('GET /opq/topics HTTP/1.1\r\nHost: a\r\n\r\n')
            assert connection.read_response().status == 401
    assert 1 <= len(lines(asking, 'access_refused')) <= 100


def refusal(*arguments):
    """What a start says that is refused."""
    done = run_cli('serve', '--check-config', *arguments)
    assert done.returncode == 78, done
    return done.stderr


def test_files_that_are_refused(tmp_path):
    path = write_private(tmp_path / 'tokens',
                         f'ok read {UNKNOWN}\n\nbad pubish {UNKNOWN}1\n'
                         f'short admin abc\n')
    text = refusal(f'--tokens={path}')
    assert f'{path}:3: scopes are' in text and 'did you mean publish?' in text
    assert f'{path}:4: a token is 20 to 256' in text
    assert 'abc' not in text.replace(str(path), '') and UNKNOWN not in text
    path.write_text('')
    path.chmod(0o640)
    assert 'chmod 600' in refusal(f'--tokens={path}')
    assert 'cannot be read' in refusal(f'--tokens={tmp_path / "none"}')


def test_others_may_be_listened_to_with_tokens(serve, tokens):
    assert '--tokens asks' in refusal('--listen=0.0.0.0')
    opq = serve('--listen=0.0.0.0', f'--tokens={tokens}', ready=False)
    wait_until(lambda: opq.urls, 'an address')
    port = int(opq.urls[0].rpartition(':')[2])
    with RawConnection(port) as connection:
        connection.send('GET /opq/topics HTTP/1.1\r\nHost: a\r\n\r\n')
        assert connection.read_response().status == 401


def test_unix_socket_asks_too(serve, tokens, tmp_path):
    path = tmp_path / 's'
    serve(f'--tokens={tokens}', f'--unix={path}')
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b'GET /opq/topics HTTP/1.1\r\nHost: a\r\n\r\n')
        assert client.recv(100).startswith(b'HTTP/1.1 401 ')


# --- subcommands ------------------------------------------------------------


def command(opq, *arguments, token=None):
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith('OPQ_')}
    if token:
        environment['OPQ_TOKEN'] = token
    return subprocess.run(
        [BINARY, arguments[0], '--url', opq.url, *arguments[1:]],
        capture_output=True, text=True, check=False, env=environment)


def test_subcommands_ask_with_a_token(asking, tmp_path):
    done = command(asking, 'topics')
    assert done.returncode == 1 and '401' in done.stderr
    assert command(asking, 'topics', token=TOKENS['read']).returncode == 0
    done = command(asking, 'pause', 't', token=TOKENS['read'])
    assert done.returncode == 1 and 'lacks the scope admin' in done.stderr
    path = tmp_path / 'token'
    path.write_text(TOKENS['publish'] + '\r\nmore\n')
    done = command(asking, 'push', 't', 'http://127.0.0.1:9/', 'hello',
                   '--token-file', str(path), token=UNKNOWN)
    assert done.returncode == 0, done
    done = command(asking, 'bench', 'push', '--duration', '100ms',
                   '--warmup', '10ms', '--connections', '1',
                   token=TOKENS['publish'])
    assert done.returncode == 0, done
    path.write_text('\n')
    done = command(asking, 'topics', '--token-file', str(path))
    assert done.returncode == 64 and 'no token' in done.stderr
    done = command(asking, 'topics', '--token', TOKENS['read'])
    assert done.returncode == 64


def test_made_tokens_are_good(serve, tmp_path):
    path = write_private(tmp_path / 'made', '')
    made = {}
    for name, scopes in (('a', 'publish'), ('b.c', 'read,admin')):
        done = run_cli('token', name, '--scope', scopes, '--json')
        assert done.returncode == 0, done
        made[name] = json.loads(done.stdout)
        assert re.fullmatch('opq_[A-Za-z0-9_-]{40}', made[name]['token'])
        assert made[name]['line'] == (
            f'{name} {scopes} {hashed(made[name]["token"])}')
        with path.open('a') as file:
            file.write(made[name]['line'] + '\n')
    text = run_cli('token', 'd').stdout
    assert re.fullmatch(r'token: opq_\S{40}\n'
                        r'line:  d publish sha256:[0-9a-f]{64}\n', text)
    assert len({one['token'] for one in made.values()}) == 2
    opq = serve(f'--tokens={path}')
    for name, status in (('b.c', 200), ('a', 403)):
        headers = bearer(made[name]['token'])
        assert ask(opq, 'GET', '/opq/topics', headers)[0] == status
    assert run_cli('token', 'a b').returncode == 64
    assert run_cli('token', 'a', '--scope', 'all').returncode == 64
    assert run_cli('token').returncode == 64
