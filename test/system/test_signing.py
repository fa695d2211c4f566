"""Secrets and signatures: the file they are in, and what receivers verify.

SPDX-License-Identifier: MIT
"""

import base64
import json
import os
import pathlib
import subprocess
import time

import pytest
from harness import BINARY, PATIENCE_S, ROOT

VERIFY = ROOT / 'test/verify'
BUILD = pathlib.Path(os.environ.get('OPQ_BUILD', ROOT / 'build'))

HMAC_KEY = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'
HMAC_OTHER = 'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD'
# The keys of RFC 8032, 7.1, tests 1 and 2.
PRIVATE_KEY = 'whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A='
PUBLIC_KEY = 'whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo='
PUBLIC_OTHER = 'whpk_PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw='


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


# --- signatures -------------------------------------------------------------

def verify(*deliveries):
    """Have (secret, headers, body) verified; return a word for each: "ok", or
    what is wrong."""
    assert (VERIFY / 'node_modules/standardwebhooks').is_dir(), \
        'the verifier is not there: "make system" brings it'
    lines = [json.dumps({
        'secret': secret, 'headers': headers,
        'body_base64': base64.b64encode(body).decode()})
             for secret, headers, body in deliveries]
    done = subprocess.run(['node', 'verify.mjs'], cwd=VERIFY,
                          input='\n'.join(lines), capture_output=True,
                          text=True, check=True, timeout=PATIENCE_S)
    return done.stdout.splitlines()


@pytest.fixture
def sign(tmp_path):
    """A function that signs a body, and gives the headers."""
    path = secrets_file(
        tmp_path / 'secrets',
        f'shop {HMAC_KEY} not_after=2100-01-01T00:00:00Z\n'
        f'shop {HMAC_OTHER}\nshop {PRIVATE_KEY}\n'
        f'old {HMAC_OTHER}\nold {HMAC_KEY} not_after=2020-01-01T00:00:00Z\n')

    def signed(body, names='shop', identity='msg_5f0c9a1e77d3b204-7'):
        now = str(int(time.time()))
        done = subprocess.run(
            [BUILD / 'test/verify/sign_message', path, names, identity, now],
            input=body, capture_output=True, check=True, timeout=PATIENCE_S)
        return {'webhook-id': identity, 'webhook-timestamp': now,
                'webhook-signature': done.stdout.decode().rstrip('\n')}
    return signed


@pytest.mark.parametrize('body', [
    b'', b'hello', '{"price": "12 \u20ac"}'.encode(), b'a.b.c\n' * 50000,
], ids=['empty', 'short', 'utf-8', 'long'])
def test_independent_verifiers_accept_each_signature(sign, body):
    headers = sign(body)
    assert len(headers['webhook-signature'].split(' ')) == 3
    secrets = (HMAC_KEY, HMAC_OTHER, PUBLIC_KEY)
    assert verify(*((secret, headers, body) for secret in secrets)) == \
        ['ok'] * 3


def test_independent_verifiers_refuse_what_was_changed(sign):
    body = b'{"total": 12}'
    headers = sign(body)
    later = str(int(headers['webhook-timestamp']) + 1)
    for secret, other in ((HMAC_KEY, 'whsec_' + 'A' * 32),
                          (PUBLIC_KEY, PUBLIC_OTHER)):
        words = verify(
            (secret, headers, body),
            (secret, headers, body + b' '),
            (secret, {**headers, 'webhook-id': 'msg_5f0c9a1e77d3b204-8'},
             body),
            (secret, {**headers, 'webhook-timestamp': later}, body),
            (other, headers, body))
        assert words[0] == 'ok'
        assert all('No matching signature' in word for word in words[1:])


def test_key_that_is_not_in_force_does_not_sign(sign):
    headers = sign(b'x', names='old')
    words = verify((HMAC_OTHER, headers, b'x'), (HMAC_KEY, headers, b'x'))
    assert words[0] == 'ok' and 'No matching signature' in words[1]


def test_large_body_is_signed_by_hmac(sign):
    body = b'0123456789abcdef' * 65537
    headers = sign(body)
    assert 'v1a' not in headers['webhook-signature']
    assert verify((HMAC_KEY, headers, body), (HMAC_OTHER, headers, body)) == \
        ['ok', 'ok']
