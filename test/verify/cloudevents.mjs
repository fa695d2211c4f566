/* Make and read CloudEvents as others do, by the package cloudevents.
 *
 * usage: node cloudevents.mjs < lines
 *
 * Each line is a JSON object. With `event`, and `mode` binary or structured, it
 * is made a request: prints its headers and body. With `headers` and
 * `body_base64` it is a request: prints the event that it is read as, or an
 * array of a batch. What is wrong is printed as {"error": ...}.
 *
 * SPDX-License-Identifier: MIT
 */
import readline from 'node:readline';

import { CloudEvent, HTTP } from 'cloudevents';

function make({ event, mode }) {
  const { headers, body } = HTTP[mode](new CloudEvent(event));
  return { headers, body };
}

/* What a frame gives its handler: text as text, other bytes as bytes. */
function bodyOf(headers, encoded) {
  const bytes = Buffer.from(encoded, 'base64');
  const isText = /json|text|xml|urlencoded/.test(headers['content-type'] ?? '');
  return isText ? bytes.toString() : new Uint32Array(bytes);
}

/* An event with its data as bytes in base64 where it has these. */
function shown(event) {
  event.validate();
  const fields = { ...event, time: event.time };
  if (ArrayBuffer.isView(event.data)) {
    fields.data = undefined;
    fields.data_base64 = Buffer.from(event.data).toString('base64');
  } else {
    fields.data = event.data;
  }
  return fields;
}

function read({ headers, body_base64: encoded }) {
  const body = bodyOf(headers, encoded);
  const events = HTTP.toEvent({ headers, body });
  return Array.isArray(events) ? events.map(shown) : shown(events);
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  try {
    const value = JSON.parse(line);
    console.log(JSON.stringify('event' in value ? make(value) : read(value)));
  } catch (error) {
    console.log(JSON.stringify({ error: `${error.name}: ${error.message}` }));
  }
}
