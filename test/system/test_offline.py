"""Export and import: what is brought from one place to another is the same.

SPDX-License-Identifier: MIT
"""

import base64
import json
import os
import subprocess
import threading
import urllib.parse

import first_opq
import pytest
from harness import BINARY, run_cli, wait_until

OPTIONS = {
    'key': 'k', 'priority': 3, 'retries': 7, 'retry_schedule': '5s,1m',
    'label': 'l\u00e4bel', 'dedup_id': 'd-1', 'collapse': 'c', 'flow_key': 'f',
    'callback': 'http://127.0.0.1:9/c', 'failure_callback':
    'http://127.0.0.1:9/f', 'ttl': '1d', 'timeout': '3s', 'method': 'PUT',
    'headers': {'X-One': 'eins', 'X-Two': 'a "b" \\ c'},
}


def fill(opq, receiver):
    """Messages of every kind, settings, a subscription, cursors."""
    opq.request('PUT', '/opq/topics/kinds', {
        'order': 'none', 'retain_count': 100000, 'retry_schedule': '1h',
        'dedup': 'content', 'dedup_window': '1m', 'discard': 'old',
        'retain_age': '7d', 'timeout': '3s'})
    opq.push('kinds', receiver.url(), 'a form \u00e9 &=+', second='\u4e2d')
    opq.push_json('kinds', receiver.url(), 'plain')
    opq.request('POST', '/opq/push', {
        'topic': 'kinds', 'url': receiver.url(),
        'message_base64': base64.b64encode(bytes(range(256))).decode()})
    opq.push_json('kinds', receiver.url(), 'options', **OPTIONS)
    large = os.urandom(300000)
    answer = opq.request(
        'POST', '/opq/push?topic=kinds&url='
        + urllib.parse.quote(receiver.url()), large,
        {'Content-Type': 'application/octet-stream'})
    assert answer.status == 201, answer
    opq.wait_delivered('kinds', 5)
    made = opq.request('PUT', '/opq/topics/fan/subscriptions/desk',
                       {'kind': 'pull', 'start': 'oldest'})
    assert made.status == 201, made
    made = opq.request('PUT', '/opq/topics/fan/subscriptions/mirror', {
        'kind': 'mirror', 'url': receiver.url('/mirror'), 'paused': True,
        'headers': {'X-A': 'a "b" \\ c', 'X-B': 'b'}, 'share': '12.5%',
        'filter': 'header:X-Kind = "order"', 'timeout': '3s', 'rate': '5/1s',
        'expired': 'drop', 'batch': '10,50ms', 'batch_format': 'json'})
    assert made.status == 201, made
    for number in range(5):
        opq.request('POST', '/opq/push',
                    {'topic': 'fan', 'message': f'f{number}'})
    ack = opq.request('POST', '/opq/topics/fan/subscriptions/desk/ack'
                      '?seqs=0,1,3')
    assert ack.status == 200, ack
    for number in range(50):
        opq.push_json('many', receiver.url(), f'm{number}')
    opq.wait_delivered('many', 50)
    opq.request('POST', '/opq/topics/many/pause')
    for number in range(20):
        opq.push_json('many', receiver.url(), f'n{number}')
    opq.request('POST', '/opq/topics/many/purge?before=10')
    return large


def topics_of(server):
    return sorted(name.name for name in (server.data / 'topics').iterdir())


def dump(server, topic):
    done = run_cli('dump', topic, '--data', str(server.data))
    assert done.returncode in (0, 1), done
    return done.stdout


def export(directory, *arguments):
    done = run_cli('export', str(directory), *arguments)
    assert done.returncode == 0, done
    return done.stdout


def without_head(text):
    """An export without what differs from one to the next."""
    return text.splitlines()[1:]


@pytest.fixture
def filled(serve, receiver):
    opq = serve('--body-buffer=100k')
    opq.large = fill(opq, receiver)
    opq.settings = {
        name: opq.get(f'/opq/topics/fan/subscriptions/{name}').json()[
            'settings'] for name in ('desk', 'mirror')}
    opq.settings['kinds'] = opq.topic('kinds')['settings']
    assert opq.stop() == 0
    return opq


