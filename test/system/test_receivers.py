"""Receivers that misbehave, one case each: what is told of the failure, how
often and when it is tried again, on which connection, and that nobody else
waits for it.

All cases run at once in one server of one shard. Each misbehaves until its
failure was seen in the API (play()), and is mended then; tests look at what was
noted meanwhile.

SPDX-License-Identifier: MIT
"""

import calendar
import datetime
import email.utils
import socket
import statistics
import time

import pytest
from certificates import Authority
from conftest import serving
from dns import SERVER_FAILED, DnsServer
from harness import PATIENCE_S, SLOWNESS, Answer, Receiver, wait_until

FIRST_S = 0.4  # setting retry_first
DENIED = '127.0.0.66'
CLOCK_S = 0.02  # `until` is told by the millisecond, from two clocks
DAY_S = 86400
LARGE = 100 << 20
BODY = bytes(range(256)) * (8 << 12)  # of a LargeCase: 8 MiB


# --- how to misbehave -------------------------------------------------------

class Cut(Answer):
    """Send bytes, then reset the connection."""

    def __init__(self, raw):
        super().__init__(raw=raw)


class Flood(Answer):
    """Send a head, then one piece over and over."""

    def __init__(self, head, piece, count):
        super().__init__(raw=head)
        self.piece = piece
        self.count = count


class Stall(Answer):
    """Send bytes, then others one a second, and never close."""

    def __init__(self, raw, drip=b''):
        super().__init__(raw=raw)
        self.drip = drip


class Wild(Receiver):
    """Misbehaves until it is mended: as `how` says for each request, or, below
    HTTP, as `wire` does to each connection."""

    def __init__(self, how=None, wire=None, **options):
        self.how = how
        self.wire = wire
        self.mended = False
        super().__init__(self.answer, **options)

    def answer(self, request):
        if self.mended or self.how is None:
            return None
        return self.how(request) if callable(self.how) else self.how

    def _serve(self, one, number):
        if self.wire is None or self.mended:
            super()._serve(one, number)
            return
        with one:
            try:
                self.wire(self, one)
            except OSError:
                pass

    def _answer(self, one, answer):
        if isinstance(answer, Cut):
            one.sendall(answer.raw)
            reset(self, one)
            return False
        if isinstance(answer, Stall):
            one.sendall(answer.raw)
            for at in range(len(answer.drip)):
                self.closing.wait(1)
                one.sendall(answer.drip[at:at + 1])
            self.closing.wait()
            return False
        if isinstance(answer, Flood):
            one.sendall(answer.raw)
            for _ in range(answer.count):
                one.sendall(answer.piece)
            return False
        return super()._answer(one, answer)


def reset(_, one):
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                   b'\x01\0\0\0\0\0\0\0')


def silent(receiver, _):
    receiver.closing.wait()


def speaks_plain(_, one):
    one.recv(65536)
    one.sendall(b'HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n')


def speaks_garbage(_, one):
    one.recv(65536)
    one.sendall(b'\0\xffgarbage\r\n' * 100)


def speaks_first(_, one):
    one.sendall(b'SSH-2.0-OpenSSH_9.2\r\n')
    one.recv(65536)


def answers_early(receiver, one):
    """Answers while the body is still to come, and never reads it."""
    one.recv(1)
    one.sendall(b'HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n'
                b'Connection: close\r\n\r\n')
    receiver.closing.wait(1)


def answers_twice(_, one):
    """Answers 503, and once more, 200, when nobody asks."""
    while one.recv(65536):
        one.sendall(framed(503))
        time.sleep(FIRST_S / 4)
        one.sendall(framed(200))


def framed(status, *fields, body=b''):
    lines = [f'HTTP/1.1 {status} Because', f'Content-Length: {len(body)}',
             *fields]
    return '\r\n'.join([*lines, '', '']).encode() + body


def chunk(data):
    return b'%x\r\n%b\r\n' % (len(data), data)


