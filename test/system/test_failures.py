"""Deliveries that fail: in which way, when they are tried again, and what a
target can do to the server.

SPDX-License-Identifier: MIT
"""

import email.utils
import pathlib
import socket
import threading
import time

import pytest
from certificates import Authority
from harness import Answer, closed_port, wait_failure, wait_until


# --- failures ---------------------------------------------------------------

def test_failing_message_blocks_its_topic_and_is_never_dropped(opq,
                                                               receivers):
    receiver = receivers()
    fails = threading.Event()
    receiver.script = lambda request: (
        500 if request.sequence == 1 and not fails.is_set() else 200)
    answers = [opq.push('base', receiver.url(), f'm{number}')
               for number in range(4)]

    wait_until(lambda: receiver.sequences('base').count(1) >= 8,
               'many attempts')
    assert set(receiver.sequences('base')) == {0, 1}
    topic = opq.topic('base')
    assert topic['delivered'] == 1 and topic['lag'] == 3
    fails.set()
    opq.wait_delivered('base', 4)

    came = receiver.of_topic('base')
    tries = [one for one in came if one.sequence == 1]
    assert [one.attempt for one in tries] == list(range(1, len(tries) + 1))
    assert {one.headers['webhook-id'] for one in tries} == {
        answers[1].headers['opq-id']}
    assert len({one.body for one in tries}) == 1
    order = list(dict.fromkeys(one.sequence for one in came))
    assert order == [0, 1, 2, 3]
    assert [one.attempt for one in came if one.sequence != 1] == [1, 1, 1]
    assert 'delivery_blocked topic=base seq=1' in opq.log()
    assert 'delivery_recovered topic=base seq=1' in opq.log()


def test_attempts_go_on_counting_over_a_restart(serve, receivers):
    receiver = receivers(lambda request: 500)
    opq = serve('--retry-first=20ms', '--retry-max=50ms', '--drain=2s')
    opq.push('count', receiver.url())
    receiver.wait(5)
    assert opq.stop() == 0
    before = [one.attempt for one in receiver.requests]
    opq.start()
    after = receiver.wait(len(before) + 3)
    attempts = [one.attempt for one in after]
    assert attempts == list(range(1, len(attempts) + 1))


def test_waits_between_attempts_double_up_to_the_cap(serve, receivers):
    receiver = receivers(lambda request: 503)
    opq = serve('--retry-first=100ms', '--retry-max=400ms', '--drain=2s')
    opq.push('wait', receiver.url())
    came = receiver.wait(6)
    gaps_ms = [(later.at - earlier.at) * 1000
               for earlier, later in zip(came, came[1:])]
    for gap_ms, wanted_ms in zip(gaps_ms, [100, 200, 400, 400, 400]):
        # 20 % of jitter; the test is not always there when a request comes.
        assert gap_ms >= wanted_ms * 0.8 - 15, gaps_ms
        assert gap_ms <= wanted_ms * 1.2 + 400, gaps_ms


def test_waits_differ_between_topics(serve, receivers):
    receiver = receivers(lambda request: 503 if request.attempt == 1 else 200)
    opq = serve('--retry-first=400ms', '--drain=2s')
    for number in range(16):
        opq.push(f'j{number}', receiver.url())
    receiver.wait(32)
    gaps_ms = []
    for number in range(16):
        first, second = receiver.of_topic(f'j{number}')
        gaps_ms.append((second.at - first.at) * 1000)
    assert min(gaps_ms) >= 400 * 0.8 - 25, gaps_ms
    # 16 of an even spread over 160 ms: they are not all close together.
    # (24 failures would open the breaker, for all of them.)
    assert max(gaps_ms) - min(gaps_ms) > 60, gaps_ms


def assert_failure(opq, topic, class_, status=None, detail=None):
    message = wait_failure(opq, topic)
    error = message['last_error']
    assert error['class'] == class_, message
    assert error.get('status') == status, message
    if detail is not None:
        assert error['detail'] == detail
    assert message['state'] in ('retrying', 'in_flight')
    assert f'with {class_}' in message['because']
    if status is not None:
        assert f'{class_} {status}' in message['because']
    assert message['attempts'] >= 1
    assert opq.topic(topic)['delivered'] == 0
    return message


