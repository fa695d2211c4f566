"""Every form of a push: its answer, and what is delivered of it.

SPDX-License-Identifier: MIT
"""

import base64
import json
import socket
import urllib.parse

import pytest
from harness import NO_URL, PATIENCE_S, RawConnection, Response, wait_until
from load import Pusher, Sink


def answer_names(answer):
    return sorted(name for name in answer.headers)


def assert_plain_success(answer, topic, sequence, durability='disk'):
    """The first OPQ's answer, with our fields beside it."""
    assert answer.status == 201, answer
    assert answer.body == b'success'
    assert answer_names(answer) == [
        'content-length', 'content-type', 'date', 'opq-durability', 'opq-id',
        'opq-seq', 'opq-topic', 'server']
    assert answer.headers['content-type'] == 'text/plain; charset=utf-8'
    assert answer.headers['content-length'] == '7'
    assert answer.headers['opq-topic'] == topic
    assert answer.headers['opq-seq'] == str(sequence)
    assert answer.headers['opq-durability'] == durability


def assert_json_success(answer, topic, sequence, durability='disk'):
    assert answer.status == 201, answer
    assert answer.headers['content-type'] == 'application/json'
    assert answer.json() == {
        'id': answer.headers['opq-id'], 'topic': topic, 'seq': sequence,
        'durability': durability}
    assert answer.headers['opq-topic'] == topic
    assert answer.headers['opq-seq'] == str(sequence)
    assert answer.headers['opq-durability'] == durability


# --- forms ------------------------------------------------------------------

def test_form_push_answers_as_the_first_opq_did(opq, receiver):
    answer = opq.push('a', receiver.url(), 'hello')
    assert_plain_success(answer, 'a', 0)
    request, = receiver.wait(1)
    assert request.headers['webhook-id'] == answer.headers['opq-id']


def test_answer_begins_with_exactly_this_status_line(opq, receiver):
    body = f'topic=a&url={receiver.url()}'.encode()
    with opq.connect() as connection:
        connection.send(
            b'POST /opq/push HTTP/1.1\r\nHost: x\r\nContent-Type: '
            b'application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n'
            % len(body) + body)
        assert connection.file.readline() == b'HTTP/1.1 201 Created\r\n'


def test_query_parameters_are_fields_of_a_form(opq, receiver):
    query = urllib.parse.urlencode({'topic': 'q', 'url': receiver.url(),
                                    'extra': 'from query'})
    answer = opq.request(
        'POST', f'/opq/push?{query}', 'message=m',
        {'Content-Type': 'application/x-www-form-urlencoded'})
    assert_plain_success(answer, 'q', 0)
    request, = receiver.wait(1)
    assert request.form() == [('extra', 'from query'), ('message', 'm'),
                              ('topic', 'q'), ('url', receiver.url())]


