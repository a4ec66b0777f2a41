// The npm client shares objects through our server.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { LiveCounter, LiveMap, LiveObjects } from 'ably/liveobjects';

import { formats, startServer, withRealtime } from '../support.mjs';

let server;
before(async () => (server = await startServer()));
after(() => server?.stop());

const plugin = { plugins: { LiveObjects } };
const modes = ['OBJECT_SUBSCRIBE', 'OBJECT_PUBLISH'];
const tree = (client, name) => client.channels.get(name, { modes }).object.get();

/** Waits until the value at a path has this value. */
function becomes(root, path, expected) {
  return new Promise((resolve) => {
    const check = () => {
      if (root.at(path).value() !== expected) return;
      subscription.unsubscribe();
      resolve();
    };
    // Not to the path itself: a change of a map above it is not reported there.
    const subscription = root.subscribe(check);
    check();
  });
}

/** Answers of our server to a request about objects. */
async function request(method, path, body) {
  const response = await fetch(`http://127.0.0.1:${server.port}${path}`, {
    method,
    headers: {
      authorization: `Basic ${Buffer.from(server.key).toString('base64')}`,
      'content-type': 'application/json',
    },
    body: body && JSON.stringify(body),
  });
  assert.ok(response.ok, `${response.status} ${await response.clone().text()}`);
  return response.json();
}

for (const format of formats) {
  describe(`npm client in ${format}`, () => {
    const with2 = (work) =>
      withRealtime(
        server,
        format,
        (one) => withRealtime(server, format, (two) => work(one, two), plugin),
        plugin,
      );

    test('a tree made in one operation reaches another client', async () => {
      const name = `made:${format}`;
      await with2(async (one, two) => {
        const root = await tree(one, name);
        const votes = LiveMap.create({ tea: LiveCounter.create(2), coffee: LiveCounter.create() });
        await root.set('poll', LiveMap.create({ title: 'Drinks', open: true, price: 1.5, votes }));
        const other = await tree(two, name);
        assert.deepEqual(other.compactJson(), {
          poll: { title: 'Drinks', open: true, price: 1.5, votes: { tea: 2, coffee: 0 } },
        });
      });
    });

    test('every kind of value arrives as it was set', async () => {
      const name = `values:${format}`;
      await with2(async (one, two) => {
        const [root, other] = await Promise.all([tree(one, name), tree(two, name)]);
        const values = {
          text: 'ü\u0000',
          number: -0.25,
          yes: true,
          no: false,
          bytes: Buffer.from([0xff, 0, 0x80]),
          json: { list: [1, null, { deep: 'x' }] },
        };
        for (const [key, value] of Object.entries(values)) await root.set(key, value);
        await root.set('last', 1);
        await becomes(other, 'last', 1);
        for (const [key, value] of Object.entries(values)) {
          const found = other.get(key).value();
          if (Buffer.isBuffer(value)) assert.deepEqual(Buffer.from(found), value);
          else assert.deepEqual(found, value);
        }
      });
    });

    test('counters and keys are changed by several clients', async () => {
      const name = `changed:${format}`;
      await with2(async (one, two) => {
        const root = await tree(one, name);
        await root.set('hits', LiveCounter.create());
        const other = await tree(two, name);
        const count = async (from) => {
          for (let step = 0; step < 20; step++) await from.get('hits').increment(step % 3);
        };
        await Promise.all([count(root), count(other)]);
        await Promise.all([becomes(root, 'hits', 38), becomes(other, 'hits', 38)]);
        await other.get('hits').decrement(8);
        await becomes(root, 'hits', 30);
        await root.set('name', 'one');
        await becomes(other, 'name', 'one');
        await other.remove('name');
        await becomes(root, 'name', undefined);
        assert.deepEqual(root.compactJson(), other.compactJson());
      });
    });

    test('a subscriber is told who changed what', async () => {
      const name = `events:${format}`;
      await with2(async (one, two) => {
        const [root, other] = await Promise.all([tree(one, name), tree(two, name)]);
        const event = new Promise((resolve) => other.subscribe(resolve));
        await root.set('key', 'value');
        const { object, message } = await event;
        assert.equal(object.path(), '');
        assert.equal(message.connectionId, one.connection.id);
        assert.equal(message.channel, name);
        assert.deepEqual(
          [message.operation.action, message.operation.objectId, message.operation.mapSet?.key],
          ['map.set', 'root', 'key'],
        );
        assert.ok(message.serial && message.siteCode && message.timestamp);
      });
    });

    test('objects stay when every client has left', async () => {
      const name = `stay:${format}`;
      await withRealtime(
        server,
        format,
        async (client) => {
          const root = await tree(client, name);
          await root.set('kept', LiveMap.create({ inner: LiveCounter.create(7) }));
        },
        plugin,
      );
      await withRealtime(
        server,
        format,
        async (client) =>
          assert.deepEqual((await tree(client, name)).compactJson(), { kept: { inner: 7 } }),
        plugin,
      );
    });

    test('what is set over REST arrives, and what is set here is read over REST', async () => {
      const name = `rest:${format}`;
      await withRealtime(
        server,
        format,
        async (client) => {
          const root = await tree(client, name);
          await request('POST', `/channels/${name}/object`, {
            path: 'profile',
            mapCreate: { semantics: 0, entries: { name: { data: { string: 'Ada' } } } },
          });
          await becomes(root, 'profile.name', 'Ada');
          await root.get('profile').set('visits', LiveCounter.create(3));
          assert.deepEqual(await request('GET', `/channels/${name}/object?path=profile`), {
            name: 'Ada',
            visits: 3,
          });
        },
        plugin,
      );
    });
  });
}
