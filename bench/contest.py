"""Side by side: contenders in turn, A B A B, and what came of it.

The machine's speed drifts, so only what ran close together is compared: a
ratio is the median of the ratios of the rounds. Every second round runs the
other way round, so that no side always comes first.

SPDX-License-Identifier: MIT
"""

import statistics


class Outcome:
    """The figures of each contender, a dictionary a round."""

    def __init__(self, figures):
        self.figures = figures

    def values(self, name, key='rate'):
        return [figures[key] for figures in self.figures[name]]

    def median(self, name, key='rate'):
        return statistics.median(self.values(name, key))

    def ratio(self, ours, theirs, key='rate', their_key=None):
        return statistics.median(
            our / their for our, their in zip(
                self.values(ours, key),
                self.values(theirs, their_key or key)))


def contest(rounds, **contenders):
    """Run all contenders, functions that return figures, `rounds` times."""
    figures = {name: [] for name in contenders}
    order = list(contenders)
    for turn in range(rounds):
        for name in order if turn % 2 == 0 else reversed(order):
            figures[name].append(contenders[name]())
    return Outcome(figures)
