"""Taking over the data of the first OPQ.

SPDX-License-Identifier: MIT
"""

import hashlib
import json
import struct
import urllib.parse

import first_opq
import pytest
from harness import run_cli


def messages(receiver, count, begin=0, shuffle=True):
    """Payloads of `count` messages, as its recorder made them."""
    url = receiver.url()
    return [first_opq.payload(
        url, [('url', url), ('topic', 'old'),
              ('message', f'm{begin + number} \u00e9&'),
              ('empty', '')],
        [('X-Kept', f'h{number}'), ('Connection', 'X-Hop, close'),
         ('X-Hop', 'no'), ('Content-Type', 'multipart/form-data; boundary=x'),
         ('Content-Length', '99'), ('Host', 'elsewhere'),
         ('Authorization', 'Basic x')], shuffle=number if shuffle else None)
            for number in range(count)]


def fingerprint(folder):
    """All of a folder's files, byte for byte."""
    return {str(path.relative_to(folder)):
            hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob('*') if path.is_file()}


def take_over(folder, *arguments):
    done = run_cli('import', '--from', str(folder), '--json', *arguments)
    return done, json.loads(done.stdout) if done.stdout else None


def test_what_was_not_delivered_goes_to_its_receiver_in_order(
        serve, receiver, tmp_path):
    old = tmp_path / 'old'
    first_opq.write_topic(old, 'old', messages(receiver, 120), delivered=40)
    first_opq.write_topic(old, 'done', messages(receiver, 5), delivered=5)
    before = fingerprint(old)
    data = tmp_path / 'data'
    done, figures = take_over(old, '--data', str(data))
    assert done.returncode == 0, done
    assert (figures['messages'], figures['topics']) == (80, 2)
    assert fingerprint(old) == before
    assert run_cli('verify', str(data)).returncode == 0
    opq = serve(name='data')
    opq.wait_delivered('old', 120)
    assert opq.topic('old')['oldest'] == 40
    assert opq.topic('done')['end'] == 5
    got = receiver.requests
    assert len(got) == 80
    for number, one in enumerate(got, 40):
        fields = urllib.parse.parse_qs(one.body.decode(),
                                       keep_blank_values=True)
        assert fields == {'url': [receiver.url()], 'topic': ['old'],
                          'message': [f'm{number} \u00e9&'], 'empty': ['']}
        names = [pair.split('=')[0] for pair in one.body.decode().split('&')]
        assert names == sorted(names)
        assert one.headers['x-kept'] == f'h{number}'
        assert one.headers['authorization'] == 'Basic x'
        assert 'x-hop' not in one.headers
        assert one.headers['content-type'] == \
            'application/x-www-form-urlencoded'
        assert one.headers['opq-seq'] == str(number)
    # Once more: it is there.
    assert opq.stop() == 0
    done, figures = take_over(old, '--data', str(data))
    assert done.returncode == 0, done
    assert (figures['messages'], figures['present']) == (0, 2)


def test_all_of_it_can_be_taken_and_replayed(serve, receiver, tmp_path):
    old = tmp_path / 'old'
    first_opq.write_topic(old, 'old', messages(receiver, 30), delivered=30,
                          file_messages=10)
    done, figures = take_over(old / 'topics', '--all', '--data',
                              str(tmp_path / 'data'))
    assert done.returncode == 0, done
    assert figures['messages'] == 30
    opq = serve(name='data')
    assert opq.topic('old')['delivered'] == 30
    assert receiver.requests == []
    answer = opq.request('POST', '/opq/replay?topic=old&cmd=25')
    assert answer.status == 201, answer
    opq.wait_delivered('old', 30)
    receiver.wait_count(5) if hasattr(receiver, 'wait_count') else None
    assert [one.headers['opq-seq'] for one in receiver.requests] == [
        '25', '26', '27', '28', '29']


def test_it_can_be_pushed_into_a_server(serve, receiver, tmp_path):
    old = tmp_path / 'old'
    first_opq.write_topic(old, 'old', messages(receiver, 50), delivered=20)
    opq = serve()
    state = tmp_path / 'state'
    done, figures = take_over(old, '--url', opq.url, '--state', str(state))
    assert done.returncode == 0, done
    assert figures['messages'] == 30
    opq.wait_delivered('old', 30)
    bodies = [urllib.parse.parse_qs(one.body.decode())['message'][0]
              for one in receiver.requests]
    assert bodies == [f'm{number} \u00e9&' for number in range(20, 50)]
    assert receiver.requests[0].headers['x-kept'] == 'h20'
    assert receiver.requests[0].headers['content-type'] == \
        'application/x-www-form-urlencoded'
    done, figures = take_over(old, '--url', opq.url, '--state', str(state))
    assert done.returncode == 0, done
    assert opq.topic('old')['end'] == 30


