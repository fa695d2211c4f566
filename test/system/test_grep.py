"""opq grep: finding messages in a data directory, stopped or at work.

SPDX-License-Identifier: MIT
"""

import json
import os
import urllib.parse

import pytest
from harness import run_cli


def fill(opq, receiver):
    opq.push('forms', receiver.url('/a'), 'Needle in a form', other='x')
    opq.push('forms', receiver.url('/b'), 'nothing')
    opq.push_json('bodies', receiver.url(), 'first\nneedle one\nlast')
    opq.push_json('bodies', receiver.url('/needle'), 'by its url')
    opq.push_json('bodies', receiver.url(), 'by a header',
                  headers={'X-Trace': 'needle-7'})
    opq.push_json('bodies', receiver.url(), 'by key', key='needle.key')
    opq.push_json('bodies', receiver.url(),
                  'x' * 500 + 'needle' + '\u00e9' * 99)
    opq.push_json('bodies', receiver.url(), 'a.b*c')
    large = os.urandom(300000).replace(b'needle', b'......')
    answer = opq.request(
        'POST', '/opq/push?topic=large&url='
        + urllib.parse.quote(receiver.url()),
        large + b'\nneedle at the end\n', {'Content-Type': 'text/plain'})
    assert answer.status == 201, answer


@pytest.fixture(params=['stopped', 'running', 'killed'])
def filled(request, serve, receiver):
    opq = serve('--body-buffer=100k', '--checkpoint-interval=1h')
    fill(opq, receiver)
    if request.param == 'stopped':
        assert opq.stop() == 0
    if request.param == 'killed':
        opq.kill()
    return opq.data


def found(data, pattern, *arguments):
    done = run_cli('grep', pattern, str(data), *arguments, '--json')
    assert done.returncode in (0, 1), done
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode == 0) == bool(lines)
    return [(one['topic'], one['seq'], one['where']) for one in lines]


def test_what_matches_is_found(filled):
    assert found(filled, 'needle') == [
        ('bodies', 0, 'body'), ('bodies', 1, 'url'), ('bodies', 2, 'header'),
        ('bodies', 3, 'key'), ('bodies', 4, 'body'), ('large', 0, 'body')]
    assert found(filled, 'NEEDLE', '-i', 'forms') == [('forms', 0, 'field')]
    assert found(filled, 'needle', '--header') == [('bodies', 2, 'header')]
    assert found(filled, '^needle [a-z]+$') == [('bodies', 0, 'body')]
    assert ('bodies', 5, 'body') not in found(filled, 'a.b*c')
    assert found(filled, 'a.b*c', '-F') == [('bodies', 5, 'body')]
    assert found(filled, 'needle', 'bodies', '--from', '1', '--to', '2') == [
        ('bodies', 1, 'url'), ('bodies', 2, 'header')]
    assert found(filled, 'needle', '--since', '2100-01-01T00:00:00Z') == []
    assert found(filled, 'nowhere to be found') == []


def test_lines_for_people(filled):
    done = run_cli('grep', 'needle', str(filled), 'bodies')
    lines = done.stdout.splitlines()
    assert lines[0].startswith('0 20') and lines[0].endswith(
        'Z bodies body: needle one')
    assert lines[4].endswith(': ...' + 'x' * 60 + 'needle' + '\u00e9' * 30
                             + '...')
    done = run_cli('grep', 'needle', str(filled), '--count')
    assert done.stdout == 'bodies 5\nlarge 1\n'


def test_what_is_wrong_is_said(filled):
    done = run_cli('grep', '(', str(filled))
    assert done.returncode == 64 and 'the pattern' in done.stderr
    assert run_cli('grep', 'x', str(filled), 'nowhere').returncode == 2
    assert run_cli('grep', 'x', str(filled / 'topics')).returncode == 2
