// The npm client and our client use derived channels, rewind and occupancy through our server.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { capably, createApp, formats, startServer, subscribe, withRealtime } from '../support.mjs';

let server, app, everywhere;
before(async () => {
  server = await startServer();
  app = await createApp(server);
  // This key of the fixtures also allows channels with a qualifier.
  everywhere = { ...app, key: app.keys[5] };
});
after(() => server?.stop());

/** Collects messages of the npm client's channel, up to the message with the data `last`. */
async function until(channel, last) {
  const seen = [];
  let finish;
  const all = new Promise((resolve) => (finish = resolve));
  await channel.subscribe((message) => {
    seen.push(message);
    if (message.data === last) finish(seen);
  });
  return { all };
}

for (const format of formats) {
  describe(`npm client in ${format}`, () => {
    test('a derived channel delivers only matching messages', () =>
      withRealtime(everywhere, format, async (client) => {
        const name = `filtered-${format}`;
        const filter = 'name == `"filtered"` && headers.number == `26095`';
        const derived = client.channels.getDerived(name, { filter });
        const encoded = Buffer.from(filter).toString('base64');
        assert.equal(derived.name, `[filter=${encoded}]${name}`);
        const { all } = await until(derived, 'last');
        const channel = client.channels.get(name);
        const publish = (kind, number, data) =>
          channel.publish({ name: kind, data, extras: { headers: { number } } });
        await publish('filtered', 26095, 'first');
        await publish('filtered', 26094, 'another number');
        await publish('other', 26095, 'another name');
        await channel.publish('filtered', 'no headers');
        await publish('filtered', 26095, 'last');
        assert.deepEqual(
          (await all).map(({ data, extras }) => [data, extras.headers.number]),
          [
            ['first', 26095],
            ['last', 26095],
          ],
        );

        const rewound = client.channels.getDerived(`[?rewind=1]${name}`, { filter });
        assert.equal(rewound.name, `[filter=${encoded}?rewind=1]${name}`);
        const { all: again } = await until(rewound, 'last');
        assert.equal((await again).length, 1);

        const history = await derived.history({ direction: 'forwards' });
        assert.deepEqual(history.items.map(({ data }) => data), ['first', 'last']);
      }));

    test('an invalid filter fails its channel and not the connection', () =>
      withRealtime(everywhere, format, async (client) => {
        const derived = client.channels.getDerived('a', { filter: 'name ==' });
        await assert.rejects(() => derived.attach(), { code: 40010, statusCode: 400 });
        assert.equal(derived.state, 'failed');
        assert.equal(client.connection.state, 'connected');
      }));

    test('a filter needs a capability with a qualifier', () =>
      withRealtime(app, format, async (client) => {
        const derived = client.channels.getDerived('a', { filter: 'name' });
        await assert.rejects(() => derived.attach(), { code: 40160, statusCode: 401 });
      }));

    test('rewind works as a parameter and in the name', () =>
      withRealtime(app, format, async (client) => {
        const name = `rewound-${format}`;
        for (const data of ['0', '1', '2']) await client.channels.get(name).publish('m', data);
        for (const channel of [
          client.channels.get(`[?rewind=2]${name}`),
          client.channels.get(`[?rewind=2&x=${format}]${name}`),
        ]) {
          const { all } = await until(channel, '2');
          assert.deepEqual((await all).map(({ data }) => data), ['1', '2']);
          assert.deepEqual(channel.params, { rewind: '2' });
        }
        await withRealtime(app, format, async (other) => {
          const channel = other.channels.get(name, { params: { rewind: '15s' } });
          const { all } = await until(channel, '2');
          assert.deepEqual((await all).map(({ data }) => data), ['0', '1', '2']);
        });
      }));

    test('a channel receives occupancy on attaching and on changes', () =>
      withRealtime(app, format, async (client) => {
        const name = `occupied-${format}`;
        const channel = client.channels.get(name, { params: { occupancy: 'metrics' } });
        const told = [];
        let wake;
        const counts = async (number) => {
          while (told.length < number) await new Promise((resolve) => (wake = resolve));
          return told[number - 1];
        };
        await channel.subscribe('[meta]occupancy', (message) => {
          told.push(message);
          wake?.();
        });
        const first = await counts(1);
        assert.equal(first.action, 'meta');
        assert.deepEqual(first.data, {
          metrics: {
            connections: 1,
            publishers: 1,
            subscribers: 1,
            presenceConnections: 1,
            presenceMembers: 0,
            presenceSubscribers: 1,
            objectPublishers: 0,
            objectSubscribers: 0,
          },
        });
        assert.deepEqual(channel.params, { occupancy: 'metrics' });
        await channel.presence.enterClient('me');
        assert.equal((await counts(2)).data.metrics.presenceMembers, 1);
        await withRealtime(app, format, async (other) => {
          await other.channels.get(name).attach();
          assert.equal((await counts(3)).data.metrics.connections, 2);
        });
        assert.equal((await counts(4)).data.metrics.connections, 1);
      }));

    test('metachannels tell of channels and connections', () =>
      withRealtime(everywhere, format, async (observer) => {
        const receive = async (metachannel, name) => {
          const channel = observer.channels.get(metachannel);
          let finish;
          const received = new Promise((resolve) => (finish = resolve));
          await channel.subscribe(name, ({ data }) => finish(data));
          return { received };
        };
        const opened = await receive('[meta]channel.lifecycle', 'channel.opened');
        const connected = await receive('[meta]connection.lifecycle', 'connection.opened');
        await withRealtime(app, format, async (client) => {
          const name = `lifecycle-${format}`;
          await client.channels.get(name).attach();
          const { channelId, status } = await opened.received;
          assert.deepEqual([channelId, status.isActive], [name, true]);
          assert.equal((await connected.received).connectionId, client.connection.id);
        });
        const metachannel = observer.channels.get('[meta]channel.lifecycle');
        await assert.rejects(metachannel.publish('channel.opened', 'x'), { code: 40160 });
        const unknown = observer.channels.get('[meta]unknown');
        await assert.rejects(unknown.attach(), { code: 40021 });
      }));

    for (const ours of formats) {
      test(`the npm client publishes, capably in ${ours} receives from a filtered channel`, async () => {
        const name = `both-${format}-${ours}`;
        const encoded = Buffer.from('headers.in').toString('base64');
        const subscriber = await subscribe(everywhere, ours, `[filter=${encoded}]${name}`, 2);
        await withRealtime(everywhere, format, async (client) => {
          const channel = client.channels.get(name);
          for (const number of [0, 1, 2, 3]) {
            const extras = { headers: { in: number % 2 === 1 } };
            await channel.publish({ name: 'm', data: String(number), extras });
          }
        });
        const lines = await subscriber.messages;
        assert.deepEqual(lines.map(({ data }) => data), ['1', '3']);
      });

      test(`capably in ${ours} publishes, the npm client receives from a filtered channel`, () =>
        withRealtime(everywhere, format, async (client) => {
          const name = `to-npm-${format}-${ours}`;
          const derived = client.channels.getDerived(name, { filter: "name == 'in'" });
          const { all } = await until(derived, 'last');
          const publish = (kind, data) =>
            capably(everywhere, 'publish', name, kind, data, '--format', ours);
          await publish('in', 'first');
          await publish('out', 'another name');
          await publish('in', 'last');
          assert.deepEqual((await all).map(({ data }) => data), ['first', 'last']);
        }));
    }
  });
}
