// The npm client and our client edit one tree of objects.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { LiveCounter, LiveMap, LiveObjects } from 'ably/liveobjects';

import {
  bytes, clear, counter, increment, json, map, remove, set, withOurs,
} from '../object-clients.mjs';
import { formats, startServer, withRealtime } from '../support.mjs';

let server;
before(async () => (server = await startServer('--control', '0')));
after(() => server?.stop());

const modes = ['OBJECT_SUBSCRIBE', 'OBJECT_PUBLISH'];
const theirOptions = {
  plugins: { LiveObjects },
  clientId: 'npm',
  disconnectedRetryTimeout: 100,
};

/** Sends a request to the server's fault control. */
async function control(method, path, body) {
  const url = `http://127.0.0.1:${server.control}/${path}`;
  const response = await fetch(url, { method, body: body && JSON.stringify(body) });
  assert.ok(response.ok, `${method} ${path}: ${response.status}`);
  return response.status === 204 ? undefined : response.json();
}

/** Runs `work` with both clients, each with the objects of the channel in sync. */
async function withBoth({ on = server, channel, theirFormat, ourFormat }, work) {
  await withRealtime(on, theirFormat, async (client) => {
    const root = await client.channels.get(channel, { modes }).object.get();
    const more = { clientId: 'capably' };
    await withOurs(on, ourFormat, channel, (ours) => work({ root, ours, client }), more);
  }, theirOptions);
}

/** Waits until the value at a path of the npm client has this value. */
function becomes(root, path, expected) {
  return new Promise((resolve) => {
    const check = () => {
      if (root.at(path).value() !== expected) return;
      subscription.unsubscribe();
      resolve();
    };
    const subscription = root.subscribe(check);
    check();
  });
}

/** The tree in the complete form of the server as one with values only, in the form of both clients. The server's own form
 * with values only has JSON leaves as text. */
function valuesOf({ map, counter, ...leaf }) {
  if (counter) return counter.data.number;
  if (!map) return 'json' in leaf ? JSON.parse(leaf.json) : Object.values(leaf)[0];
  const entries = Object.entries(map.entries);
  return Object.fromEntries(entries.map(([key, { data }]) => [key, valuesOf(data)]));
}

let marks = 0;
/** Waits until each client has seen all that the other has published. Checks that both and the server have the same tree,
 * and returns it. */
async function agreed({ root, ours }, channel, on = server) {
  const mark = ++marks;
  await Promise.all([root.set('theirMark', mark), ours.write(set('', 'ourMark', json(mark)))]);
  await Promise.all([becomes(root, 'ourMark', mark), ours.until('theirMark', mark)]);
  const response = await fetch(`http://127.0.0.1:${on.port}/channels/${channel}/object?compact=false`, {
    headers: { authorization: `Basic ${Buffer.from(on.key).toString('base64')}` },
  });
  assert.equal(response.status, 200);
  const { theirMark, ourMark, ...tree } = valuesOf(await response.json());
  const marked = { ...tree, theirMark, ourMark };
  assert.deepEqual(root.compactJson(), marked, 'the npm client has the tree of the server');
  assert.deepEqual(await ours.read(), marked, 'our client has the tree of the server');
  return tree;
}

