"""The subcommands that talk to a server, and the sink.

SPDX-License-Identifier: MIT
"""

import json
import os
import re
import signal
import subprocess
import time

import pytest
from harness import (BINARY, PATIENCE_S, Sink, Terminal, run_cli,
                     wait_until)


@pytest.fixture
def sink():
    made = []

    def make(*arguments):
        made.append(Sink(*arguments))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def test_push_prints_topic_sequence_and_id(opq, receiver):
    done = opq.run('push', 'a', receiver.url('/x'), 'h\u00e9 there')
    assert done.returncode == 0, done
    topic, sequence, identity = done.stdout.split()
    assert (topic, sequence) == ('a', '0')
    request = receiver.wait(1)[0]
    assert ('message', 'h\u00e9 there') in request.form()
    assert request.headers['webhook-id'] == identity


def test_push_of_bytes_with_headers(opq, receiver, tmp_path):
    (tmp_path / 'body').write_bytes(bytes(range(256)))
    done = opq.run('push', 'a', receiver.url(), '--file',
                   str(tmp_path / 'body'), '--type', 'image/x', '--header',
                   'X-One: 1', '--method=PUT', '--json')
    assert done.returncode == 0, done
    assert json.loads(done.stdout)['seq'] == 0
    request = receiver.wait(1)[0]
    assert request.method == 'PUT'
    assert request.body == bytes(range(256))
    assert request.headers['content-type'] == 'image/x'
    assert request.headers['x-one'] == '1'


def test_push_takes_every_option_as_a_flag(opq):
    assert opq.run('set', 'o', 'paused=yes').returncode == 0
    flags = {
        'key': 'customer 7', 'label': 'bl\u00e4u', 'dedup-id': 'd',
        'collapse': 'c', 'flow-key': 'f', 'retry-schedule': '5s,1m',
        'callback': 'http://127.0.0.1:9/done',
        'failure-callback': 'http://127.0.0.1:9/failed', 'priority': '9',
        'retries': '0'}
    arguments = [f'--{name}={value}' for name, value in flags.items()]
    done = opq.run('push', 'o', 'http://127.0.0.1:9/', 'm', '--ttl', '1h',
                   '--delay=0s', '--expect-seq=0', '--timeout=7s', *arguments)
    assert done.returncode == 0, done
    shown = opq.get('/opq/topics/o/messages/0').json()
    for name, value in flags.items():
        assert str(shown[name.replace('-', '_')]) == value
    assert shown['expires_at'] > shown['pushed_at']
    assert shown['timeout_ms'] == 7000
    done = opq.run('message', 'o', '0')
    assert done.returncode == 0, done
    lines = done.stdout.splitlines()
    for name, value in flags.items():
        name = name.replace('-', '_')
        assert f'{name:12} {value}' in lines, lines
    assert f'{"expires_at":12} {shown["expires_at"]}' in lines
    assert not any(line.startswith('not_before') for line in lines)

    done = opq.run('push', 'o', 'http://127.0.0.1:9/', 'm',
                   '--not-before=never')
    assert done.returncode == 1
    assert 'not_before must be a time' in done.stderr
    done = opq.run('push', 'o', 'http://127.0.0.1:9/', 'm', '--key=a\nb')
    assert done.returncode == 64
    assert opq.topic('o')['end'] == 1


def test_refused_push_says_why_and_exits_1(opq):
    done = opq.run('push', 'a', 'ftp://nowhere/', 'x')
    assert done.returncode == 1
    assert 'url' in done.stderr
    assert done.stdout == ''


def test_exit_codes(opq, receivers):
    gone = receivers()
    gone.close()
    assert run_cli('topics', '--url', gone.url()).returncode == 2
    assert run_cli('topics', '--url', 'gopher://x').returncode == 64
    assert run_cli('no-such-subcommand').returncode == 64
    assert opq.run('tail').returncode == 64
    assert opq.run('push', 'a', '--colour', 'blue').returncode == 64
    assert opq.run('push', 'a', 'http://127.0.0.1:1/', 'text', '--file',
                   '/dev/null').returncode == 64
    assert opq.run('topics', 'nobody').returncode == 1
    assert opq.run('topics', '--help').returncode == 0


def test_url_comes_from_the_environment(opq):
    done = subprocess.run([BINARY, 'topics', '--json'], text=True,
                          capture_output=True, timeout=PATIENCE_S,
                          check=False,
                          env={**os.environ, 'OPQ_URL': opq.url})
    assert done.returncode == 0, done


def test_unix_socket_is_an_address(serve, tmp_path):
    path = tmp_path / 'opq.sock'
    serve('--unix', str(path))
    done = run_cli('topics', '--url', f'unix:{path}')
    assert done.returncode == 0, done
    assert done.stdout.startswith('TOPIC')


