"""Damage to what is on disk: what is lost, what is not, and who says so.

A server is stopped (its segments are whole then) or killed (they are behind
the journal), something is done to its files, and it is started again.

SPDX-License-Identifier: MIT
"""

import json
import os
import re
import subprocess
import urllib.parse

import pytest
from harness import PATIENCE_S, ROOT, EventStream, run_cli
from records import RECORD, read_index, read_segment

COUNT = 40


@pytest.fixture
def filled(serve, receiver, tmp_path):
    """A stopped server with a delivered topic `t`; its folder."""
    opq = serve('--drain=2s', '--shards=1')
    for number in range(COUNT):
        push_raw(opq, 't', receiver, body_of(number))
    opq.wait_delivered('t', COUNT)
    assert opq.stop() == 0
    receiver.clear()
    opq.topic_folder = tmp_path / 'data/topics/t'
    return opq


def body_of(number):
    """Larger than what one entry of an index stands for."""
    return (f'message {number} ' * 500).encode()


def push_raw(opq, topic, receiver, body):
    answer = opq.request(
        'POST', f'/opq/push?topic={topic}&url={receiver.url()}', body,
        {'Content-Type': 'text/x-raw'})
    assert answer.status == 201, answer
    return answer


def replay(opq, topic, cmd=0):
    answer = opq.request('POST', '/opq/replay', f'topic={topic}&cmd={cmd}', {
        'Content-Type': 'application/x-www-form-urlencoded'})
    assert answer.status == 201, answer


def stored(opq, topic='t'):
    """{sequence: body} of all messages that the API gives."""
    found = {}
    next_ = 0
    while True:
        page = opq.get(f'/opq/topics/{topic}/messages?from={next_}'
                       '&limit=1000').json()
        for message in page['messages']:
            found[message['seq']] = message['body'].encode()
        if not page['messages']:
            return found
        next_ = page['next']


ALL = {number: body_of(number) for number in range(COUNT)}


# --- the format -------------------------------------------------------------

def test_segments_are_as_documented(filled):
    records = read_segment(filled.topic_folder / '0.msg')
    assert [record.sequence for record in records] == list(range(COUNT))
    times = [record.pushed_at_ms for record in records]
    entries = read_index(filled.topic_folder / '0.idx')
    # One per record here, since each is larger than 4 KiB.
    assert [entry[:2] for entry in entries] == [
        (record.sequence, record.at) for record in records]
    highest = 0
    for entry, time_ms in zip(entries, times):
        highest = max(highest, time_ms)
        assert entry[2] == highest


def test_index_is_sparse_for_small_records(serve, receiver, tmp_path):
    opq = serve('--drain=2s', '--shards=1')
    items = [{'topic': 's', 'url': receiver.url(), 'message': number}
             for number in range(900)]
    assert opq.request('POST', '/opq/batch', items).status == 201
    opq.wait_delivered('s', 900)
    assert opq.stop() == 0
    folder = tmp_path / 'data/topics/s'
    records = read_segment(folder / '0.msg')
    assert len(records) == 900
    entries = [entry[:2] for entry in read_index(folder / '0.idx')]
    offsets = {record.sequence: record.at for record in records}
    assert all(offsets[sequence] == at for sequence, at in entries)
    assert entries[0] == (0, 64)
    gaps = [later[1] - earlier[1]
            for earlier, later in zip(entries, entries[1:])]
    largest = max(record.size for record in records)
    assert min(gaps) > 4096 - largest and max(gaps) < 4096 + largest


def flatc(folder, name, payload):
    """What flatc says of a payload, by our schema."""
    path = folder / f'{name}.bin'
    path.write_bytes(payload)
    done = subprocess.run(
        ['flatc', '--json', '--strict-json', '--raw-binary',
         '--allow-non-utf8', '-o', str(folder), str(ROOT / 'schema/opq.fbs'),
         '--', str(path)], capture_output=True, text=True, check=False,
        timeout=PATIENCE_S)
    assert done.returncode == 0, done
    return json.loads((folder / f'{name}.json').read_text())


