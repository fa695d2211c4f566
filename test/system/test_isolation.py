"""One hundred endpoints, of which some are dead, slow or bursting: how much of
their throughput do the others keep?

Endpoints are addresses of 127.0.0.0/8, so that one `opq sink` has all good
ones. They answer after a while, as real ones do: then slots are what endpoints
compete for, not the processor.

SPDX-License-Identifier: MIT
"""

import os
import pathlib
import socket
import statistics
import time

from harness import PATIENCE_S, Sink, wait_until

GOOD, DEAD, SLOW = 79, 10, 10
EACH = 100       # messages to a good endpoint
CONCURRENCY = 2  # of them in flight
ANSWER_MS = 40
SLOW_MS = 2000
BURST = 2000     # messages to the bursting endpoint, at once
ROUNDS, ROUNDS_MAX = 3, 5


class Endpoints:
    """Sinks, and the URLs of all sorts of endpoints."""

    def __init__(self):
        self.good = Sink('--listen', '0.0.0.0', '--fail',
                         f'slow:{ANSWER_MS}ms')
        self.slow = Sink('--listen', '0.0.0.0', '--fail', f'slow:{SLOW_MS}ms')
        self.burst = Sink('--fail', f'slow:{ANSWER_MS}ms')
        # It takes connections and never reads; another port refuses them.
        self.silent = socket.create_server(('0.0.0.0', 0), backlog=4096)
        self.closed = socket.socket()
        self.closed.bind(('0.0.0.0', 0))

    def close(self):
        for sink in (self.good, self.slow, self.burst):
            assert sink.stop()[0] == 0
        self.silent.close()
        self.closed.close()

    def good_urls(self):
        return urls(self.good.url, 1, GOOD)

    def bad_urls(self):
        def dead(one, network):
            return urls(f'http://0.0.0.0:{one.getsockname()[1]}', network,
                        DEAD // 2)
        return [*urls(self.slow.url, 2, SLOW), *dead(self.silent, 3),
                *dead(self.closed, 4)]


def urls(url, network, count):
    port = url.rpartition(':')[2].rstrip('/')
    return [f'http://127.0.{network}.{number + 1}:{port}/in'
            for number in range(count)]


def post_all(opq, targets):
    """POST to many targets, in one go."""
    with opq.connect() as connection:
        for target in targets:
            connection.send(f'POST {target} HTTP/1.1\r\nHost: x\r\n'
                            'Content-Length: 0\r\n\r\n')
        for target in targets:
            assert connection.read_response().status == 200, target


def fill(opq, topics, each, **settings):
    """Paused topics with messages; `topics` has their URLs."""
    items = []
    for topic, url in topics.items():
        answer = opq.request('PUT', f'/opq/topics/{topic}',
                             {'paused': True, 'order': 'none', **settings})
        assert answer.status == 201, answer
        items += [{'topic': topic, 'url': url, 'message': 'x' * 100}] * each
    for at in range(0, len(items), 1000):
        answer = opq.request('POST', '/opq/batch', items[at:at + 1000])
        assert answer.status == 201, answer


def resume(opq, topics):
    post_all(opq, [f'/opq/topics/{topic}/resume' for topic in topics])


def named(prefix, urls_):
    return {f'{prefix}{number}': url for number, url in enumerate(urls_)}


def cpu_s(process):
    fields = pathlib.Path(f'/proc/{process.pid}/stat').read_text().split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf('SC_CLK_TCK')


def good_rate(serve, name, with_bad):
    """Deliveries a second to the good endpoints; how busy their sink was."""
    opq = serve('--shards=1', '--drain=200ms', name=name)
    ends = Endpoints()
    good = named('good', ends.good_urls())
    bad = named('bad', ends.bad_urls())
    fill(opq, good, EACH, concurrency=CONCURRENCY)
    if with_bad:
        fill(opq, bad, 200)
        fill(opq, {'burst': ends.burst.url + '/in'}, BURST, concurrency=256)
        resume(opq, bad)
        # They have their slots first.
        wait_until(lambda: ends.slow.stats()['requests'] >= SLOW * 8)
    begin_s, begin_cpu_s = time.monotonic(), cpu_s(ends.good.process)
    resume(opq, ['burst', *good] if with_bad else good)
    wait_until(lambda: ends.good.stats()['distinct'] >= GOOD * EACH,
               'all good ones', 4 * PATIENCE_S)
    seconds = time.monotonic() - begin_s
    busy = (cpu_s(ends.good.process) - begin_cpu_s) / seconds
    stats = ends.good.stats()
    assert stats['duplicates'] == stats['missing'] == 0
    if with_bad:
        assert ends.burst.stats()['requests'] > 0
        for topic in bad:
            assert opq.topic(topic)['lag'] > 0  # they were bad all the time
    assert opq.stop() == 0
    ends.close()
    return GOOD * EACH / seconds, busy


def test_79_endpoints_keep_their_throughput_beside_21_bad_ones(serve, capsys):
    rates = {True: [], False: []}
    for turn in range(ROUNDS_MAX):  # others may use the machine: by turns
        for with_bad in (False, True) if turn % 2 else (True, False):
            rate, busy = good_rate(serve, f't{turn}{with_bad}', with_bad)
            rates[with_bad].append(rate)
            assert busy < 0.7, 'the receiver is the limit'
        alone = statistics.median(rates[False])
        beside = statistics.median(rates[True])
        if turn + 1 >= ROUNDS and beside >= 0.9 * alone:
            break
    with capsys.disabled():
        print(f'\n{GOOD} endpoints: {alone:,.0f} deliveries/s alone, '
              f'{beside:,.0f}/s beside {DEAD} dead, {SLOW} slow and 1 bursting '
              f'(ratio {beside / alone:.2f})')
    assert beside >= 0.9 * alone, rates