def test_batch_pushes_lines_and_counts(opq, receiver):
    lines = [json.dumps({'topic': 'b', 'url': receiver.url(),
                         'message': f'm{number}'}) for number in range(1201)]
    done = opq.run('batch', input='\n'.join(lines) + '\n')
    assert done.returncode == 0, done
    assert done.stdout == '1201 stored, 0 refused\n'
    opq.wait_delivered('b', 1201)
    assert receiver.sequences('b') == list(range(1201))
    done = opq.run('batch', input=lines[0] + '\n{"topic":"..","url":"x"}\n')
    assert done.returncode == 1
    assert done.stdout == '1 stored, 1 refused\n'
    later = {**json.loads(lines[0]), 'delay': '1h'}
    done = opq.run('batch', input=json.dumps(later) + '\n')
    assert (done.returncode, done.stdout) == (0, '1 stored, 0 refused\n')


def test_info_is_a_line_for_each_figure(opq, receiver):
    opq.push_json('t', receiver.url(), 'x')
    lines = dict(line.split(maxsplit=1)
                 for line in opq.run('info').stdout.splitlines())
    assert lines['name'] == 'opq'
    assert lines['now.topics'] == lines['since_start.pushes'] == '1'
    shown = json.loads(opq.run('info', '--json').stdout)
    assert shown['now']['topics'] == 1
    assert set(shown['limits']) == {
        name[len('limits.'):] for name in lines if name.startswith('limits.')}


def test_delayed_message_is_shown(opq, receiver):
    pushed = opq.push_json('t', receiver.url(), 'x', delay='1h')
    shown = json.loads(opq.run('delayed', 'show', pushed['id'],
                               '--json').stdout)
    assert (shown['id'], shown['state']) == (pushed['id'], 'delayed')
    assert pushed['due'] in opq.run('delayed', 'show', pushed['id']).stdout
    assert opq.run('delayed', 'show', 'dly_0').returncode == 1
    assert opq.run('delayed', 'show').returncode == 64


def test_message_as_a_command(opq, receiver):
    opq.push_json('t', receiver.url(), 'x')
    done = opq.run('message', 't', '0', '--curl')
    assert done.stdout == opq.get(
        '/opq/topics/t/messages/0/curl').body.decode()
    assert receiver.url() in done.stdout
    assert opq.run('message', 't', '9', '--curl').returncode == 1


def test_topics_as_a_table_and_as_json(opq, receiver):
    for name in ('beta', 'alpha'):
        opq.push_json(name, receiver.url(), 'x')
        opq.wait_delivered(name, 1)
    table = opq.run('topics').stdout.splitlines()
    assert table[0].split()[:4] == ['TOPIC', 'OLDEST', 'END', 'LAG']
    assert [line.split()[0] for line in table[1:]] == ['alpha', 'beta']
    rows = [json.loads(line)
            for line in opq.run('topics', '--json').stdout.splitlines()]
    assert [row['name'] for row in rows] == ['alpha', 'beta']
    shown = opq.run('topics', 'beta').stdout
    assert re.search(r'(?m)^end +1$', shown)


def test_pause_resume_set_purge_delete(opq, receiver):
    opq.push_json('a', receiver.url(), 'x')
    opq.wait_delivered('a', 1)
    assert opq.run('pause', 'a').returncode == 0
    assert opq.topic('a')['paused'] is True
    assert opq.run('resume', 'a').returncode == 0
    assert opq.topic('a')['paused'] is False
    done = opq.run('set', 'a', 'retain_age=7d', 'retain_bytes=1g')
    assert done.returncode == 0, done
    assert opq.topic('a')['settings']['retain_bytes'] == 1 << 30
    assert opq.run('set', 'a', 'colour=blue').returncode == 1
    assert opq.run('purge', 'a').returncode == 0
    assert opq.topic('a')['oldest'] == 1
    assert opq.run('delete', 'a').returncode == 0
    assert opq.get('/opq/topics/a').status == 404


def test_replay_delivers_again(opq, receiver):
    for number in range(5):
        opq.push_json('a', receiver.url(), f'm{number}')
    opq.wait_delivered('a', 5)
    assert opq.run('replay', 'a', '3').returncode == 0
    receiver.wait(7)
    assert receiver.sequences('a') == [0, 1, 2, 3, 4, 3, 4]
    assert opq.run('replay', 'a', '9').returncode == 1


