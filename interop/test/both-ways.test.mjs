// Each client reads what the other client did over REST: the npm client and our client, each in both formats.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import * as Ably from 'ably';

import {
  clientOptions,
  createApp,
  fixture,
  formats,
  ours,
  payload,
  rest,
  startServer,
  withRealtime,
} from '../support.mjs';

const messages = [
  { name: 'text', data: 'Grüße, こんにちは 👋' },
  { name: 'empty', data: '' },
  { name: 'text like JSON', data: '{"a":1}' },
  { name: 'binary, valid UTF-8', data: Buffer.from('✓') },
  { name: 'binary, not UTF-8', data: Buffer.from([0xff, 0x00, 0xfe, 0x80, 0xc3, 0x28]) },
  { name: 'object', data: { celsius: 21.5, tags: ['a', 'ü'], nested: { ok: true, none: null } } },
  { name: 'array', data: [1, 'two', { three: 3 }] },
  { name: 'nothing' },
  { name: 'extras', data: 'x', extras: { headers: { kind: 'test', n: 1.5 }, ref: { type: 'r' } } },
  { name: 'client', data: 'x', clientId: 'ada größe' },
  { data: 'without a name' },
];

/** A message of the npm client, in the form in which our client reports it. */
function seen({ name, data, encoding, clientId, extras }) {
  return {
    name: name ?? null,
    data: payload(data),
    encoding: encoding ?? null,
    clientId: clientId ?? null,
    extras: extras ?? null,
  };
}

const expected = messages.map(seen);

const ciphers = [
  ['plain', undefined],
  ['aes-128', Buffer.alloc(16, 7).toString('base64')],
  ['aes-256', Buffer.alloc(32, 9).toString('base64')],
];

let server;
let app;
before(async () => {
  server = await startServer();
  app = await createApp(server);
});
after(() => server?.stop());

