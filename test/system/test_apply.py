"""opq apply: what a server has becomes what a file says.

SPDX-License-Identifier: MIT
"""

import json
import os
import pty
import subprocess

import pytest
from harness import BINARY, PATIENCE_S

WHOLE = '''
# All that there is.
[topic orders]
order = key
concurrency = 8
retain-age = 48h
retain_bytes = 64m
rate = 100/60s
retry_schedule = 5s, 60s,10m
batch = 100,1000ms
timeout = 90

[subscription orders audit]
url = http://127.0.0.1:1/in
filter = label = "eu"
headers = {"X-Team": "audit", "X-B": "2"}
kind = mirror
share = 12.50%
start = oldest

[topic plain]

[schedule nightly]
cron = 30 2 * * *
zone = Europe/Berlin
topic = plain
url = http://127.0.0.1:1/run
message = "two\\nlines \\" "
retries = 3
headers = {"X-A": "1"}

[schedule document]
cron = @hourly
topic = plain
url = http://127.0.0.1:1/run
message_json = {"b": [1, 2], "a": null}
paused = yes
'''


@pytest.fixture
def apply(opq, tmp_path):
    def run(text, *arguments):
        path = tmp_path / 'opq.conf'
        path.write_text(text)
        return opq.run('apply', str(path), *arguments)
    return run


def settings(opq, topic):
    return opq.topic(topic)['settings']


def test_what_is_not_there_is_made(opq, apply):
    done = apply(WHOLE)
    assert done.returncode == 0, done
    assert '+ topic orders\n    order = key\n' in done.stdout
    assert '+ subscription orders audit\n' in done.stdout
    has = settings(opq, 'orders')
    assert (has['order'], has['concurrency'], has['retain_bytes']) == (
        'key', 8, 64 << 20)
    audit = opq.get('/opq/topics/orders/subscriptions/audit').json()
    assert audit['settings']['headers'] == {'X-Team': 'audit', 'X-B': '2'}
    assert audit['settings']['share'] == '12.5%'
    nightly = opq.get('/opq/schedules/nightly').json()
    assert nightly['definition']['message'] == 'two\nlines " '
    document = opq.get('/opq/schedules/document').json()
    assert document['definition']['message'] == {'b': [1, 2], 'a': None}
    assert document['paused'] and not nightly['paused']


def test_the_second_time_changes_nothing(opq, apply):
    assert apply(WHOLE).returncode == 0
    before = opq.get('/opq/schedules/nightly').json()['since']
    for _ in range(2):
        done = apply(WHOLE)
        assert (done.returncode, done.stdout) == (0, 'nothing to change\n')
    assert json.loads(apply(WHOLE, '--json').stdout) == []
    assert opq.get('/opq/schedules/nightly').json()['since'] == before


def test_export_is_the_same_again(opq, apply, serve):
    assert apply(WHOLE).returncode == 0
    done = opq.run('apply', '--export')
    assert done.returncode == 0, done
    assert apply(done.stdout).stdout == 'nothing to change\n'
    other = serve(name='other')
    again = other.run('apply', '-', input=done.stdout)
    assert again.returncode == 0, again
    assert other.run('apply', '--export').stdout == done.stdout
    assert '[topic plain]\n\n' in done.stdout
    assert 'message = "two\\nlines \\" "\n' in done.stdout


def test_changes_are_shown_and_made(opq, apply):
    assert apply(WHOLE).returncode == 0
    changed = WHOLE.replace('concurrency = 8\n', '').replace(
        'rate = 100/60s', 'rate = 7/1s').replace('retries = 3', 'retries = 4')
    shown = ('~ topic orders\n    concurrency = 8 -> 0\n'
             '    rate = 100/1m -> 7/1s\n'
             '~ schedule nightly\n    retries = 3 -> 4\n')
    done = apply(changed, '--dry-run')
    assert (done.returncode, done.stdout) == (0, shown), done
    assert settings(opq, 'orders')['concurrency'] == 8
    done = apply(changed)
    assert (done.returncode, done.stdout) == (0, shown), done
    assert settings(opq, 'orders')['concurrency'] == 0
    assert settings(opq, 'orders')['rate'] == '7/1s'
    assert apply(changed).stdout == 'nothing to change\n'


def test_pauses_by_hand_stay(opq, apply):
    assert apply(WHOLE).returncode == 0
    assert opq.run('pause', 'orders').returncode == 0
    assert opq.run('schedules', 'pause', 'nightly').returncode == 0
    assert apply(WHOLE).stdout == 'nothing to change\n'
    assert apply(WHOLE.replace('retries = 3', 'retries = 4')).returncode == 0
    assert settings(opq, 'orders')['paused']
    assert opq.get('/opq/schedules/nightly').json()['paused']
    done = apply(WHOLE.replace('retries = 3', 'retries = 4\npaused = no'))
    assert 'paused = true -> false' in done.stdout
    assert not opq.get('/opq/schedules/nightly').json()['paused']