# --- cases ------------------------------------------------------------------

class Case:
    """A receiver, and what is to become of deliveries to it."""

    def __init__(self, name, class_=None, status=None, *, how=None, wire=None,
                 words='', reuse=False, attempts=2, wait=None, seen=True,
                 **push):
        self.name = name
        self.topic = ''.join(c if c.isalnum() else '-' for c in name)
        self.class_ = class_    # of the failure; None: it succeeds at once
        self.status = status
        self.how = how
        self.wire = wire
        self.words = words      # in what is told of it
        self.reuse = reuse      # the next attempt is on the same connection
        self.attempts = attempts  # failures before it is mended
        self.wait = wait        # what Retry-After asks for; None: nothing
        self.seen = seen        # each attempt is a request to the receiver
        self.push = push        # options of the push
        self.receiver = None
        self.begun_at = None    # wall clock, and monotonic
        self.begun_mono = None
        self.notes = {}         # number of failures: (seen at, topic)
        self.message = None     # as it was shown when it was mended
        self.mended_at = None
        self.done = False

    def make(self, world):
        """Make the receiver; return its URL."""
        self.receiver = world.receiver(self.how, self.wire)
        return self.receiver.url()

    def came(self):
        """Requests of its topic; strangers may try any port."""
        return self.receiver.of_topic(self.topic)

    def send(self, opq, url):
        self.begun_at, self.begun_mono = time.time(), time.monotonic()
        opq.push_json(self.topic, url,
                      **{'timeout': '20s', 'message': 'x', **self.push})

    def mend(self, world):
        self.receiver.mended = True

    # What follows Retry-After waits for it alone, others back off.
    def earliest(self, failures, before):
        """When the next attempt may come; the last one began at `before`."""
        if self.wait is not None and self.wait.tells(failures):
            return self.wait.at(before)
        return before + FIRST_S * 2 ** (failures - 1) * 0.8

    def latest(self, failures, seen_at):
        """When it comes at the latest; the failure was seen at `seen_at`."""
        if self.wait is not None and self.wait.tells(failures):
            return self.wait.at(seen_at)
        return seen_at + FIRST_S * 2 ** (failures - 1) * 1.2


class LargeCase(Case):
    """Its message is more than the kernel takes at once; its body goes through
    a file."""

    def send(self, opq, url):
        self.begun_at, self.begun_mono = time.time(), time.monotonic()
        answer = opq.request(
            'POST', f'/opq/push?topic={self.topic}&url={url}', BODY,
            {'Content-Type': 'x/y',
             'Opq-Timeout': self.push.get('timeout', '20s')})
        assert answer.status == 201, answer


class Seconds:
    """A wait that is told as a span."""

    def __init__(self, span_s):
        self.span_s = span_s

    def at(self, now):
        return now + self.span_s

    @staticmethod
    def tells(_):
        return True


class Moment:
    """A wait that is told as a date, in a form."""

    def __init__(self, span_s, form):
        self.span_s = span_s
        self.form = form
        self.moment = None

    def header(self):
        if self.moment is None:  # whole seconds
            self.moment = int(time.time()) + self.span_s
        return time.strftime(self.form, time.gmtime(self.moment))

    def at(self, _):
        return self.moment

    @staticmethod
    def tells(failures):
        return failures == 1  # afterwards it is in the past


class Https(Case):
    """A TLS server with some certificate, and with a good one afterwards."""

    def __init__(self, name, class_, certificate=None, **options):
        super().__init__(name, class_, seen=False, **options)
        self.certificate = certificate

    def make(self, world):
        self.receiver = world.receiver(
            wire=self.wire, tls=world.certificates.get(self.certificate))
        return f'https://127.0.0.1:{self.receiver.port}/'

    def mend(self, world):
        super().mend(world)
        self.receiver.tls = world.certificates['good']


