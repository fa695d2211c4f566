"""Secrets and signatures: the file they are in, and what receivers verify.

SPDX-License-Identifier: MIT
"""

import os
import subprocess

import pytest
from harness import BINARY, PATIENCE_S

HMAC_KEY = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'


def secrets_file(path, text, mode=0o600):
    path.write_text(text)
    path.chmod(mode)
    return path


def start_fails(tmp_path, path):
    """Start with a file of secrets; return (exit code, what is said, log)."""
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith('OPQ_')}
    done = subprocess.run(
        [BINARY, '--port=0', f'--data={tmp_path / "data"}',
         f'--secrets={path}'],
        capture_output=True, text=True, check=False, timeout=PATIENCE_S,
        env=environment)
    log = tmp_path / 'data/logs/system.log'
    return (done.returncode, done.stdout + done.stderr,
            log.read_text() if log.exists() else '')


# --- the file ---------------------------------------------------------------

@pytest.mark.parametrize('mode', [0o640, 0o604, 0o620, 0o666])
def test_file_that_others_can_use_is_refused(tmp_path, mode):
    path = secrets_file(tmp_path / 'secrets', f'shop {HMAC_KEY}\n', mode)
    code, said, log = start_fails(tmp_path, path)
    assert code == 78
    line = (f'secrets: {path} must be a file of our own user that nobody '
            'else can read or write (chmod 600)')
    assert line in said and line in log
    assert 'MfKQ9r8' not in said + log


def test_wrong_lines_are_told_by_number_alone(tmp_path):
    path = secrets_file(tmp_path / 'secrets',
                        '# ours\nshop whsec_hidden\nfine x\nhidden\n')
    code, said, log = start_fails(tmp_path, path)
    assert code == 78
    for line in (f'{path}:2: behind whsec_ are 24 to 64 bytes in base64',
                 f'{path}:4: a name and a value are needed'):
        assert line in said and line in log
    assert 'hidden' not in said + log


def test_file_that_is_not_there_is_told(tmp_path):
    path = tmp_path / 'secrets'
    code, said, _ = start_fails(tmp_path, path)
    assert code == 78
    assert f'secrets: {path} cannot be read: not found' in said


def test_what_the_file_holds_is_shown_nowhere(serve, tmp_path):
    path = secrets_file(tmp_path / 'secrets',
                        f'shop {HMAC_KEY}\ntoken hidden\n')
    opq = serve(f'--secrets={path}', '--debug')
    told = opq.get('/opq/info').body.decode() + opq.log() + \
        ''.join(opq.output)
    assert opq.stop() == 0
    told += opq.log()
    assert 'MfKQ9r8' not in told and 'hidden' not in told