@pytest.fixture(scope='module')
def patient_opq(tmp_path_factory):
    """Tries once, and then waits for longer than the tests take."""
    from conftest import serving
    for start in serving(tmp_path_factory.mktemp('patient')):
        yield start('--retry-first=1h', '--retry-max=1h', '--drain=1s',
                    '--connect-timeout=20s', '--timeout=60s')


@pytest.mark.parametrize('status, class_', [
    (400, 'http_4xx'), (404, 'http_4xx'), (429, 'http_4xx'),
    (410, 'http_4xx'), (499, 'http_4xx'),
    (500, 'http_5xx'), (503, 'http_5xx'), (599, 'http_5xx'),
    (300, 'http_3xx'), (304, 'http_3xx'),
    (600, 'protocol_error'), (999, 'protocol_error'),
])
def test_status_other_than_2xx_is_a_failure(patient_opq, receiver, status,
                                            class_):
    receiver.script = lambda request: status
    topic = f'status{status}'
    patient_opq.push(topic, receiver.url())
    message = assert_failure(patient_opq, topic, class_, status)
    assert message['endpoint'] == f'http://127.0.0.1:{receiver.port}'
    assert message['state'] == 'retrying'
    assert 'is tried again at' in message['because']
    assert 'until' in message
    assert len(receiver.requests) == 1


