"""verify and dump: a data directory that no server has.

SPDX-License-Identifier: MIT
"""

import json
import os
import shutil
import struct
import subprocess

import pytest
from harness import ROOT, run_cli, wait_until

RECORD_HEAD = 48
SEGMENT_HEAD = 64


def fill(server, receiver, count, topic='a'):
    """Push `count` messages as raw bodies, delivered or not."""
    items = [{'topic': topic, 'url': receiver.url(), 'message': f'm{number}'}
             for number in range(count)]
    answer = server.request('POST', '/opq/batch', items)
    assert answer.status == 201, answer


def verify(directory):
    """Run verify; return (exit code, {topic: figures})."""
    done = run_cli('verify', str(directory), '--json')
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, {row['topic']: row for row in rows}


def places(path):
    """Offsets and sizes of the records of a segment."""
    data = path.read_bytes()
    at, found = SEGMENT_HEAD, []
    while at < len(data):
        size = struct.unpack_from('<I', data, at)[0]
        found.append((at, size))
        at += size
    return found


def flip(path, offset):
    with path.open('r+b') as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


@pytest.fixture
def stopped(serve, receiver):
    """A data directory with 20 messages in segments of topic a."""
    opq = serve()
    fill(opq, receiver, 20)
    opq.wait_delivered('a', 20)
    assert opq.stop() == 0
    return opq


def test_whole_directory_is_verified(stopped):
    code, topics = verify(stopped.data)
    assert code == 0
    assert topics['a']['messages'] == 20
    assert (topics['a']['oldest'], topics['a']['end']) == (0, 20)
    assert topics['a']['damaged'] == 0
    table = run_cli('verify', str(stopped.data))
    assert table.returncode == 0
    assert table.stdout.splitlines()[-1].split()[:4] == ['a', '0', '20', '20']


def test_after_a_kill_the_journal_has_the_rest(serve, receiver):
    opq = serve('--checkpoint-interval=1h')
    fill(opq, receiver, 30)
    opq.kill()
    code, topics = verify(opq.data)
    assert code == 0
    assert topics['a']['messages'] == 30
    assert topics['a']['end'] == 30
    assert topics['a']['in_journal'] == 30
    done = run_cli('dump', 'a', '--data', str(opq.data))
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row['seq'] for row in rows] == list(range(30))
    # Looking has changed nothing.
    opq.start()
    opq.wait_delivered('a', 30)


def test_dump_shows_a_message_as_the_api_does(serve, receiver):
    opq = serve()
    opq.request('POST', f'/opq/push?topic=a&url={receiver.url()}',
                b'\x89PNG\x00', {'Content-Type': 'image/png',
                                 'Opq-Forward-X-A': '1'})
    opq.push('a', receiver.url(), 'hello')
    shown = [opq.get(f'/opq/topics/a/messages/{seq}').json()
             for seq in range(2)]
    assert opq.stop() == 0
    done = run_cli('dump', 'a', '--data', str(opq.data))
    dumped = [json.loads(line) for line in done.stdout.splitlines()]
    assert dumped[0]['body_base64'] == 'iVBORwA='
    assert len(dumped) == len(shown)
    for one, other in zip(dumped, shown):
        assert one == {name: other[name] for name in one}
        assert {'seq', 'pushed_at', 'url', 'headers', 'kind'} < set(one)


def test_flipped_bit_is_found_and_named(stopped):
    segment = stopped.data / 'topics/a/0.msg'
    offset, size = places(segment)[7]
    flip(segment, offset + RECORD_HEAD + 10)
    code, topics = verify(stopped.data)
    assert code == 1
    assert topics['a']['messages'] == 19
    assert (topics['a']['damaged'], topics['a']['lost']) == (1, 1)
    done = run_cli('verify', str(stopped.data))
    assert (f'0.msg: damaged offset={offset} size={size} sequence=7 lost=1'
            in done.stdout)
    assert run_cli('dump', 'a', '7', '--data',
                   str(stopped.data)).returncode == 1
    assert run_cli('dump', 'a', '8', '--data',
                   str(stopped.data)).returncode == 0