def test_a_directory_is_restored_from_its_export(filled, tmp_path, serve):
    text = export(filled.data)
    head = json.loads(text.splitlines()[0])
    assert head['opq_export'] == 1
    file = tmp_path / 'all.export'
    done = run_cli('export', str(filled.data), '--out', str(file))
    assert done.returncode == 0, done
    assert without_head(file.read_text()) == without_head(text)
    assert file.stat().st_mode & 0o007 == 0  # as closed as the directory
    copy = tmp_path / 'copy'
    done = run_cli('import', str(file), '--data', str(copy), '--json')
    assert done.returncode == 0, done
    assert json.loads(done.stdout)['refused'] == 0
    assert run_cli('verify', str(copy)).returncode == 0
    assert without_head(export(copy)) == without_head(text)
    for topic in topics_of(filled):
        there = dump(filled, topic)
        here = run_cli('dump', topic, '--data', str(copy)).stdout
        # Of what was purged segments may still have some.
        assert there.endswith(here), topic
        assert topic == 'many' or there == here, topic
    again = serve('--body-buffer=100k', '--shards=2', name='copy')
    assert again.topic('many')['delivered'] == 50
    assert again.topic('many')['oldest'] == 10
    assert again.topic('many')['paused'] is True
    assert again.topic('kinds')['settings']['order'] == 'none'
    desk = again.get('/opq/topics/fan/subscriptions/desk/messages').json()
    assert [one['seq'] for one in desk['messages']] == [2, 4]


def test_an_import_is_repeated_without_doubles(filled, tmp_path):
    file = tmp_path / 'all.export'
    file.write_text(export(filled.data))
    lines = file.read_text().splitlines(keepends=True)
    copy = tmp_path / 'copy'
    ends = [at for at, line in enumerate(lines)
            if line.startswith('{"topic_end"')]
    cut = tmp_path / 'cut.export'
    cut.write_text(''.join(lines[:ends[1] + 4]))
    done = run_cli('import', str(cut), '--data', str(copy), '--json')
    assert done.returncode == 1, done
    assert 'ends early' in done.stderr
    assert json.loads(done.stdout)['topics'] == 2
    done = run_cli('import', '-', '--data', str(copy), '--json',
                   input=file.read_text())
    assert done.returncode == 0, done
    figures = json.loads(done.stdout)
    assert figures['present'] == 2
    assert without_head(export(copy)) == without_head(file.read_text())
    other = export(filled.data)  # another export of the same
    done = run_cli('import', '-', '--data', str(copy), '--json', input=other)
    assert done.returncode == 1
    assert json.loads(done.stdout)['refused'] == len(ends)


def test_what_a_kill_left_is_exported(serve, receiver, tmp_path):
    opq = serve('--checkpoint-interval=1h', '--body-buffer=100k')
    large = fill(opq, receiver)
    opq.kill()
    text = export(opq.data)
    copy = tmp_path / 'copy'
    done = run_cli('import', '-', '--data', str(copy), input=text)
    assert done.returncode == 0, done
    assert without_head(export(copy)) == without_head(text)
    done = run_cli('import', '-', '--data', str(opq.data), input=text)
    assert done.returncode == 1
    assert 'was not stopped in order' in done.stderr
    opq.start()
    assert opq.stop() == 0
    lines = text.splitlines()
    for line in without_head(export(opq.data)):
        if json.loads(line).get('seq') is not None:
            assert line in lines
    parts = b''.join(base64.b64decode(json.loads(line)['part'])
                     for line in lines if line.startswith('{"part"'))
    assert parts == large


def test_export_while_messages_come(serve, receiver, tmp_path):
    opq = serve('--checkpoint-interval=200ms', '--segment-count=1000')
    pushed = [0]
    enough = threading.Event()

    def push():
        while not enough.is_set():
            items = [{'topic': 'busy', 'url': receiver.url(),
                      'message': f'm{pushed[0] + number}'}
                     for number in range(100)]
            assert opq.request('POST', '/opq/batch', items).status == 201
            pushed[0] += 100

    thread = threading.Thread(target=push)
    thread.start()
    try:
        wait_until(lambda: pushed[0] > 300)
        for _ in range(6):
            least = pushed[0]
            text = export(opq.data, 'busy')
            messages = [json.loads(line) for line in text.splitlines()
                        if line.startswith('{"seq"')]
            assert [one['seq'] for one in messages] == list(
                range(len(messages)))
            assert [one['body'] for one in messages] == [
                f'm{number}' for number in range(len(messages))]
            assert len(messages) >= least
            copy = tmp_path / f'copy{least}'
            done = run_cli('import', '-', '--data', str(copy), input=text)
            assert done.returncode == 0, done
            assert run_cli('verify', str(copy)).returncode == 0
    finally:
        enough.set()
        thread.join()