@pytest.mark.parametrize('status', [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(patient_opq, receivers, status):
    other = receivers()
    receiver = receivers(lambda request: Answer(
        status, {'Location': other.url('/elsewhere')}))
    patient_opq.push(f'to{status}', receiver.url())
    assert_failure(patient_opq, f'to{status}', 'http_3xx', status)
    assert other.connections == 0
    assert len(receiver.requests) == 1


def test_refused_connection_is_named(patient_opq):
    port = closed_port()
    patient_opq.push('refused', f'http://127.0.0.1:{port}/')
    assert_failure(patient_opq, 'refused', 'connection_refused', None,
                   f'127.0.0.1:{port}: connection refused or unreachable')


@pytest.mark.parametrize('how', [
    {'reset': True}, {'raw': b'', 'close': True},
    {'raw': b'HTTP/1.1 200 OK\r\nContent-Le', 'close': True},
    {'raw': b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc',
     'close': True},
    {'raw': b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab',
     'close': True},
])
def test_connection_cut_before_the_end_of_an_answer_is_named(patient_opq,
                                                             receivers, how):
    receiver = receivers(lambda request: Answer(**how))
    topic = f'cut{receiver.port}'
    patient_opq.push(topic, receiver.url())
    assert_failure(patient_opq, topic, 'connection_reset')
    assert len(receiver.requests) == 1


@pytest.mark.parametrize('raw', [
    b'HELLO\r\n\r\n',
    b'HTTP/2.0 200 OK\r\n\r\n',
    b'HTTP/1.1 2x0 OK\r\n\r\n',
    b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd',
    b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked'
    b'\r\n\r\n0\r\n\r\n',
    b'HTTP/1.1 200 OK\nContent-Length: 0\n\n',
    b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
    b'HTTP/1.1 101 Switching Protocols\r\n\r\n',
    b'HTTP/1.1 200 OK\r\nX: ' + b'a' * 70000,
])
def test_answer_that_is_no_http_is_named(patient_opq, receivers, raw):
    receiver = receivers(lambda request: Answer(raw=raw))
    topic = f'odd{receiver.port}'
    patient_opq.push(topic, receiver.url())
    assert_failure(patient_opq, topic, 'protocol_error')


def test_target_that_never_answers_is_named(patient_opq, receivers):
    receiver = receivers(lambda request: Answer(hang=True))
    patient_opq.push_json('hang', receiver.url(), timeout='300ms')
    begin = time.monotonic()
    assert_failure(patient_opq, 'hang', 'timeout', None,
                   'no response in time')
    assert time.monotonic() - begin < 15


def test_answer_that_drips_does_not_outlive_the_timeout(patient_opq,
                                                        receivers):
    receiver = receivers(lambda request: Answer(body=b'x' * 1000,
                                                drip_s=0.02))
    patient_opq.push_json('drip', receiver.url(), timeout='400ms')
    assert_failure(patient_opq, 'drip', 'timeout', None,
                   'the response was not over in time')


def test_target_that_does_not_accept_is_named(serve):
    """A listening socket whose queue is full, so that connecting hangs."""
    opq = serve('--connect-timeout=300ms', '--retry-first=1h',
                '--retry-max=1h', '--drain=1s')
    listener = socket.create_server(('127.0.0.1', 0), backlog=0)
    port = listener.getsockname()[1]
    fillers = []

    def full():
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(('127.0.0.1', port))
        fillers.append(one)
        pending = [filler for filler in fillers if filler.getsockopt(
            socket.IPPROTO_TCP, socket.TCP_INFO, 1) != b'\x01']
        return len(pending) >= 2
    wait_until(full, 'a full queue')
    opq.push('full', f'http://127.0.0.1:{port}/')
    assert_failure(opq, 'full', 'timeout')
    for one in (*fillers, listener):
        one.close()


def test_name_without_an_address_is_named(patient_opq):
    patient_opq.push('nowhere', 'http://nowhere.invalid/')
    message = assert_failure(patient_opq, 'nowhere', 'dns_error')
    assert message['endpoint'] == 'http://nowhere.invalid:80'


def test_denied_network_is_refused_by_number_and_by_name(serve, receiver):
    opq = serve('--deny-net=127.0.0.0/8,::1/128', '--retry-first=1h',
                '--retry-max=1h', '--drain=1s')
    answer = opq.push('number', receiver.url())
    assert (answer.status, answer.body) == (
        400, b'BadRequest: url points to an address that is not allowed\n')
    # A name is judged by the address that it has when it is connected to.
    assert opq.push('name',
                    f'http://localhost:{receiver.port}/').status == 201
    message = assert_failure(opq, 'name', 'blocked_address')
    assert 'this address is not allowed' in message['last_error']['detail']
    assert receiver.connections == 0


def test_allowed_network_wins_over_a_denied_one(serve, receiver):
    opq = serve('--deny-net=127.0.0.0/8', '--allow-net=127.0.0.1',
                '--drain=1s')
    assert opq.push('a', receiver.url()).status == 201
    assert len(receiver.wait(1)) == 1
    assert opq.push('b', 'http://127.0.0.2:1/').status == 400


def test_targets_public_denies_loopback_and_private_networks(serve, receiver):
    opq = serve('--targets=public', '--retry-first=1h', '--retry-max=1h',
                '--drain=1s')
    for host in ('127.0.0.1', '10.0.0.1', '192.168.1.1', '172.16.0.1',
                 '[::1]', '[fd00::1]', '[::ffff:10.0.0.1]', '100.64.0.1'):
        assert opq.push('p', f'http://{host}/').status == 400, host
    assert opq.push('n', f'http://localhost:{receiver.port}/').status == 201
    assert_failure(opq, 'n', 'blocked_address')
    assert receiver.connections == 0


def test_failure_of_one_topic_tells_those_behind_it(patient_opq, receiver):
    receiver.script = lambda request: 500
    for _ in range(3):
        patient_opq.push('behind', receiver.url())
    wait_failure(patient_opq, 'behind')
    message = patient_opq.get('/opq/topics/behind/messages/2').json()
    assert message['state'] == 'waiting'
    assert message['behind'] == 0
    assert message['because'].startswith('waits behind message 0, which ')
    assert 'http_5xx 500' in message['because']


# --- Retry-After ------------------------------------------------------------

def held_gap(serve, receivers, value):
    """Seconds from a 503 with Retry-After to the next attempt."""
    receiver = receivers()
    receiver.script = lambda request: Answer(
        503, {'Retry-After': value() if callable(value) else value}
    ) if request.attempt == 1 else None
    opq = serve('--retry-first=20ms', '--retry-max=50ms', '--drain=1s')
    opq.push('after', receiver.url())
    first, second = receiver.wait(2)
    return second.at - first.at


def test_retry_after_in_seconds_is_honoured(serve, receivers):
    gap_s = held_gap(serve, receivers, '1')
    assert 0.98 <= gap_s < 5


def test_retry_after_as_a_date_is_honoured(serve, receivers):
    gap_s = held_gap(serve, receivers, lambda: email.utils.formatdate(
        time.time() + 2, usegmt=True))
    assert 0.98 <= gap_s < 6  # whole seconds: 1 to 2 of them are left


@pytest.mark.parametrize('value', ['soon', '-5', '1.5', '',
                                   'Thu, 01 Jan 1970 00:00:00 GMT'])
def test_retry_after_without_sense_or_in_the_past_changes_nothing(
        serve, receivers, value):
    assert held_gap(serve, receivers, value) < 0.9


def test_retry_after_is_cut_to_a_bound(serve, receivers):
    receiver = receivers()
    receiver.script = lambda request: Answer(
        429, {'Retry-After': '99999999999999999999999'}
    ) if request.attempt == 1 else None
    opq = serve('--retry-first=20ms', '--retry-max=50ms', '--drain=1s',
                '--retry-after-max=700ms')
    opq.push('bound', receiver.url())
    first, second = receiver.wait(2)
    assert 0.68 <= second.at - first.at < 5


def test_retry_after_holds_the_endpoint_and_no_other(serve, receivers):
    receiver = receivers()
    other = receivers()
    receiver.script = lambda request: Answer(
        503, {'Retry-After': '2'}) if request.topic == 'asks' and \
        request.attempt == 1 else None
    opq = serve('--retry-first=20ms', '--retry-max=50ms', '--drain=1s',
                '--shards=1')
    opq.push('asks', receiver.url('/a'))
    receiver.wait(1)
    wait_until(lambda: opq.topic('asks')['state'] == 'held', 'the hold')
    opq.push('same', receiver.url('/b'))
    opq.push('else', other.url('/c'))
    opq.wait_delivered('else', 1)
    message = opq.get('/opq/topics/same/messages/0').json()
    assert message['state'] == 'waiting'
    assert (f'since http://127.0.0.1:{receiver.port} asked for a pause until '
            in message['because'])
    assert len(receiver.requests) == 1
    opq.wait_delivered('same', 1)
    opq.wait_delivered('asks', 1)
    for one in receiver.wait(3)[1:]:
        assert one.at - receiver.requests[0].at >= 1.98


# --- https ------------------------------------------------------------------

@pytest.fixture(scope='module')
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp('tls') / 'trusted')


@pytest.fixture(scope='module')
def tls_opq(tmp_path_factory, authority):
    from conftest import serving
    for start in serving(tmp_path_factory.mktemp('tls-opq')):
        yield start(f'--ca-file={authority.file}', '--retry-first=1h',
                    '--retry-max=1h', '--drain=1s')


def test_https_target_that_is_vouched_for_is_delivered_to(tls_opq, authority,
                                                          receivers):
    tls = authority.server('good', 'IP:127.0.0.1,DNS:localhost')
    receiver = receivers(tls=tls)
    body = bytes(range(256)) * 800  # many TLS records
    for number in range(5):
        answer = tls_opq.request(
            'POST', f'/opq/push?topic=good&url={receiver.url("/tls?x=1")}',
            body, {'Content-Type': 'x/y'})
        assert answer.status == 201
        tls_opq.wait_delivered('good', number + 1)
    came = receiver.wait(5)
    assert [one.body for one in came] == [body] * 5
    assert came[0].target == '/tls?x=1'
    assert came[0].headers['host'] == f'127.0.0.1:{receiver.port}'
    assert {one.connection for one in came} == {0}  # kept alive
    tls_opq.push('by-name', f'https://localhost:{receiver.port}/')
    tls_opq.wait_delivered('by-name', 1)


BAD_CERTIFICATES = {
    'wrong name': dict(alternatives='DNS:elsewhere.example,IP:127.0.0.2'),
    'expired': dict(alternatives='IP:127.0.0.1', start='20200101000000Z',
                    end='20210101000000Z'),
    'not yet valid': dict(alternatives='IP:127.0.0.1',
                          start='20990101000000Z', end='20991231000000Z'),
}


@pytest.mark.parametrize('name, words', [
    ('wrong name', 'IP address mismatch'),
    ('expired', 'certificate has expired'),
    ('not yet valid', 'certificate is not yet valid'),
])
def test_bad_certificate_is_a_tls_error(tls_opq, authority, receivers, name,
                                        words):
    tls = authority.server(name.replace(' ', '-'), **BAD_CERTIFICATES[name])
    receiver = receivers(tls=tls)
    topic = f'tls{receiver.port}'
    tls_opq.push(topic, receiver.url())
    message = assert_failure(tls_opq, topic, 'tls_error')
    assert words in message['last_error']['detail']
    assert receiver.requests == []


def test_wrong_host_name_is_a_tls_error(tls_opq, authority, receivers):
    tls = authority.server('number-only', 'IP:127.0.0.1')
    receiver = receivers(tls=tls)
    tls_opq.push('name-only', f'https://localhost:{receiver.port}/')
    message = assert_failure(tls_opq, 'name-only', 'tls_error')
    assert 'hostname mismatch' in message['last_error']['detail']
    assert receiver.requests == []


def test_unknown_authority_is_a_tls_error(tls_opq, receivers,
                                          tmp_path_factory):
    stranger = Authority(tmp_path_factory.mktemp('tls') / 'stranger')
    receiver = receivers(tls=stranger.server('s', 'IP:127.0.0.1'))
    tls_opq.push('unknown-ca', receiver.url())
    message = assert_failure(tls_opq, 'unknown-ca', 'tls_error')
    assert 'unable to get local issuer' in message['last_error']['detail']
    assert receiver.requests == []


def test_https_to_a_plain_server_is_a_tls_error(tls_opq):
    listener = socket.create_server(('127.0.0.1', 0))
    port = listener.getsockname()[1]

    def answer():
        one, _ = listener.accept()
        one.recv(65536)
        one.sendall(b'HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n')
        one.close()
    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    tls_opq.push('plain', f'https://127.0.0.1:{port}/')
    assert_failure(tls_opq, 'plain', 'tls_error')
    listener.close()


# --- bounds -----------------------------------------------------------------

def resident_kib(opq):
    status = pathlib.Path(f'/proc/{opq.pid}/status').read_text()
    line, = [one for one in status.splitlines() if one.startswith('VmHWM')]
    return int(line.split()[1])


LARGE = 100 << 20


@pytest.mark.parametrize('how', ['length', 'chunked', 'until close'])
def test_body_of_an_answer_is_not_kept_however_large(serve, receivers, how):
    opq = serve('--drain=1s', '--timeout=60s')
    head = {'length': f'Content-Length: {LARGE}\r\n',
            'chunked': 'Transfer-Encoding: chunked\r\n',
            'until close': ''}[how]
    piece = b'a' * 65536
    if how == 'chunked':
        piece = b'10000\r\n' + piece + b'\r\n'
    receiver = receivers(lambda request: Answer(
        raw=f'HTTP/1.1 200 OK\r\n{head}\r\n'.encode()
        + piece * (LARGE >> 16), close=True)
        if request.sequence == 0 else None)
    opq.push('small', receiver.url())  # what a delivery costs at all
    before_kib = resident_kib(opq)
    opq.push('small', receiver.url())
    opq.wait_delivered('small', 2)
    assert resident_kib(opq) - before_kib < 16 * 1024
    assert [one.sequence for one in receiver.requests] == [0, 1]
    assert [one.attempt for one in receiver.requests] == [1, 1]
