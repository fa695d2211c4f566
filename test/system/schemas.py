"""Checks values against the JSON schemas of openapi.json, strictly.

Two things are stricter than JSON Schema: a member that an object's schema does
not name is a fault, unless the schema has `additionalProperties`; and so is a
keyword that this file does not know, for it would be passed over.

SPDX-License-Identifier: MIT
"""

import base64
import binascii
import datetime
import re
import urllib.parse

TYPES = {
    'object': lambda value: isinstance(value, dict),
    'array': lambda value: isinstance(value, list),
    'string': lambda value: isinstance(value, str),
    'boolean': lambda value: isinstance(value, bool),
    'null': lambda value: value is None,
    'number': lambda value: (isinstance(value, (int, float)) and
                             not isinstance(value, bool)),
    'integer': lambda value: (isinstance(value, int) and
                              not isinstance(value, bool)),
}

# Said for people, or for who writes a request; nothing to check.
WORDS = {'description', 'default', 'examples', 'title'}


def is_date_time(text):
    if not re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?'
                        r'(Z|[+-]\d\d:\d\d)', text):
        return False
    datetime.datetime.fromisoformat(text.replace('Z', '+00:00'))
    return True


def is_base64(text):
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error:
        return False
    return True


FORMATS = {
    'date-time': is_date_time,
    'uri': lambda text: urllib.parse.urlsplit(text).scheme in ('http', 'https'),
    'binary': lambda text: True,
}

# keyword: (to which values it applies, whether one fits)
SIMPLE = {
    'enum': (lambda _: True, lambda value, wanted: value in wanted),
    'const': (lambda _: True, lambda value, wanted: value == wanted),
    'minimum': (TYPES['number'], lambda value, wanted: value >= wanted),
    'maximum': (TYPES['number'], lambda value, wanted: value <= wanted),
    'minItems': (TYPES['array'], lambda value, wanted: len(value) >= wanted),
    'minLength': (TYPES['string'], lambda value, wanted: len(value) >= wanted),
    'maxLength': (TYPES['string'], lambda value, wanted: len(value) <= wanted),
    'maxItems': (TYPES['array'], lambda value, wanted: len(value) <= wanted),
    'pattern': (TYPES['string'],
                lambda value, wanted: re.search(wanted, value) is not None),
    'format': (TYPES['string'], lambda value, wanted: FORMATS[wanted](value)),
    'contentEncoding': (TYPES['string'], lambda value, wanted:
                        wanted == 'base64' and is_base64(value)),
    'required': (TYPES['object'],
                 lambda value, wanted: set(wanted) <= set(value)),
}

KEYWORDS = WORDS | set(SIMPLE) | {
    '$ref', 'type', 'properties', 'propertyNames', 'additionalProperties',
    'items', 'allOf', 'oneOf'}


class Schemas:
    """The schemas of one document."""

    def __init__(self, document):
        self.document = document

    def follow(self, reference):
        """What a reference stands for; a KeyError when it is dangling."""
        assert reference.startswith('#/'), reference
        found = self.document
        for step in reference[2:].split('/'):
            found = found[step.replace('~1', '/').replace('~0', '~')]
        return found

    def resolve(self, node):
        while '$ref' in node:
            assert set(node) <= {'$ref'} | WORDS, node
            node = self.follow(node['$ref'])
        return node

    def faults(self, schema, value):
        """What of a value does not fit: a list of sentences."""
        found = []
        self._whole(schema, value, '$', found)
        return found

    @staticmethod
    def _unknown(value, known, at, found):
        if isinstance(value, dict):
            found += [f'{at}.{name} is not described'
                      for name in value if name not in known]

    def _whole(self, schema, value, at, found):
        """Check a value that this schema alone describes; one that says
        nothing takes anything."""
        if not set(self.resolve(schema)) - WORDS:
            return
        known = self._check(schema, value, at, found)
        self._unknown(value, known, at, found)

    def _check(self, schema, value, at, found):
        """Check a value; returns names of its members that are described."""
        schema = self.resolve(schema)
        unknown = set(schema) - KEYWORDS
        assert not unknown, f'{at}: teach this test {unknown}'
        if not self._fits_type(schema, value):
            found.append(f'{at} is {value!r}, not {schema["type"]}')
            return set()
        for name, (applies, fits) in SIMPLE.items():
            if name in schema and applies(value) and not fits(value,
                                                              schema[name]):
                found.append(f'{at} is {value!r}: {name} {schema[name]!r}')
        known = set()
        if isinstance(value, dict):
            known |= self._members(schema, value, at, found)
        if isinstance(value, list) and 'items' in schema:
            for index, item in enumerate(value):
                self._whole(schema['items'], item, f'{at}[{index}]', found)
        elif isinstance(value, list) and not {'oneOf', 'allOf'} & set(schema):
            found.append(f'{at}[] is not described')
        for part in schema.get('allOf', []):
            known |= self._check(part, value, at, found)
        if 'oneOf' in schema:
            known |= self._one_of(schema['oneOf'], value, at, found)
        return known

    @staticmethod
    def _fits_type(schema, value):
        types = schema.get('type', [])
        types = [types] if isinstance(types, str) else types
        return not types or any(TYPES[name](value) for name in types)

    def _members(self, schema, value, at, found):
        properties = schema.get('properties', {})
        for name in set(value) if 'propertyNames' in schema else ():
            self._whole(schema['propertyNames'], name, f'{at}: {name}', found)
        for name in set(value) & set(properties):
            self._whole(properties[name], value[name], f'{at}.{name}', found)
        others = schema.get('additionalProperties', False)
        if others is False:
            return set(properties)
        for name in set(value) - set(properties):
            if others is not True:
                self._whole(others, value[name], f'{at}.{name}', found)
        return set(value)

    def _one_of(self, branches, value, at, found):
        """A value must fit one alone, with all its members."""
        fitting, faults = [], []
        for branch in branches:
            tried = []
            known = self._check(branch, value, at, tried)
            self._unknown(value, known, at, tried)
            if tried:
                faults += tried
            else:
                fitting.append(known)
        if len(fitting) != 1:
            found.append(f'{at} fits {len(fitting)} of oneOf: {faults}')
            return set(value) if isinstance(value, dict) else set()
        return fitting[0]