def test_flatc_decodes_any_stored_message(serve, receiver, tmp_path):
    opq = serve('--drain=2s', '--shards=1')
    opq.push('f', receiver.url('/a?b=c'), 'Gr\u00fc\u00dfe',
             headers={'X-One': '1', 'Accept': 'a/b'}, other='')
    opq.push_json('f', receiver.url(), {'a': [1]}, method='PUT',
                  timeout='5s', headers={'X-Two': 'zwei'})
    data = bytes(range(200))
    push_raw(opq, 'f', receiver, data)
    opq.push('f', receiver.url())
    opq.wait_delivered('f', 4)
    assert opq.stop() == 0

    records = read_segment(tmp_path / 'data/topics/f/0.msg')
    told = [flatc(tmp_path, f'm{record.sequence}', record.payload)
            for record in records]
    assert told[0]['url'] == receiver.url('/a?b=c')
    assert told[0]['body'] == [{'key': 'message', 'value': 'Gr\u00fc\u00dfe'},
                               {'key': 'other', 'value': ''}]
    assert {'key': 'X-One', 'value': '1'} in told[0]['header']
    assert {'key': 'Accept', 'value': 'a/b'} in told[0]['header']
    assert told[1]['raw'] == list(b'{"a": [1]}')
    assert told[1]['content_type'] == 'application/json'
    assert told[1]['method'] == 'PUT'
    assert told[1]['timeout_ms'] == 5000
    assert told[1]['header'] == [{'key': 'X-Two', 'value': 'zwei'}]
    assert told[2]['raw'] == list(data)
    assert 'body' not in told[2]
    assert told[3]['body'] == [{'key': 'message', 'value': ''}]
    for one, record in zip(told, records):
        assert one['pushed_at_ms'] == record.pushed_at_ms


def test_payload_that_dump_prints_is_decoded_by_flatc(filled, tmp_path):
    done = run_cli('dump', '--data', str(filled.data), '--payload', 't', '7',
                   text=False)
    assert done.returncode == 0, done
    told = flatc(tmp_path, 'dumped', done.stdout)
    assert bytes(told['raw']) == body_of(7)
    assert done.stdout == read_segment(
        filled.topic_folder / '0.msg')[7].payload


# --- missing files ----------------------------------------------------------

@pytest.mark.parametrize('missing', [['cmd'], ['dlv'], ['cmd', 'dlv'],
                                     ['0.idx'], ['cmd', 'dlv', '0.idx'],
                                     ['topic.conf'],
                                     ['topic.conf', 'cmd', 'dlv', '0.idx']])
def test_topic_is_rebuilt_from_its_segments(filled, receiver, missing):
    for name in missing:
        (filled.topic_folder / name).unlink()
    filled.start()
    topic = filled.topic('t')
    assert (topic['oldest'], topic['end']) == (0, COUNT)
    assert stored(filled) == ALL
    replay(filled, 't')
    filled.wait_delivered('t', COUNT)
    order = list(dict.fromkeys(receiver.sequences('t')))
    assert order == list(range(COUNT))
    assert push_raw(filled, 't', receiver, b'new').headers['opq-seq'] == \
        str(COUNT)
    assert filled.stop() == 0
    assert [record.sequence for record in read_segment(
        filled.topic_folder / '0.msg')] == list(range(COUNT + 1))
    filled.start()
    assert stored(filled) == {**ALL, COUNT: b'new'}


def test_topic_without_dlv_delivers_again_rather_than_loses(filled, receiver):
    (filled.topic_folder / 'dlv').unlink()
    filled.start()
    filled.wait_delivered('t', COUNT)
    came = receiver.sequences('t')
    # From the cursor's copy, nothing; from nowhere, all: never a part.
    assert came in ([], list(range(COUNT)))


def test_several_segments_are_read_and_rebuilt(serve, receiver, tmp_path):
    opq = serve('--drain=2s', '--shards=1', '--segment-count=10')
    for number in range(35):
        push_raw(opq, 't', receiver, body_of(number))
    opq.wait_delivered('t', 35)
    assert opq.stop() == 0
    folder = tmp_path / 'data/topics/t'
    assert sorted(int(path.stem) for path in folder.glob('*.msg')) == [
        0, 10, 20, 30]
    for name in ('cmd', 'dlv', '10.idx', '30.idx'):
        (folder / name).unlink()
    opq.start()
    assert stored(opq) == {number: body_of(number) for number in range(35)}
    receiver.clear()
    replay(opq, 't', 5)
    opq.wait_delivered('t', 35)
    assert list(dict.fromkeys(receiver.sequences('t')))[-30:] == list(
        range(5, 35))


@pytest.mark.parametrize('content', [b'', b'x', b'\xff' * 64,
                                     bytes(4096), None])
