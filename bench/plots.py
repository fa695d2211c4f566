"""Line charts as SVG, by hand: what the bench draws of its figures.

SPDX-License-Identifier: MIT
"""

import math
import os
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 84, 24, 64, 56
COLOURS = ('#0b6bcb', '#c2410c', '#15803d', '#7e22ce', '#525252')
MARKS = 6  # about so many on the upright axis

# plot: title, what is across, what is upright, scales of both
PLOTS = {
    'connections': ('Rate against connections, 1 KB', 'connections',
                    'requests a second', 'log', 'linear'),
    'size': ('Rate against body size, 64 connections', 'bytes of the message',
             'requests a second', 'log', 'linear'),
    'latency': ('Latency of a push, 1 KB, 64 connections', 'percentile',
                'microseconds', 'even', 'log'),
    'topics': ('Cost against topics, 1 KB, 64 connections', 'topics',
               'microseconds of CPU per push', 'log', 'linear'),
    'backlog': ('Cost against backlog, 128 B, 64 connections',
                'messages waiting', 'microseconds of CPU per push', 'even',
                'linear'),
    'backlog-rate': ('Rate against backlog, 128 B, 64 connections',
                     'messages waiting', 'pushes a second', 'even', 'linear'),
    'outage': ('A target is back after an outage', 'seconds since it is back',
               'requests in each 100 ms', 'linear', 'linear'),
}


def short(value):
    """A number for an axis."""
    for limit, ending in ((1e6, 'M'), (1e3, 'k')):
        if abs(value) >= limit:
            return f'{value / limit:.3g}{ending}'
    return f'{value:.4g}'


class Axis:
    """Values onto pixels, `start` to `end`."""

    def __init__(self, scale, values, start, end):
        self.scale, self.start, self.end = scale, start, end
        self.values = sorted(set(values))
        if scale == 'even':
            self.ticks = self.values
        elif scale == 'log':
            self.ticks = self.decades() if start > end else self.values
        else:
            step = nice_step(max(self.values) / MARKS)
            count = math.ceil(max(self.values) / step)
            self.ticks = [step * index for index in range(count + 1)]
        self.low = self.place(self.ticks[0])
        self.span = (self.place(self.ticks[-1]) - self.low) or 1

    def decades(self):
        """1, 2, 5, 10 ... around all values."""
        marks = [digit * 10 ** power for power in range(-3, 10)
                 for digit in (1, 2, 5)]
        low = max(mark for mark in marks if mark <= max(self.values[0], 1e-3))
        high = min(mark for mark in marks if mark >= self.values[-1])
        return [mark for mark in marks if low <= mark <= high]

    def place(self, value):
        if self.scale == 'even':
            return self.values.index(value)
        return math.log10(value) if self.scale == 'log' else value

    def pixel(self, value):
        part = (self.place(value) - self.low) / self.span
        return self.start + part * (self.end - self.start)


def nice_step(least):
    """1, 2 or 5 times a power of ten, at least that."""
    power = 10 ** math.floor(math.log10(least)) if least > 0 else 1
    return next(power * digit for digit in (1, 2, 5, 10)
                if power * digit >= least)


def text(x, y, words, anchor='middle', more=''):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>'
            f'{escape(words)}</text>')


def frame(words, across, upright):
    """Title, axes and their words."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [text(LEFT, 24, words[0], 'start',
                  ' font-size="16" font-weight="bold"'),
             text((LEFT + right) / 2, HEIGHT - 12, words[1]),
             text(0, 0, words[2], more=' transform="translate(18,'
                  f'{(TOP + bottom) / 2}) rotate(-90)"')]
    for tick in upright.ticks:
        y = upright.pixel(tick)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#ddd"/>')
        parts.append(text(LEFT - 8, y + 4, short(tick), 'end'))
    for tick in across.ticks:
        x = across.pixel(tick)
        parts.append(f'<path d="M{x:.1f} {bottom}v5" stroke="#888"/>')
        parts.append(text(x, bottom + 20, short(tick)))
    parts.append(f'<path d="M{LEFT} {bottom}H{right}" stroke="#888"/>')
    return parts


def line(points, across, upright, colour):
    pixels = [(across.pixel(x), upright.pixel(y))
              for x, y in sorted(points.items())]
    path = ' '.join(f'{x:.1f},{y:.1f}' for x, y in pixels)
    return ([f'<polyline points="{path}" fill="none" stroke="{colour}" '
             'stroke-width="2"/>']
            + [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>'
               for x, y in pixels])


def chart(words, scales, series):
    """An SVG document; `series` is {name: {x: y}}."""
    across = Axis(scales[0], [x for points in series.values() for x in points],
                  LEFT + 12, WIDTH - RIGHT - 12)
    upright = Axis(scales[1],
                   [y for points in series.values() for y in points.values()],
                   HEIGHT - BOTTOM, TOP)
    parts = frame(words, across, upright)
    x = LEFT
    for index, (name, points) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        parts += line(points, across, upright, colour)
        parts.append(f'<rect x="{x}" y="38" width="12" height="12" '
                     f'fill="{colour}"/>')
        parts.append(text(x + 18, 48, name, 'start'))
        x += 34 + 7 * len(name)
    body = '\n'.join(parts)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
            f'height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="sans-serif" font-size="12">\n'
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n'
            f'{body}\n</svg>\n')


def draw_all(points, folder):
    """Write a file for each plot that has points; [(file name, title)]."""
    drawn = []
    for name, (*words, across, upright) in PLOTS.items():
        if name not in points:
            continue
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, name + '.svg')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(chart(words, (across, upright), points[name]))
        drawn.append((name + '.svg', words[0]))
    return drawn