def test_multipart_push_is_delivered_urlencoded(opq, receiver):
    parts = [('url', receiver.url()), ('topic', 'mp'),
             ('message', 'one\r\n--two')]
    body = ''.join(
        f'--BOUND\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        f'{value}\r\n' for name, value in parts) + '--BOUND--\r\n'
    answer = opq.request('POST', '/opq/push', body, {
        'Content-Type': 'multipart/form-data; boundary=BOUND'})
    assert_plain_success(answer, 'mp', 0)
    request, = receiver.wait(1)
    assert request.body == (
        b'message=one%0D%0A--two&topic=mp&url='
        + urllib.parse.quote(receiver.url(), safe='').encode())
    assert (request.headers['content-type'] ==
            'application/x-www-form-urlencoded')


def test_push_without_a_message_is_a_message(opq, receiver):
    answer = opq.request(
        'POST', '/opq/push', f'topic=e&url={receiver.url()}',
        {'Content-Type': 'application/x-www-form-urlencoded'})
    assert_plain_success(answer, 'e', 0)
    request, = receiver.wait(1)
    assert request.form() == [('topic', 'e'), ('url', receiver.url())]


def test_form_fields_named_as_controls_are_the_messages_own(opq, receiver):
    answer = opq.push('own', receiver.url(), 'm', timeout='soon', sync='maybe',
                      method='none')
    assert_plain_success(answer, 'own', 0)
    request, = receiver.wait(1)
    assert request.method == 'POST'
    assert dict(request.form())['timeout'] == 'soon'
    assert dict(request.form())['sync'] == 'maybe'


def test_form_can_give_controls_by_their_header_names(opq, receiver):
    answer = opq.push('own', receiver.url(), 'm', **{'opq-sync': 'none'})
    assert_plain_success(answer, 'own', 0, 'none')
    request, = receiver.wait(1)
    assert 'opq-sync' not in dict(request.form())


@pytest.mark.parametrize('by_field', [True, False])
def test_form_is_delivered_with_the_type_that_it_asks_for(opq, receiver,
                                                          by_field):
    type_ = f'{FORM}; charset=utf-8'
    if by_field:
        answer = opq.push('t', receiver.url(), **{'Opq-Content-Type': type_})
    else:
        answer = opq.push('t', receiver.url(),
                          headers={'Opq-Content-Type': type_})
    assert answer.status == 201
    request, = receiver.wait(1)
    assert [value for name, value in request.fields
            if name.lower() == 'content-type'] == [type_]
    assert dict(request.form())['topic'] == 't'
    message = opq.get('/opq/topics/t/messages/0').json()
    assert (message['kind'], message['content_type']) == ('form', type_)


def test_form_push_that_accepts_json_is_answered_in_json(opq, receiver):
    answer = opq.push('j', receiver.url(), 'm',
                      headers={'Accept': 'application/json'})
    assert_json_success(answer, 'j', 0)


# --- JSON -------------------------------------------------------------------

@pytest.mark.parametrize('accept', [
    'application/json', 'application/json;q=0.9', 'text/html, application/json',
    'text/plain;q=0.1,Application/JSON ; charset=utf-8;q=0.5, */*',
    'application/problem+json; q=1'])
def test_json_is_answered_to_whoever_can_read_it(shared_opq, accept):
    answer = shared_opq.request('POST', '/opq/push', 'topic=a', {
        'Content-Type': FORM, 'Accept': accept})
    assert answer.headers['content-type'] == 'application/problem+json'


@pytest.mark.parametrize('accept', [
    '*/*', 'text/plain', 'application/jsonx', 'text/json', '', ',;,',
    'application/xml;application/json'])
def test_text_is_answered_to_others(shared_opq, accept):
    answer = shared_opq.request('POST', '/opq/push', 'topic=a', {
        'Content-Type': FORM, 'Accept': accept})
    assert answer.headers['content-type'] == 'text/plain; charset=utf-8'


def test_json_string_is_delivered_as_text(opq, receiver):
    text = 'Gr\u00fc\u00dfe \u4f60\u597d \U0001f600 "quoted" \\ \n'
    answer = opq.request('POST', '/opq/push', {
        'topic': 'j', 'url': receiver.url(), 'message': text})
    assert_json_success(answer, 'j', 0)
    request, = receiver.wait(1)
    assert request.body == text.encode()
    assert request.headers['content-type'] == 'text/plain; charset=utf-8'


@pytest.mark.parametrize('literal', [
    '{"b": 1,\t"a" : [1, 2.50, null], "\\u00e9":"\\ud83d\\ude00"}',
    '[1,2,  3]', '42', '-1.5e+3', 'true', 'null', '{}',
])
def test_json_value_is_delivered_byte_for_byte(opq, receiver, literal):
    body = (f'{{"topic":"j","message":{literal},"url":"{receiver.url()}"}}')
    answer = opq.request('POST', '/opq/push', body,
                         {'Content-Type': 'application/json; charset=utf-8'})
    assert_json_success(answer, 'j', 0)
    request, = receiver.wait(1)
    assert request.body == literal.encode()
    assert request.headers['content-type'] == 'application/json'


@pytest.mark.parametrize('size', [0, 1, 2, 3, 256])
def test_base64_message_is_delivered_as_bytes(opq, receiver, size):
    data = bytes(range(256))[:size]
    answer = opq.request('POST', '/opq/push', {
        'topic': 'b', 'url': receiver.url(),
        'message_base64': base64.b64encode(data).decode()})
    assert_json_success(answer, 'b', 0)
    request, = receiver.wait(1)
    assert request.body == data
    assert request.headers['content-type'] == 'application/octet-stream'


def test_json_options_and_headers_are_followed(opq, receiver):
    answer = opq.request('POST', '/opq/push', {
        'topic': 'o', 'url': receiver.url('/put'), 'message': '<a/>',
        'method': 'PUT', 'content_type': 'application/xml', 'sync': 'none',
        'timeout': '7s',
        'headers': {'X-One': '1', 'Authorization': 'Bearer t'}})
    assert_json_success(answer, 'o', 0, 'none')
    request, = receiver.wait(1)
    assert request.method == 'PUT'
    assert request.body == b'<a/>'
    assert request.headers['content-type'] == 'application/xml'
    assert request.headers['x-one'] == '1'
    assert request.headers['authorization'] == 'Bearer t'
    message = opq.get('/opq/topics/o/messages/0').json()
    assert message['timeout_ms'] == 7000
    assert message['method'] == 'PUT'


def test_json_push_can_take_topic_and_url_from_the_query(opq, receiver):
    query = urllib.parse.urlencode({'topic': 'q', 'url': receiver.url()})
    answer = opq.request('POST', f'/opq/push?{query}', {'message': 'm'})
    assert_json_success(answer, 'q', 0)
    assert receiver.wait(1)[0].body == b'm'


# --- raw --------------------------------------------------------------------

def test_raw_push_is_delivered_byte_for_byte(opq, receiver):
    data = bytes(range(256)) * 20
    query = urllib.parse.urlencode({'topic': 'raw', 'url': receiver.url()})
    answer = opq.request('POST', f'/opq/push?{query}', data, {
        'Content-Type': 'image/x-odd; a="b c"', 'X-Own': 'not forwarded',
        'Opq-Forward-X-Kept': 'this one', 'Opq-Forward-Cookie': 'a=b'})
    assert_plain_success(answer, 'raw', 0)
    request, = receiver.wait(1)
    version = opq.get('/opq/info').json()['version']
    assert request.body == data
    assert request.fields == [
        ('Host', f'127.0.0.1:{receiver.port}'),
        ('X-Kept', 'this one'),
        ('Cookie', 'a=b'),
        ('User-Agent', f'OPQ/{version}'),
        ('Content-Type', 'image/x-odd; a="b c"'),
        ('Content-Length', str(len(data))),
        ('webhook-id', answer.headers['opq-id']),
        ('webhook-timestamp', request.headers['webhook-timestamp']),
        ('Opq-Topic', 'raw'),
        ('Opq-Seq', '0'),
        ('Opq-Attempt', '1'),
    ]


@pytest.mark.parametrize('members, body, kind', [
    ({}, b'', None),
    ({'message': None}, b'null', 'application/json'),
    ({'message': ''}, b'', 'text/plain; charset=utf-8'),
    ({'message_base64': 'AAEC'}, b'\0\1\2', 'application/octet-stream')])
def test_json_push_may_be_without_a_message(opq, receiver, members, body,
                                            kind):
    answer = opq.request('POST', '/opq/push', {
        'topic': 't', 'url': receiver.url(), **members})
    assert answer.status == 201, answer
    request, = receiver.wait(1)
    assert request.body == body
    assert request.headers.get('content-type') == kind


def test_raw_push_without_a_type_is_delivered_without_one(opq, receiver):
    answer = opq.exchange(
        f'POST /opq/push?topic=t&url={receiver.url()} HTTP/1.1\r\n'
        'Host: x\r\nContent-Length: 3\r\n\r\nabc')
    assert_plain_success(answer, 't', 0)
    request, = receiver.wait(1)
    assert request.body == b'abc'
    assert 'content-type' not in request.headers


def test_raw_chunked_push_is_delivered_whole(opq, receiver):
    answer = opq.exchange(
        f'POST /opq/push?topic=t&url={receiver.url()} HTTP/1.1\r\n'
        'Host: x\r\nContent-Type: text/x-raw\r\n'
        'Transfer-Encoding: chunked\r\n\r\n'
        '5;a=b\r\nhello\r\n1\r\n \r\n00005\r\nworld\r\n0\r\nTr: x\r\n\r\n')
    assert_plain_success(answer, 't', 0)
    assert receiver.wait(1)[0].body == b'hello world'


def test_raw_push_takes_topic_and_url_from_headers(opq, receiver):
    answer = opq.request('POST', '/opq/push', b'data', {
        'Content-Type': 'text/x-raw', 'Opq-Topic': 'h',
        'Opq-Url': receiver.url()})
    assert_plain_success(answer, 'h', 0)
    assert receiver.wait(1)[0].body == b'data'


@pytest.mark.parametrize('method', ['POST', 'PUT', 'PATCH', 'DELETE', 'GET'])
def test_method_chooses_the_verb(opq, receiver, method):
    query = urllib.parse.urlencode({'topic': 'v', 'url': receiver.url(),
                                    'method': method})
    answer = opq.request('POST', f'/opq/push?{query}', b'data',
                         {'Content-Type': 'text/x-raw'})
    assert_plain_success(answer, 'v', 0)
    request, = receiver.wait(1)
    assert request.method == method
    assert request.body == b'data'


# --- refusals ---------------------------------------------------------------

FORM = 'application/x-www-form-urlencoded'
TOPIC_RULE = ('topic must be 1 to 128 of A-Z a-z 0-9 . _ - and not . or ..')


@pytest.mark.parametrize('body, status, detail', [
    ('url=http://127.0.0.1:1/', 400, 'topic is missing or empty'),
    ('topic=&url=http://127.0.0.1:1/', 400, 'topic is missing or empty'),
    ('topic=a', 400, NO_URL),
    ('topic=a&url=', 400, NO_URL),
    ('topic=..%2F..%2Fx&url=http://127.0.0.1:1/', 400, TOPIC_RULE),
    ('topic=a&url=ftp://127.0.0.1/', 400,
     'url: not an http:// or https:// URL'),
    ('topic=a&url=http://127.0.0.1:1/&url=http://127.0.0.1:2/', 400,
     'url is given twice'),
    ('topic=a&topic=a&url=http://127.0.0.1:1/', 400, 'topic is given twice'),
    ('topic=a&url=http://127.0.0.1:1/&opq-sync=perhaps', 400,
     'sync must be disk or none'),
    ('topic=%zz&url=http://127.0.0.1:1/', 400, 'form is malformed'),
])
def test_refused_form_says_which_field_and_why(shared_opq, body, status,
                                               detail):
    answer = shared_opq.request('POST', '/opq/push', body,
                                {'Content-Type': FORM})
    assert answer.status == status
    assert answer.headers['content-type'] == 'text/plain; charset=utf-8'
    assert answer.body == f'BadRequest: {detail}\n'.encode()

    answer = shared_opq.request('POST', '/opq/push', body, {
        'Content-Type': FORM, 'Accept': 'application/problem+json'})
    assert answer.status == status
    assert answer.headers['content-type'] == 'application/problem+json'
    assert answer.json() == {'type': 'about:blank', 'title': 'Bad Request',
                             'status': status, 'detail': detail}


@pytest.mark.parametrize('body, detail', [
    ('{"topic":"a"', 'body is not valid JSON'),
    ('{"topic":"a"} {}', 'body is not valid JSON'),
    ('[]', 'body must be a JSON object'),
    ('{"topic":"a","url":"http://127.0.0.1:1/","urgent":true}',
     'member urgent is not known'),
    ('{"topic":"a","url":"http://127.0.0.1:1/","a\\"b":true}',
     'member is not known'),
    ('{"topic":"a","url":"http://127.0.0.1:1/","message":"\\ud800"}',
     'message has half of a surrogate pair'),
    ('{"topic":"a","url":"http://127.0.0.1:1/","message_base64":"a"}',
     'message_base64 must be base64'),
    ('{"topic":"a","url":"http://127.0.0.1:1/","message":1,"message":2}',
     'message is given twice'),
    ('{"topic":"a","url":"http://127.0.0.1:1/","headers":{"Host":"x"}}',
     'headers has a field that OPQ sets itself'),
    ('{"topic":"a","url":"http://127.0.0.1:1/","headers":{"A b":"x"}}',
     'headers has a bad field'),
    ('{"topic":"a","url":"http://127.0.0.1:1/","headers":{"A":"x\\r\\nB:y"}}',
     'headers has a bad field'),
    ('{"topic":"a","url":"http://127.0.0.1:1/","method":"CONNECT"}',
     'method must be POST, PUT, PATCH, DELETE or GET'),
    ('{"topic":"a","url":"http://127.0.0.1:1/","timeout":"2h"}',
     'timeout must be a duration up to 1h, such as 30s'),
    ('{"topic":["a"],"url":"http://127.0.0.1:1/"}',
     'member topic must be a string'),
    ('{"topic":null,"url":"http://127.0.0.1:1/"}',
     'member topic must be a string'),
    ('{"topic":true,"url":"http://127.0.0.1:1/"}',
     'member topic must be a string'),
    ('{"topic":"a","url":null}', 'member url must be a string'),
    ('{"topic":"a","url":"http://127.0.0.1:1/","timeout":null}',
     'member timeout must be a string'),
    ('{"topic":"a","url":"http://127.0.0.1:1/","headers":{"A":"1"},'
     '"headers":{"A":"2"}}', 'headers is given twice'),
    ('{"topic":"a","url":"http://127.0.0.1:1/","TOPIC":"b"}',
     'topic is given twice'),
])
def test_refused_json_says_why(shared_opq, body, detail):
    answer = shared_opq.request('POST', '/opq/push', body,
                         {'Content-Type': 'application/json'})
    assert answer.status == 400
    assert answer.headers['content-type'] == 'application/problem+json'
    assert answer.json()['detail'] == detail


def test_connection_field_that_names_too_much_is_refused(opq, receiver):
    """Each field is looked for among the names: that would take long."""
    names = 'X-Named, ' + 'a, ' * 300
    assert opq.push('a', receiver.url(), headers={
        'Connection': names, 'X-Named': 'dropped'}).status == 201
    answer = opq.push('a', receiver.url(), headers={
        'Connection': names + 'b, ' * 300})
    assert (answer.status, answer.body) == (
        400, b'BadRequest: Connection is too long\n')
    assert 'x-named' not in receiver.wait(1)[0].headers


@pytest.mark.parametrize('path', ['/opq/push', '/opq/replay'])
def test_two_types_of_a_body_are_refused(shared_opq, path):
    body = '{"topic":"a","url":"http://127.0.0.1:1/","cmd":0}'
    with shared_opq.connect() as connection:
        connection.send(f'POST {path} HTTP/1.1\r\nHost: a\r\n'
                        'Content-Type: text/plain\r\n'
                        'Content-Type: application/json\r\n'
                        f'Content-Length: {len(body)}\r\n\r\n{body}')
        answer = connection.read_response()
        assert (answer.status, answer.body) == (
            400, b'BadRequest: Content-Type is given twice\n')


@pytest.mark.parametrize('path, headers, detail', [
    ('/opq/push?topic=a&url=http://127.0.0.1:1/&urgent=1', {},
     'query parameter urgent is not known'),
    ('/opq/push?topic=a&url=http://127.0.0.1:1/', {'Opq-Urgent': '1'},
     'header Opq-Urgent is not known'),
    ('/opq/push?topic=a&url=http://127.0.0.1:1/',
     {'Opq-Forward-Host': 'other'},
     'headers has a field that OPQ sets itself'),
])
def test_refused_raw_push_says_why(shared_opq, path, headers, detail):
    answer = shared_opq.request('POST', path, b'x',
                         {'Content-Type': 'text/x-raw', **headers})
    assert answer.status == 400
    assert answer.body == f'BadRequest: {detail}\n'.encode()


# --- sequence and durability ------------------------------------------------

def test_sequences_have_no_gap_under_concurrency(opq):
    sink = Sink()
    topics = [f't{number}' for number in range(7)]
    pusher = Pusher(opq.port, sink.url(), topics, 'g', limit=3000)
    wait_until(pusher.over, 'the end of the pushes')
    result = pusher.result()

    assert result['refused'] == {} and result['lost'] == 0
    assert len(result['taken']) == 3000
    for topic in topics:
        given = sorted(sequence for name, sequence, _ in result['taken']
                       if name == topic)
        assert given == list(range(len(given)))
        assert opq.topic(topic)['end'] == len(given)
        opq.wait_delivered(topic, len(given))
    words = {(topic, sequence): word
             for topic, sequence, word in result['taken']}
    for _, topic, sequence, attempt, word, _ in sink.deliveries():
        assert words.pop((topic, sequence)) == word
        assert attempt == 1
    assert words == {}
    sink.close()


def test_refused_pushes_take_no_sequence(opq, receiver):
    assert opq.push('a', receiver.url()).headers['opq-seq'] == '0'
    assert opq.push('a', 'ftp://x').status == 400
    assert opq.push('a', receiver.url()).headers['opq-seq'] == '1'


@pytest.mark.parametrize('server, push, reached', [
    ('disk', None, 'disk'), ('disk', 'none', 'none'),
    ('none', None, 'none'), ('none', 'disk', 'disk'),
])
def test_answer_tells_the_durability_reached(serve, receiver, server, push,
                                             reached):
    opq = serve(f'--sync={server}', '--drain=2s')
    headers = {'Opq-Sync': push} if push else None
    answer = opq.push('d', receiver.url(), headers=headers)
    assert_plain_success(answer, 'd', 0, reached)
    assert receiver.wait(1)[0].sequence == 0


# --- batches ----------------------------------------------------------------

def item(receiver, topic, message, **members):
    return {'topic': topic, 'url': receiver.url(), 'message': message,
            **members}


@pytest.mark.parametrize('form', ['array', 'ndjson'])
def test_batch_is_answered_and_delivered_in_order(opq, receiver, form):
    items = [item(receiver, f'b{number % 3}', f'm{number}')
             for number in range(30)]
    if form == 'array':
        body, kind = json.dumps(items), 'application/json'
    else:
        body = '\n'.join(json.dumps(one) for one in items) + '\n'
        kind = 'application/x-ndjson'
    answer = opq.request('POST', '/opq/batch', body, {'Content-Type': kind})

    assert answer.status == 201, answer
    assert answer.headers['content-type'] == 'application/json'
    results = answer.json()
    assert [(one['topic'], one['seq'], one['durability'])
            for one in results] == [(f'b{number % 3}', number // 3, 'disk')
                                    for number in range(30)]
    receiver.wait(30)
    for number in range(3):
        came = receiver.of_topic(f'b{number}')
        assert [one.body.decode() for one in came] == [
            f'm{at}' for at in range(number, 30, 3)]
        assert [one.headers['webhook-id'] for one in came] == [
            results[at]['id'] for at in range(number, 30, 3)]


def test_batch_with_mistakes_stores_the_rest(opq, receiver):
    body = json.dumps([
        item(receiver, 'm', 'zero'),
        {'topic': 'm', 'message': 'no url'},
        item(receiver, '..', 'bad topic'),
        item(receiver, 'm', 'one', urgent='no'),
        'not an object',
        item(receiver, 'm', 'two', sync='none'),
    ])
    answer = opq.request('POST', '/opq/batch', body,
                         {'Content-Type': 'application/json'})
    assert answer.status == 207, answer
    results = answer.json()
    assert results[0]['seq'] == 0
    assert results[1] == {'title': 'Bad Request', 'status': 400,
                          'detail': NO_URL}
    assert results[2] == {'title': 'Bad Request', 'status': 400,
                          'detail': TOPIC_RULE}
    assert results[3] == {'title': 'Bad Request', 'status': 400,
                          'detail': 'member urgent is not known'}
    assert results[4] == {'title': 'Bad Request', 'status': 400,
                          'detail': 'body must be a JSON object'}
    assert results[5]['seq'] == 1
    assert len(results) == 6
    assert [one.body for one in receiver.wait(2)] == [b'zero', b'two']
    assert opq.topic('m')['end'] == 2


def test_batch_takes_defaults_from_the_query(opq, receiver):
    query = urllib.parse.urlencode({'topic': 'd', 'url': receiver.url()})
    answer = opq.request('POST', f'/opq/batch?{query}',
                         '{"message":1}{"message":2}',
                         {'Content-Type': 'application/x-ndjson'})
    assert answer.status == 201, answer
    assert [one.body for one in receiver.wait(2)] == [b'1', b'2']


@pytest.mark.parametrize('body', ['', '[]', '[{}', '[] []', '{"a":1', 'x',
                                  '[{"topic":"a"},]'])
def test_batch_that_is_none_is_refused_whole(shared_opq, body):
    answer = shared_opq.request('POST', '/opq/batch', body,
                         {'Content-Type': 'application/json'})
    assert answer.status == 400
    assert (answer.json()['detail'] ==
            'body must be a JSON array or NDJSON of pushes')
    assert shared_opq.get('/opq/topics').json()['topics'] == []


def test_batch_of_too_many_items_is_refused_whole(serve, receiver):
    opq = serve('--batch-count-max=3', '--drain=2s')
    good = [item(receiver, 'a', number) for number in range(3)]
    answer = opq.request('POST', '/opq/batch', good + good[:1])
    assert answer.status == 413
    assert (answer.json()['detail'] ==
            'body has more items than batch_count_max')
    assert opq.request('POST', '/opq/batch', good).status == 201
    assert len(receiver.wait(3)) == 3


# --- shards and sockets -----------------------------------------------------

def test_two_shards_serve_every_topic_on_every_connection(serve, tmp_path):
    opq = serve('--shards=2', '--drain=2s')
    assert opq.get('/opq/info').json()['shards'] == 2
    sink = Sink()
    topics = [f's{number}' for number in range(32)]
    pusher = Pusher(opq.port, sink.url(), topics, 'w', connections=64,
                    limit=4000)
    wait_until(pusher.over, 'the end of the pushes')
    result = pusher.result()
    assert result['refused'] == {} and result['lost'] == 0
    for topic in topics:
        opq.wait_delivered(topic, 125)
    came = sink.deliveries()
    for topic in topics:
        assert [sequence for _, name, sequence, *_ in came
                if name == topic] == list(range(125))
    # Each shard has a journal of its own: both were written to.
    for shard in ('0', '1'):
        files = list((tmp_path / 'data/journal' / shard).glob('*.jnl'))
        assert any(b'opq' in path.read_bytes() or
                   b'/sink' in path.read_bytes() for path in files), shard
    listed = opq.get('/opq/topics?limit=1000').json()
    assert [one['name'] for one in listed['topics']] == sorted(topics)
    assert listed['total'] == 32
    sink.close()


def test_many_batches_over_two_shards_keep_their_order(serve, receiver):
    opq = serve('--shards=2', '--drain=2s')
    items = [item(receiver, f't{number % 8}', number)
             for number in range(400)]
    answer = opq.request('POST', '/opq/batch', items)
    assert answer.status == 201
    assert [one['seq'] for one in answer.json()] == [
        number // 8 for number in range(400)]
    receiver.wait(400)
    for topic in range(8):
        assert [int(one.body) for one in receiver.of_topic(f't{topic}')] == \
            list(range(topic, 400, 8))


def request_over(connection, text):
    with connection:
        connection.send(text)
        return connection.read_response()


class UnixConnection(RawConnection):
    """A connection through a Unix socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(str(path))
        self.file = self.socket.makefile('rb')


def test_unix_socket_takes_pushes(serve, receiver, tmp_path):
    path = tmp_path / 'opq.sock'
    opq = serve(f'--unix={path}', '--shards=2', '--drain=2s')
    assert f'unix:{path}' in opq.urls
    for sequence in range(3):
        answer = request_over(
            UnixConnection(path),
            f'POST /opq/push?topic=u&url={receiver.url()} HTTP/1.1\r\n'
            'Host: x\r\nContent-Length: 2\r\n\r\nhi')
        assert isinstance(answer, Response)
        assert_plain_success(answer, 'u', sequence)
    assert [one.body for one in receiver.wait(3)] == [b'hi'] * 3
    assert opq.stop() == 0
    # A socket file that is left over does not keep the next one from starting.
    opq.start()
    assert request_over(UnixConnection(path), 'GET /healthz HTTP/1.1\r\n'
                        'Host: x\r\n\r\n').status == 200


def has_ipv6():
    try:
        socket.create_server(('::1', 0), family=socket.AF_INET6).close()
        return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason='this machine has no IPv6')
def test_ipv6_takes_pushes_and_is_delivered_to(opq):
    assert f'http://[::1]:{opq.port}' in [url.rstrip('/') for url in opq.urls]
    target = socket.create_server(('::1', 0), family=socket.AF_INET6)
    port = target.getsockname()[1]
    answer = request_over(
        RawConnection(opq.port, host='::1'),
        f'POST /opq/push?topic=six&url=http://[::1]:{port}/x HTTP/1.1\r\n'
        f'Host: [::1]:{opq.port}\r\nContent-Length: 2\r\n\r\nhi')
    assert_plain_success(answer, 'six', 0)
    target.settimeout(PATIENCE_S)
    one, _ = target.accept()
    with one, one.makefile('rb') as file:
        assert file.readline() == b'POST /x HTTP/1.1\r\n'
        assert file.readline() == f'Host: [::1]:{port}\r\n'.encode()
        while file.readline() != b'\r\n':
            pass
        assert file.read(2) == b'hi'
        one.sendall(b'HTTP/1.1 204 No Content\r\n\r\n')
        opq.wait_delivered('six', 1)
    target.close()


def test_pipelined_pushes_are_answered_in_order(opq, receiver):
    text = ''.join(
        f'POST /opq/push?topic=p&url={receiver.url()} HTTP/1.1\r\nHost: x\r\n'
        f'Content-Length: 2\r\n\r\n{number:02d}' for number in range(50))
    with opq.connect() as connection:
        connection.send(text)
        answers = [connection.read_response() for _ in range(50)]
    assert [int(one.headers['opq-seq']) for one in answers] == list(range(50))
    assert [int(one.body) for one in receiver.wait(50)] == list(range(50))


def test_http_1_0_push_is_answered_and_closed(opq, receiver):
    with opq.connect() as connection:
        connection.send(f'POST /opq/push?topic=o&url={receiver.url()} '
                        'HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi')
        answer = connection.read_response()
        assert answer.status == 201
        assert answer.headers['connection'] == 'close'
        assert connection.closed()
    assert receiver.wait(1)[0].body == b'hi'
