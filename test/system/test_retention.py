"""What a topic keeps: by age, bytes and count; what is not delivered stays.

Segments are made small, since retention drops whole ones.

SPDX-License-Identifier: MIT
"""

import pytest
from harness import wait_until

SMALL = ['--segment-count=10', '--checkpoint-interval=100ms',
         '--retry-first=20ms', '--retry-max=50ms', '--shards=1']


def fill(opq, topic, url, count, size=100):
    for number in range(count):
        message = {'topic': topic, 'url': url,
                   'message': f'{number:04} '.ljust(size, '.')}
        # The journal is small: it may be full until a checkpoint is made.
        wait_until(lambda message=message: opq.request(
            'POST', '/opq/push', message).status == 201, 'room in the journal')


def configure(opq, topic, **settings):
    answer = opq.request('PUT', f'/opq/topics/{topic}', settings)
    assert answer.status in (200, 201), answer


def segments(opq, topic):
    folder = opq.data / 'topics' / topic
    return sorted(int(path.stem) for path in folder.glob('*.msg'))


def bytes_on_disk(opq, topic):
    folder = opq.data / 'topics' / topic
    return sum(path.stat().st_size for path in folder.glob('*.msg'))


def wait_kept(opq, topic, at_least, at_most):
    """Until so many are kept, and older files gone; return the oldest. Where
    segments begin depends on when what was written."""
    def trimmed():
        one = opq.topic(topic)
        return at_least <= one['end'] - one['oldest'] <= at_most
    wait_until(trimmed, f'{at_least} to {at_most} to be kept')
    oldest = opq.topic(topic)['oldest']
    wait_until(lambda: segments(opq, topic)[:1] in ([], [oldest]),
               'older segments to be removed')
    return oldest


def assert_kept(opq, topic, first, end):
    """Exactly these are read, and what was dropped is told to be so."""
    page = opq.get(f'/opq/topics/{topic}/messages?limit=1000').json()
    assert [one['seq'] for one in page['messages']] == list(range(first, end))
    if first > 0:
        gone = opq.get(f'/opq/topics/{topic}/messages/{first - 1}')
        assert gone.status == 404 and gone.json()['state'] == 'dropped', gone


def test_count_keeps_the_newest_in_whole_segments(serve, receiver):
    opq = serve(*SMALL)
    configure(opq, 't', retain_count=25)
    fill(opq, 't', receiver.url(), 100)
    opq.wait_delivered('t', 100)
    assert_kept(opq, 't', wait_kept(opq, 't', 25, 34), 100)


def test_bytes_keep_the_newest_in_whole_segments(serve, receiver):
    opq = serve(*SMALL)
    fill(opq, 't', receiver.url(), 100, size=1000)
    opq.wait_delivered('t', 100)
    # What is still in memory counts for more than it will take on disk.
    wait_until(lambda: opq.topic('t')['bytes'] == bytes_on_disk(opq, 't'),
               'all to be on disk')
    limit = opq.topic('t')['bytes'] // 4
    configure(opq, 't', retain_bytes=limit)
    oldest = wait_kept(opq, 't', 25, 35)
    assert opq.topic('t')['bytes'] >= limit
    assert_kept(opq, 't', oldest, 100)


def test_age_drops_what_is_older(serve, receiver):
    opq = serve(*SMALL)
    fill(opq, 't', receiver.url(), 30)
    opq.wait_delivered('t', 30)
    configure(opq, 't', retain_age='1s')
    assert_kept(opq, 't', wait_kept(opq, 't', 0, 0), 30)
    assert opq.push_json('t', receiver.url(), 'new')['seq'] == 30
    opq.wait_delivered('t', 31)


def test_what_is_not_delivered_stays_unless_told_otherwise(serve, receivers):
    target = receivers(lambda request: 503)
    opq = serve(*SMALL)
    configure(opq, 't', retain_count=10)
    fill(opq, 't', target.url(), 50)
    fill(opq, 'other', target.url(), 1)  # a turn of retention for all
    wait_until(lambda: len(segments(opq, 't')) >= 4, 'segments on disk')
    assert opq.topic('t')['oldest'] == 0
    configure(opq, 't', discard='old')
    oldest = wait_kept(opq, 't', 10, 19)
    assert opq.topic('t')['delivered'] == oldest
    target.script = lambda request: 200
    opq.wait_delivered('t', 50)


@pytest.mark.parametrize('end', ['stop', 'kill'])
def test_what_went_is_gone_after_a_restart(serve, receiver, end):
    opq = serve(*SMALL)
    configure(opq, 't', retain_count=10)
    fill(opq, 't', receiver.url(), 60)
    opq.wait_delivered('t', 60)
    oldest = wait_kept(opq, 't', 10, 19)
    getattr(opq, end)()
    opq.start()
    assert opq.topic('t')['oldest'] == oldest
    assert opq.topic('t')['delivered'] == 60
    assert opq.topic('t')['settings']['retain_count'] == 10
    assert_kept(opq, 't', oldest, 60)
    refused = opq.request('POST', '/opq/replay',
                          {'topic': 't', 'cmd': oldest - 1})
    assert refused.status == 416, refused
    assert (refused.json()['oldest'], refused.json()['end']) == (oldest, 60)


def test_a_slow_topic_holds_back_only_its_own_segments(serve, receivers):
    slow, well = receivers(lambda request: 503), receivers()
    opq = serve(*SMALL, '--journal-size=8m', '--journal-file-size=1m',
                '--batch-size-max=512k', '--body-size-max=128k')
    for topic in ('slow', 'well'):
        configure(opq, topic, retain_count=10)
    fill(opq, 'slow', slow.url(), 20)
    for _ in range(12):  # twice the journal's size
        fill(opq, 'well', well.url(), 20, size=70000)
    opq.wait_delivered('well', 240)
    wait_kept(opq, 'well', 10, 19)
    assert opq.topic('slow')['oldest'] == 0
    assert opq.topic('slow')['lag'] == 20
    journal = sum(path.stat().st_size
                  for path in (opq.data / 'journal').rglob('*.jnl'))
    assert journal <= 8 << 20
    slow.script = lambda request: 200
    opq.wait_delivered('slow', 20)
