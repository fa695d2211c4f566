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
from harness import BINARY, PATIENCE_S, ROOT, Answer, wait_until

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


# --- deliveries -------------------------------------------------------------

def verified(received, *secrets):
    """What an independent verifier says of a delivery."""
    return verify(*((secret, received.headers, received.body)
                    for secret in secrets))


@pytest.fixture
def signing(serve, tmp_path):
    path = secrets_file(
        tmp_path / 'secrets',
        f'shop {HMAC_KEY}\nshop {HMAC_OTHER}\nshop {PRIVATE_KEY}\n'
        f'public {PRIVATE_KEY}\ntoken hidden-token\n')
    return serve(f'--secrets={path}', '--retry-first=20ms',
                 '--retry-max=50ms', '--body-size-max=4m', '--drain=2s')


def set_topic(opq, topic, **settings):
    answer = opq.request('PUT', f'/opq/topics/{topic}', settings)
    assert answer.status in (200, 201), answer


def push_raw(opq, topic, receiver, body):
    answer = opq.request(
        'POST', f'/opq/push?topic={topic}&url={receiver.url()}', body,
        {'Content-Type': 'application/octet-stream'})
    assert answer.status == 201, answer


def text_of(size):
    """Text without repeats: the verifier takes bodies for UTF-8."""
    return os.urandom(size // 2 + 1).hex().encode()[:size]


def test_each_attempt_is_signed(signing, receiver):
    set_topic(signing, 'a', secret='shop')
    receiver.then(Answer(503))
    assert signing.push('a', receiver.url(), 'hello').status == 201
    first, second = receiver.wait(2)[:2]
    for received in (first, second):
        assert verified(received, HMAC_KEY, HMAC_OTHER, PUBLIC_KEY) == \
            ['ok'] * 3
    assert first.headers['webhook-id'] == second.headers['webhook-id']
    # A topic without `secret` does not sign.
    assert signing.push('plain', receiver.url(), 'hello').status == 201
    assert 'webhook-signature' not in receiver.wait(3)[2].headers


def test_bodies_in_files_are_signed(signing, receiver):
    set_topic(signing, 'b', secret='shop')
    bodies = [text_of(size) for size in (
        1024 * 1024 + 1, 5 * 256 * 1024, 4 * 1024 * 1024)]
    receiver.then(Answer(503))
    for body in bodies:
        push_raw(signing, 'b', receiver, body)
    came = receiver.wait(4)
    assert [one.body == body for one, body in
            zip(came, bodies[:1] + bodies)] == [True] * 4
    for received in came:
        assert verified(received, HMAC_KEY, HMAC_OTHER) == ['ok'] * 2
        # It is too large for Ed25519.
        assert 'v1a' not in received.headers['webhook-signature']
    signing.wait_delivered('b', 3)


def test_body_in_a_file_is_signed_anew_after_a_kill(signing, receiver):
    set_topic(signing, 'b', secret='shop', paused='yes')
    body = text_of(3 * 1024 * 1024)
    push_raw(signing, 'b', receiver, body)
    signing.kill()
    signing.start()
    set_topic(signing, 'b', paused='no')
    received = receiver.wait(1)[0]
    assert received.body == body
    assert verified(received, HMAC_KEY) == ['ok']


@pytest.mark.parametrize('names, why', [
    ('nobody', 'no such secret is in force: nobody'),
    ('token', 'the secret is no key to sign with: token'),
])
@pytest.mark.parametrize('size', [10, 1024 * 1024 + 1],
                         ids=['short', 'in a file'])
def test_topic_whose_secret_is_not_there_is_not_sent_unsigned(
        signing, receiver, names, why, size):
    set_topic(signing, 'c', secret=names)
    push_raw(signing, 'c', receiver, b'x' * size)
    wait_until(lambda: signing.topic('c')['attempts'] > 1)
    assert receiver.requests == []
    told = signing.get('/opq/topics/c/messages/0').json()
    assert why in told['because']
    assert told['last_error']['class'] == 'local_error'
    set_topic(signing, 'c', secret='shop')
    assert verified(receiver.wait(1)[0], HMAC_KEY) == ['ok']


def test_large_body_is_not_sent_with_a_key_that_cannot_sign_it(signing,
                                                               receiver):
    set_topic(signing, 'd', secret='public')
    push_raw(signing, 'd', receiver, b'x' * (1024 * 1024 + 1))
    wait_until(lambda: signing.topic('d')['attempts'] > 0)
    assert receiver.requests == []
    told = signing.get('/opq/topics/d/messages/0').json()
    assert 'needs a whsec_ key' in told['because']


def test_secret_in_a_header_of_a_push_goes_out_as_it_came(signing, receiver):
    answer = signing.push('d', receiver.url(), 'x', headers={
        'X-Authorization': 'Bearer ${secret:token}'})
    assert answer.status == 201
    received = receiver.wait(1)[0]
    assert received.headers['x-authorization'] == 'Bearer ${secret:token}'


def put(opq, path, **settings):
    answer = opq.request('PUT', path, settings)
    assert answer.status in (200, 201), answer
    return answer.json()


def test_settings_that_name_unknown_secrets_are_taken_with_warnings(signing):
    def unknown(*names):
        return [f'secret {name} is not in the file of secrets: until it is, '
                'nothing is sent' for name in names]

    path = '/opq/topics/w'
    assert 'warnings' not in put(signing, path, secret='shop')
    told = put(signing, path, secret='shop,nobody,token,gone')
    assert told['settings']['secret'] == 'shop,nobody,token,gone'
    assert told['warnings'] == unknown('nobody', 'gone')
    assert told == {**signing.get(path).json(), 'warnings': told['warnings']}
    # Also what stays, but nothing else is warned of.
    assert put(signing, path, rate='1/1s')['warnings'] == unknown(
        'nobody', 'gone')
    path += '/subscriptions/s'
    told = put(signing, path, url='http://127.0.0.1:9/', secret='one',
               headers={'X-A': 'Bearer ${secret:two} ${secret:token}',
                        'X-B': '${secret:three}'})
    assert told['warnings'] == unknown('one', 'two', 'three')
    assert 'warnings' not in signing.get(path).json()
    answer = signing.request('POST', '/opq/replays?topic=w&secret=four')
    assert answer.status == 201, answer
    assert answer.json()['warnings'] == unknown('four')
    assert 'warnings' not in put(signing, path, secret='', headers={})


def test_a_server_without_secrets_warns_of_each(opq):
    assert len(put(opq, '/opq/topics/w', secret='a,b')['warnings']) == 2
