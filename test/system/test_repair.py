"""opq repair: after any damage to any file, what is whole is kept, what is lost
is said, and the server starts.

SPDX-License-Identifier: MIT
"""

import json
import os
import random
import re
import shutil
import urllib.parse

import harness
import pytest
from harness import run_cli

MESSAGES = 300


def fill(opq, receiver):
    """A topic of several segments, one with a subscription, one with bodies in
    files; some of each is delivered."""
    for begin in range(0, MESSAGES, 100):
        items = [{'topic': 'plain', 'url': receiver.url(),
                  'message': f'm{number} ' + 'x' * 200}
                 for number in range(begin, begin + 100)]
        assert opq.request('POST', '/opq/batch', items).status == 201
    made = opq.request('PUT', '/opq/topics/fan/subscriptions/desk',
                       {'kind': 'pull', 'start': 'oldest', 'hold': 'no'})
    assert made.status == 201
    for number in range(20):
        opq.request('POST', '/opq/push',
                    {'topic': 'fan', 'message': f'f{number}'})
    opq.request('POST', '/opq/topics/fan/subscriptions/desk/ack?seqs=0,1,5')
    for _ in range(4):
        answer = opq.request(
            'POST', '/opq/push?topic=large&url='
            + urllib.parse.quote(receiver.url()), os.urandom(150000),
            {'Content-Type': 'application/octet-stream'})
        assert answer.status == 201, answer
    opq.wait_delivered('plain', MESSAGES)
    opq.wait_delivered('large', 4)


ARGUMENTS = ('--segment-count=100', '--body-buffer=100k', '--shards=1')


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """A directory that was stopped in order, and one that was killed."""
    found = {}
    receiver = harness.Receiver()
    for name in ('stopped', 'killed'):
        interval = '1h' if name == 'killed' else '1s'
        opq = harness.Server(
            tmp_path_factory.mktemp('whole') / name, *ARGUMENTS,
            f'--checkpoint-interval={interval}').start()
        fill(opq, receiver)
        assert opq.stop() == 0 if name == 'stopped' else opq.kill() < 0
        found[name] = opq.data
    receiver.close()
    return found


def messages(directory):
    """{topic: {seq: line}} of an export, whatever is left out."""
    done = run_cli('export', str(directory))
    found, topic = {}, None
    for line in done.stdout.splitlines():
        one = json.loads(line)
        if 'topic' in one:
            topic = one['topic']
            found[topic] = {}
        elif 'seq' in one:
            found[topic][one['seq']] = line
    return found, done.returncode


def lost_of(text):
    """{topic: {numbers}} that repair says are lost."""
    lost = {}
    for topic, first, last, count in re.findall(
            r'^(\S+): LOST (\d+) to (\d+) \((\d+) messages\)', text, re.M):
        numbers = set(range(int(first), int(last) + 1))
        assert len(numbers) == int(count)
        assert not lost.get(topic, set()) & numbers
        lost.setdefault(topic, set()).update(numbers)
    return lost


def listing(directory):
    return {str(path.relative_to(directory)): path.read_bytes()
            for path in sorted(directory.rglob('*'))
            if path.is_file() and 'opq.lock' not in path.name
            and 'logs' not in path.parts and '.jnl' not in path.name}


def check_repaired(directory, before, serve, losing=True):
    """Repair a damaged directory; return what it said was lost."""
    was = listing(directory)
    dry = run_cli('repair', str(directory), '--dry-run')
    assert listing(directory) == was, 'a dry run changes nothing'
    lost = lost_of(dry.stdout)
    if lost:
        asked = run_cli('repair', str(directory), input='')
        assert asked.returncode == 1
        assert '--yes gives these messages up' in asked.stderr
        assert losing, dry
    done = run_cli('repair', str(directory), '--yes')
    assert done.returncode == 0, done
    if dry.returncode == 0:
        assert 'nothing to mend' in done.stdout
    verified = run_cli('verify', str(directory))
    assert verified.returncode == 0, verified
    assert 'no loss' not in verified.stdout, verified
    after, code = messages(directory)
    assert code == 0
    for topic, numbers in before.items():
        wanted = {seq: line for seq, line in numbers.items()
                  if seq not in lost.get(topic, ())}
        assert after[topic] == wanted, (topic, lost)
    again = run_cli('repair', str(directory))
    assert 'nothing to mend' in again.stdout, again
    opq = serve(*ARGUMENTS, name=directory.name)
    for topic, numbers in before.items():
        assert opq.topic(topic)['end'] >= max(numbers) + 1
    answer = opq.request('POST', '/opq/push', {
        'topic': 'plain', 'url': 'http://127.0.0.1:9/', 'message': 'new'})
    assert answer.json()['seq'] >= MESSAGES
    assert opq.stop() == 0
    return lost