def test_index_that_makes_no_sense_is_rebuilt(filled, content):
    path = filled.topic_folder / '0.idx'
    good = path.read_bytes()
    path.write_bytes(good[::-1] if content is None else content)
    filled.start()
    assert stored(filled) == ALL
    assert filled.stop() == 0
    assert path.read_bytes() == good


@pytest.mark.parametrize('name', ['cmd', 'dlv', 'topic.conf'])
@pytest.mark.parametrize('content', [b'', b'garbage', bytes(8192)])
def test_state_that_makes_no_sense_is_as_if_missing(filled, name, content):
    (filled.topic_folder / name).write_bytes(content)
    filled.start()
    assert filled.topic('t')['end'] == COUNT
    assert stored(filled) == ALL


def test_folder_that_makes_no_sense_is_left_alone_and_named(filled):
    odd = filled.data / 'topics/no topic name'
    odd.mkdir()
    (odd / 'letter').write_text('keep me')
    stray = filled.topic_folder / 'notes.txt'
    stray.write_text('mine')
    filled.start()
    assert stored(filled) == ALL
    assert filled.stop() == 0
    assert (odd / 'letter').read_text() == 'keep me'
    assert stray.read_text() == 'mine'
    assert 'no topic name' in filled.log()


# --- damage in the middle ---------------------------------------------------

def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize('where', ['size', 'crc', 'sequence', 'payload size',
                                   'payload', 'end'])
def test_damaged_message_is_set_aside_and_the_others_are_not(filled, receiver,
                                                             where):
    path = filled.topic_folder / '0.msg'
    record = read_segment(path)[17]
    flip(path, record.at + {
        'size': 1, 'crc': 5, 'sequence': 9, 'payload size': 25,
        'payload': RECORD.size + 900,
        'end': RECORD.size + len(record.payload) - 1}[where])

    verify = run_cli('verify', '--data', str(filled.data))
    assert verify.returncode == 1, verify
    assert re.search(r'\bt\b.*\b17\b', verify.stdout + verify.stderr), verify

    filled.start()
    rest = {number: body for number, body in ALL.items() if number != 17}
    assert stored(filled) == rest
    answer = filled.get('/opq/topics/t/messages/17')
    assert answer.status == 404
    assert answer.json()['state'] == 'quarantined'
    replay(filled, 't')
    filled.wait_delivered('t', COUNT)
    assert receiver.sequences('t') == list(rest)
    bodies = {one.sequence: one.body for one in receiver.requests}
    assert bodies == rest
    log = filled.log()
    assert re.search(r'(quarantine|damaged).*topic=t.*17', log), log[-2000:]
    query = '?types=record.quarantined&topic=t&from=0'
    with EventStream(filled, f'/opq/events{query}') as events:
        told = json.loads(events.next()['data'])
    assert told['subject'] == 't'
    assert told['data'] == {'seq': 17, 'count': 1, 'what': 'record'}
    assert push_raw(filled, 't', receiver, b'on').headers['opq-seq'] == \
        str(COUNT)
    filled.wait_delivered('t', COUNT + 1)
    # It is said, not hidden, that a message is missing between two others.
    after, = [one for one in receiver.requests if one.sequence == 18]
    assert after.headers['opq-prev-seq'] == '17'


def quarantined(opq):
    """The first event of the topic `t` that says so, to a stream and to the
    command."""
    query = '?types=record.quarantined&topic=t&from=0'
    with EventStream(opq, f'/opq/events{query}') as events:
        told = json.loads(events.next()['data'])
    said = opq.run('events', '--from', '0', '-n', '1', '--json', '--types',
                   'record.quarantined', '--topic', 't')
    assert json.loads(said.stdout) == told
    return told['data']


def test_damage_that_recovery_finds_is_told_before_anybody_reads(
        filled, receivers):
    """Without `cmd` the segments are read when the data is opened."""
    (filled.topic_folder / 'cmd').unlink()
    path = filled.topic_folder / '0.msg'
    flip(path, read_segment(path)[17].at + RECORD.size + 900)
    hook = receivers()
    filled.start(f'--events-url={hook.url()}')
    assert quarantined(filled) == {'seq': 17, 'count': 1, 'what': 'record'}
    hook.wait(2)
    sent = [json.loads(one.body) for one in hook.requests]
    assert [one['data'] for one in sent
            if one['type'] == 'record.quarantined'] == [quarantined(filled)]
    assert stored(filled) == {
        number: body for number, body in ALL.items() if number != 17}


