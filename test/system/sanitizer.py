"""Binaries that were built with a sanitizer: how slow they are, and what they
reported.

Reports go to files rather than to standard error, so that one of a process
whose output or exit code nobody looks at (a server that is killed anyhow, a
subcommand) is found, too: conftest.py asks for them after each test. UBSan,
when it is beside ASan, does not know of files; see Server.crashes().

SPDX-License-Identifier: MIT
"""

import os
import pathlib

# How much slower such a build is, with other work on the machine: limits of
# time are multiplied by it, so that they need not be loose for everyone.
SLOWNESS_OF = {None: 1, 'address': 3, 'thread': 6}


def kind_of(binary):
    """'address', 'thread', or None: what a binary was built with."""
    try:
        content = pathlib.Path(binary).read_bytes()
    except OSError:
        return None
    for kind, symbol in (('address', b'__asan_init'),
                         ('thread', b'__tsan_init')):
        if symbol in content:
            return kind
    return None


def slowness_of(binary):
    """By OPQ_TEST_SLOWNESS, or else by the kind of the build."""
    given = os.environ.get('OPQ_TEST_SLOWNESS')
    return float(given) if given else SLOWNESS_OF[kind_of(binary)]


class Reports:
    """What processes that are started from here on report."""

    def __init__(self, folder):
        self.folder = folder
        self.seen = set()
        for name in ('ASAN_OPTIONS', 'TSAN_OPTIONS'):
            before = os.environ.get(name)
            ours = f'log_path={folder}/report'
            os.environ[name] = f'{before}:{ours}' if before else ours

    def new(self):
        """Reports that were not given before, as text."""
        found = []
        for path in sorted(self.folder.iterdir()):
            if path.name not in self.seen:
                self.seen.add(path.name)
                found.append(path.read_text('utf-8', 'replace'))
        return found