NAMES = ['plain/0.msg', 'plain/200.msg', 'plain/0.idx', 'plain/cmd',
         'plain/dlv', 'plain/topic.conf', 'fan/sub/desk/topic.conf',
         'fan/sub/desk/dlv', 'large/blobs', 'meta', 'checkpoint', 'cursors']


def pick(directory, name):
    if name == 'large/blobs':
        return sorted((directory / 'topics/large/blobs').iterdir())[1]
    if name == 'meta':
        return directory / 'meta'
    if name in ('checkpoint', 'cursors'):
        return directory / 'journal/0' / name
    return directory / 'topics' / name


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('how', ['flip', 'truncate', 'delete'])
def test_each_kind_of_damage(whole, tmp_path, serve, name, how):
    directory = tmp_path / 'data'
    shutil.copytree(whole['stopped'], directory)
    before, code = messages(directory)
    assert code == 0
    path = pick(directory, name)
    data = bytearray(path.read_bytes())
    if how == 'delete':
        path.unlink()
    elif how == 'truncate':
        path.write_bytes(data[:len(data) * 2 // 3])
    else:
        for at in random.Random(name).sample(range(len(data)), 3):
            data[at] ^= 0x10
        path.write_bytes(data)
    losing = name.endswith('.msg') or name == 'large/blobs'
    check_repaired(directory, before, serve, losing)


@pytest.mark.parametrize('seed', range(6))
def test_bytes_anywhere(whole, tmp_path, serve, seed):
    """Several files at once, in a directory that was killed, too."""
    chance = random.Random(seed)
    directory = tmp_path / 'data'
    shutil.copytree(whole['killed' if seed % 2 else 'stopped'], directory)
    before, code = messages(directory)
    assert code == 0
    files = [path for path in directory.rglob('*') if path.is_file()
             and path.name not in ('opq.lock', 'meta')
             and 'logs' not in path.parts and path.stat().st_size > 0]
    for path in chance.sample(sorted(files), 6):
        data = bytearray(path.read_bytes())
        size = len(data) if path.suffix != '.jnl' else 200000
        at = chance.randrange(size)
        data[at] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
    check_repaired(directory, before, serve)


def test_a_whole_directory_needs_nothing(whole, tmp_path):
    directory = tmp_path / 'data'
    shutil.copytree(whole['stopped'], directory)
    was = listing(directory)
    done = run_cli('repair', str(directory))
    assert done.returncode == 0 and done.stdout == 'nothing to mend\n', done
    assert listing(directory) == was


def test_a_server_at_work_is_left_alone(serve):
    opq = serve()
    done = run_cli('repair', str(opq.data))
    assert done.returncode == 2
    assert 'a server has it' in done.stderr
    done = run_cli('repair', str(opq.data / 'nowhere'))
    assert done.returncode == 2


def test_what_nothing_names_is_set_aside(whole, tmp_path, serve):
    directory = tmp_path / 'data'
    shutil.copytree(whole['stopped'], directory)
    before, _ = messages(directory)
    topics = directory / 'topics'
    (topics / 'plain/5000.idx').write_bytes(b'x' * 16)
    (topics / 'large/blobs/1-00000000000000aa').write_bytes(b'orphan')
    (topics / 'stray').write_bytes(b'a file')
    dry = run_cli('repair', str(directory), '--dry-run').stdout
    for word in ('5000.idx', '1-00000000000000aa', 'topics/stray'):
        assert word in dry
    assert check_repaired(directory, before, serve) == {}
    kept = {path.name for path in (directory / 'quarantine').rglob('*')}
    assert {'5000.idx', '1-00000000000000aa', 'stray'} <= kept


def test_what_is_given_up_is_said_once(whole, tmp_path, serve):
    """Numbers that were given up are a known gap from then on."""
    directory = tmp_path / 'data'
    shutil.copytree(whole['stopped'], directory)
    before, _ = messages(directory)
    path = directory / 'topics/plain/100.msg'
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    lost = check_repaired(directory, before, serve)
    assert set(lost) == {'plain'} and len(lost['plain']) == 1
    number, = lost['plain']
    gaps = (directory / 'topics/plain/gaps').read_text()
    assert f'from {number}\nto {number + 1}\n' in gaps
    kept = list((directory / 'quarantine').rglob('100.msg'))
    assert kept and kept[0].read_bytes() == bytes(data)
