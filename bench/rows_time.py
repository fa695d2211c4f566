"""Rows about time: what comes after an outage, and what is not due yet.

SPDX-License-Identifier: MIT
"""

import collections
import datetime
import http.client
import json
import os
import random
import sys
import time

from processes import free_port, wait_port
from rows_disk import START_S_MAX

RECEIVER = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                        'receiver.py')
BIN_S = 0.1         # of the curve: as long as the receiver takes for each, so
ANSWER_MS = 100     # that none can have more than there are requests at once
WINDOW = 256        # requests in flight of an endpoint that is well
DOWN_S = 2          # the target, while pushes wait
PATIENCE_S = 60
BATCH = 1000
AHEAD_S = 2         # of the first message that fires
FIRING_S = 10       # that they are spread over
DAY_S = 86400


class Watched:
    """bench/receiver.py, for the time that it is wanted."""

    def __init__(self, bench, port, delay_ms):
        self.bench = bench
        self.port = port
        self.process = bench.start(sys.executable, RECEIVER, str(port),
                                   str(delay_ms))
        wait_port(port)

    def ask(self):
        """(most at once, [(Unix seconds, body)]) since this was last asked"""
        connection = http.client.HTTPConnection('127.0.0.1', self.port,
                                                timeout=PATIENCE_S)
        connection.request('GET', '/')
        report = json.loads(connection.getresponse().read())
        connection.close()
        return report['most'], report['came']

    def wait(self, count):
        """All that came, once there are so many."""
        came, most, until = [], 0, time.monotonic() + PATIENCE_S
        while len(came) < count:
            if time.monotonic() > until:
                raise SystemExit(f'{len(came)} of {count} came')
            time.sleep(0.5)
            more, page = self.ask()
            came += page
            most = max(most, more)
        return most, came

    def end(self):
        self.bench.end(self.process)


def push_batches(server, batches):
    """Batches, lists of JSON pushes or their text; all must be stored."""
    connection = server.connect()
    for batch in batches:
        body = batch if isinstance(batch, bytes) else json.dumps(batch)
        while True:
            connection.request('POST', '/opq/batch', body,
                               {'Content-Type': 'application/json'})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 503:
                break
            time.sleep(0.05)
        if answer.status != 201:
            raise SystemExit(f'batch: {answer.status} {text[:200]!r}')
    connection.close()