def test_prune(opq, apply, receiver):
    assert apply(WHOLE).returncode == 0
    opq.push_json('other', receiver.url(), 'x')
    opq.request('PUT', '/opq/topics/plain/subscriptions/s?url=http://a/')
    left = '[topic plain]\n[schedule document]\n' + WHOLE.rpartition(
        '[schedule document]\n')[2]
    done = apply(left, '--prune')
    assert done.returncode == 1
    assert 'nothing was changed' in done.stderr
    assert '- topic orders\n' in done.stdout
    assert opq.topic('other')['end'] == 1
    assert apply(left, '--prune', '--dry-run').returncode == 0
    assert opq.topic('other')['end'] == 1
    done = apply(left, '--prune', '--yes', '--json')
    assert done.returncode == 0, done
    gone = {(one['kind'], one['name']) for one in json.loads(done.stdout)}
    assert gone == {('schedule', 'nightly'), ('topic', 'orders'),
                    ('topic', 'other'), ('subscription', 'audit'),
                    ('subscription', 's')}
    assert all(one['done'] for one in json.loads(done.stdout))
    names = [one['name'] for one in opq.get('/opq/topics').json()['topics']]
    assert names == ['plain']
    assert apply(left, '--prune', '--yes').stdout == 'nothing to change\n'


@pytest.mark.parametrize('answer, count', [('y\n', 0), ('n\n', 1)])
def test_prune_asks_on_a_terminal(opq, answer, count, tmp_path):
    assert opq.request('PUT', '/opq/topics/t').status == 201
    (tmp_path / 'empty').write_text('')
    ours, theirs = pty.openpty()
    os.write(ours, answer.encode())
    done = subprocess.run(
        [BINARY, 'apply', '--prune', str(tmp_path / 'empty'), '--url',
         opq.url], stdin=theirs, capture_output=True, text=True, check=False,
        timeout=PATIENCE_S)
    os.close(ours)
    os.close(theirs)
    assert 'Delete 1, topics with their messages? [y/N]' in done.stderr
    assert done.returncode == (1 if count else 0)
    assert len(opq.get('/opq/topics').json()['topics']) == count


def test_what_is_wrong_is_said_by_line_and_nothing_is_done(opq, apply):
    done = apply('order = key\n\n[topics a]\n[topic a b]\n[topic a]\n'
                 'odrer=key\n'
                 'order = "key\nno equals\norder = key\norder = none\n'
                 '[topic a]\n[topic b\n[subscription x]\n')
    assert done.returncode == 1
    lines = [line.partition('opq.conf:')[2]
             for line in done.stderr.splitlines()]
    assert [line.partition(':')[0] for line in lines] == [
        '1', '3', '4', '7', '8', '10', '11', '12', '13'], done.stderr
    assert 'did you mean topic?' in lines[1]
    assert 'line 9 already' in lines[5]
    assert 'defined in line 5 already' in lines[6]
    done = apply('[topic a]\nodrer = key\n[schedule s]\ncorn = @daily\n')
    assert done.returncode == 1
    assert 'opq.conf:2: a topic has no odrer; did you mean order?' in (
        done.stderr)
    assert 'opq.conf:4: a schedule has no corn; did you mean cron?' in (
        done.stderr)
    assert opq.get('/opq/topics').json()['topics'] == []


def test_what_the_server_refuses_is_said_by_line(opq, apply):
    done = apply('[topic a]\norder = key\nretries = many\n\n[topic b]\n')
    assert done.returncode == 1
    assert 'opq.conf:3: retries must be' in done.stderr
    done = apply('[schedule s]\ncron = never\ntopic = a\nurl = http://a/\n')
    assert done.returncode == 1
    assert 'opq.conf:2: cron' in done.stderr, done
    done = apply('[schedule s]\ncron = @daily\nheaders = {\ntopic = a\n')
    assert 'opq.conf:1: headers' in done.stderr, done


def test_each_refused_value_is_said_by_its_line(opq, apply):
    done = apply('[topic a]\nretries = many\norder = key\n'
                 'timeout = soon\nconcurrency = lots\n')
    assert done.returncode == 1
    assert [line.partition(' must')[0].partition('opq.conf')[2]
            for line in done.stderr.splitlines()] == [
        ':2: retries', ':4: timeout', ':5: concurrency'], done.stderr
    assert opq.get('/opq/topics/a').status == 404


def test_command_lines(opq, apply, receivers):
    assert opq.run('apply').returncode == 64
    assert apply('', '--export').returncode == 64
    assert opq.run('apply', '/no/such/file').returncode == 1
    gone = receivers()
    gone.close()
    assert apply('', '--url', gone.url('')).returncode == 2
    assert apply('').stdout == 'nothing to change\n'