def test_messages_that_were_given_and_are_gone_are_told(filled):
    """The cursor knows of more than there is."""
    (filled.topic_folder / 'cmd').unlink()
    path = filled.topic_folder / '0.msg'
    os.truncate(path, read_segment(path)[30].at)
    filled.start()
    assert quarantined(filled) == {'seq': 30, 'count': COUNT - 30,
                                   'what': 'record'}
    assert filled.topic('t')['end'] == COUNT


def test_damage_among_small_messages_costs_at_most_an_index_entry(
        serve, receiver, tmp_path):
    opq = serve('--drain=2s', '--shards=1')
    items = [{'topic': 's', 'url': receiver.url(), 'message': number}
             for number in range(500)]
    assert opq.request('POST', '/opq/batch', items).status == 201
    opq.wait_delivered('s', 500)
    assert opq.stop() == 0
    path = tmp_path / 'data/topics/s/0.msg'
    records = read_segment(path)
    flip(path, records[250].at + 2)  # its size: what follows is not found
    receiver.clear()
    opq.start()
    replay(opq, 's')
    opq.wait_delivered('s', 500)
    came = receiver.sequences('s')
    missing = sorted(set(range(500)) - set(came))
    assert came == sorted(came)
    assert missing[0] == 250
    assert missing == list(range(250, missing[-1] + 1))
    lost = sum(records[number].size for number in missing)
    assert lost <= 4096 + records[250].size
    done = run_cli('verify', '--data', str(opq.data))
    assert done.returncode == 2  # not beside a server
    assert 'a server has it: stop it first' in done.stderr
    assert opq.stop() == 0
    done = run_cli('verify', '--data', str(opq.data))
    assert done.returncode == 1
    assert '250' in done.stdout + done.stderr


def test_verify_of_what_is_whole_finds_nothing(filled):
    done = run_cli('verify', '--data', str(filled.data))
    assert done.returncode == 0, done
    assert 't' in done.stdout


# --- torn tails -------------------------------------------------------------

@pytest.fixture
def killed(serve, receiver, tmp_path):
    """A killed server with messages in `t` that are in the journal, and
    after a first stop some in segments."""
    opq = serve('--drain=2s', '--shards=1', '--checkpoint-interval=1h')
    for number in range(20):
        push_raw(opq, 't', receiver, body_of(number))
    opq.wait_delivered('t', 20)
    assert opq.stop() == 0
    opq.start()
    for number in range(20, COUNT):
        push_raw(opq, 't', receiver, body_of(number))
    opq.wait_delivered('t', COUNT)
    opq.kill()
    receiver.clear()
    opq.topic_folder = tmp_path / 'data/topics/t'
    opq.journal = tmp_path / 'data/journal/0'
    return opq


def assert_whole(opq, receiver):
    opq.start()
    assert stored(opq) == ALL
    assert opq.topic('t')['delivered'] >= COUNT - 1
    assert push_raw(opq, 't', receiver, b'new').headers['opq-seq'] == \
        str(COUNT)
    opq.wait_delivered('t', COUNT + 1)
    assert set(receiver.sequences('t')) <= {COUNT - 1, COUNT}
    assert opq.stop() == 0
    assert len(read_segment(opq.topic_folder / '0.msg')) == COUNT + 1


@pytest.mark.parametrize('tail', [b'', b'x', b'\0' * 5000, b'\xff' * 777,
                                  'half', 'again'])
def test_torn_tail_of_a_segment_is_cut_and_written_again(killed, receiver,
                                                         tail):
    path = killed.topic_folder / '0.msg'
    if isinstance(tail, str):
        whole = path.read_bytes()[64:]
        tail = whole[:3000] if tail == 'half' else whole
    with open(path, 'ab') as file:
        file.write(tail)
    assert_whole(killed, receiver)


def test_segment_written_only_in_part_is_written_again(killed, receiver):
    """What the journal has need not be in the segment at all."""
    path = killed.topic_folder / '0.msg'
    # Up to what the stop in order has made sure of: 20 messages.
    data = path.read_bytes()
    at = 64
    for _ in range(20):
        at += int.from_bytes(data[at:at + 4], 'little')
    os.truncate(path, at)
    assert_whole(killed, receiver)