for (const theirs of formats) {
  for (const own of formats) {
    describe(`npm client in ${theirs}, our client in ${own}`, () => {
      const channelName = (what) => `${what}/größe 通道:${theirs}:${own}`;
      const theirChannel = (name, cipher) =>
        rest(app, theirs).channels.get(name, cipher ? { cipher: { key: cipher } } : {});
      const we = async (work, credentials) => {
        const { ok, error } = await ours(app, own, work, credentials);
        assert.equal(error, undefined, work.do);
        return ok;
      };
      const ourHistory = async (name, cipher, limit = 100) => {
        const history = await we({ do: 'history', channel: { name, cipher }, limit });
        return history.map(({ name, data, encoding, clientId, extras }) =>
          ({ name, data, encoding, clientId, extras }));
      };
      const ourMessages = messages.map((message) => ({ ...message, data: payload(message.data) }));

      for (const [what, cipher] of ciphers) {
        test(`the npm client publishes, our client reads: ${what}`, async () => {
          const name = channelName(`theirs-${what}`);
          // The npm client encrypts an absent payload as the text `undefined`.
          const some = cipher ? messages.filter(({ data }) => data !== undefined) : messages;
          await theirChannel(name, cipher).publish(some);
          assert.deepEqual(await ourHistory(name, cipher), some.map(seen));
        });

        test(`our client publishes, the npm client reads: ${what}`, async () => {
          const name = channelName(`ours-${what}`);
          await we({ do: 'publish', channel: { name, cipher }, messages: ourMessages });
          const { items } = await theirChannel(name, cipher).history({ direction: 'forwards' });
          assert.deepEqual(items.map(seen), expected);
          const stored = (await theirChannel(name).history({ direction: 'forwards' })).items;
          const encrypted = stored.filter(({ encoding }) => /cipher\+aes-\d+-cbc$/.test(encoding));
          // Clients do not encrypt a message without a payload.
          assert.equal(encrypted.length, cipher ? messages.length - 1 : 0);
        });
      }

      test('each client reads the other client\'s pages', async () => {
        const name = channelName('pages');
        const numbers = Array.from({ length: 25 }, (_, n) => `${n + 1}`);
        const sent = numbers.map((data) => ({ name: 'n', data: payload(data) }));
        await we({ do: 'publish', channel: { name }, messages: sent });
        const read = [];
        let page = await theirChannel(name).history({ direction: 'forwards', limit: 10 });
        for (; page; page = await page.next()) read.push(...page.items);
        assert.deepEqual(read.map(({ data }) => data), numbers);
        const again = await ourHistory(name, undefined, 7);
        assert.deepEqual(again.map(({ data }) => data), numbers.map(payload));
      });

      test('both clients list the same members, with encrypted data', async () => {
        const { cipher } = await fixture('test-app-setup.json');
        const name = 'persisted:presence_fixtures';
        const channel = rest(app, theirs).channels.get(name, { cipher: { key: cipher.key } });
        const { items } = await channel.presence.get();
        const told = items.map(({ id, action, clientId, connectionId, data, encoding, timestamp }) =>
          ({
            id,
            action,
            clientId,
            connectionId,
            data: payload(data),
            encoding: encoding ?? null,
            timestamp,
          }));
        const work = { do: 'presence', channel: { name, cipher: cipher.key }, limit: 4 };
        assert.deepEqual(await we(work), told);
        const object = payload({ example: { json: 'Object' } });
        const data = Object.fromEntries(told.map(({ clientId, data }) => [clientId, data]));
        assert.deepEqual(data, {
          client_bool: payload('true'),
          client_int: payload('24'),
          client_string: payload('This is a string clientData payload'),
          client_json: payload('{ "test": "This is a JSONObject clientData payload"}'),
          client_decoded: object,
          client_encoded: object,
        });

        const result = await rest(app, theirs).batchPresence([name, 'empty']);
        const members = await we({ do: 'batchPresence', channels: [name, 'empty'] });
        const shape = ({ successCount, failureCount, results }) => ({
          successCount,
          failureCount,
          results: results.map(({ channel, presence }) =>
            [channel, presence.map(({ clientId }) => clientId)]),
        });
        assert.deepEqual(shape(members), shape(result));
        assert.deepEqual(members.results.map(({ presence }) => presence.length), [6, 0]);
      });

      for (const [what, cipher] of ciphers) {
        test(`our client reads members of the npm client: ${what}`, async () => {
          const name = channelName(`members-${what}`);
          const payloads = messages.map(({ data }) => data).filter((data) => data !== undefined);
          const members = payloads.map((data, n) => [`client ${n}`, data]);
          const shape = (items) =>
            items.map(({ clientId, data, encoding }) => [clientId, data, encoding ?? null]);
          const expected = members.map(([id, data]) => [id, payload(data), null]);
          await withRealtime(app, theirs, async (client) => {
            const options = cipher ? { cipher: { key: cipher } } : {};
            const { presence } = client.channels.get(name, options);
            for (const [id, data] of members) await presence.enterClient(id, data);
            const channel = { name, cipher };
            const present = await we({ do: 'presence', channel, limit: 4 });
            const sorted = (items) => items.toSorted(([a], [b]) => (a < b ? -1 : 1));
            assert.deepEqual(sorted(shape(present)), sorted(expected));
            const { connectionId } = present[0];
            assert.equal(connectionId, client.connection.id);

            await presence.updateClient(members[0][0], members[1][1]);
            await presence.leaveClient(members[0][0], members[2][1]);
            const history = await we({ do: 'presenceHistory', channel, limit: 4 });
            const [first] = expected;
            assert.deepEqual(shape(history), [
              ...expected,
              [first[0], expected[1][1], null],
              [first[0], expected[2][1], null],
            ]);
            assert.deepEqual(
              history.map(({ action }) => action),
              [...members.map(() => 'enter'), 'update', 'leave'],
            );
          });
        });
      }

      test('the npm client publishes a batch, our client reads it', async () => {
        const names = [channelName('batch-a'), channelName('batch-b')];
        // The npm client sends batch payloads unencoded. JSON has no bytes, and its MessagePack has no null.
        const has = theirs === 'json' ? Buffer.isBuffer : (data) => data?.nested?.none === null;
        const some = messages.filter(({ data }) => !has(data));
        const result = await rest(app, theirs).batchPublish({ channels: names, messages: some });
        assert.deepEqual([result.successCount, result.failureCount], [2, 0]);
        for (const name of names) assert.deepEqual(await ourHistory(name), some.map(seen));
      });

      test('our client publishes batches, the npm client reads them', async () => {
        const limited = { ...app, key: app.keys[2] };
        const specs = [
          { channels: ['channel0', 'channel5'], messages: [{ name: own, data: payload('x') }] },
          { channels: [channelName('denied')], messages: ourMessages },
        ];
        const told = await we({ do: 'batchPublish', specs }, { key: limited.key });
        const raw = [{ channels: specs[0].channels, messages: [{ name: own, data: 'x' }] }, {
          channels: specs[1].channels,
          messages,
        }];
        const theirResult = await rest(limited, theirs).batchPublish(raw);
        const shape = ({ successCount, failureCount, results }) => ({
          successCount,
          failureCount,
          results: results.map(({ channel, error }) =>
            error ? [channel, error.code, error.statusCode] : [channel]),
        });
        assert.deepEqual(told.map(shape), theirResult.map(shape));
        assert.deepEqual(told.map(shape), [
          { successCount: 1, failureCount: 1, results: [['channel0'], ['channel5', 40160, 401]] },
          { successCount: 0, failureCount: 1, results: [[channelName('denied'), 40160, 401]] },
        ]);

        const name = channelName('batch');
        const done = await we({ do: 'batchPublish', specs: [{ channels: [name], messages: ourMessages }] });
        const { items } = await theirChannel(name).history({ direction: 'forwards' });
        assert.deepEqual(items.map(seen), expected);
        assert.deepEqual(items.map(({ serial }) => serial), done[0].results[0].serials);
      });

      const params = {
        ttl: 60_000,
        clientId: 'ada',
        capability: { 'allowed:*': ['publish', 'history'] },
      };

      /** Checks that the npm client with a token can do only what the token allows. */
      const theyUse = async (credentials) => {
        const client = new Ably.Rest(clientOptions(app, theirs, { key: undefined, ...credentials }));
        const channel = client.channels.get(`allowed:${channelName('token')}`);
        await channel.publish('n', 'd');
        const { items } = await channel.history();
        assert.equal(items[0].clientId, 'ada');
        const denied = client.channels.get('denied').publish('n', 'd');
        await assert.rejects(denied, { code: 40160, statusCode: 401 });
      };

      /** Checks that our client with a token can do only what the token allows. */
      const weUse = async (credentials) => {
        const channel = { name: `allowed:${channelName('token')}` };
        await we({ do: 'publish', channel, messages: [{ name: 'n' }] }, credentials);
        const history = { do: 'history', channel, limit: 100 };
        const published = await ours(app, own, history, { key: app.key });
        assert.equal(published.ok.at(-1).clientId, 'ada');
        const work = { do: 'publish', channel: { name: 'denied' }, messages: [{ name: 'n' }] };
        const { error } = await ours(app, own, work, credentials);
        assert.deepEqual(error, { code: 40160, statusCode: 401 });
      };

      test('the npm client uses a token that our client requested', async () => {
        const details = await we({ do: 'requestToken', params });
        assert.equal(details.expires - details.issued, params.ttl);
        assert.equal(details.clientId, 'ada');
        await theyUse({ tokenDetails: details });
      });

      test('the npm client sends a token request that our client signed', async () => {
        await theyUse({
          authCallback: (_params, done) => {
            we({ do: 'createTokenRequest', params }).then((request) => done(null, request), done);
          },
        });
      });

      const theirParams = { ...params, capability: JSON.stringify(params.capability) };

      test('our client uses a token that the npm client requested', async () => {
        const { token } = await rest(app, theirs).auth.requestToken(theirParams);
        await weUse({ token });
      });

      test('our client sends a token request that the npm client signed', async () => {
        const { auth } = rest(app, theirs);
        const channel = { name: `allowed:${channelName('signed')}` };
        const tokenRequest = await auth.createTokenRequest(theirParams);
        const work = { do: 'publish', channel, messages: [{ name: 'n', clientId: 'ada' }] };
        await we(work, { tokenRequest });
        const { error } = await ours(app, own, work, { tokenRequest });
        assert.equal(error.code, 40105, 'the same request a second time');
      });
    });
  }
}
