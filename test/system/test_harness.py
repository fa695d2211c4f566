"""The harness finds what tests do not look at: reports of sanitizers, and
servers that crashed.

SPDX-License-Identifier: MIT
"""

import shutil
import subprocess

import pytest
import sanitizer
from harness import Server, wait_until

OVERFLOW = """
#include <stdlib.h>
#include <unistd.h>
int main(int count, char **words)
{
    volatile char *memory = malloc(1);
    (void)words;
    memory[count] = 1;
    pause();
    return 0;
}
"""


@pytest.mark.skipif(shutil.which('cc') is None, reason='there is no compiler')
def test_report_of_a_process_that_is_killed_is_found(tmp_path, monkeypatch):
    program = tmp_path / 'overflow'
    subprocess.run(
        ['cc', '-fsanitize=address', '-fsanitize-recover=address', '-x', 'c',
         '-o', str(program), '-'], input=OVERFLOW, text=True, check=True)
    assert sanitizer.kind_of(program) == 'address'
    monkeypatch.setenv('ASAN_OPTIONS', 'halt_on_error=0')
    monkeypatch.setenv('TSAN_OPTIONS', '')
    folder = tmp_path / 'reports'
    folder.mkdir()
    reports = sanitizer.Reports(folder)
    assert reports.new() == []
    with subprocess.Popen([program]) as process:
        wait_until(lambda: any('SUMMARY' in path.read_text()
                               for path in folder.iterdir()), 'a report')
        process.kill()
    found, = reports.new()
    assert 'AddressSanitizer: heap-buffer-overflow' in found
    assert reports.new() == []


@pytest.mark.parametrize('script, word', [
    ('kill -SEGV $$', 'ended with -11'),
    ('echo "a.c:1:2: runtime error: left shift"; exit 0', 'runtime error'),
])
def test_server_that_crashed_is_found(tmp_path, script, word):
    server = Server(tmp_path, command=['sh', '-c', script])
    server.start(ready=False).wait()
    found, = Server.crashes()
    assert word in found
    assert Server.crashes() == []


def test_server_that_was_killed_has_not_crashed(opq):
    opq.kill()
    assert Server.crashes() == []