class TlsAtHttp(Case):
    def make(self, world):
        self.receiver = world.receiver(tls=world.certificates['good'])
        return f'http://127.0.0.1:{self.receiver.port}/'

    def mend(self, world):
        self.receiver.tls = None


class Named(Case):
    """A receiver behind a name, whose addresses come right in the end."""

    def __init__(self, name, class_, addresses, **options):
        super().__init__(name, class_, seen=False, **options)
        self.addresses = addresses
        self.host = f'{self.topic}.test'.lower()
        self.trap = None

    def make(self, world):
        world.dns.names[self.host] = self.addresses
        self.receiver = world.receiver(self.how, self.wire)
        # Nobody may come here.
        self.trap = world.receiver(host=DENIED, port=self.receiver.port)
        return f'http://{self.host}:{self.receiver.port}/'

    def mend(self, world):
        super().mend(world)
        world.dns.names[self.host] = ['127.0.0.1']


class Turning(Named):
    """Its name has a good address until the first request has come."""

    def make(self, world):
        def turn(_):
            world.dns.names[self.host] = [DENIED]
            return Answer(503, close=True)
        self.how = turn
        return super().make(world)


class Refused(Case):
    """A port that is bound, but does not listen."""

    def make(self, world):
        self.socket = socket.socket()
        self.socket.bind(('127.0.0.1', 0))
        return f'http://127.0.0.1:{self.socket.getsockname()[1]}/'

    def mend(self, world):
        self.socket.listen()
        self.receiver = world.receiver(listener=self.socket)


class BlackHole(Refused):
    """A port whose queue is full, so that no SYN is answered."""

    def make(self, world):
        url = super().make(world)
        self.socket.listen(0)
        self.fillers = []

        def is_full():
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(self.socket.getsockname())
            self.fillers.append(one)
            pending = [filler for filler in self.fillers if filler.getsockopt(
                socket.IPPROTO_TCP, socket.TCP_INFO, 1) != b'\x01']
            return len(pending) >= 2
        wait_until(is_full, 'a full queue')
        return url

    def mend(self, world):
        for one in self.fillers:
            one.close()
        self.receiver = world.receiver(listener=self.socket)


def asks(name, value, wait=None, status=429, **options):
    """An answer with Retry-After."""
    moment = isinstance(wait, Moment)

    def how(_):
        return Answer(raw=framed(status, *[
            f'Retry-After: {one}' for one in
            ([wait.header()] if moment else
             value if isinstance(value, list) else [value])]))
    return Case(f'Retry-After {name}', f'http_{status // 100}xx', status,
                how=how, wait=wait, reuse=True, **options)


IMF = '%a, %d %b %Y %H:%M:%S GMT'
RFC850 = '%A, %d-%b-%y %H:%M:%S GMT'
ASCTIME = '%a %b %e %H:%M:%S %Y'
HOLD = {'attempts': 1}  # they are held for so long that it ends there


def retry_after_cases():
    yield asks('in seconds', '1', Seconds(1))
    yield asks('in seconds, of 503', '1', Seconds(1), 503)
    yield asks('in seconds, of 404', '1', Seconds(1), 404)
    yield asks('with blanks', ' \t1 \t', Seconds(1))
    yield asks('as a date', None, Moment(4, IMF))
    yield asks('as a date, of 503', None, Moment(4, IMF), 503)
    yield asks('as an RFC 850 date', None, Moment(4, RFC850))
    yield asks('as an asctime date', None, Moment(4, ASCTIME))
    yield asks('of none', '0')
    yield asks('in the past', email.utils.formatdate(
        time.time() - 60, usegmt=True))
    yield asks('of 1970', 'Thu, 01 Jan 1970 00:00:00 GMT')
    yield asks('as garbage', 'soon')
    yield asks('that is empty', '')
    yield asks('that is negative', '-5')
    yield asks('that is a fraction', '1.5')
    yield asks('that is hexadecimal', '0x10')
    yield asks('of bytes', '\xff\xfe')
    yield asks('of a list', '7, 9')
    yield asks('of no such day', 'Mon, 99 Foo 2099 25:61:61 GMT')
    yield asks('of a day', str(DAY_S), Seconds(DAY_S), **HOLD)
    yield asks('of a year', str(365 * DAY_S), Seconds(DAY_S), **HOLD)
    yield asks('of a date in a year', email.utils.formatdate(
        time.time() + 365 * DAY_S, usegmt=True), Seconds(DAY_S), **HOLD)
    yield asks('of no such number', '9' * 40, Seconds(DAY_S), **HOLD)
    yield asks('of the year 9999', 'Fri, 31 Dec 9999 23:59:59 GMT',
               Seconds(DAY_S), **HOLD)