def test_ranges_and_topics_of_an_export(filled):
    def numbers(*arguments):
        return [json.loads(line)['seq'] for line in
                export(filled.data, *arguments).splitlines()
                if line.startswith('{"seq"')]
    assert numbers('many', '--from', '30', '--to', '40') == list(range(30, 41))
    assert numbers('many', '--since', '2100-01-01T00:00:00Z') == []
    assert numbers('many', '--until', '2100-01-01T00:00:00Z') == list(
        range(10, 70))
    done = run_cli('export', str(filled.data), 'nowhere')
    assert done.returncode == 1 and 'no topic nowhere' in done.stderr
    assert run_cli('export', str(filled.data), '--from',
                   'x').returncode == 64
    assert run_cli('export', str(filled.data / 'topics')).returncode == 2


def many_ranges():
    """An export of a topic and a subscription, each with 300 ranges."""
    ranges = [[2 * i + 1, 2 * i + 2] for i in range(300)]
    others = [[5 * i + 2, 5 * i + 4] for i in range(140)]
    messages = [{'seq': i, 'pushed_at_ms': 1, 'url': 'http://127.0.0.1:9/',
                 'body': f'm{i}'} for i in range(750)]
    return '\n'.join(json.dumps(line, separators=(',', ':')) for line in [
        {'opq_export': 1, 'id': '0123456789abcdef'},
        {'topic': 'keys', 'id': '1f0c6b2a9d3e4f50', 'created_ms': 1,
         'first': 0},
        {'cursor': 0, 'epoch': 3, 'ranges': ranges},
        {'subscription': 'desk', 'id': '3c5d0e6f7a8b9c01', 'created_ms': 1,
         'settings': 'kind pull\n', 'cursor': 1, 'ranges': others},
        *messages,
        {'topic_end': 'keys', 'messages': 750, 'next': 750},
        {'export_end': 1, 'messages': 750}]) + '\n'


def ranges_of(text):
    """Those of the topic and the subscription."""
    return [json.loads(line)['ranges'] for line in text.splitlines()
            if '"ranges"' in line]


def test_any_number_of_ranges_is_brought_along(tmp_path, serve):
    text = many_ranges()
    data = tmp_path / 'copy'
    done = run_cli('import', '-', '--data', str(data), input=text)
    assert done.returncode == 0, done
    assert without_head(export(data)) == without_head(text)
    assert sorted(path.name for path in (data / 'acked').iterdir()) == [
        'keys-1f0c6b2a9d3e4f50', 'keys-3c5d0e6f7a8b9c01']
    done = run_cli('verify', str(data))
    assert done.returncode == 0 and 'acked' not in done.stdout
    opq = serve('--data', str(data), name='copy')
    assert ranges_of(export(data)) == ranges_of(text)  # running
    opq.kill()
    opq.start()
    assert opq.stop() == 0
    assert ranges_of(export(data)) == ranges_of(text)


def test_a_damaged_page_of_ranges_is_named_and_costs_no_message(tmp_path):
    text = many_ranges()
    data = tmp_path / 'copy'
    done = run_cli('import', '-', '--data', str(data), input=text)
    assert done.returncode == 0, done
    with open(data / 'acked' / 'keys-1f0c6b2a9d3e4f50', 'r+b') as file:
        file.seek(100)
        file.write(b'\xff')
    done = run_cli('verify', str(data))
    assert done.returncode == 0, done
    said = [line for line in done.stdout.splitlines() if 'acked' in line]
    assert len(said) == 1 and 'no loss offset=0 size=4096' in said[0]
    assert run_cli('repair', str(data), '--yes').returncode == 0
    lines = [json.loads(line) for line in export(data).splitlines()]
    assert len(lines[2]['ranges']) == 128  # what the cursor itself has
    assert len(lines[3]['ranges']) == 140
    assert sum('seq' in line for line in lines) == 750


@pytest.mark.parametrize('line', [
    'nonsense', '{}', '[]', '{"seq": -1}', '{"opq_export": 1}',
    '{"topic": "x", "settings": 1}', '{"seq": 1, "body": "x", "form": []}',
    '{"part": "!"}', '{"cursor": 5, "ranges": [[9, 3]]}'])