def outage(bench, report):
    """A target that is down while messages come, and then is back."""
    port, count = free_port(), bench.settings.outage
    with bench.opq() as server:
        server.make_topics('out', 1, paused='no', order='none',
                           concurrency=1024)
        push = {'topic': 'out-0', 'url': f'http://127.0.0.1:{port}/',
                'message': 'x' * 100}
        push_batches(server, [[push] * BATCH] * (count // BATCH))
        time.sleep(DOWN_S)
        target = Watched(bench, port, ANSWER_MS)
        most, came = target.wait(count)
        target.end()
    begun = min(at for at, _ in came)
    bins = collections.Counter(int((at - begun) / BIN_S) for at, _ in came)
    for number in range(max(bins) + 1):
        report.point('outage', 'arrivals', round(number * BIN_S, 1),
                     bins[number])
        report.point('outage', f'window of a target that is well: {WINDOW}',
                     round(number * BIN_S, 1), WINDOW)
    peak = max(bins.values())
    begins = ', '.join(str(bins[number]) for number in range(10))
    report.add(f'recovery of a target that was down, {count:,} messages, '
               f'answers after {ANSWER_MS} ms: the most in {ANSWER_MS} ms',
               f'{peak} requests', f'the window: {WINDOW}', peak / WINDOW,
               at_most=1, more=f'first {begins}; all after '
               f'{(max(bins) + 1) * BIN_S:.1f} s; {most} at once at most')


def folder_mb(folder):
    """What a folder takes on disk."""
    return sum(os.stat(os.path.join(path, name)).st_blocks * 512
               for path, _, names in os.walk(folder)
               for name in names) / 1e6


def text_of(at_s):
    return datetime.datetime.fromtimestamp(
        at_s, datetime.timezone.utc).isoformat(timespec='milliseconds')


def delayed(bench, report):
    """A great many that wait, and others that are due meanwhile."""
    waiting, firing = bench.settings.delayed, bench.settings.firing
    port = free_port()
    url = f'http://127.0.0.1:{port}/'
    target = Watched(bench, port, 0)
    with bench.opq('--checkpoint-interval', '1s') as server:
        server.make_topics('due', 1, paused='no', order='none',
                           concurrency=64)
        before_mb = server.memory_mb()
        server.make_topics('warm', 1)
        server.prime(topic='warm', size=128)
        warm_mb = server.memory_mb()
        begun = time.monotonic()
        body = json.dumps([
            {'topic': 'due-0', 'url': url, 'message': 'x' * 100,
             'delay': f'{600 + index * DAY_S // BATCH}s'}
            for index in range(BATCH)]).encode()
        push_batches(server, [body] * (waiting // BATCH))
        rate = waiting / (time.monotonic() - begun)
        after_mb = server.memory_mb()
        server.kill()
        start_s = server.start()
        told = server.ask('GET', '/opq/info')['now']['delayed']
        if told != waiting:
            bench.note(f'{told} of {waiting} delayed messages are told of')
        killed_mb = server.memory_mb()
        bench.end(server.process)  # in order: no recovery is in its memory
        server.start()
        again_mb = server.memory_mb()
        disk_mb = sum(folder_mb(os.path.join(server.data, 'topics', name))
                      for name in os.listdir(
                          os.path.join(server.data, 'topics'))
                      if name.startswith('.opq.delayed'))
        target.ask()
        late_ms = fire(server, target, url, firing)
        fired_mb = server.memory_mb()
        stored = server.ask('GET', '/opq/info')['since_start']
    target.end()
    report.add(f'memory after a start with {waiting:,} delayed messages over '
               '24 hours, 100 B', f'{again_mb:.0f} MB',
               f'an empty server: {before_mb:.0f} MB', again_mb / before_mb,
               more=f'when pushed (by batches, {rate:,.0f}/s): '
               f'{after_mb:.0f} MB, after a second of other pushes '
               f'{warm_mb:.0f} MB; after recovery from kill -9 '
               f'{killed_mb:.0f} MB, after firing {fired_mb:.0f} MB')
    report.add(f'disk of {waiting:,} delayed messages, 100 B',
               f'{disk_mb:.0f} MB', '', more='their buckets alone: '
               f'{disk_mb * 1e6 / waiting:.0f} B each')
    report.add(f'lateness of {firing:,} due within {FIRING_S} s, '
               f'{waiting:,} waiting: p99', f'{late_ms[0.99]:.0f} ms',
               f'p50 {late_ms[0.5]:.0f} ms', more='at the target; earliest '
               f'{late_ms[0]:.1f} ms, latest {late_ms[1]:.0f} ms; durable in '
               f'their topic: p99 {stored["delayed_late_p99_ms"]} ms')
    report.add(f'start to /readyz with {waiting:,} delayed messages, after '
               'kill -9', f'{start_s:.2f} s', f'the target: {START_S_MAX} s',
               start_s / START_S_MAX, at_most=1)


def fire(server, target, url, count):
    """How late messages come, in ms, by the part of them that is less late."""
    begin = time.time() + AHEAD_S
    due = [begin + index * FIRING_S / count for index in range(count)]
    random.shuffle(due)  # as they come from many producers
    push_batches(server, [[
        {'topic': 'due-0', 'url': url, 'message': text_of(at),
         'not_before': text_of(at)}
        for at in due[first:first + BATCH]]
        for first in range(0, count, BATCH)])
    _, came = target.wait(count)
    late = sorted((at - datetime.datetime.fromisoformat(body).timestamp())
                  * 1000 for at, body in came if body[:2] == '20')
    return {part: late[min(len(late) - 1, int(part * len(late)))]
            for part in (0, 0.5, 0.99, 1)}


ROWS = {'outage': outage, 'delayed': delayed}