def numbers(directory, topic):
    done = run_cli('export', str(directory), topic)
    assert done.returncode == 0, done
    return [json.loads(line)['seq'] for line in done.stdout.splitlines()
            if line.startswith('{"seq"')]


def test_damage_is_told_and_passed_over(receiver, tmp_path):
    old = tmp_path / 'old'
    payloads = messages(receiver, 200)
    payloads[7] = first_opq.payload('ftp://nowhere', [('message', 'x')])
    payloads[9] = b'this is no message at all, whatever its checksum says'
    places = first_opq.write_topic(old, 'old', payloads)
    path = places[0][0]
    data = bytearray(path.read_bytes())
    data[places[3][1] + 20] ^= 1             # a payload
    struct.pack_into('<Q', data, places[50][1], 1 << 60)  # a size
    path.write_bytes(data[:places[199][1] + 30])  # the end is torn
    done, figures = take_over(old, '--data', str(tmp_path / 'data'))
    assert done.returncode == 1, done
    kept = numbers(tmp_path / 'data', 'old')
    lost = sorted(set(range(200)) - set(kept))
    assert {3, 7, 9, 50, 199} <= set(lost)
    assert kept == sorted(kept)
    # From a lost size on to the next entry of the index, not further.
    index = [relative for relative, _ in struct.iter_unpack(
        '<II', (path.parent / '0.idx').read_bytes())]
    landing = min(number for number in index if number > 50)
    assert lost == [3, 7, 9, *range(50, landing), 199]
    assert figures['left_out'] == len(lost)
    for number in (3, 7, 9):
        assert f'message {number} is left out' in done.stderr
    # It was said once: from then on these numbers are no loss.
    verified = run_cli('verify', str(tmp_path / 'data'))
    assert verified.returncode == 0, verified


@pytest.mark.parametrize('name', ['cmd', 'dlv'])
def test_a_number_that_nobody_counted_up_to(serve, receiver, tmp_path, name):
    """New messages would have none that comes after it."""
    old = tmp_path / 'old'
    first_opq.write_topic(old, 'old', messages(receiver, 20))
    path = next(old.rglob(name))
    path.write_bytes(b'\xff' * len(path.read_bytes()))
    done, _ = take_over(old, '--data', str(tmp_path / 'data'))
    assert done.returncode == 0, done
    opq = serve(name='data')
    opq.wait_delivered('old', 20)
    assert opq.push_json('old', receiver.url())['seq'] == 20


def test_files_that_are_missing(receiver, tmp_path):
    old = tmp_path / 'old'
    first_opq.write_topic(old, 'old', messages(receiver, 60),
                          file_messages=20)
    folder = old / 'topics/old'
    (folder / '20.msg').unlink()
    (folder / '20.idx').unlink()
    (folder / '0.idx').unlink()
    (folder / 'dlv').unlink()
    first_opq.write_topic(old, 'bare', messages(receiver, 10))
    (old / 'topics/bare/cmd').unlink()
    first_opq.write_topic(old, 'bad name', messages(receiver, 3))
    done, figures = take_over(old, '--data', str(tmp_path / 'data'))
    assert done.returncode == 1
    assert figures['left_out'] == 20
    assert figures['refused'] == 1
    assert 'bad name is left out' in done.stderr
    assert numbers(tmp_path / 'data', 'old') == [*range(20), *range(40, 60)]
    assert numbers(tmp_path / 'data', 'bare') == list(range(10))


@pytest.mark.parametrize('make', ['nothing', 'empty', 'ours'])
def test_what_is_none(serve, tmp_path, make):
    folder = tmp_path / 'x'
    if make == 'empty':
        folder.mkdir()
    if make == 'ours':
        assert serve(name='x').stop() == 0
    done, _ = take_over(folder, '--data', str(tmp_path / 'data'))
    assert done.returncode == 1, done
    assert not (tmp_path / 'data').exists()
