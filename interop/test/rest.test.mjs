// The npm client uses our server over REST.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { capably, formats, rest, startServer, subscribe } from '../support.mjs';

const notUtf8 = Buffer.from([0xff, 0x00, 0xfe, 0x80]);

let server;
before(async () => (server = await startServer()));
after(() => server?.stop());

for (const format of formats) {
  describe(`npm client in ${format}`, () => {
    test('reads the time', async () => {
      const before = Date.now();
      const time = await rest(server, format).time();
      assert.ok(time >= before && time <= Date.now(), `${time}`);
    });

    test('publishes to a subscriber and reads the history, in pages', async () => {
      const name = `rest größe/通道:${format}`;
      const subscription = await subscribe(server, format, name, 4);
      const channel = rest(server, format).channels.get(name);
      await channel.publish('text', 'Grüße');
      await channel.publish([
        { name: 'binary', data: notUtf8 },
        { name: 'json', data: { a: [1, 2] }, extras: { headers: { kind: 'test' } } },
      ]);
      await capably(server, 'publish', '--rest', '--format', format, name, 'rest', 'from capably');

      const expected = [
        ['text', 'Grüße'],
        ['binary', notUtf8],
        ['json', { a: [1, 2] }],
        ['rest', 'from capably'],
      ];
      const lines = await subscription.messages;
      assert.deepEqual(
        lines.map(({ name, data, encoding }) =>
          [name, encoding === 'base64' ? Buffer.from(data, 'base64') : data]),
        expected,
      );
      assert.deepEqual(lines[2].extras, { headers: { kind: 'test' } });

      const pairs = ({ items }) => items.map(({ name, data }) => [name, data]);
      const newest = await channel.history({ limit: 3 });
      assert.deepEqual(pairs(newest), expected.slice(1).reverse());
      assert.ok(newest.hasNext());
      const older = await newest.next();
      assert.deepEqual(pairs(older), [expected[0]]);
      assert.ok(older.isLast());

      const forwards = await channel.history({ direction: 'forwards' });
      assert.deepEqual(pairs(forwards), expected);
      assert.deepEqual(
        forwards.items.map(({ id }) => id),
        lines.map(({ id }) => id),
      );
    });

    test('reads messages from history that capably published in realtime', async () => {
      const name = `history:${format}`;
      await capably(server, 'publish', '--format', format, name, 'n', '{i}', '--count', '5');
      const page = await rest(server, format).channels.get(name).history();
      assert.deepEqual(page.items.map(({ data }) => data), ['5', '4', '3', '2', '1']);
    });

    test('is refused with a wrong secret', async () => {
      const wrong = { ...server, key: `${server.key.split(':')[0]}:wrong` };
      const publishing = rest(wrong, format).channels.get('refused').publish('n', 'd');
      await assert.rejects(publishing, { code: 40101, statusCode: 401 });
    });
  });
}
