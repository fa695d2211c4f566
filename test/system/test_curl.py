"""Deliveries repeated by hand: the command that a message is shown as.

SPDX-License-Identifier: MIT
"""

import base64
import subprocess
import urllib.parse

import pytest
from harness import PATIENCE_S, wait_until

HOSTILE = '\'"; $(touch evil) `touch evil` \\ \n%s %n\t!x ~ * & | > evil #'


def command(opq, topic, sequence=0):
    answer = opq.get(f'/opq/topics/{topic}/messages/{sequence}/curl')
    assert answer.status == 200, answer
    assert answer.headers['content-type'] == 'text/plain; charset=utf-8'
    return answer.body.decode('utf-8')


def run(text, folder, shell='sh'):
    # As a script: as an argument it could be longer than those may be.
    done = subprocess.run([shell], input=text.encode(), cwd=folder,
                          check=False, capture_output=True, timeout=PATIENCE_S)
    assert done.returncode == 0, (text, done.stderr)
    return done.stdout


def said(request):
    """All of a request but what is of the attempt."""
    fields = sorted((name.lower(), value) for name, value in request.fields
                    if name.lower() not in ('webhook-timestamp',
                                            'connection', 'opq-prev-seq'))
    return request.method, request.target, fields, request.body


def check(opq, receiver, folder, topic='t', shell='sh'):
    """The command sends what was delivered."""
    opq.wait_delivered(topic, 1)
    text = command(opq, topic)
    assert all(byte in '\n\t' or byte >= ' ' for byte in text)
    receiver.wait(1)
    run(text, folder, shell)
    first, second = receiver.wait(2)
    assert said(second) == said(first)
    assert list(folder.iterdir()) == []
    return text


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'empty').mkdir()
    return tmp_path / 'empty'


@pytest.mark.parametrize('body', [
    b'hello', b'', b'@/etc/passwd', b'-v', HOSTILE.encode(), b'a\r\nb',
    bytes(range(256)), b'%d\0%%\\n\0', b'\x1b]0;title\x07', 'äöü'.encode(),
    '\u009b31m'.encode(), b'x' * 60_000, b'x' * 200_000,
    b'\xff' * 30_000,
], ids=range(14))
@pytest.mark.parametrize('shell', ['sh', 'bash'])
def test_bodies(shared_opq, receiver, folder, body, shell):
    topic = 'body' + base64.b32encode(repr((body[:9], len(body), shell))
                                      .encode()).decode().strip('=')[:90]
    answer = shared_opq.request(
        'POST', f'/opq/push?topic={topic}&url={receiver.url()}', body,
        {'Content-Type': 'application/x-any'})
    assert answer.status == 201, answer
    check(shared_opq, receiver, folder, topic, shell)


@pytest.mark.parametrize('method', ['GET', 'PUT', 'DELETE', 'PATCH'])
def test_methods(opq, receiver, folder, method):
    answer = opq.request(
        'POST', '/opq/push?' + urllib.parse.urlencode(
            {'topic': 't', 'url': receiver.url(), 'method': method}), b'',
        {'Content-Type': 'text/plain'})
    assert answer.status == 201, answer
    check(opq, receiver, folder)


def test_targets_that_mean_something_to_curl(opq, receiver, folder):
    url = receiver.url("/a/../b/./c{1,2}[1-3]'\"$(x)?q=[1]&r='#top")
    opq.push_json('t', url, 'x')
    check(opq, receiver, folder)


def test_forms(opq, receiver, folder):
    opq.push('t', receiver.url(), HOSTILE, {'X-Own': 'y', 'Accept': 'a/b'},
             other="it's")
    check(opq, receiver, folder)


def test_headers(opq, receiver, folder):
    opq.push_json('t', receiver.url(), 'x', headers={
        'X-Quote': "it's; $(touch evil)", 'X-Empty': '', 'X-At': '@file',
        'User-Agent': 'mine', 'Accept': 'text/x', 'X-Text': 'gr\u00fc\u00df'})
    check(opq, receiver, folder)


def test_bytes_in_headers_that_are_no_text(opq, receiver, folder):
    with opq.connect() as connection:
        answer = connection.send(
            b'POST /opq/push?topic=t&url=' + receiver.url().encode() +
            b' HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n'
            b'Opq-Forward-X: \xff\xfe \x80\r\nContent-Length: 1\r\n\r\nx'
        ).read_response()
    assert answer.status == 201, answer
    assert '\\377' in check(opq, receiver, folder)


def test_message_that_is_not_delivered(opq, receiver, folder):
    receiver.script = lambda request: 500
    opq.push_json('t', receiver.url(), 'x')
    wait_until(lambda: opq.topic('t')['attempts'] >= 2)
    text = command(opq, 't')
    receiver.script = lambda request: 202
    opq.wait_delivered('t', 1)
    receiver.clear()
    assert b' 202 ' in run(text, folder)
    assert receiver.requests[0].attempt >= 3


def test_dead_letter_is_shown_as_it_was(opq, receiver, folder):
    opq.push_json('t', receiver.url(), 'first')
    opq.wait_delivered('t', 1)
    receiver.script = lambda request: 500
    receiver.clear()
    opq.push('t', receiver.url(), 'x', {'Opq-Retries': '0'})
    opq.wait_delivered('t', 2)
    run(command(opq, 't.dlq'), folder)
    first, second = receiver.wait(2)
    assert second.attempt == 2
    for request in (first, second):
        request.fields = [(name, value) for name, value in request.fields
                          if name.lower() != 'opq-attempt']
    assert said(second) == said(first)


def test_signature_is_not_shown(serve, tmp_path, receiver):
    secrets = tmp_path / 'secrets'
    secrets.write_text('shop whsec_' + base64.b64encode(b's' * 32).decode() +
                       '\n')
    secrets.chmod(0o600)
    opq = serve(f'--secrets={secrets}')
    assert opq.request('PUT', '/opq/topics/t', {'secret': 'shop'}
                       ).status in (200, 201)
    opq.push_json('t', receiver.url(), 'x')
    text = command(opq, 't')
    assert 'webhook-signature' not in text
    assert 'whsec' not in text


def test_large_body_is_named(serve, receiver, tmp_path):
    opq = serve('--body-buffer=16k')
    body = b'ab\0' * 20_000
    answer = opq.request(
        'POST', f'/opq/push?topic=t&url={receiver.url()}', body,
        {'Content-Type': 'text/plain'})
    assert answer.status == 201
    opq.wait_delivered('t', 1)
    text = command(opq, 't')
    assert text.startswith('# Its body of 60000 bytes')
    (tmp_path / 'body').write_bytes(body)
    run(text, tmp_path)
    first, second = receiver.wait(2)
    assert said(second) == said(first)


def test_there_is_none_of_what_is_not_there(opq, receiver):
    assert opq.get('/opq/topics/t/messages/0/curl').status == 404
    opq.push_json('t', receiver.url(), 'x')
    assert opq.get('/opq/topics/t/messages/1/curl').status == 404
    assert opq.get('/opq/topics/t/messages/x/curl').status == 404
    assert opq.get('/opq/topics/t/messages/0/curl?a=b').status == 400
