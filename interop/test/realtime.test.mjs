// The npm client and our client exchange messages over WebSocket through our server.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import * as Ably from 'ably';

import {
  capably,
  clientOptions,
  collect,
  formats,
  startServer,
  subscribe,
  withRealtime,
} from '../support.mjs';

const utf8 = Buffer.from('these bytes are valid UTF-8: ✓');
const notUtf8 = Buffer.from([0xff, 0x00, 0xfe, 0x80, 0xc3, 0x28]);
const object = { celsius: 21.5, tags: ['a', 'ü'], nested: { ok: true, none: null } };
const array = [1, 'two', { three: 3 }];

/** Payloads in three forms: `data` of the npm client, `words` for `capably publish`, `line` of `subscribe`. */
const payloads = [
  { name: 'text', data: 'Grüße, こんにちは 👋', words: ['Grüße, こんにちは 👋'], line: { data: 'Grüße, こんにちは 👋' } },
  { name: 'text like JSON', data: '{"a":1}', words: ['{"a":1}'], line: { data: '{"a":1}' } },
  {
    name: 'binary, valid UTF-8',
    data: utf8,
    words: ['--binary', utf8.toString('base64')],
    line: { data: utf8.toString('base64'), encoding: 'base64' },
  },
  {
    name: 'binary, not UTF-8',
    data: notUtf8,
    words: ['--binary', notUtf8.toString('base64')],
    line: { data: notUtf8.toString('base64'), encoding: 'base64' },
  },
  { name: 'object', data: object, words: ['--data-json', JSON.stringify(object)], line: { data: object } },
  { name: 'array', data: array, words: ['--data-json', JSON.stringify(array)], line: { data: array } },
];

let server;
before(async () => (server = await startServer()));
after(() => server?.stop());

for (const theirs of formats) {
  for (const ours of formats) {
    describe(`npm client in ${theirs}, capably in ${ours}`, () => {
      const channelName = (what) => `${what}:${theirs}:${ours}`;

      test('the npm client publishes, capably receives every type of payload', async () => {
        const name = channelName('to-capably');
        const subscription = await subscribe(server, ours, name, payloads.length);
        await withRealtime(server, theirs, async (client) => {
          const channel = client.channels.get(name);
          for (const payload of payloads) await channel.publish(payload.name, payload.data);
          const connectionId = client.connection.id;
          const lines = await subscription.messages;
          assert.deepEqual(
            lines.map(({ channel, connectionId, name, data, encoding }) => ({
              channel, connectionId, name, data, encoding,
            })),
            payloads.map(({ name: event, line }) => ({
              channel: name, connectionId, name: event, data: line.data, encoding: line.encoding,
            })),
          );
        });
      });

      test('capably publishes, the npm client receives every type of payload', async () => {
        const name = channelName('to-npm');
        await withRealtime(server, theirs, async (client) => {
          const collected = await collect(client.channels.get(name), payloads.length);
          for (const { name: event, words } of payloads) {
            await capably(server, 'publish', '--format', ours, name, event, ...words);
          }
          const messages = await collected.messages;
          assert.deepEqual(
            messages.map(({ name, data, encoding }) => ({ name, data, encoding: encoding ?? null })),
            payloads.map(({ name, data }) => ({ name, data, encoding: null })),
          );
        });
      });

      test('both clients use channel names in any script and with reserved characters', async () => {
        const name = channelName('größe/通道 🎉 ?a=1&b#c%20+');
        const subscription = await subscribe(server, ours, name, 2);
        await withRealtime(server, theirs, async (client) => {
          const channel = client.channels.get(name);
          const collected = await collect(channel, 2);
          await channel.publish('from-npm', 'one');
          await capably(server, 'publish', '--format', ours, name, 'from-capably', 'two');
          const expected = [['from-npm', 'one'], ['from-capably', 'two']];
          const received = await collected.messages;
          assert.deepEqual(received.map(({ name, data }) => [name, data]), expected);
          const lines = await subscription.messages;
          assert.deepEqual(lines.map(({ name, data }) => [name, data]), expected);
          assert.deepEqual(lines.map(({ channel }) => channel), [name, name]);
        });
      });

      test('1,000 messages from the npm client arrive at capably once and in order', async () => {
        const name = channelName('many-to-capably');
        const subscription = await subscribe(server, ours, name, 1000);
        await withRealtime(server, theirs, async (client) => {
          const channel = client.channels.get(name);
          await channel.attach();
          const numbers = Array.from({ length: 1000 }, (_, n) => `message ${n + 1}`);
          await Promise.all(numbers.map((data) => channel.publish('n', data)));
          const lines = await subscription.messages;
          assert.deepEqual(lines.map(({ data }) => data), numbers);
        });
      });

      test('1,000 messages from capably arrive at the npm client once and in order', async () => {
        const name = channelName('many-to-npm');
        await withRealtime(server, theirs, async (client) => {
          const collected = await collect(client.channels.get(name), 1000);
          const words = ['n', 'message {i}', '--count', '1000'];
          await capably(server, 'publish', '--format', ours, name, ...words);
          const messages = await collected.messages;
          const numbers = Array.from({ length: 1000 }, (_, n) => `message ${n + 1}`);
          assert.deepEqual(messages.map(({ data }) => data), numbers);
        });
      });
    });
  }
}

for (const format of formats) {
  describe(`npm client in ${format}, alone`, () => {
    test('pings the service', async () => {
      const work = async (client) => {
        assert.equal(typeof (await client.connection.ping()), 'number');
      };
      // The client's ping timer keeps running after the test, and keeps this process alive.
      await withRealtime(server, format, work, { realtimeRequestTimeout: 2000 });
    });

    test('detaches from a channel, and attaches again', async () => {
      await withRealtime(server, format, async (client) => {
        const channel = client.channels.get(`detached:${format}`);
        const collected = await collect(channel, 1);
        await channel.detach();
        assert.equal(channel.state, 'detached');
        await capably(server, 'publish', channel.name, 'missed', 'while detached');
        await channel.attach();
        await capably(server, 'publish', channel.name, 'seen', 'while attached');
        const [message] = await collected.messages;
        assert.equal(message.name, 'seen');
      });
    });

    test('the server sets the client id on published messages', async () => {
      const subscription = await subscribe(server, format, `identity:${format}`, 1);
      const client = new Ably.Realtime(clientOptions(server, format, { clientId: 'ada' }));
      try {
        await client.channels.get(`identity:${format}`).publish('hello', 'world');
        const [line] = await subscription.messages;
        assert.equal(line.clientId, 'ada');
      } finally {
        client.close();
        await client.connection.whenState('closed');
      }
    });

    test('a wrong secret fails the connection', async () => {
      const key = `${server.key.split(':')[0]}:wrong`;
      const client = new Ably.Realtime(clientOptions(server, format, { key }));
      const change = await client.connection.whenState('failed');
      assert.equal(change.reason.code, 40101);
      assert.equal(change.reason.statusCode, 401);
      client.close();
    });
  });
}
