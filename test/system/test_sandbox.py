"""What a server gives up: system calls it never makes, for good.

SPDX-License-Identifier: MIT
"""

import pathlib
import re

import pytest
from test_restart import restart

SECCOMP_FILTER = 2  # the mode, in /proc/PID/status


def threads_status(opq):
    """What the kernel tells of each thread: {name: number}."""
    told = []
    for task in pathlib.Path(f'/proc/{opq.process.pid}/task').iterdir():
        text = (task / 'status').read_text()
        told.append({name: int(value) for name, value in re.findall(
            r'(?m)^(NoNewPrivs|Seccomp|Seccomp_filters):\s+(\d+)$', text)})
    return told


def filters_outside():
    """Those that we have ourselves, as in a container."""
    text = pathlib.Path('/proc/self/status').read_text()
    return int(re.search(r'Seccomp_filters:\s+(\d+)', text)[1])


@pytest.mark.parametrize('backend', ['epoll', 'uring'])
def test_each_thread_is_inside_and_stays_over_restarts(
        serve, receiver, backend):
    opq = serve(f'--io={backend}', '--shards=2')
    for count in range(3):
        opq.push('a', receiver.url(), f'{count}')
        receiver.wait(count + 1)
        told = threads_status(opq)
        assert len(told) > 2
        for thread in told:
            assert thread == {'NoNewPrivs': 1, 'Seccomp': SECCOMP_FILTER,
                              'Seccomp_filters': filters_outside() + 1}
        restart(opq)
    assert 'sandbox_missing' not in opq.log()


def test_it_can_be_left_out(serve):
    opq = serve('--sandbox=no')
    for thread in threads_status(opq):
        assert thread['Seccomp_filters'] == filters_outside()
    restart(opq)
    for thread in threads_status(opq):
        assert thread['Seccomp_filters'] == filters_outside()
