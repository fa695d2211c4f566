"""Rows about deliveries: backlogs, order, other targets, pushes meanwhile.

A backlog is pushed to paused topics, which are let go for a while in each
round; so one backlog serves all rounds.

SPDX-License-Identifier: MIT
"""

import socket
import time

from contest import contest
from processes import free_port
from rows_push import KB, rate


def delivery(bench, report):
    """A backlog beside nginx as a proxy of the same bodies."""
    backlog = bench.settings.backlog
    with bench.opq() as server:
        names = server.make_topics('drain', 64)
        server.fill('drain', 64, backlog, size=KB, pipeline=16)
        outcome = contest(
            bench.settings.rounds,
            proxy=lambda: bench.load_name('proxy', connections=64, size=KB),
            opq=lambda: server.drain(names))
        report.add(f'delivery of a backlog of {backlog:,}, 64 topics in '
                   'order, 1 KB', rate(outcome, 'opq'),
                   f'nginx proxy_pass: {rate(outcome, "proxy")}',
                   outcome.ratio('opq', 'proxy'), at_least=1.2)


def parallel(bench, report):
    """One topic without order, as many in flight as the proxy has."""
    backlog = bench.settings.backlog
    with bench.opq() as server:
        names = server.make_topics('drain', 1, order='none', concurrency=64)
        server.fill('drain', 1, backlog, size=KB, pipeline=16)
        outcome = contest(
            bench.settings.rounds,
            proxy=lambda: bench.load_name('proxy', connections=64, size=KB),
            opq=lambda: server.drain(names))
        report.add(f'delivery of a backlog of {backlog:,}, one topic with '
                   'concurrency 64 (order none), 1 KB', rate(outcome, 'opq'),
                   f'nginx proxy_pass: {rate(outcome, "proxy")}',
                   outcome.ratio('opq', 'proxy'), at_least=1.2)


def ordered(bench, report):
    """One topic: one in flight, as a bare loop of requests has."""
    with bench.opq() as server:
        names = server.make_topics('drain', 1)
        server.fill('drain', 1, bench.settings.ordered_backlog, size=KB,
                    pipeline=16)
        outcome = contest(
            bench.settings.rounds,
            loop=lambda: bench.load_name('sink', connections=1, size=KB),
            opq=lambda: server.drain(names))
        report.add('delivery of one topic strictly in order, 1 KB',
                   rate(outcome, 'opq'),
                   f'bare request-response loop: {rate(outcome, "loop")}',
                   outcome.ratio('opq', 'loop'), at_least=0.9)


def together(bench, report):
    """Pushes delivered as they come."""
    with bench.opq() as server:
        server.make_topics('both', 64, paused='no')
        lags = []

        def push():
            figures = server.load(connections=64, size=KB, topic='both',
                                  topics=64)
            lags.append(server.lag('both-'))
            while server.lag('both-'):
                time.sleep(0.05)
            return figures

        outcome = contest(
            bench.settings.rounds, opq=push,
            proxy=lambda: bench.load_name('proxy', connections=64, size=KB))
        report.add('push and delivery together, 64 connections, 64 topics, '
                   '1 KB', rate(outcome, 'opq'),
                   f'nginx proxy_pass: {rate(outcome, "proxy")}',
                   outcome.ratio('opq', 'proxy'), at_least=1.0,
                   more=f'not delivered at the end: {max(lags):,} at most')


def isolation(bench, report):
    """Topics at targets that are well, alone and beside two that are not."""
    silent = socket.create_server(('127.0.0.1', 0))
    targets = (f'http://127.0.0.1:{silent.getsockname()[1]}/',
               f'http://127.0.0.1:{free_port()}/')
    count = 998
    with silent, bench.opq() as server:
        names = server.make_topics('well', count)
        server.fill('well', count, bench.settings.backlog, size=KB)

        def beside():
            for index, url in enumerate(targets):
                server.push(f'bad-{index}', url)
            figures = server.drain(names)
            for index in range(len(targets)):
                server.ask('DELETE', f'/opq/topics/bad-{index}')
            return figures

        outcome = contest(bench.settings.rounds, beside=beside,
                          alone=lambda: server.drain(names))
        report.add(f'delivery of {count} topics beside one at a dead and one '
                   'at a silent target, 1 KB', rate(outcome, 'beside'),
                   f'without these: {rate(outcome, "alone")}',
                   outcome.ratio('beside', 'alone'))


def https(bench, report):
    """HTTPS targets against plain ones: the same nginx as sink."""
    backlog = bench.settings.backlog * 2 // 3
    with bench.opq('--ca-file', bench.certificate) as server:
        sides = {}
        for name, scheme, port in (('plain', 'http', 'nginx'),
                                   ('secure', 'https', 'tls')):
            names = server.make_topics(name, 64)
            server.fill(name, 64, backlog, size=KB, pipeline=16,
                        target=f'{scheme}://127.0.0.1:{bench.port[port]}/in')
            sides[name] = lambda names=names: server.drain(names)
        outcome = contest(bench.settings.rounds, **sides)
        report.add('HTTPS delivery, keep-alive, 64 topics, 1 KB',
                   rate(outcome, 'secure'),
                   f'plain HTTP: {rate(outcome, "plain")}',
                   outcome.ratio('secure', 'plain'), at_least=0.7,
                   more='nginx 204 as the sink of both')


ROWS = {
    'delivery': delivery, 'parallel': parallel, 'ordered': ordered,
    'together': together, 'isolation': isolation, 'https-delivery': https,
}
