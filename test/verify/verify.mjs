/* Verify deliveries as a receiver does, by libraries that are not ours.
 *
 * usage: node verify.mjs < lines
 *
 * Each line is a JSON object: `secret`, `headers` (an object), `body_base64`.
 * A secret `whsec_...` goes to the package standardwebhooks; `whpk_...`, the
 * public half of an Ed25519 key, of which that package knows nothing, to
 * crypto of Node.js. Prints a line for each: "ok", or what was wrong.
 *
 * SPDX-License-Identifier: MIT
 */
import crypto from 'node:crypto';
import readline from 'node:readline';

import { Webhook } from 'standardwebhooks';

/* What stands before the 32 bytes of a public key in its DER form. */
const ED25519_DER = Buffer.from('302a300506032b6570032100', 'hex');

function verifyPublic(secret, headers, body) {
  const bytes = Buffer.from(secret.slice('whpk_'.length), 'base64');
  const key = crypto.createPublicKey({
    key: Buffer.concat([ED25519_DER, bytes]), format: 'der', type: 'spki',
  });
  const content = Buffer.concat([
    Buffer.from(`${headers['webhook-id']}.${headers['webhook-timestamp']}.`),
    body,
  ]);
  const good = headers['webhook-signature'].split(' ')
    .filter((signature) => signature.startsWith('v1a,'))
    .some((signature) => crypto.verify(
      null, content, key, Buffer.from(signature.slice(4), 'base64')));
  if (!good) {
    throw new Error('No matching signature found');
  }
}

function verify({ secret, headers, body_base64: encoded }) {
  const body = Buffer.from(encoded, 'base64');
  if (secret.startsWith('whpk_')) {
    verifyPublic(secret, headers, body);
  } else {
    new Webhook(secret).verify(body, headers, { jsonParse: false });
  }
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  try {
    verify(JSON.parse(line));
    console.log('ok');
  } catch (error) {
    console.log(`${error.name}: ${error.message}`);
  }
}