def test_message_tells_where_it_stands(opq, receiver):
    opq.push_json('a', receiver.url(), 'body of it')
    opq.wait_delivered('a', 1)
    done = opq.run('message', 'a', '0')
    assert re.search(r'(?m)^state +delivered$', done.stdout)
    assert 'body of it' in done.stdout
    assert json.loads(opq.run('message', 'a', '0', '--json').stdout)[
        'seq'] == 0
    assert opq.run('message', 'a', '7').returncode == 1


def test_tail_prints_the_last_ones(opq, receiver):
    for number in range(15):
        opq.push_json('a', receiver.url(), f'm{number}')
    lines = opq.run('tail', 'a').stdout.splitlines()
    assert [line.split()[0] for line in lines] == [
        str(number) for number in range(5, 15)]
    assert lines[-1].endswith(' m14')
    assert len(opq.run('tail', 'a', '-n', '3').stdout.splitlines()) == 3
    rows = opq.run('tail', 'a', '--from', '12', '--json').stdout.splitlines()
    assert [json.loads(row)['seq'] for row in rows] == [12, 13, 14]


def test_tail_follows(opq, receiver):
    opq.push_json('a', receiver.url(), 'before')
    process = subprocess.Popen(
        [BINARY, 'tail', 'a', '-f', '--url', opq.url],
        stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline().endswith(' before\n')
        opq.push_json('a', receiver.url(), 'after')
        assert process.stdout.readline().endswith(' after\n')
    finally:
        process.kill()
        process.communicate()


def test_sink_counts_and_ends_by_itself(opq, sink):
    target = sink('--until', '100')
    items = [{'topic': f't{number % 4}', 'url': target.url, 'message': 'x'}
             for number in range(100)]
    assert opq.request('POST', '/opq/batch', items).status == 201
    text, _ = target.process.communicate(timeout=PATIENCE_S)
    assert target.process.returncode == 0
    assert '100 messages accepted, 0 twice, 0 out of order, 0 missing' in text


def test_sink_misbehaves_as_it_is_told(opq, sink):
    target = sink('--fail', '503:attempt=1,slow:10ms:seq=2')
    for number in range(4):
        opq.push_json('a', target.url, f'm{number}')
    opq.wait_delivered('a', 4)
    stats = wait_until(
        lambda: (lambda s: s if s['distinct'] == 4 else None)(target.stats()))
    assert stats['failed'] == 4
    assert stats['requests'] == 8
    assert stats['topics'][0]['topic'] == 'a'
    assert (stats['duplicates'], stats['disorder'], stats['missing']) == (
        0, 0, 0)
    code, text = target.stop()
    assert code == 0
    assert '4 failed on purpose' in text


BAD_SINKS = {  # class and status of the failure
    'reset': ('connection_reset', None), 'close': ('connection_reset', None),
    'garbage': ('protocol_error', None), 'drip:30ms': ('timeout', None),
    'hang': ('timeout', None), '429:retry-after=3s': ('http_4xx', 429)}


@pytest.mark.parametrize('back_end', ['epoll', 'uring'])
def test_sink_breaks_the_rules_of_http(serve, sink, back_end):
    def failure(topic):
        message = opq.get(f'/opq/topics/{topic}/messages/0').json()
        return message.get('last_error')

    opq = serve('--retry-first=2s', '--drain=2s')
    target = sink('--io', back_end, '--listen', '0.0.0.0', '--print',
                  '--fail', ','.join(
        f'{rule}:topic=t{number}:attempt=1'
        for number, rule in enumerate(BAD_SINKS)))
    begin = time.monotonic()
    for number in range(len(BAD_SINKS)):
        # Of hosts of their own, since a pause is the whole host's.
        url = target.url.replace('0.0.0.0', f'127.0.0.{number + 1}')
        opq.push_json(f't{number}', url, 'hello', timeout='500ms')
    errors = [wait_until(lambda: failure(f't{number}'))
              for number in range(len(BAD_SINKS))]
    assert [(error['class'], error.get('status')) for error in errors] == [
        *BAD_SINKS.values()]
    assert 'was not over' in errors[3]['detail']
    for number in range(len(BAD_SINKS)):
        opq.wait_delivered(f't{number}', 1)
    assert time.monotonic() - begin >= 3
    assert target.stats()['failed'] == len(BAD_SINKS)
    code, text = target.stop()
    assert code == 0
    for number, rule in enumerate(BAD_SINKS):
        shown = f'topic=t{number} seq=0 attempt=%d size=5 %s\n'
        assert shown % (1, rule.partition(':')[0]) in text, text
        assert shown % (2, '200') in text, text


def test_sink_ends_while_it_misbehaves(opq, sink):
    target = sink('--fail', 'hang:seq=0,drip:1h')
    opq.push_json('hang', target.url, 'x')
    opq.push_json('drip', target.url, 'x')
    opq.push_json('drip', target.url, 'x')
    wait_until(lambda: target.stats()['requests'] >= 2)
    code, text = target.stop()
    assert code == 0, text


def test_sink_refuses_rules_that_make_no_sense():
    done = run_cli('sink', '--fail', 'teapot')
    assert done.returncode == 64
    assert 'teapot' in done.stderr


@pytest.mark.parametrize('form, content', [
    ('urlencoded', 'fields'), ('multipart', 'fields'),
    ('json', 'text/plain'), ('raw', 'application/octet-stream')])
def test_bench_pushes_each_form(opq, form, content):
    """Other words for the same message; --target names where it goes."""
    assert opq.request('PUT', '/opq/topics/load-0?paused=yes').status == 201
    done = opq.run('bench', 'push', '--form', form, '--topic', 'load',
                   '--target', 'http://127.0.0.1:1/a?b=c%26', '--size', '30',
                   '--connections', '2', '--duration', '50ms',
                   '--warmup', '0ms', '--json')
    assert done.returncode == 0, done
    figures = json.loads(done.stdout)
    assert figures['answers'] > 0
    assert figures['refused'] == figures['broken'] == 0
    page = opq.get('/opq/topics/load-0/messages?limit=1').json()
    message = page['messages'][0]
    text = 'abcdefghijklmnopqrstuvwxyzabcd'
    assert message['url'] == 'http://127.0.0.1:1/a?b=c%26'
    if content == 'fields':
        assert message['fields'] == [{'name': 'message', 'value': text}]
    else:
        assert message['content_type'].startswith(content)
        assert message['body'] == text


def test_bench_refuses_a_form_it_does_not_know(opq):
    done = opq.run('bench', 'push', '--form', 'xml')
    assert done.returncode == 64
    assert 'urlencoded, multipart, json or raw' in done.stderr
    done = opq.run('bench', 'push', '--form', 'json', '--batch', '2')
    assert done.returncode == 64
    assert '--batch' in done.stderr


# --- tail ---------------------------------------------------------------------

def follow(opq, *arguments):
    return subprocess.Popen(
        [BINARY, 'tail', '--url', opq.url, *arguments], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_tail_goes_on_over_a_restart(opq, receiver):
    port = opq.port
    for text in 'ab':
        opq.push_json('t', receiver.url(), text)
    with follow(opq, 't', '-f', '--json') as process:
        try:
            seen = [json.loads(process.stdout.readline()) for _ in range(2)]
            opq.stop()
            assert 'does not answer; trying again' in (
                process.stderr.readline())
            opq.start(f'-port={port}')
            opq.push_json('t', receiver.url(), 'c')
            opq.kill()
            opq.start(f'-port={port}')
            opq.push_json('t', receiver.url(), 'd')
            seen += [json.loads(process.stdout.readline()) for _ in range(2)]
        finally:
            process.kill()
    assert [one['seq'] for one in seen] == [0, 1, 2, 3]
    assert [one['body'] for one in seen] == list('abcd')


def test_tail_that_cannot_begin_ends(opq):
    done = opq.run('tail', 'nobody', '-f')
    assert done.returncode == 1
    assert 'not known' in done.stderr


def test_tail_ends_when_its_topic_is_deleted(opq, receiver):
    opq.push_json('t', receiver.url(), 'a')
    with follow(opq, 't', '-f') as process:
        process.stdout.readline()
        assert opq.run('delete', 't').returncode == 0
        assert process.wait(PATIENCE_S) == 1
        assert 'not known' in process.stderr.read()


def test_tail_since(opq, receiver):
    opq.push_json('t', receiver.url(), 'a')
    before = opq.get('/opq/topics/t/messages/0').json()['pushed_at']
    assert len(opq.run('tail', 't', '--since=1h').stdout.splitlines()) == 1
    assert len(opq.run('tail', 't', '--since', before).stdout.splitlines()) == 1
    assert opq.run('tail', 't', '--since=0s').stdout == ''
    assert opq.run('tail', 't', '--since=soon').returncode == 64


def test_tail_has_colours_on_a_terminal_only(opq, receiver):
    opq.push_json('t', receiver.url(), 'te\x1bxt')
    assert '\x1b' not in opq.run('tail', 't').stdout
    for environment, mark in (({}, '\x1b[36m0 '), ({'NO_COLOR': '1'}, '0 ')):
        terminal = Terminal()
        done = subprocess.run([BINARY, 'tail', '--url', opq.url, 't'],
                              stdout=terminal.theirs, check=True,
                              timeout=PATIENCE_S, env=environment)
        shown = terminal.read()
        assert done.returncode == 0
        assert shown.startswith(mark)
        assert 'te xt' in shown
