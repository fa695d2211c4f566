"""The examples, run as they are.

Those in PHP are the ones that users of the first OPQ copied, unchanged but for
the port of OPQ and of the target, which the kernel chooses here.

SPDX-License-Identifier: MIT
"""

import subprocess
import sys
import urllib.parse

import pytest
from harness import PATIENCE_S, ROOT

TOPIC = 'comment'
SUCCESS = 'string(7) "success"\n'


def run_php(script, *arguments):
    done = subprocess.run(['php', '--', *arguments], input=script, text=True,
                          capture_output=True, timeout=PATIENCE_S,
                          check=False)
    assert done.returncode == 0, done
    return done.stdout


def example(name, opq, receiver=None):
    """The text of an example, with the ports of this test."""
    text = (ROOT / 'examples' / name).read_text()
    assert text.count('http://localhost:8999/') == 1
    text = text.replace('http://localhost:8999/',
                        f'http://localhost:{opq.port}/')
    if receiver is not None:
        assert text.count('http://127.0.0.1/Comment') == 1
        text = text.replace('http://127.0.0.1/Comment',
                            f'http://127.0.0.1:{receiver.port}/Comment')
    return text


def example_url(receiver):
    return (f'http://127.0.0.1:{receiver.port}/Comment/addComment'
            '?comment=nny&user=q18')


def test_push_example_is_answered_and_delivered_exactly(opq, receiver):
    assert run_php(example('push.php', opq, receiver)) == SUCCESS

    request, = receiver.wait(1)
    message = opq.get(f'/opq/topics/{TOPIC}/messages/0').json()
    body = ('message=this+is+message+body&topic=comment&url='
            + urllib.parse.quote(example_url(receiver), safe='')).encode()
    version = opq.get('/opq/info').json()['version']
    assert request.method == 'POST'
    assert request.target == '/Comment/addComment?comment=nny&user=q18'
    assert request.version == 'HTTP/1.1'
    assert request.body == body
    stamp = int(request.headers['webhook-timestamp'])
    assert request.fields == [
        ('Host', f'127.0.0.1:{receiver.port}'),
        ('Accept', '*/*'),
        ('User-Agent', f'OPQ/{version}'),
        ('Content-Type', 'application/x-www-form-urlencoded'),
        ('Content-Length', str(len(body))),
        ('webhook-id', message['id']),
        ('webhook-timestamp', str(stamp)),
        ('Opq-Topic', TOPIC),
        ('Opq-Seq', '0'),
        ('Opq-Attempt', '1'),
    ]
    assert request.form() == [('message', 'this is message body'),
                              ('topic', TOPIC),
                              ('url', example_url(receiver))]


def test_replay_example_delivers_from_message_30_in_order(opq, receiver):
    push = example('push.php', opq, receiver)
    for _ in range(35):
        assert run_php(push) == SUCCESS
    first = receiver.wait(35)
    assert [request.sequence for request in first] == list(range(35))
    opq.wait_delivered(TOPIC, 35)

    assert run_php(example('replay.php', opq)) == SUCCESS

    again = receiver.wait(40)[35:]
    assert [request.sequence for request in again] == [30, 31, 32, 33, 34]
    assert ([request.headers['webhook-id'] for request in again] ==
            [request.headers['webhook-id'] for request in first[30:]])
    assert ([request.body for request in again] ==
            [request.body for request in first[30:]])
    opq.wait_delivered(TOPIC, 35)
    assert len(receiver.requests) == 40


def test_replay_example_is_told_that_the_topic_is_not_there(opq):
    output = run_php(example('replay.php', opq))
    assert output == 'string(29) "NotFound: topic is not known\n"\n'


def large_push(opq, receiver, size, fields='array'):
    """A push like the example's, of a larger message, that waits for the
    server's word before it sends the body; prints all heads that came."""
    literal = ("array('url' => $url, 'topic' => 'big', 'message' => $message)")
    if fields == 'form':
        literal = f'http_build_query({literal})'
    return run_php(f"""<?php
$url = 'http://127.0.0.1:{receiver.port}/big';
$message = str_repeat('x', {size} - 3) . 'end';
$ch = curl_init("http://localhost:{opq.port}/opq/push");
curl_setopt($ch, CURLOPT_RETURNTRANSFER, 1);
curl_setopt($ch, CURLOPT_HEADER, 1);
curl_setopt($ch, CURLOPT_POST, 1);
curl_setopt($ch, CURLOPT_EXPECT_100_TIMEOUT_MS, 20000);
curl_setopt($ch, CURLOPT_HTTPHEADER, array('Expect: 100-continue'));
curl_setopt($ch, CURLOPT_POSTFIELDS, {literal});
echo curl_exec($ch);
""")


@pytest.mark.parametrize('fields', ['array', 'form'])
@pytest.mark.parametrize('size', [1100, 64 * 1024 + 1, 1024 * 1024 - 1024])
def test_large_body_is_awaited_with_100_continue(opq, receiver, size, fields):
    output = large_push(opq, receiver, size, fields)

    heads = output.split('\n\n')
    assert heads[0] == 'HTTP/1.1 100 Continue'
    assert heads[1].startswith('HTTP/1.1 201 Created\n')
    assert heads[2] == 'success'
    request, = receiver.wait(1)
    assert dict(request.form())['message'] == 'x' * (size - 3) + 'end'
    assert 'expect' not in request.headers
    assert (request.headers['content-type'] ==
            'application/x-www-form-urlencoded')


def test_body_past_the_limit_is_refused_before_it_is_sent(opq, receiver):
    output = large_push(opq, receiver, 1024 * 1024)

    assert output.startswith('HTTP/1.1 413 Content Too Large\n')
    assert opq.get('/opq/topics/big').status == 404
    assert receiver.requests == []


@pytest.fixture
def example_receiver():
    """The receiver of the examples: its process and its URL."""
    process = subprocess.Popen(
        [sys.executable, ROOT / 'examples/receiver.py', '0'],
        stdout=subprocess.PIPE, text=True)
    yield process, process.stdout.readline().split()[-1]
    process.kill()
    process.communicate()


def test_receiver_example_takes_each_message_once(opq, example_receiver):
    process, url = example_receiver
    for message in ('one', 'two'):
        opq.request('POST', f'/opq/push?topic=r&url={url}', message.encode(),
                    {'Content-Type': 'text/plain'})
    opq.wait_delivered('r', 2)
    assert opq.request('POST', '/opq/replay',
                       {'topic': 'r', 'cmd': 0}).status == 201
    opq.wait_delivered('r', 2)
    # Another topic of the same name is no repeat.
    assert opq.request('DELETE', '/opq/topics/r').status == 204
    opq.request('POST', f'/opq/push?topic=r&url={url}', b'three',
                {'Content-Type': 'text/plain'})
    opq.wait_delivered('r', 1)
    lines = [process.stdout.readline().rstrip() for _ in range(3)]
    assert lines == ['r 0 one', 'r 1 two', 'r 0 three']
