"""What test_soak.py needs besides Steady: a receiver that fails sometimes, and
that remembers in little memory what came, for as long as it takes.

SPDX-License-Identifier: MIT
"""

import json
import sys

from load import ANSWER, Child, SinkLoop, Tally, field

REFUSAL = b'HTTP/1.1 500 Not now\r\nContent-Length: 0\r\n\r\n'
BUSY = b'HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n'
REPEATS_KEPT = 10

# A message of which this is left over is never accepted at /dead.
DEAD_EVERY, DEAD_REST = 20, 3


def is_dead(sequence):
    return sequence % DEAD_EVERY == DEAD_REST


class Target(Child):
    """A target whose paths say how it behaves:

        /flaky   refuses one in 40, cuts the connection of one in 400
        /dead    refuses some messages for ever
        /strict  wants them in order, without a gap
        /replay  is only counted
    """

    file = __file__

    def __init__(self):
        super().__init__()
        self.port = self.ask('port')

    def url(self, path=''):
        return f'http://127.0.0.1:{self.port}{path}'

    def sick(self, yes):
        """Answer 503 to everything, or no more."""
        self.ask('sick' if yes else 'well')

    def result(self):
        """{next: {topic + path: first sequence that has not come}, missing:
        [of those behind it], repeated: [what came again after it was accepted],
        wrong: [what is out of order], refused, replayed: counts}"""
        return self.ask('result')


class TargetLoop(SinkLoop):
    def __init__(self):
        super().__init__()
        self.tally = Tally()
        self.number = 0
        self.is_sick = False
        self.refused = 0
        self.replayed = 0
        self.repeated = []
        self.wrong = []

    def command(self, line):
        if line in ('sick', 'well'):
            self.is_sick = line == 'sick'
            print(json.dumps(True), flush=True)
        elif line == 'result':
            self.settle()
            print(json.dumps({
                'next': self.tally.next,
                'missing': [name for name, ahead in self.tally.ahead.items()
                            if ahead],
                'repeated': self.repeated, 'wrong': self.wrong,
                'refused': self.refused, 'replayed': self.replayed,
            }), flush=True)
        else:
            super().command(line)

    def take(self, head, body):
        path = head.split(b' ', 2)[1].decode()
        sequence = int(field(head, b'Opq-Seq'))
        self.number += 1
        if path == '/replay':
            self.replayed += 1
            return ANSWER
        answer = self.judge(path, sequence)
        if answer == ANSWER or (path == '/dead' and is_dead(sequence) and
                                field(head, b'Opq-Attempt') == b'1'):
            self.note(field(head, b'Opq-Topic').decode() + path, sequence)
        return answer

    def judge(self, path, sequence):
        answer = ANSWER
        if self.is_sick:
            answer = BUSY
        elif path == '/dead' and is_dead(sequence):
            answer = REFUSAL
        elif path == '/flaky' and self.number % 40 == 0:
            answer = REFUSAL if self.number % 400 else b''
        self.refused += answer != ANSWER
        return answer

    def note(self, name, sequence):
        strict = name.endswith('/strict')
        if strict and sequence > self.tally.next.get(name, 0):
            self.wrong.append([name, sequence])
        if not self.tally.add(name, sequence) and \
                len(self.repeated) < REPEATS_KEPT:
            self.repeated.append([name, sequence])


if __name__ == '__main__':
    TargetLoop().run()
    sys.exit(0)