def last_block(journal):
    """The journal's file in use, and where what is written of it ends."""
    files = []
    for path in journal.glob('*.jnl'):
        data = path.read_bytes()
        end = len(data.rstrip(b'\0'))
        generation = int.from_bytes(data[8:16], 'little')
        files.append((generation, path, -(-end // 4096) * 4096))
    _, path, end = max(files)
    assert end >= 8192
    return path, end


@pytest.mark.parametrize('kind', ['zeros', 'noise', 'an older batch',
                                  'half a batch'])
def test_torn_tail_of_the_journal_is_where_it_ends(killed, receiver, kind):
    path, end = last_block(killed.journal)
    with open(path, 'r+b') as file:
        file.seek(end - 8192)
        older = file.read(8192)
        torn = {'zeros': bytes(8192), 'noise': os.urandom(8192),
                'an older batch': older,
                'half a batch': older[:1000] + bytes(3096)}[kind]
        file.seek(end)
        file.write(torn)
    assert_whole(killed, receiver)


def test_damage_in_the_journals_last_batch_loses_no_other(killed, receiver):
    """It was answered, and its only copy is damaged: named, and skipped."""
    path, end = last_block(killed.journal)
    flip(path, end - 4096 + 100)
    # Without what may already be in the segment.
    data = (killed.topic_folder / '0.msg').read_bytes()
    at = 64
    for _ in range(20):
        at += int.from_bytes(data[at:at + 4], 'little')
    os.truncate(killed.topic_folder / '0.msg', at)
    killed.start()
    found = stored(killed)
    assert {number: found[number] for number in range(COUNT - 1)} == {
        number: ALL[number] for number in range(COUNT - 1)}
    sequence = int(push_raw(killed, 't', receiver,
                            b'new').headers['opq-seq'])
    assert sequence in (COUNT - 1, COUNT)
    killed.wait_delivered('t', sequence + 1)
    assert receiver.of_topic('t')[-1].body == b'new'


def test_missing_cursor_page_costs_repeats_and_no_message(killed, receiver):
    (killed.journal / 'cursors').unlink()
    killed.start()
    assert stored(killed) == ALL
    killed.wait_delivered('t', COUNT)
    came = receiver.sequences('t')
    assert came == list(range(COUNT - len(came), COUNT))


def test_messages_are_read_after_a_restart_by_place_and_time(filled):
    filled.start()
    page = filled.get('/opq/topics/t/messages?from=33&limit=4').json()
    assert [one['seq'] for one in page['messages']] == [33, 34, 35, 36]
    assert page['next'] == 37
    times = {one['seq']: one['pushed_at'] for one in page['messages']}
    query = urllib.parse.urlencode({'from_time': times[34], 'limit': 1})
    page = filled.get(f'/opq/topics/t/messages?{query}').json()
    found = page['messages'][0]
    assert found['pushed_at'] >= times[34]
    assert found['seq'] <= 34
    one = filled.get('/opq/topics/t/messages/39').json()
    assert one['body'].encode() == body_of(39)
    assert one['state'] == 'delivered'


def test_data_of_a_later_version_is_not_touched(filled):
    meta = filled.data / 'meta'
    text = meta.read_text()
    meta.write_text(text.replace('opq-data 1', 'opq-data 2'))
    before = sorted(str(path) for path in filled.data.rglob('*'))
    filled.start(ready=False)
    assert filled.wait() == 73
    assert sorted(str(path) for path in filled.data.rglob('*')) == before
    assert meta.read_text().startswith('opq-data 2')
    meta.write_text(text)
    filled.start()
    assert stored(filled) == ALL


def test_backlog_on_a_cold_disk_does_not_strand_the_rest(serve, receiver,
                                                         tmp_path):
    """More topics wait for the disk than may at once; the rest need none."""
    topics = [(f'cold{index}', 2) for index in range(100)] + [
        (f'warm{index}', 1) for index in range(400)]
    url = receiver.url().replace('127.0.0.1', 'localhost')
    # Nothing is delivered at first, whatever the target would say.
    server = serve('--shards=1', '--deny-net=127.0.0.0/8,::1/128',
                   '--retry-first=1m')
    for name, count in topics:
        for _ in range(count):
            size = 200000 if name.startswith('cold') else 10
            assert server.push(name, url, 'x' * size).status == 201
    assert server.stop() == 0
    for path in (tmp_path / 'data' / 'topics').glob('cold*/*.msg'):
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)
    again = serve('--shards=1', '--retry-first=50ms', '--retry-max=100ms')
    receiver.wait(sum(count for _, count in topics))
    for name, count in topics:
        again.wait_delivered(name, count)
