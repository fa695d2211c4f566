"""Memory is used rightly and given back: the binary under Valgrind, from its
start through all that it is for to the end of a drain.

Under epoll only. Valgrind knows io_uring's calls, but that of Debian 12 lets
no other thread run while one waits in io_uring_enter, so a server with
--io=uring never begins to serve. What is special about that back end is run
under ASan instead.

SPDX-License-Identifier: MIT
"""

import os
import re
import shutil
import subprocess

import pytest
import sanitizer
from certificates import Authority
from harness import BINARY, PATIENCE_S, Answer

pytestmark = [
    pytest.mark.skipif(shutil.which('valgrind') is None,
                       reason='valgrind is not installed'),
    pytest.mark.skipif(sanitizer.kind_of(BINARY) is not None,
                       reason='valgrind and sanitizers exclude each other'),
]

SLOW = 4 * PATIENCE_S


@pytest.fixture
def watched(serve, tmp_path):
    """A function that starts a server under Valgrind, and one that stops it
    and gives what Valgrind said."""
    log = tmp_path / 'valgrind.log'
    # Reading the system's CAs would take longer than all the rest.
    authority = Authority(tmp_path / 'tls')

    def start(*arguments):
        opq = serve(
            '--io=epoll', f'--ca-file={authority.file}', '--retry-first=20ms',
            '--retry-max=100ms', *arguments, ready=False,
            command=['valgrind', '--leak-check=full', '--show-leak-kinds=all',
                     '--track-fds=yes', '--error-exitcode=99',
                     f'--log-file={log}'])
        opq.wait_ready(SLOW)
        opq.authority = authority
        return opq

    def stop(opq):
        code = opq.stop(SLOW)
        text = log.read_text()
        assert code == 0, text
        return text
    return start, stop


def assert_clean(text):
    """No error, no leak of any kind, no descriptor but those it was given."""
    assert 'ERROR SUMMARY: 0 errors from 0 contexts' in text, text
    assert 'All heap blocks were freed' in text, text
    opened = re.findall(r'Open (?:file descriptor|\S+ socket) \d+:.*\n.*\n',
                        text)
    assert all('<inherited from parent>' in one for one in opened), text


def test_nothing_is_leaked_from_a_push_to_a_drain(watched, receivers):
    start, stop = watched
    opq = start('--shards=2', '--drain=5s')
    failing = {0: 500, 1: 503}
    receiver = receivers(
        lambda request: failing.get(request.attempt - 1, 200)
        if request.sequence == 3 else 200)
    secure = receivers(tls=opq.authority.server('good', 'IP:127.0.0.1'))
    for number in range(10):
        assert opq.push('a', receiver.url(), f'm{number}', f='g').status == 201
    opq.push_json('b', receiver.url(), {'a': [1]}, headers={'X-One': '1'})
    assert opq.request('POST', '/opq/batch', [
        {'topic': f'c{number}', 'url': receiver.url(), 'message': 'x' * 5000}
        for number in range(5)]).status == 201
    assert opq.push('s', secure.url(), 'tls').status == 201
    for topic, end in (('a', 10), ('b', 1), ('c4', 1), ('s', 1)):
        opq.wait_delivered(topic, end, SLOW)
    assert opq.request('POST', '/opq/replay?topic=a&cmd=5').status == 201
    receiver.wait(10 + 2 + 1 + 5 + 5, SLOW)
    for path in ('/opq/topics', '/opq/info', '/opq/topics/a',
                 '/opq/topics/a/messages?from=2', '/opq/topics/a/messages/1'):
        assert opq.get(path).status == 200
    assert opq.request('DELETE', '/opq/topics/c0').status == 204
    assert opq.get('/opq/topics/c0').status == 404
    assert opq.exchange(b'GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n'
                        ).status == 400
    assert_clean(stop(opq))


def test_nothing_is_leaked_by_a_drain_that_gives_up(serve, watched,
                                                    receivers):
    """What a crash left is recovered, messages wait, one is in flight for
    ever, a push is half there."""
    start, stop = watched
    receiver = receivers(lambda request: Answer(hang=True))
    crashed = serve('--shards=1')
    for _ in range(3):
        crashed.push('hang', receiver.url())
    receiver.wait(1)
    crashed.kill()
    opq = start('--shards=1', '--drain=300ms')
    assert opq.topic('hang')['end'] == 3
    receiver.wait(2, SLOW)
    with opq.connect() as half:
        half.send('POST /opq/push?topic=x HTTP/1.1\r\nHost: x\r\n'
                  'Content-Length: 100\r\n\r\nhalf')
        assert_clean(stop(opq))


OFFLINE = {
    'export': ['export', '{data}'],
    'export-of-no-topic': ['export', '{data}', 'none'],
    'export-wrong': ['export', '{data}', '--from', 'x'],
    'grep': ['grep', 'hello', '{data}'],
    'grep-of-no-topic': ['grep', 'hello', '{data}', 'none'],
    'grep-wrong': ['grep', '(', '{data}'],
    'verify': ['verify', '{data}'],
    'dump': ['dump', 'a', '--data', '{data}'],
    'dump-wrong': ['dump', 'a', 'x', '--data', '{data}'],
    'repair': ['repair', '{data}'],
    'import-wrong': ['import', '--data', '{data}'],
}


@pytest.mark.parametrize('name', OFFLINE)
def test_nothing_is_leaked_by_a_subcommand_on_a_directory(serve, tmp_path,
                                                          name):
    """Not even the token that they have no use for."""
    opq = serve('--shards=1')
    opq.push('a', 'http://127.0.0.1:9/', 'hello')
    opq.stop()
    log = tmp_path / 'valgrind.log'
    subprocess.run(
        ['valgrind', '--leak-check=full', '--show-leak-kinds=all',
         '--track-fds=yes', f'--log-file={log}', BINARY]
        + [word.format(data=opq.data) for word in OFFLINE[name]],
        env={**os.environ, 'OPQ_TOKEN': 'opq_' + 'a' * 30}, check=False,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, timeout=SLOW)
    assert_clean(log.read_text())
