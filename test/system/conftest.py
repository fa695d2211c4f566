"""Fixtures of the system tests: see harness.py for what they give.

Tests run the real binary, named by OPQ_BINARY, each in a directory of its own
and on ports that the kernel chose.

SPDX-License-Identifier: MIT
"""

import shutil

import harness
import pytest
import sanitizer


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """Note whether a test has failed, for what it leaves behind."""
    report = yield
    item.failed = getattr(item, 'failed', False) or report.get_result().failed


@pytest.fixture
def tmp_path(tmp_path, request):
    """The test's folder, which goes with a test that passed: each server's
    data are 40 MB, all of them would be 35 GB."""
    yield tmp_path
    if not getattr(request.node, 'failed', False):
        shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture(scope='session', autouse=True)
def reports(tmp_path_factory):
    """Reports of sanitizers, and none that no test was blamed for."""
    kept = sanitizer.Reports(tmp_path_factory.mktemp('sanitizer'))
    yield kept
    left = kept.new()
    assert not left, '\n'.join(left)


@pytest.fixture(autouse=True)
def nothing_crashed(reports):
    """No process of a test may crash or be reported by a sanitizer, not even
    one whose end nobody looks at."""
    yield
    found = reports.new() + harness.Server.crashes()
    assert not found, '\n'.join(found)


def serving(folder):
    """Give a function that starts servers, and stop them all in the end."""
    servers = []

    def start(*arguments, name='data', ready=True, **options):
        server = harness.Server(folder / name, *arguments, **options)
        servers.append(server)
        return server.start(ready=ready)

    yield start
    codes = []
    for server in servers:
        if server.alive():
            code = server.stop()
            codes.append((code, server.explain() if code else ''))
    assert all(code == 0 for code, _ in codes), codes


@pytest.fixture
def serve(tmp_path):
    """A function that starts servers: serve('--retry-first=10ms', ...).

    `name` gives a further data directory. A server that is still running at
    the end of the test must stop in order, with exit code 0.
    """
    yield from serving(tmp_path)


@pytest.fixture(scope='module')
def shared_opq(tmp_path_factory):
    """A server for all tests of a file that leave nothing behind."""
    for start in serving(tmp_path_factory.mktemp('shared')):
        yield start('--drain=2s')


@pytest.fixture
def opq(serve):
    """A running server that retries fast."""
    return serve('--retry-first=20ms', '--retry-max=100ms', '--drain=2s')


@pytest.fixture
def receivers():
    """A function that makes receivers, which are closed at the end."""
    made = []

    def make(*arguments, **options):
        receiver = harness.Receiver(*arguments, **options)
        made.append(receiver)
        return receiver

    yield make
    for receiver in made:
        receiver.close()


@pytest.fixture
def receiver(receivers):
    """A target that answers 200 unless told otherwise."""
    return receivers()
