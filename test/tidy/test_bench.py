"""Tests of how the bench compares, tells and draws; nothing is measured.

SPDX-License-Identifier: MIT
"""

import pathlib
import sys
import xml.etree.ElementTree

import pytest

BENCH = pathlib.Path(__file__).resolve().parent.parent.parent / 'bench'
sys.path.insert(0, str(BENCH))

# pylint: disable=wrong-import-position
import contest  # noqa: E402
import plots  # noqa: E402
import report  # noqa: E402


def runner(calls, name, values):
    left = list(values)

    def run():
        calls.append(name)
        return {'rate': left.pop(0)}
    return run


def test_either_side_comes_first_in_turn():
    calls = []
    contest.contest(4, a=runner(calls, 'a', [1] * 4),
                    b=runner(calls, 'b', [1] * 4))
    assert ''.join(calls) == 'abbaabba'


def test_a_ratio_is_the_median_of_the_ratios_of_rounds():
    """Not the ratio of medians, which a drift of the machine would shift."""
    calls = []
    outcome = contest.contest(3, a=runner(calls, 'a', [10, 40, 900]),
                              b=runner(calls, 'b', [5, 40, 300]))
    assert outcome.ratio('a', 'b') == 2
    assert outcome.median('a') == 40


@pytest.mark.parametrize('ratio, target, words', [
    (0.95, {'at_least': 0.95}, ('≥ 0.95', 'yes')),
    (0.94, {'at_least': 0.95}, ('≥ 0.95', '**no**')),
    (1.5, {'at_most': 1.5}, ('≤ 1.5', 'yes')),
    (1.6, {'at_most': 1.5}, ('≤ 1.5', '**no**')),
    (3, {}, ('', '')),
])
def test_a_row_says_whether_its_target_is_met(ratio, target, words):
    rows = report.Report()
    rows.add('work', '1/s', 'other', ratio, **target)
    assert rows.rows[0][3] == f'{ratio:.2f}'
    assert rows.rows[0][4:6] == words


def places_of(svg, colour):
    root = xml.etree.ElementTree.fromstring(svg)
    return [(float(mark.get('cx')), float(mark.get('cy')))
            for mark in root.iter('{http://www.w3.org/2000/svg}circle')
            if mark.get('fill') == colour]


@pytest.mark.parametrize('across', ['even', 'log'])
@pytest.mark.parametrize('upright', ['linear', 'log'])
def test_points_lie_inside_the_frame_and_in_order(across, upright):
    series = {'a < b': {1: 40.0, 64: 900.0, 256: 123456.0}, 'c': {64: 7.0}}
    svg = plots.chart(('title & more', 'x', 'y'), (across, upright), series)
    places = places_of(svg, plots.COLOURS[0])
    assert len(places) == 3 and len(places_of(svg, plots.COLOURS[1])) == 1
    for x, y in places:
        assert plots.LEFT <= x <= plots.WIDTH - plots.RIGHT
        assert plots.TOP <= y <= plots.HEIGHT - plots.BOTTOM
    assert places == sorted(places)  # to the right
    assert [y for _, y in places] == sorted(
        (y for _, y in places), reverse=True)  # and upwards


def test_only_plots_with_points_are_drawn(tmp_path):
    drawn = plots.draw_all({'topics': {'OPQ': {1: 10.0, 1000: 12.0}}},
                           str(tmp_path))
    assert [name for name, _ in drawn] == ['topics.svg']
    assert sorted(path.name for path in tmp_path.iterdir()) == ['topics.svg']