for (const theirFormat of formats) {
  for (const ourFormat of formats) {
    describe(`npm client in ${theirFormat}, capably in ${ourFormat}`, () => {
      const both = (name, work) => {
        const channel = `${name}:${theirFormat}:${ourFormat}`;
        return withBoth({ channel, theirFormat, ourFormat }, (clients) => work(clients, channel));
      };

      test('deep trees made in one operation arrive', () => both('deep', async (clients, channel) => {
        const { root, ours } = clients;
        const votes = map({ tea: counter(2), coffee: counter(0), none: map({}) });
        await ours.write(set('', 'ours', map({ title: json('Drinks'), poll: map({ votes }) })));
        await root.set('theirs', LiveMap.create({
          title: 'Food',
          poll: LiveMap.create({
            votes: LiveMap.create({ rice: LiveCounter.create(-3), beans: LiveCounter.create() }),
          }),
        }));
        assert.deepEqual(await agreed(clients, channel), {
          ours: { title: 'Drinks', poll: { votes: { tea: 2, coffee: 0, none: {} } } },
          theirs: { title: 'Food', poll: { votes: { rice: -3, beans: 0 } } },
        });
        // Each changes what the other has made.
        await root.at('ours.poll.votes.tea').increment(5);
        await root.at('ours.poll.votes.none').set('more', LiveMap.create({ deep: true }));
        await ours.write(increment('theirs.poll.votes.rice', 4));
        await ours.write(set('theirs.poll.votes', 'more', map({ deep: counter(1) })));
        assert.deepEqual(await agreed(clients, channel), {
          ours: {
            title: 'Drinks',
            poll: { votes: { tea: 7, coffee: 0, none: { more: { deep: true } } } },
          },
          theirs: { title: 'Food', poll: { votes: { rice: 1, beans: 0, more: { deep: 1 } } } },
        });
      }));

      test('every kind of value arrives as it was set', () => both('values', async (clients, channel) => {
        const { root, ours } = clients;
        // For each: the value of the npm client, the form in which our client sets it, and the leaf that it reads.
        const values = {
          text: ['ü\u0000 😀', json('ü\u0000 😀'), { text: 'ü\u0000 😀' }],
          empty: ['', json(''), { text: '' }],
          number: [-0.25, json(-0.25), { number: -0.25 }],
          large: [2 ** 53, json(2 ** 53), { number: 2 ** 53 }],
          yes: [true, json(true), { boolean: true }],
          no: [false, json(false), { boolean: false }],
          object: [{ list: [1, null] }, json({ list: [1, null] }), { json: { list: [1, null] } }],
          array: [[{}, 'x'], json([{}, 'x']), { json: [{}, 'x'] }],
          bytes: [Buffer.from([255, 0, 128]), bytes(Buffer.from([255, 0, 128])), { base64: '/wCA' }],
          // Bytes that are text, too.
          ascii: [Buffer.from('abc'), bytes(Buffer.from('abc')), { base64: 'YWJj' }],
          none: [Buffer.alloc(0), bytes(Buffer.alloc(0)), { base64: '' }],
          'a.b': ['key', json('key'), { text: 'key' }],
        };
        await root.set('theirs', LiveMap.create({}));
        await agreed(clients, channel);
        await ours.write(set('', 'ours', map({})));
        for (const [key, [theirs, form]] of Object.entries(values)) {
          await root.get('theirs').set(key, theirs);
          await ours.write(set('ours', key, form));
        }
        // The npm client reads this number in both formats, but cannot write whole numbers from 2^64 on in MessagePack.
        await ours.write(set('ours', 'huge', json(1e300)));
        assert.equal((await agreed(clients, channel)).ours.huge, 1e300);
        for (const [key, [theirs, , leaf]] of Object.entries(values)) {
          const escaped = key.replace('.', '\\.');
          assert.deepEqual(await ours.leaf(`theirs.${escaped}`), leaf, `${key} from the npm client`);
          const found = root.get('ours').get(key).value();
          if (Buffer.isBuffer(theirs)) assert.deepEqual(Buffer.from(found), theirs, key);
          else assert.deepEqual(found, theirs, `${key} from capably`);
        }
      }));

      test('counters and keys that both change at the same time', () => both('same', async (clients, channel) => {
        const { root, ours } = clients;
        await root.set('hits', LiveCounter.create(1));
        await agreed(clients, channel);
        const changes = [];
        for (let step = 0; step < 50; step++) {
          changes.push(
            root.get('hits').increment(step % 7), root.set('key', `npm ${step}`),
            ours.write(increment('hits', -0.5)), ours.write(set('', 'key', json(`capably ${step}`))),
          );
        }
        await Promise.all(changes);
        const { hits, key } = await agreed(clients, channel);
        const sum = Array.from({ length: 50 }, (_, step) => step % 7).reduce((a, b) => a + b);
        assert.equal(hits, 1 + sum - 25);
        // Each client's changes are ordered, so one of the two last is the winner.
        assert.ok(['npm 49', 'capably 49'].includes(key), key);
      }));

      test('remove, clear and batch', () => both('batch', async (clients, channel) => {
        const { root, ours } = clients;
        await ours.batch([
          set('', 'box', map({ a: json(1), b: json(2), count: counter(3) })),
          increment('box.count', 4),
          remove('box', 'a'),
        ]);
        assert.deepEqual(await agreed(clients, channel), { box: { b: 2, count: 7 } });
        await root.batch((context) => {
          context.get('box').set('c', LiveMap.create({ inner: 'x' }));
          context.get('box').get('count').increment(10);
          context.get('box').remove('b');
        });
        assert.deepEqual(await agreed(clients, channel), { box: { c: { inner: 'x' }, count: 17 } });
        await ours.write(remove('box', 'count'));
        await root.get('box').get('c').remove('inner');
        assert.deepEqual(await agreed(clients, channel), { box: { c: {} } });
        await ours.write(clear('box'));
        assert.deepEqual(await agreed(clients, channel), { box: {} });
        await root.get('box').set('after', true);
        assert.deepEqual(await agreed(clients, channel), { box: { after: true } });
      }));

      test('subscriptions tell who changed what, to their depth', () => both('events', async (clients, channel) => {
        const { root, ours, client } = clients;
        await root.set('top', LiveMap.create({
          mid: LiveMap.create({ low: LiveMap.create({}), count: LiveCounter.create() }),
        }));
        await agreed(clients, channel);

        await ours.subscribe('top', 2);
        await root.at('top.mid.low').set('too', 'deep');
        await root.at('top.mid').set('key', 'value');
        await root.at('top.mid.count').increment(1);
        await root.at('top').remove('none');
        await agreed(clients, channel);
        const theirs = {
          clientId: 'npm', connectionId: client.connection.id, channel, hasSerial: true,
        };
        assert.deepEqual(ours.changes, [
          { path: 'top.mid', message: { action: 1, ...theirs } },
          { path: 'top', message: { action: 2, ...theirs } },
        ]);

        const seen = [];
        root.get('top').subscribe(({ object, message }) => seen.push({ path: object.path(), message }), { depth: 2 });
        await ours.write(set('top.mid.low', 'too', json('deep')));
        await ours.write(set('top.mid', 'key', json('other')));
        await ours.write(increment('top.mid.count', 1));
        await ours.write(set('top', 'last', json(1)));
        await agreed(clients, channel);
        const ourConnection = await ours.connected;
        assert.deepEqual(
          seen.map(({ path, message }) => [
            path, message.operation.action, message.clientId, message.connectionId, message.channel,
            Boolean(message.serial && message.siteCode),
          ]),
          [
            ['top.mid', 'map.set', 'capably', ourConnection, channel, true],
            ['top', 'map.set', 'capably', ourConnection, channel, true],
          ],
        );
      }));

      test('an object that one removes while the other writes it', () => both('removed', async (clients, channel) => {
        const { root, ours } = clients;
        await root.set('one', LiveMap.create({ count: LiveCounter.create() }));
        await root.set('two', LiveMap.create({ count: LiveCounter.create() }));
        await agreed(clients, channel);

        const theirHeld = root.get('one').instance();
        assert.equal(await ours.hold('two'), root.get('two').instance().id);
        await Promise.all([
          ours.write(remove('', 'one')), theirHeld.set('late', 'npm'),
          root.remove('two'), ours.writeHeld({ change: 'set', key: 'late', value: json('capably') }),
        ]);
        assert.deepEqual(await agreed(clients, channel), {});

        // Another object in the place of the removed one has nothing of what was written to that.
        await Promise.all([
          ours.write(set('', 'one', map({ fresh: json(true) }))), theirHeld.set('later', 'npm'),
        ]);
        assert.deepEqual(await agreed(clients, channel), { one: { fresh: true } });
      }));

      test('edits go on over drops of both connections', () => both('drops', async (clients, channel) => {
        const { root, ours } = clients;
        await root.set('hits', LiveCounter.create());
        await root.set('keys', LiveMap.create({}));
        await agreed(clients, channel);

        // Of each client's connection, the first acknowledgement is lost, so that the client sends its changes again. Of two
        // later connections, a change of the other client is lost.
        const { connections } = await control('GET', 'connections');
        assert.equal(connections.length, 2);
        const rule = (match) => ({
          match: { type: 'ws_frame_to_client', ...match },
          action: [{ type: 'suppress' }, { type: 'disconnect' }],
          times: 1,
        });
        await control('POST', 'rules', [
          ...connections.map((connection) => rule({ action: 'ACK', connection })),
          rule({ action: 'OBJECT', channel, count: 40 }), rule({ action: 'OBJECT', channel, count: 90 }),
        ]);
        const edit = async (change) => {
          for (let step = 0; step < 40; step++) await Promise.all(change(step));
        };
        await Promise.all([
          edit((step) => [
            root.get('hits').increment(1), root.get('keys').set(`npm ${step}`, step),
            root.get('keys').set('both', `npm ${step}`),
          ]),
          edit((step) => [
            ours.write(increment('hits', 100)), ours.write(set('keys', `capably ${step}`, json(step))),
            ours.write(set('keys', 'both', json(`capably ${step}`))),
          ]),
        ]);
        const { hits, keys } = await agreed(clients, channel);
        // The server removes a rule that was applied as often as allowed.
        assert.deepEqual((await control('GET', 'rules')).rules, []);
        assert.equal(hits, 40 + 4000);
        const { both, ...own } = keys;
        assert.ok(['npm 39', 'capably 39'].includes(both), both);
        assert.deepEqual(own, Object.fromEntries(
          ['npm', 'capably'].flatMap((who) => Array.from({ length: 40 }, (_, step) => [`${who} ${step}`, step])),
        ));
      }));

      // In a cluster, objects outlive restarts through its brokers.
      const skip = Boolean(process.env.CAPABLY_BROKERS);
      test('edits go on over a restart of the server', { skip }, async () => {
        const directory = await mkdtemp(join(tmpdir(), 'capably-objects-'));
        const serve = (...more) => startServer('--data', directory, ...more);
        let running = await serve();
        try {
          const first = running;
          const channel = 'restart';
          await withBoth({ on: first, channel, theirFormat, ourFormat }, async (clients) => {
            const { root, ours } = clients;
            await root.set('hits', LiveCounter.create());
            await ours.write(set('', 'ours', map({ deep: map({ count: counter(1) }) })));
            await agreed(clients, channel, first);
            await running.stop();
            running = undefined;
            // Both clients keep these changes until they are connected again.
            const changes = [
              root.get('hits').increment(1), root.at('ours.deep.count').increment(2), root.set('npm', true),
              ours.write(increment('hits', 10)), ours.write(increment('ours.deep.count', 20)),
              ours.write(set('', 'capably', json(true))),
            ];
            running = await serve('--port', String(first.port));
            await Promise.all(changes);
            assert.deepEqual(await agreed(clients, channel, first), {
              hits: 11, ours: { deep: { count: 23 } }, npm: true, capably: true,
            });
          });
        } finally {
          await running?.stop();
          await rm(directory, { recursive: true });
        }
      });
    });
  }
}