def status_cases():
    for status in (300, 301, 302, 303, 304, 307, 308, 400, 401, 404, 408, 410,
                   413, 422, 425, 429, 451, 499, 500, 501, 502, 503, 504, 599):
        yield Case(f'status {status}', f'http_{status // 100}xx', status,
                   how=status, reuse=True)
    for status in (600, 999):
        yield Case(f'status {status}', 'protocol_error', status, how=status,
                   reuse=True)
    yield Case('500 with a body', 'http_5xx', 500, reuse=True,
               how=Answer(500, body=b'x' * 100000))
    yield Case('500 with a chunked body', 'http_5xx', 500, reuse=True,
               how=Answer(raw=b'HTTP/1.1 500 \r\nTransfer-Encoding: chunked'
                          b'\r\n\r\n' + chunk(b'x' * 999) + chunk(b'')))
    yield Case('503 that closes', 'http_5xx', 503,
               how=Answer(503, close=True))
    yield Case('503 that says so and does not close', 'http_5xx', 503,
               how=Answer(503, {'Connection': 'close'}))
    yield Case('503 until close', 'http_5xx', 503,
               how=Answer(raw=b'HTTP/1.1 503 No\r\n\r\nwhy not', close=True))
    yield Case('503 with more behind it', 'http_5xx', 503,
               how=Answer(raw=framed(503) + framed(200)))
    yield Case('503 and later 200', 'http_5xx', 503, wire=answers_twice,
               seen=False)
    yield LargeCase('413 before the body is read', 'http_4xx', 413,
                    wire=answers_early, seen=False)


def interim_cases():
    hints = (b'HTTP/1.1 100 Continue\r\n\r\n'
             b'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n')
    yield Case('1xx before 200', how=Answer(raw=hints + framed(200)))
    yield Case('1xx before 503', 'http_5xx', 503, reuse=True,
               how=Answer(raw=hints + framed(503)))
    yield Case('1xx and nothing more', 'timeout', timeout='500ms',
               words='not over in time', how=Stall(hints))
    yield Case('1xx and the end', 'connection_reset',
               how=Answer(raw=hints, close=True))
    yield Case('1xx without end', 'protocol_error', words='interim',
               how=Flood(b'', hints, 100000))
    yield Case('101', 'protocol_error', words='switches',
               how=Answer(raw=b'HTTP/1.1 101 Switching Protocols\r\n\r\n'))