def test_what_is_no_export_is_refused(tmp_path, line):
    text = '{"opq_export":1,"id":"0000000000000001"}\n' + line + '\n'
    done = run_cli('import', '-', '--data', str(tmp_path / 'd'), input=text)
    assert done.returncode == 1, done
    assert 'line 2' in done.stderr


def test_a_later_version_is_refused(tmp_path):
    done = run_cli('import', '-', '--data', str(tmp_path / 'd'),
                   input='{"opq_export":2}\n')
    assert done.returncode == 1
    assert 'later version' in done.stderr
    assert not (tmp_path / 'd').exists()


def test_an_export_is_pushed_into_a_server(filled, tmp_path, serve, receiver):
    file = tmp_path / 'all.export'
    file.write_text(export(filled.data, 'kinds', 'fan', 'many'))
    other = serve('--body-buffer=100k', name='other')
    known = len(receiver.requests)
    state = tmp_path / 'state'
    done = other.run('import', str(file), '--state', str(state), '--json')
    assert done.returncode == 0, done
    assert json.loads(done.stdout)['messages'] == 5 + 5 + 60
    assert other.topic('many')['end'] == 60
    assert other.topic('many')['delivered'] == 40
    assert other.topic('many')['paused'] is True
    assert other.topic('kinds')['settings'] == filled.settings['kinds']
    desk = other.get('/opq/topics/fan/subscriptions/desk/messages').json()
    assert [one['body'] for one in desk['messages']] == ['f2', 'f3', 'f4']
    for name in ('desk', 'mirror'):
        path = f'/opq/topics/fan/subscriptions/{name}'
        assert other.get(path).json()['settings'] == filled.settings[name]
    before = other.get('/opq/topics/kinds/messages').json()['messages']
    assert before[1]['body'] == 'plain'
    assert before[3]['label'] == OPTIONS['label']
    assert before[3]['retries'] == 7
    assert before[4]['body_size'] == len(filled.large)
    assert len(receiver.requests) == known  # all of that was delivered before
    other.request('POST', '/opq/topics/many/resume')
    other.wait_delivered('many', 60)
    sent = [one.body for one in receiver.requests[known:]]
    assert sent == [f'n{number}'.encode() for number in range(20)]
    done = other.run('import', str(file), '--state', str(state), '--json')
    assert done.returncode == 0, done
    assert json.loads(done.stdout)['present'] == 3
    assert other.topic('many')['end'] == 60


def test_a_push_that_was_cut_short_goes_on_without_doubles(
        serve, receiver, tmp_path):
    opq = serve()
    items = [{'topic': 'long', 'url': receiver.url(), 'message': f'm{number}'}
             for number in range(1000)]
    for _ in range(3):
        opq.request('POST', '/opq/batch', items)
    opq.request('POST', '/opq/topics/long/pause')
    file = tmp_path / 'long.export'
    assert opq.stop() == 0
    file.write_text(export(opq.data))
    wanted = [json.loads(line)['body'] for line in
              file.read_text().splitlines() if line.startswith('{"seq"')]
    assert len(wanted) == 3000
    other = serve(name='other')
    state = tmp_path / 'state'
    done = other.run('import', str(file), '--state', str(state))
    assert done.returncode == 0, done
    # As if it had been killed when the batch of 1500 was sent, but before it
    # was noted that it is stored.
    noted = json.loads(state.read_text())
    noted.update(topic=1, next=2500, end=2500, base=0, refused=0, begun=1)
    state.write_text(json.dumps(noted))
    done = other.run('import', str(file), '--state', str(state))
    assert done.returncode == 0, done
    assert other.topic('long')['end'] == 3000
    state.write_text('{"mark": "another"}')
    done = other.run('import', str(file), '--state', str(state))
    assert done.returncode == 1
    assert 'another import' in done.stderr


def synthetic(url, topics, messages):
    """An export that no server wrote."""
    lines = [{'opq_export': 1, 'id': '00000000deadbeef'}]
    for topic in range(topics):
        lines.append({'topic': f't{topic}', 'first': 0})
        lines += [{'seq': number, 'pushed_at_ms': 1795889539018 + number,
                   'url': url, 'body': f't{topic} m{number}'}
                  for number in range(messages)]
        lines.append({'topic_end': f't{topic}', 'messages': messages,
                      'next': messages})
    lines.append({'export_end': topics, 'messages': topics * messages})
    return ''.join(json.dumps(line) + '\n' for line in lines)