@pytest.mark.parametrize('number', [0, 3, 18])
def test_damaged_head_of_a_record_costs_that_record(stopped, number):
    segment = stopped.data / 'topics/a/0.msg'
    flip(segment, places(segment)[number][0])
    code, topics = verify(stopped.data)
    assert code == 1
    assert topics['a']['messages'] == 19
    assert topics['a']['lost'] == 1


def test_torn_tail_is_told_and_is_no_damage(stopped):
    """What a crash leaves of a record that nobody was told is durable."""
    segment = stopped.data / 'topics/a/0.msg'
    whole = segment.read_bytes()
    offset, size = places(segment)[-1]
    for cut in (1, 37, size - 1):
        segment.write_bytes(whole + whole[offset:offset + cut])
        code, topics = verify(stopped.data)
        assert code == 0, cut
        assert topics['a']['messages'] == 20
        text = run_cli('verify', str(stopped.data)).stdout
        assert f'unfinished tail offset={len(whole)} size={cut}' in text


def lost_of(directory):
    """What verify says of topic a, and what repair would give up of it."""
    code, topics = verify(directory)
    dry = run_cli('repair', str(directory), '--dry-run').stdout
    lost = topics['a']['lost']
    assert (code == 1) == (lost > 0)
    assert (f'{lost} messages lost' in dry) == (lost > 0), dry
    return lost


def test_what_was_durable_and_is_missing_is_lost(serve, receiver):
    """At either end, where no segment behind tells of a gap."""
    opq = serve('--segment-count=10')
    fill(opq, receiver, 50)
    opq.wait_delivered('a', 50)
    assert opq.stop() == 0
    assert lost_of(opq.data) == 0
    for pattern, first, last in (('0.msg', 0, 9), ('40.*', 40, 49),
                                 ('*.msg', 0, 49)):
        copy = opq.data.parent / 'copy'
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(opq.data, copy)
        for path in (copy / 'topics/a').glob(pattern):
            path.unlink()
        assert lost_of(copy) == last - first + 1, pattern
        assert f'a: messages {first} to {last} are missing' in run_cli(
            'verify', str(copy)).stdout
        assert run_cli('repair', str(copy), '--yes').returncode == 0
        assert lost_of(copy) == 0


@pytest.mark.parametrize('limited', [True, False])
def test_what_retention_dropped_is_no_loss(serve, receiver, limited):
    """However the server ended; without limits from then on, either."""
    opq = serve('--segment-count=10', '--shards=1',
                '--checkpoint-interval=100ms')
    opq.request('PUT', '/opq/topics/a', {'retain_count': 30})
    fill(opq, receiver, 50)
    opq.wait_delivered('a', 50)
    wait_until(lambda: opq.topic('a')['oldest'] > 0, 'retention')
    if not limited:
        opq.request('PUT', '/opq/topics/a', {'retain_count': 0})
    fill(opq, receiver, 25)
    opq.wait_delivered('a', 75)
    assert opq.stop() == 0
    assert lost_of(opq.data) == 0
    if limited:
        opq.start('--checkpoint-interval=1h')
        fill(opq, receiver, 25)
        opq.wait_delivered('a', 100)
        opq.kill()
        assert lost_of(opq.data) == 0


def test_last_record_is_cut(stopped):
    segment = stopped.data / 'topics/a/0.msg'
    segment.write_bytes(segment.read_bytes()[:-1])
    code, topics = verify(stopped.data)
    assert code == 1
    assert (topics['a']['messages'], topics['a']['lost']) == (19, 1)


def test_what_costs_no_message_is_named_and_is_no_damage(stopped):
    folder = stopped.data / 'topics/a'
    (folder / '0.idx').unlink()
    flip(folder / '0.msg', 0)
    for slot in range(0, (folder / 'dlv').stat().st_size, 512):
        flip(folder / 'dlv', slot)
    code, topics = verify(stopped.data)
    assert code == 0
    assert (topics['a']['messages'], topics['a']['damaged']) == (20, 0)
    text = run_cli('verify', str(stopped.data)).stdout
    for name in ('0.idx', '0.msg', 'dlv'):
        assert f'{folder}/{name}: no loss' in text, text
    stopped.start()
    assert stopped.stop() == 0
    text = run_cli('verify', str(stopped.data)).stdout
    for name in ('0.idx', 'dlv'):  # made anew
        assert f'{folder}/{name}' not in text, text


