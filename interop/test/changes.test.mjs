// Each client changes and annotates messages over a connection, and the other client receives the changes.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import {
  collect,
  createApp,
  formats,
  listening,
  ours,
  payload,
  rest,
  startServer,
  withRealtime,
} from '../support.mjs';

let server;
let app;
before(async () => {
  server = await startServer();
  app = await createApp(server);
});
after(() => server?.stop());

const key = Buffer.alloc(16, 7).toString('base64');
const modes = ['PUBLISH', 'SUBSCRIBE', 'ANNOTATION_PUBLISH', 'ANNOTATION_SUBSCRIBE'];
const operation = { clientId: 'editor', description: 'why', metadata: { k: 'v' } };
const reaction = { type: 'reaction:distinct.v1', name: '👍' };
const vote = { type: 'vote:multiple.v1', name: 'yes', count: 3 };

/** Collects `count` annotations of the npm client's attached channel. */
async function collectAnnotations(channel, count) {
  const seen = [];
  let finish;
  const annotations = new Promise((resolve) => (finish = resolve));
  await channel.annotations.subscribe((annotation) => {
    seen.push(annotation);
    if (seen.length === count) finish(seen);
  });
  return { annotations };
}

/** The part of a message's version that the changing client sets. */
const said = ({ clientId, description, metadata }) => ({ clientId, description, metadata });