def late_cases():
    yield Case('200 late', how=Answer(delay_s=0.9))
    yield Case('200 in pieces', how=Answer(body=b'x' * 9, drip_s=0.01))
    yield Case('200 past the timeout', 'timeout', timeout='500ms',
               words='no response', how=Answer(delay_s=0.8))
    yield LargeCase('a body that is never read', 'timeout', timeout='500ms',
                    wire=silent, seen=False)
    yield LargeCase('200 late to a large body', how=Answer(delay_s=0.9))
    yield Case('no answer', 'timeout', timeout='500ms', words='no response',
               how=Answer(hang=True))
    yield Case('a byte a second', 'timeout', timeout='1500ms',
               words='not over', how=Answer(body=b'x' * 1000, drip_s=1))
    yield Case('a byte a second of a body', 'timeout', timeout='1200ms',
               words='not over', how=Stall(
                   b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n', b'x' * 8))


def strange_cases():
    """Not as it should be, but plain enough."""
    for what, raw in {
            'a thousand fields': framed(200, *['X: y'] * 1000),
            'no phrase': b'HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n',
            'a phrase that is no ASCII': 'HTTP/1.1 200 \u4f60\u597d\r\n'
                                         'Content-Length: 0\r\n\r\n'.encode(),
            'two lengths that are one': framed(200, 'Content-Length: 0'),
            'HTTP/1.0': b'HTTP/1.0 200 OK\r\n\r\nhello',
            'a length in 204': b'HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n',
            'an extension of a chunk': b'HTTP/1.1 200 OK\r\nTransfer-Encoding: '
                                       b'Chunked\r\n\r\n1;a="b"\r\nx\r\n'
                                       b'0\r\nTrailer: x\r\n\r\n',
            'fields of the wrong case': b'HTTP/1.1 200 OK\r\nCONTENT-LENGTH:0'
                                        b'\r\nconnection:\tCLOSE \r\n\r\n',
    }.items():
        yield Case(f'200 with {what}', how=Answer(raw=raw, close=True))


def cut_cases():
    head = b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n'
    chunked = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
    for what, answer in {
            'before the answer': b'',
            'in the status line': b'HTTP/1.1 2',
            'in the head': head,
            'in the body': head + b'\r\nabc',
            'in a chunk': chunked + b'9\r\nabc',
            'between chunks': chunked + chunk(b'abc'),
            'before the last chunk ends': chunked + chunk(b'abc') + b'0\r\n',
    }.items():
        yield Case(f'reset {what}', 'connection_reset', how=Cut(answer))
        yield Case(f'closed {what}', 'connection_reset',
                   how=Answer(raw=answer, close=True))
    yield Case('reset in a body until close', 'connection_reset',
               how=Cut(b'HTTP/1.1 200 OK\r\n\r\nabc'))
    yield Case('reset before the request', 'connection_reset', wire=reset,
               seen=False)
    yield Case('closed before the request', 'connection_reset', seen=False,
               wire=lambda receiver, one: None)


def malformed_cases():
    for what, raw in {
            'garbage': b'\0\xff\x80garbage\r\n\r\n',
            'no status': b'HTTP/1.1 OK\r\n\r\n',
            'HTTP/2.0': b'HTTP/2.0 200 OK\r\n\r\n',
            'HTTP/0.9': b'<html>hello</html>\r\n',
            'a frame of HTTP/2': b'\0\0\x12\4\0\0\0\0\0' + b'\0' * 18,
            'an SMTP greeting': b'220 mail.example ESMTP\r\n',
            'bare line feeds': b'HTTP/1.1 200 OK\nContent-Length: 0\n\n',
            'two lengths': b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n'
                           b'Content-Length: 4\r\n\r\nabcd',
            'a list of lengths': b'HTTP/1.1 200 OK\r\n'
                                 b'Content-Length: 3, 4\r\n\r\nabcd',
            'a negative length': b'HTTP/1.1 200 OK\r\n'
                                 b'Content-Length: -1\r\n\r\n',
            'a length that is none': b'HTTP/1.1 200 OK\r\n'
                                     b'Content-Length: 1e3\r\n\r\n',
            'a length past all': b'HTTP/1.1 200 OK\r\nContent-Length: '
                                 b'99999999999999999999999\r\n\r\n',
            'a length and chunks': b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n'
                                   b'Transfer-Encoding: chunked\r\n\r\n'
                                   b'0\r\n\r\n',
            'a field without colon': b'HTTP/1.1 200 OK\r\nNone\r\n\r\n',
            'a NUL in a field': b'HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n',
            'a blank before the colon': b'HTTP/1.1 200 OK\r\n'
                                        b'Content-Length : 0\r\n\r\n',
            'a chunk without a size': b'HTTP/1.1 200 OK\r\n'
                                      b'Transfer-Encoding: chunked\r\n\r\n'
                                      b'zz\r\n',
            'a chunk past all': b'HTTP/1.1 200 OK\r\n'
                                b'Transfer-Encoding: chunked\r\n\r\n'
                                b'fffffffffffffffff\r\n',
    }.items():
        yield Case(what, 'protocol_error', how=Answer(raw=raw))
    head = b'HTTP/1.1 200 OK\r\n'
    chunked = head + b'Transfer-Encoding: chunked\r\n\r\n'
    yield Case('an endless header', 'protocol_error',
               how=Flood(head + b'X: ', b'a' * 65536, 1600))
    yield Case('endless headers', 'protocol_error',
               how=Flood(head, b'X: a\r\n' * 1000, 10000))
    yield Case('an endless extension of a chunk', 'protocol_error',
               how=Flood(chunked + b'1;', b'a' * 65536, 1600))
    yield Case('endless trailers', 'protocol_error',
               how=Flood(chunked + b'0\r\n', b'X: a\r\n' * 1000, 10000))
    yield Case('speaks first', 'protocol_error', wire=speaks_first,
               seen=False)


def large_cases():
    piece = b'a' * 65536
    count = LARGE // len(piece)
    for status, class_ in ((200, None), (500, 'http_5xx')):
        head = f'HTTP/1.1 {status} Large\r\n'.encode()
        yield Case(f'{status} of 100 MB', class_, status, how=Flood(
            head + f'Content-Length: {LARGE}\r\n\r\n'.encode(), piece, count))
        yield Case(f'{status} of 100 MB in chunks', class_, status, how=Flood(
            head + b'Transfer-Encoding: chunked\r\n\r\n', chunk(piece), count))
        yield Case(f'{status} of 100 MB in small chunks', class_, status,
                   how=Flood(head + b'Transfer-Encoding: chunked\r\n\r\n',
                             chunk(b'a') * 10000, LARGE // 60000))
        yield Case(f'{status} of 100 MB until close', class_, status,
                   how=Flood(head + b'\r\n', piece, count))


def tls_cases():
    yield Https('wrong name', 'tls_error', 'away', words='mismatch')
    yield Https('expired', 'tls_error', 'expired', words='has expired')
    yield Https('not valid yet', 'tls_error', 'early', words='not yet valid')
    yield Https('unknown issuer', 'tls_error', 'strange',
                words='local issuer')
    yield Https('plain HTTP at https', 'tls_error', wire=speaks_plain)
    yield Https('garbage at https', 'tls_error', wire=speaks_garbage)
    yield Https('silence at https', 'timeout', wire=silent,
                words='handshake was not over')
    yield Https('closed in the handshake', 'connection_reset',
                wire=lambda receiver, one: one.recv(65536))
    yield Https('reset in the handshake', 'connection_reset', wire=reset)
    yield TlsAtHttp('TLS at http', 'connection_reset', seen=False)


def address_cases():
    yield Named('no such name', 'dns_error', 3, words='no such name')
    yield Named('a DNS server that fails', 'dns_error', SERVER_FAILED)
    yield Named('a name without address', 'dns_error', [],
                words='no address')
    yield Named('a DNS server that is silent', 'timeout', None,
                words='name was not resolved')
    yield Named('a denied address', 'blocked_address', [DENIED],
                words=f'{DENIED}:')
    yield Named('a denied address in IPv6', 'blocked_address',
                [f'::ffff:{DENIED}'])
    yield Named('metadata of a cloud', 'blocked_address',
                ['169.254.169.254'])
    yield Named('no address of anybody', 'blocked_address', ['0.0.0.0', '::'])
    yield Named('a denied address before a good one', None,
                [DENIED, '127.0.0.1'])
    yield Named('a dead address before a good one', None,
                ['127.0.0.67', '127.0.0.1'])
    yield Turning('a name that turns to a denied address', 'blocked_address',
                  ['127.0.0.1'], attempts=4)
    yield Refused('connection refused', 'connection_refused', seen=False)
    yield BlackHole('a black hole', 'timeout', seen=False,
                    words='timed out')


def all_cases():
    return [*retry_after_cases(), *status_cases(), *interim_cases(),
            *late_cases(), *strange_cases(), *cut_cases(),
            *malformed_cases(), *large_cases(), *tls_cases(),
            *address_cases()]


# --- the play ---------------------------------------------------------------

class World:
    """What all cases share."""

    def __init__(self, certificates):
        self.certificates = certificates
        self.dns = DnsServer()
        self.receivers = []
        self.cases = all_cases()
        assert len({case.topic for case in self.cases}) == len(self.cases)
        self.good = self.receiver()
        self.pushed_at = []  # of messages to the good one

    def receiver(self, how=None, wire=None, **options):
        made = Wild(how, wire, **options)
        self.receivers.append(made)
        return made

    def close(self):
        for one in self.receivers:
            one.close()
        self.dns.close()


def seconds_of(text):
    """A time of the API, since 1970."""
    moment = datetime.datetime.strptime(text, '%Y-%m-%dT%H:%M:%S.%fZ')
    return calendar.timegm(moment.timetuple()) + moment.microsecond / 1e6


def push_good(opq, world):
    world.pushed_at.append(time.monotonic())
    opq.push_json('good', world.good.url(), str(len(world.pushed_at)))


def step(opq, world, case, topic):
    """Note what is told of a case; mend it when it has failed enough."""
    failed = topic['attempts']
    if topic['lag'] == 0:
        case.done = True
    elif topic['state'] in ('backoff', 'held') and failed > 0:
        case.notes.setdefault(failed, (time.time(), topic))
    if failed < case.attempts or case.mended_at or case.class_ is None:
        return
    message = opq.get(f'/opq/topics/{case.topic}/messages/0').json()
    if message['state'] != 'retrying':
        return
    case.message = message
    case.mended_at = time.time()
    case.mend(world)
    case.done = case.attempts == 1


def play(opq, world):
    """Run all cases until they are done, or for too long."""
    for case in world.cases:
        url = case.make(world)
        case.send(opq, url)
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        push_good(opq, world)
        topics = {topic['name']: topic for topic in
                  opq.get('/opq/topics?limit=1000').json()['topics']}
        for case in world.cases:
            if not case.done:
                step(opq, world, case, topics[case.topic])
        if all(case.done for case in world.cases):
            break
        time.sleep(0.04)
    wait_until(lambda: opq.topic('good')['lag'] == 0, 'the good ones')
    world.topics = {topic['name']: topic for topic in
                    opq.get('/opq/topics?limit=1000').json()['topics']}


@pytest.fixture(scope='module')
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp('certificates')
    trusted = Authority(folder / 'trusted')
    here = 'IP:127.0.0.1'
    return {
        'file': trusted.file,
        'good': trusted.server('good', here),
        'away': trusted.server('away', 'DNS:elsewhere.example'),
        'expired': trusted.server('expired', here, '20200101000000Z',
                                  '20210101000000Z'),
        'early': trusted.server('early', here, '20990101000000Z',
                                '20991231000000Z'),
        'strange': Authority(folder / 'strange').server('strange', here),
    }


@pytest.fixture(scope='module', params=['epoll', 'uring'])
def world(request, tmp_path_factory, certificates):
    made = World(certificates)
    servers = serving(tmp_path_factory.mktemp('receivers'))
    try:
        opq = next(servers)(
            f'--io={request.param}', '--shards=1', '--drain=1s',
            f'--retry-first={int(FIRST_S * 1000)}ms', '--retry-max=1h',
            f'--connect-timeout={int(1200 * SLOWNESS)}ms',
            f'--deny-net={DENIED}', f'--ca-file={certificates["file"]}',
            f'--dns-servers={made.dns.address}', '--body-size-max=16m')
        play(opq, made)
        yield made
    finally:
        next(servers, None)  # stop it, whatever happened
        made.close()


# --- tests ------------------------------------------------------------------

def ids(cases):
    return [case.name for case in cases]


def case_of(world, index):
    case = world.cases[index]
    assert case.done, (case.name, case.notes, case.message)
    return case


FAILING = [(index, case.name) for index, case in enumerate(all_cases())
           if case.class_ is not None]
GOOD = [(index, case.name) for index, case in enumerate(all_cases())
        if case.class_ is None]


@pytest.mark.parametrize('index', [index for index, _ in FAILING],
                         ids=[name for _, name in FAILING])
def test_failure_is_told_counted_and_tried_again(world, index):
    case = case_of(world, index)
    error = case.message['last_error']
    assert error['class'] == case.class_, error
    assert error.get('status') == case.status, error
    assert case.words in error['detail'], error
    assert case.message['attempts'] >= case.attempts
    assert case.class_ in case.message['because']
    check_waits(case)
    topic = world.topics[case.topic]
    since = topic['since_start']
    if case.attempts == 1:
        assert topic['delivered'] == 0 and len(case.came()) == 1
        return
    assert (topic['lag'], since['delivered']) == (0, 1)
    assert since['failed'] == since['attempts'] - 1 >= case.attempts
    last = case.came()[-1]
    assert last.attempt == since['attempts']
    if case.seen:
        check_requests(case)
    if isinstance(case, Named):
        assert case.trap.connections == 0


def check_waits(case):
    """Each wait that was seen is as long as it is to be."""
    assert case.notes
    before = case.begun_at  # when that attempt cannot have begun yet
    for failures, (seen_at, topic) in sorted(case.notes.items()):
        until = seconds_of(topic['until'])
        latest = case.latest(failures, seen_at) + CLOCK_S
        earliest = case.earliest(failures, before) - CLOCK_S
        assert earliest <= until <= latest, (failures, seen_at, topic)
        before = until


def check_requests(case):
    """They came one after the other, each on the connection it was to be."""
    came = case.came()
    assert [one.attempt for one in came] == list(range(1, len(came) + 1))
    assert len({one.headers['webhook-id'] for one in came}) == 1
    assert len({one.body for one in came}) == 1
    for before, after in zip(came, came[1:]):
        assert (before.connection == after.connection) == case.reuse
        if case.wait is None:  # the receiver may notice one late, not early
            least = FIRST_S * 2 ** (before.attempt - 1) * 0.8
            assert after.at - case.begun_mono >= least


@pytest.mark.parametrize('index', [index for index, _ in GOOD],
                         ids=[name for _, name in GOOD])
def test_what_looks_bad_and_is_not_is_no_failure(world, index):
    case = case_of(world, index)
    since = world.topics[case.topic]['since_start']
    assert since == {'delivered': 1, 'attempts': 1, 'failed': 0}
    assert len(case.came()) == 1
    if isinstance(case, Named):
        assert case.trap.connections == 0


def test_nobody_else_is_slowed(world):
    came = world.good.of_topic('good')
    assert [one.attempt for one in came] == [1] * len(world.pushed_at)
    assert [one.sequence for one in came] == list(range(len(came)))
    late_s = [one.at - pushed_at for one, pushed_at in
              zip(came, world.pushed_at)]
    assert len(late_s) >= 20
    # Whoever waited for another would wait for its timeout, or its back-off.
    assert statistics.quantiles(late_s, n=10)[8] < FIRST_S / 2 * SLOWNESS, (
        late_s)