def kill_after(seconds, *arguments):
    """Run a subcommand and kill it; return whether it was cut short."""
    process = subprocess.Popen([BINARY, *arguments], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True


def test_imports_that_are_killed_again_and_again(tmp_path, serve, receiver):
    """Into a directory, and into a server: no message twice, none missing."""
    file = tmp_path / 'x.export'
    file.write_text(synthetic(receiver.url(), 4, 3000))
    data = tmp_path / 'copy'
    wait_s, cuts = 0.01, 0
    while kill_after(wait_s, 'import', str(file), '--data', str(data)):
        wait_s, cuts = wait_s * 1.2, cuts + 1
    assert cuts > 1
    assert run_cli('verify', str(data)).returncode == 0
    assert not [name for name in os.listdir(data) if 'import-' in name]
    for topic in range(4):
        lines = export(data, f't{topic}').splitlines()
        assert [json.loads(line)['body'] for line in lines
                if line.startswith('{"seq"')] == [
                    f't{topic} m{number}' for number in range(3000)]
    other = serve(name='other')
    state = tmp_path / 'state'
    for topic in range(4):
        other.request('PUT', f'/opq/topics/t{topic}', {'paused': True})
    wait_s, cuts = 0.03, 0
    while kill_after(wait_s, 'import', str(file), '--url', other.url,
                     '--state', str(state)):
        wait_s, cuts = wait_s * 1.1, cuts + 1
    assert cuts > 1
    done = other.run('import', str(file), '--state', str(state))
    assert done.returncode == 0, done
    for topic in range(4):
        other.request('POST', f'/opq/topics/t{topic}/pause')
        assert other.topic(f't{topic}')['end'] == 3000
    assert other.stop() == 0
    for topic in range(4):
        lines = export(other.data, f't{topic}').splitlines()
        assert [json.loads(line)['body'] for line in lines
                if line.startswith('{"seq"')] == [
                    f't{topic} m{number}' for number in range(3000)]


def test_what_waits_and_schedules_are_brought_along(serve, receiver, tmp_path):
    opq = serve()
    for number in range(5):
        opq.push_json('later', receiver.url(), f'd{number}', delay='2h')
    soon = opq.push_json('later', receiver.url(), 'soon', delay='1s')
    cancelled = opq.push_json('later', receiver.url(), 'not this', delay='2h')
    done = opq.request('DELETE', f'/opq/messages/{cancelled["id"]}')
    assert done.status == 204, done
    definition = {'cron': '30 2 * * *', 'zone': 'UTC', 'topic': 'reports',
                  'url': receiver.url(), 'message': {'n': 7}}
    for name in ('nightly', 'held'):
        made = opq.request('PUT', f'/opq/schedules/{name}', definition)
        assert made.status == 201, made
    opq.request('POST', '/opq/schedules/held/pause')
    wait_until(lambda: receiver.requests, 'the one that is due')
    opq.wait_delivered('later', 1)
    assert soon['id'] == receiver.requests[0].headers['webhook-id']
    due = [one['due'] for one in opq.get('/opq/delayed').json()['delayed']]
    assert len(due) == 5
    assert opq.stop() == 0
    file = tmp_path / 'x.export'
    file.write_text(export(opq.data))
    # As it was:
    copy = tmp_path / 'copy'
    done = run_cli('import', str(file), '--data', str(copy))
    assert done.returncode == 0, done
    again = serve(name='copy')
    waits = again.get('/opq/delayed').json()['delayed']
    assert [one['due'] for one in waits] == due
    assert again.get('/opq/schedules/held').json()['paused'] is True
    # Pushed:
    other = serve(name='other')
    for _ in range(2):
        done = other.run('import', str(file), '--state',
                         str(tmp_path / 'state'), '--json')
        assert done.returncode == 0, done
    waits = other.get('/opq/delayed').json()['delayed']
    assert [one['due'] for one in waits] == due
    assert [one['body'] for one in waits] == [f'd{n}' for n in range(5)]
    assert other.get('/opq/schedules/nightly').json()[
        'definition'] == definition
    assert other.get('/opq/schedules/nightly').json()['paused'] is False
    assert other.get('/opq/schedules/held').json()['paused'] is True
    assert other.topic('later')['end'] == 1
    assert len(receiver.requests) == 1
    # Once more without the state: those that wait are duplicates.
    done = other.run('import', str(file), '--state', str(tmp_path / 'state2'))
    assert done.returncode == 0, done
    assert other.get('/opq/delayed').json()['total'] == 5
