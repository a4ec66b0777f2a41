// The npm client annotates messages, reads statistics and publishes batches.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { formats, rest, startServer, withRealtime } from '../support.mjs';

let server;
before(async () => (server = await startServer()));
after(() => server?.stop());

/** The server of `startServer`, with the key of a new app. */
async function withApp() {
  const response = await fetch(`http://${server.endpoint}:${server.port}/apps`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ keys: [{}], namespaces: [{ id: 'mutable', mutableMessages: true }] }),
  });
  assert.equal(response.status, 201);
  const { keys } = await response.json();
  return { ...server, key: keys[0].keyStr };
}

/** The next message or annotation that `subscribe` delivers and that `wanted` accepts. */
function next(subscribe, wanted) {
  return new Promise((resolve) => {
    subscribe((item) => {
      if (wanted(item)) resolve(item);
    });
  });
}

for (const format of formats) {
  describe(`npm client in ${format}`, () => {
    test('annotates messages, and receives annotations and their summaries', async () => {
      const app = await withApp();
      const modes = ['PUBLISH', 'SUBSCRIBE', 'ANNOTATION_PUBLISH', 'ANNOTATION_SUBSCRIBE'];
      await withRealtime(app, format, async (client) => {
        const channel = client.channels.get('mutable:notes', { modes });
        await channel.attach();
        const published = await channel.publish('note', 'text');
        const serial = published.serials[0];

        const seen = next((f) => channel.annotations.subscribe(f), () => true);
        const summed = next((f) => channel.subscribe(f), ({ action }) => action === 'message.summary');
        await channel.annotations.publish(serial, { type: 'reaction:distinct.v1', name: '👍' });
        const annotation = await seen;
        assert.equal(annotation.action, 'annotation.create');
        assert.equal(annotation.name, '👍');
        assert.equal(annotation.clientId, 'ada');
        assert.equal(annotation.messageSerial, serial);
        assert.ok(annotation.serial > annotation.messageSerial);
        const summary = await summed;
        assert.equal(summary.serial, serial);
        assert.equal(summary.name, 'note');
        const distinct = { '👍': { total: 1, clientIds: ['ada'], clipped: false } };
        assert.deepEqual(summary.annotations.summary['reaction:distinct.v1'], distinct);

        const gone = next((f) => channel.annotations.subscribe(f), () => true);
        await channel.annotations.delete(serial, { type: 'reaction:distinct.v1', name: '👍' });
        assert.equal((await gone).action, 'annotation.delete');

        const overRest = rest(app, format).channels.get('mutable:notes');
        await overRest.annotations.publish(serial, {
          type: 'vote:multiple.v1',
          name: 'yes',
          count: 3,
          data: { why: 'fun' },
        });
        const { items } = await overRest.annotations.get(serial, {});
        assert.deepEqual(
          items.map(({ action, type, name }) => [action, type, name]),
          [
            ['annotation.create', 'reaction:distinct.v1', '👍'],
            ['annotation.delete', 'reaction:distinct.v1', '👍'],
            ['annotation.create', 'vote:multiple.v1', 'yes'],
          ],
        );
        assert.deepEqual(items[2].data, { why: 'fun' });
        const message = await overRest.getMessage(serial);
        assert.equal(message.annotations.summary['vote:multiple.v1'].yes.totalUnidentified, 3);
      }, { clientId: 'ada' });
    });

    test('reads posted statistics', async () => {
      const app = await withApp();
      const client = rest(app, format);
      const fixtures = [
        {
          intervalId: '2024-02-03:15:03',
          inbound: { realtime: { messages: { count: 50, data: 5000 } } },
          outbound: { realtime: { messages: { count: 20, data: 2000 } } },
        },
        {
          intervalId: '2024-02-03:15:04',
          inbound: { realtime: { messages: { count: 60, data: 6000 } } },
          outbound: { realtime: { messages: { count: 10, data: 1000 } } },
        },
      ];
      const posted = await client.request('post', '/stats', 3, {}, fixtures, {});
      assert.equal(posted.statusCode, 201);
      const range = { start: Date.UTC(2024, 1, 3, 15, 3), end: Date.UTC(2024, 1, 3, 15, 5) };
      const minutes = await client.stats({ ...range, direction: 'forwards' });
      assert.deepEqual(
        minutes.items.map(({ entries }) => entries['messages.inbound.all.messages.count']),
        [50, 60],
      );
      const { items } = await client.stats({ ...range, unit: 'month' });
      assert.equal(items[0].intervalId, '2024-02');
      assert.equal(items[0].entries['messages.all.messages.data'], 14000);
    });

    test('publishes to many channels, and lists the channels', async () => {
      const app = await withApp();
      const client = rest(app, format);
      const spec = { channels: ['one', 'two'], messages: [{ data: 'x' }] };
      const batch = await client.batchPublish(spec);
      assert.equal(batch.successCount, 2);
      const old = await client.request('post', '/messages', 2, {}, spec, {});
      assert.deepEqual(
        old.items.map(({ channel }) => channel),
        ['one', 'two'],
      );
      const listed = await client.request('get', '/channels', 3, { by: 'id' }, null, {});
      assert.deepEqual(listed.items, ['one', 'two']);
    });
  });
}
