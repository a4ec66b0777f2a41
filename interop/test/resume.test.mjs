// Faults cut the connections of both ends in the middle of a stream. Every message arrives once and in order.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { capably, collect, formats, startServer, subscribe, withRealtime } from '../support.mjs';

const count = 600;
const numbers = Array.from({ length: count }, (_, n) => `message ${n + 1}`);

const cut = { type: 'disconnect' };
const rule = (action, nth, what) => ({
  match: { type: 'ws_frame_to_client', action, count: nth },
  action: what,
  times: 1,
});
/** The rules cut the subscriber twice, and the publisher before it receives the first ACK. */
const rules = [
  rule('MESSAGE', 100, cut),
  rule('MESSAGE', 350, cut),
  rule('ACK', 1, [{ type: 'suppress' }, cut]),
];

let server;
before(async () => (server = await startServer('--control', '0')));
after(() => server?.stop());

/** Sends a request to the server's fault control. */
async function control(method, path, body) {
  const url = `http://127.0.0.1:${server.control}/${path}`;
  const response = await fetch(url, { method, body: body && JSON.stringify(body) });
  assert.ok(response.ok, `${method} ${path}: ${response.status}`);
  return response.status === 204 ? undefined : response.json();
}

/** Runs `work` with cut connections, and checks that the rules were applied. */
async function interrupted(work) {
  await control('DELETE', 'rules');
  await control('POST', 'rules', rules);
  await work();
  // The server removes a rule that was applied as often as allowed.
  assert.deepEqual((await control('GET', 'rules')).rules, []);
}

for (const theirs of formats) {
  for (const ours of formats) {
    describe(`npm client in ${theirs}, capably in ${ours}`, () => {
      test('the npm client publishes, capably receives', () => interrupted(async () => {
        const name = `to-capably:${theirs}:${ours}`;
        const subscription = await subscribe(server, ours, name, count);
        await withRealtime(server, theirs, async (client) => {
          const channel = client.channels.get(name);
          await Promise.all(numbers.map((data) => channel.publish('n', data)));
          const lines = await subscription.messages;
          assert.deepEqual(lines.map(({ data }) => data), numbers);
        });
      }));

      test('capably publishes, the npm client receives', () => interrupted(async () => {
        const name = `to-npm:${theirs}:${ours}`;
        await withRealtime(server, theirs, async (client) => {
          const collected = await collect(client.channels.get(name), count);
          const words = ['n', 'message {i}', '--count', String(count)];
          await capably(server, 'publish', '--format', ours, name, ...words);
          const messages = await collected.messages;
          assert.deepEqual(messages.map(({ data }) => data), numbers);
        });
      }));
    });
  }
}
