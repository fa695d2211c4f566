"""The table of figures, and the page around it.

SPDX-License-Identifier: MIT
"""

import os
import platform
import subprocess
import time

import plots

HEAD = ('work', 'OPQ', 'reference', 'ratio', 'target', 'met', 'more')

TEXT = """# Figures

{date}, {machine}. Made by `{command}` in {minutes:.0f} minutes. OPQ, load
generator, sink and references share these cores, so only the ratios carry over
to another machine. Each ratio is the median of those of {rounds} pairs that ran
one after the other, either side first in turn.{shorter}

References: {versions}. nginx: one worker, 204 to the same POSTs, or
`proxy_pass` to the same sink. Redis: XADD with AOF always. A bare write: one
direct write of 4 KiB with `RWF_DSYNC`. us CPU: user and system time of the
server for each push. The load generator had at most {generator_mb:.0f} MB
resident.

{table}
{notes}{plots}"""


def latency(outcome, name):
    """Latencies in words."""
    return ' '.join(f'{word} {outcome.median(name, key):,.0f}'
                    for word, key in (('p50', 'p50_us'), ('p99', 'p99_us'),
                                      ('p99.9', 'p999_us'))) + ' us'


def cost(outcome, name):
    return f'{outcome.median(name, "cpu_us"):.1f} us CPU'


class Report:
    """Rows as they come, and points of the plots."""

    def __init__(self):
        self.rows = []
        self.points = {}  # plot: {series: {x: y}}
        self.begun = time.monotonic()

    def add(self, work, ours, reference='', ratio=None, at_least=None,
            at_most=None, more=''):
        """A row; the ratio is held against one of the two targets."""
        target, met = '', ''
        if at_least is not None:
            target, met = f'≥ {at_least:g}', ratio >= at_least
        if at_most is not None:
            target, met = f'≤ {at_most:g}', ratio <= at_most
        if target:
            met = 'yes' if met else '**no**'
        row = (work, ours, reference, '' if ratio is None else f'{ratio:.2f}',
               target, met, more)
        self.rows.append(row)
        print('| ' + ' | '.join(row) + ' |', flush=True)

    def missing(self, work, why, target=''):
        """A row for what there is no way to measure yet."""
        self.rows.append((work, '–', '', '', target, '**no**', why))
        print('| ' + ' | '.join(self.rows[-1]) + ' |', flush=True)

    def point(self, plot, series, x, y):
        self.points.setdefault(plot, {}).setdefault(series, {})[x] = y

    def table(self):
        lines = [HEAD, ('---',) * len(HEAD)] + self.rows
        return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)

    def write(self, folder, command, bench):
        """Write results.md and plots/ into a folder."""
        drawn = plots.draw_all(self.points, os.path.join(folder, 'plots'))
        settings = bench.settings
        text = TEXT.format(
            date=time.strftime('%Y-%m-%d %H:%M'), machine=machine(),
            command=command, rounds=settings.rounds,
            minutes=(time.monotonic() - self.begun) / 60,
            shorter=' **Shorter runs and backlogs than those of `make bench`: '
            'for a look only.**' if settings.quick else '',
            versions=versions(), generator_mb=bench.generator_mb,
            table=self.table(),
            notes=told(bench.notes),
            plots=''.join(f'\n![{title}](plots/{name})\n'
                          for name, title in drawn))
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, 'results.md')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text)
        return path


def told(notes):
    if not notes:
        return ''
    return ('\nWhat went otherwise than it should:\n\n'
            + ''.join(f'- {note}\n' for note in notes))


def machine():
    model = 'unknown'
    with open('/proc/cpuinfo', encoding='utf-8') as file:
        for line in file:
            if line.startswith('model name'):
                model = line.split(':', 1)[1].strip()
                break
    with open('/proc/meminfo', encoding='ascii') as file:
        memory_gb = int(file.readline().split()[1]) / 1024 / 1024
    return (f'{os.cpu_count()} x {model}, {memory_gb:.0f} GB, '
            f'Linux {platform.release()}')


def versions():
    nginx = subprocess.run(['/usr/sbin/nginx', '-v'], stderr=subprocess.PIPE,
                           check=True, text=True).stderr
    redis = subprocess.run(['redis-server', '--version'],
                           stdout=subprocess.PIPE, check=True,
                           text=True).stdout
    return (f'nginx {nginx.strip().rsplit("/", 1)[-1]}, '
            f'Redis {redis.split("v=", 1)[1].split()[0]}')