for (const theirs of formats) {
  for (const own of formats) {
    describe(`npm client in ${theirs}, our client in ${own}`, () => {
      const channelName = (what) => `mutable:${what}:${theirs}:${own}`;
      const ourSteps = async (channel, steps, more = {}) => {
        const work = { do: 'live', channel, ...more, task: { steps } };
        const { ok, error } = await ours(app, own, work);
        assert.equal(error, undefined);
        return ok;
      };

      for (const [what, cipher] of [['plain', undefined], ['encrypted', key]]) {
        const options = cipher ? { cipher: { key: cipher } } : {};

        test(`our client updates and deletes, the npm client receives it: ${what}`, async () => {
          const name = channelName(`ours-${what}`);
          await withRealtime(app, theirs, async (client) => {
            const channel = client.channels.get(name, options);
            const { messages } = await collect(channel, 4);
            const object = { nested: ['ü', null] };
            const bytes = Buffer.from([0xff, 0, 0x80]);
            const update = (data) => ({ do: 'update', message: { data: payload(data) }, operation });
            const [serial, ...versions] = await ourSteps({ name, cipher }, [
              { do: 'publish', name: 'event', data: payload('one'), extras: { headers: { k: 1 } } },
              update(object),
              update(bytes),
              { do: 'delete', message: { data: payload('gone') } },
            ]);
            const seen = await messages;
            assert.deepEqual(
              seen.map(({ action, data }) => [action, data]),
              [
                ['message.create', 'one'],
                ['message.update', object],
                ['message.update', bytes],
                ['message.delete', 'gone'],
              ],
            );
            for (const message of seen) {
              assert.equal(message.serial, serial);
              assert.equal(message.name, 'event');
              assert.deepEqual(message.extras, { headers: { k: 1 } });
              assert.equal(message.timestamp, seen[0].timestamp);
            }
            assert.deepEqual(seen.map(({ version }) => version.serial), [serial, ...versions]);
            assert.deepEqual(said(seen[1].version), operation);
            assert.ok(seen[1].version.timestamp > seen[0].timestamp);

            const latest = await channel.getMessage(serial);
            assert.deepEqual([latest.action, latest.data], ['message.delete', 'gone']);
            const { items } = await channel.getMessageVersions(serial);
            assert.deepEqual(items.map(({ version }) => version.serial), [serial, ...versions]);
          });
        });

        test(`the npm client updates and deletes, our client receives it: ${what}`, async () => {
          const name = channelName(`theirs-${what}`);
          const task = { messages: 3, annotations: 0 };
          const { seen } = await listening(app, own, { name, cipher }, task);
          await withRealtime(app, theirs, async (client) => {
            const channel = client.channels.get(name, options);
            const { serials: [serial] } = await channel.publish('event', 'one');
            const data = { nested: ['ü', null] };
            const updated = await channel.updateMessage({ serial, data }, operation);
            // The npm client encrypts an absent payload as the text `undefined`.
            const deleted = await channel.deleteMessage({ serial, ...(cipher ? { data } : {}) });
            const { messages } = await seen;
            assert.deepEqual(
              messages.map(({ action, data }) => [action, data]),
              [
                ['create', payload('one')],
                ['update', payload(data)],
                ['delete', payload(data)],
              ],
            );
            for (const message of messages) {
              assert.equal(message.serial, serial);
              assert.equal(message.name, 'event');
              assert.equal(message.encoding, null);
            }
            const versions = [serial, updated.versionSerial, deleted.versionSerial];
            assert.deepEqual(messages.map(({ version }) => version.serial), versions);
            assert.deepEqual(said(messages[1].version), operation);
          });
        });
      }

      test('our client appends, the npm client receives it', async () => {
        const name = channelName('ours-appends');
        await withRealtime(app, theirs, async (client) => {
          const channel = client.channels.get(name);
          const { messages } = await collect(channel, 3);
          const append = (data) => ({ do: 'append', message: { data: payload(data) } });
          const steps = [{ do: 'publish', name: 'event', data: payload('a') }, append('b'), append('c')];
          const [serial] = await ourSteps({ name }, steps);
          const seen = await messages;
          assert.deepEqual(
            seen.map(({ action, name, data }) => [action, name, data]),
            [
              ['message.create', 'event', 'a'],
              ['message.append', 'event', 'b'],
              ['message.append', 'event', 'c'],
            ],
          );
          // A client that attaches later receives the whole message once, and then the appends.
          const { seen: ourLate } = await listening(
            app,
            own,
            { name },
            { messages: 2, annotations: 0 },
            { rewind: 5 },
          );
          await ourSteps({ name }, [{ ...append('d'), serial }]);
          assert.deepEqual(
            (await ourLate).messages.map(({ action, data }) => [action, data]),
            [
              ['update', payload('abc')],
              ['append', payload('d')],
            ],
          );
        });
      });

      test('the npm client appends, our client receives it, and a rewind delivers the whole message', async () => {
        const name = channelName('theirs-appends');
        const task = { messages: 3, annotations: 0 };
        const { seen } = await listening(app, own, { name }, task);
        await withRealtime(app, theirs, async (client) => {
          const channel = client.channels.get(name);
          const { serials: [serial] } = await channel.publish('event', 'a');
          const append = (data) => channel.appendMessage({ serial, data });
          await append('b');
          await append('c');
          assert.deepEqual(
            (await seen).messages.map(({ action, name, data }) => [action, name, data]),
            [
              ['create', 'event', payload('a')],
              ['append', 'event', payload('b')],
              ['append', 'event', payload('c')],
            ],
          );
          await withRealtime(app, theirs, async (other) => {
            const late = other.channels.get(name, { params: { rewind: '5' } });
            const { messages } = await collect(late, 2);
            await append('d');
            assert.deepEqual(
              (await messages).map(({ action, data }) => [action, data]),
              [
                ['message.update', 'abc'],
                ['message.append', 'd'],
              ],
            );
          });
        });
      });

      test('our client annotates, the npm client receives annotations and summaries', async () => {
        const name = channelName('ours-annotates');
        await withRealtime(app, theirs, async (client) => {
          const channel = client.channels.get(name, { modes });
          const { messages } = await collect(channel, 4);
          const { annotations } = await collectAnnotations(channel, 3);
          const steps = [
            { do: 'publish', name: 'event', data: payload('text') },
            { do: 'annotate', ...reaction },
            { do: 'annotate', ...vote, data: payload({ why: 'fun' }) },
            { do: 'unannotate', ...reaction },
          ];
          const [serial] = await ourSteps({ name }, steps, { clientId: 'ada' });
          assert.deepEqual(
            (await annotations).map(({ action, type, name, count, data, clientId }) =>
              [action, type, name, count, data, clientId]),
            [
              ['annotation.create', reaction.type, '👍', undefined, undefined, 'ada'],
              ['annotation.create', vote.type, 'yes', 3, { why: 'fun' }, 'ada'],
              ['annotation.delete', reaction.type, '👍', undefined, undefined, 'ada'],
            ],
          );
          for (const annotation of await annotations) assert.equal(annotation.messageSerial, serial);
          const [, first, second, third] = await messages;
          for (const summary of [first, second, third]) {
            assert.equal(summary.action, 'message.summary');
            assert.deepEqual([summary.serial, summary.name], [serial, 'event']);
          }
          const ada = { total: 1, clientIds: ['ada'], clipped: false };
          assert.deepEqual(first.annotations.summary[reaction.type], { '👍': ada });
          assert.equal(second.annotations.summary[vote.type].yes.total, 3);
          assert.deepEqual(third.annotations.summary[reaction.type] ?? {}, {});
        });
      });

      test('the npm client annotates, our client receives annotations and summaries', async () => {
        const name = channelName('theirs-annotates');
        const task = { messages: 4, annotations: 3 };
        const { seen } = await listening(app, own, { name }, task, { modes });
        const clientId = 'ada';
        await withRealtime(app, theirs, async (client) => {
          const channel = client.channels.get(name);
          const { serials: [serial] } = await channel.publish('event', 'text');
          // The npm client writes the action into its argument, so each call gets a copy.
          await channel.annotations.publish(serial, { ...reaction });
          await channel.annotations.publish(serial, { ...vote, data: { why: 'fun' } });
          await channel.annotations.delete(serial, { ...reaction });
          const { messages, annotations } = await seen;
          assert.deepEqual(
            annotations.map(({ action, type, name, count, data, clientId, messageSerial }) =>
              [action, type, name, count, data, clientId, messageSerial]),
            [
              ['create', reaction.type, '👍', null, null, clientId, serial],
              ['create', vote.type, 'yes', 3, payload({ why: 'fun' }), clientId, serial],
              ['delete', reaction.type, '👍', null, null, clientId, serial],
            ],
          );
          assert.deepEqual(
            messages.map(({ action, name, serial }) => [action, name, serial]),
            ['create', 'summary', 'summary', 'summary'].map((action) => [action, 'event', serial]),
          );
          const summary = messages[1].summary[reaction.type];
          assert.deepEqual(summary, { '👍': { total: 1, clientIds: [clientId] } });
          assert.equal(messages[2].summary[vote.type].yes.total, 3);
          // The npm client reads the same annotations over REST.
          const { items } = await rest(app, theirs).channels.get(name).annotations.get(serial, {});
          assert.deepEqual(items.map(({ serial }) => serial), annotations.map(({ serial }) => serial));
        }, { clientId });
      });

      test('both clients get the same error from the service', async () => {
        const name = `fixed:${theirs}:${own}`;
        const steps = [{ do: 'publish', name: 'event' }, { do: 'delete' }];
        const { error } = await ours(app, own, { do: 'live', channel: { name }, task: { steps } });
        assert.deepEqual(error, { code: 93002, statusCode: 400 });
        await withRealtime(app, theirs, async (client) => {
          const channel = client.channels.get(name);
          const { serials: [serial] } = await channel.publish('event', 'text');
          const { code, statusCode } = error;
          await assert.rejects(channel.deleteMessage({ serial }), { code, statusCode });
          await assert.rejects(channel.annotations.publish(serial, { ...vote }), { code, statusCode });
        });
      });
    });
  }
}