def test_gap_between_segments_is_found(serve, receiver):
    opq = serve('--segment-count=10')
    fill(opq, receiver, 50)
    opq.wait_delivered('a', 50)
    assert opq.stop() == 0
    names = sorted(path.name for path in
                   (opq.data / 'topics/a').glob('*.msg'))
    assert names == ['0.msg', '10.msg', '20.msg', '30.msg', '40.msg']
    (opq.data / 'topics/a/20.msg').unlink()
    code, topics = verify(opq.data)
    assert code == 1
    assert topics['a']['messages'] == 40
    assert topics['a']['lost'] == 10


def test_running_server_keeps_its_directory(opq, receiver):
    fill(opq, receiver, 1)
    for arguments in (('verify', str(opq.data)),
                      ('dump', 'a', '--data', str(opq.data))):
        done = run_cli(*arguments)
        assert done.returncode == 2
        assert 'server' in done.stderr


def test_what_is_no_data_directory_exits_2(tmp_path):
    done = run_cli('verify', str(tmp_path))
    assert done.returncode == 2
    assert 'no data directory' in done.stderr
    assert run_cli('verify', str(tmp_path / 'nowhere')).returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_dump_of_an_unknown_message_exits_1(stopped):
    for arguments in (('a', '20'), ('b',), ('b', '0')):
        done = run_cli('dump', *arguments, '--data', str(stopped.data))
        assert done.returncode == 1, arguments
    assert run_cli('dump', 'a', '--payload', '--data',
                   str(stopped.data)).returncode == 64


def test_flatc_decodes_a_dumped_payload(serve, receiver, tmp_path):
    opq = serve()
    opq.push('f', receiver.url('/x?y=z'), 'h\u00e9llo', colour='blue',
             headers={'X-One': '1'})
    raw = bytes(range(1, 128))
    opq.request('POST', f'/opq/push?topic=f&url={receiver.url()}', raw,
                {'Content-Type': 'application/x-odd'})
    opq.wait_delivered('f', 2)
    assert opq.stop() == 0

    def decode(sequence):
        done = run_cli('dump', 'f', str(sequence), '--payload', '--data',
                       str(opq.data), text=False)
        assert done.returncode == 0, done
        (tmp_path / 'message.bin').write_bytes(done.stdout)
        subprocess.run(
            ['flatc', '--json', '--strict-json', '--raw-binary',
             '-o', str(tmp_path), str(ROOT / 'schema/opq.fbs'), '--',
             str(tmp_path / 'message.bin')], check=True)
        return json.loads((tmp_path / 'message.json').read_text('utf-8'))

    form = decode(0)
    assert form['url'] == receiver.url('/x?y=z')
    assert {'key': 'message', 'value': 'h\u00e9llo'} in form['body']
    assert {'key': 'colour', 'value': 'blue'} in form['body']
    assert {'key': 'X-One', 'value': '1'} in form['header']
    bytes_ = decode(1)
    assert bytes(bytes_['raw']) == raw
    assert bytes_['content_type'] == 'application/x-odd'


@pytest.mark.parametrize('name', ['topics/a/0.msg', 'topics/a/dlv',
                                  'journal/0/checkpoint'])
def test_a_pipe_in_the_place_of_a_file_is_refused(stopped, name):
    path = stopped.data / name
    path.unlink()
    os.mkfifo(path)
    for command in ('verify', 'repair', 'export'):
        done = run_cli(command, str(stopped.data), patience_s=10)
        assert done.returncode in (1, 2), done
        # What cannot be read is named: the file, or its topic's folder.
        assert f'path={path.parent}' in done.stderr, done
    stopped.start(ready=False)
    assert stopped.wait() == 73, stopped.explain()
