// The npm client and our client apply the deltas of our server.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import vcdiffDecoder from '@ably/vcdiff-decoder';

import {
  capably,
  collect,
  fixture,
  formats,
  rest,
  startServer,
  subscribe,
  withRealtime,
} from '../support.mjs';

const text = 'a text that is long enough for a delta to be smaller than it';
const bytes = Buffer.concat([Buffer.from(text), Buffer.from([0xff, 0x00, 0xfe])]);
const quotes = Array.from({ length: 200 }, (_, index) => ({
  symbol: `S${index}`,
  bid: 1000 + ((index * 37) % 91),
  venue: 'XLON',
}));

/** Payloads of every type. Most have a part in common with the payload before. */
const payloads = [
  text,
  `${text}, and more`,
  { text, tags: ['ü', 1, null] },
  [text, { deep: [text] }],
  Buffer.from(text),
  bytes,
  Buffer.concat([bytes.subarray(30), bytes]),
  text,
  'x',
  `x${text}`,
  quotes,
  quotes.map((quote, index) => (index % 9 ? quote : { ...quote, bid: quote.bid + 1 })),
  [...quotes.slice(50), ...quotes.slice(0, 50)],
];

/** The indexes of the payloads that arrive in full: the first, shorter ones than any delta, and dissimilar ones. */
const full = [0, 8, 9, 10];

/** Payloads with no part in common. */
const dissimilar = Array.from({ length: 4 }, (_, number) =>
  Buffer.from(Array.from({ length: 500 }, (_, index) => (number * 7919 + index * index * 31) % 251)),
);

let server;
before(async () => (server = await startServer()));
after(() => server?.stop());

/** The options of an npm client that applies and counts deltas. */
function counting() {
  const counted = { deltas: 0 };
  const decode = (delta, base) => {
    counted.deltas += 1;
    return vcdiffDecoder.decode(delta, base);
  };
  return { counted, options: { plugins: { vcdiff: { decode } } } };
}

/** Returns a check that fails if the channel attached again, because then a delta was not applied. */
function steady(channel) {
  const changes = [];
  channel.on(['attaching', 'failed'], (change) => changes.push(change));
  return () => assert.deepEqual(changes, []);
}

/** The indexes of the messages that arrived in full. */
const inFull = (messages) => messages.flatMap(({ extras }, index) => (extras?.delta ? [] : [index]));

const params = { delta: 'vcdiff' };

for (const theirs of formats) {
  describe(`npm client in ${theirs}`, () => {
    test('applies deltas of every type of payload', async () => {
      const { counted, options } = counting();
      await withRealtime(server, theirs, async (client) => {
        const channel = client.channels.get(`npm:${theirs}`, { params });
        await channel.attach();
        assert.deepEqual(channel.params, params);
        const check = steady(channel);
        const collected = await collect(channel, payloads.length);
        for (const payload of payloads) await channel.publish('m', payload);
        const messages = await collected.messages;
        assert.deepEqual(messages.map(({ data }) => data), payloads);
        assert.deepEqual(messages.map(({ encoding }) => encoding ?? null), payloads.map(() => null));
        assert.deepEqual(inFull(messages), full);
        assert.equal(counted.deltas, payloads.length - full.length);
        check();
      }, options);
    });

    test('applies deltas of several messages in a publish, also over REST', async () => {
      const { counted, options } = counting();
      await withRealtime(server, theirs, async (client) => {
        const channel = client.channels.get(`batch:${theirs}`, { params });
        await channel.attach();
        const check = steady(channel);
        const collected = await collect(channel, 2 * payloads.length);
        await channel.publish(payloads.map((data) => ({ name: 'm', data })));
        await rest(server, theirs).channels.get(channel.name).publish(
          payloads.map((data) => ({ name: 'm', data })),
        );
        const messages = await collected.messages;
        assert.deepEqual(messages.map(({ data }) => data), [...payloads, ...payloads]);
        // The first frame contains full messages, so only the second frame has deltas.
        assert.equal(counted.deltas, payloads.length - full.length);
        check();
      }, options);
    });

    test('payloads with no part in common arrive in full', async () => {
      const { counted, options } = counting();
      await withRealtime(server, theirs, async (client) => {
        const channel = client.channels.get(`dissimilar:${theirs}`, { params });
        const collected = await collect(channel, dissimilar.length);
        for (const payload of dissimilar) await channel.publish('m', payload);
        const messages = await collected.messages;
        assert.deepEqual(messages.map(({ data }) => data), dissimilar);
        assert.equal(counted.deltas, 0);
      }, options);
    });

    test('after a decoder fails, messages arrive again in full', async () => {
      let failures = 1;
      const decode = (delta, base) => {
        if (failures-- > 0) throw new Error('simulated decode failure');
        return vcdiffDecoder.decode(delta, base);
      };
      await withRealtime(server, theirs, async (client) => {
        const channel = client.channels.get(`failing:${theirs}`, { params });
        await channel.attach();
        const reasons = [];
        channel.on('attaching', ({ reason }) => reasons.push(reason?.code));
        const collected = await collect(channel, 5);
        const texts = Array.from({ length: 5 }, (_, number) => `${text} ${number}`);
        for (const data of texts) await channel.publish('m', data);
        const messages = await collected.messages;
        assert.deepEqual(messages.map(({ data }) => data), texts);
        assert.deepEqual(reasons, [40018]);
      }, { plugins: { vcdiff: { decode } } });
    });

    test('a channel without a decoder fails', async () => {
      await withRealtime(server, theirs, async (client) => {
        const channel = client.channels.get(`no-decoder:${theirs}`, { params });
        await channel.attach();
        // Wait before publishing: in the state `failed`, `whenState` resolves to `null`. The delta may arrive first.
        const failed = channel.whenState('failed');
        for (const data of [text, `${text}!`]) {
          await rest(server, theirs).channels.get(channel.name).publish('m', data);
        }
        const { reason } = await failed;
        assert.equal(reason.code, 40019);
      });
    });

    for (const ours of formats) {
      test(`the npm client publishes, capably in ${ours} applies the deltas`, async () => {
        const name = `capably:${theirs}:${ours}`;
        const subscription = await subscribe(server, ours, name, payloads.length, '--delta');
        await withRealtime(server, theirs, async (client) => {
          const channel = client.channels.get(name);
          for (const payload of payloads) await channel.publish('m', payload);
        });
        const lines = await subscription.messages;
        const sent = payloads.map((data) => (Buffer.isBuffer(data) ? data.toString('base64') : data));
        assert.deepEqual(lines.map(({ data }) => data), sent);
        assert.deepEqual(inFull(lines), full);
      });
    }
  });
}

test('encrypted payloads arrive without deltas', async () => {
  const { key } = await fixture('crypto-data-256.json');
  for (const format of formats) {
    const { options } = counting();
    await withRealtime(server, format, async (client) => {
      const channel = client.channels.get(`encrypted:${format}`, { params, cipher: { key } });
      const collected = await collect(channel, payloads.length);
      for (const payload of payloads) await channel.publish('m', payload);
      const messages = await collected.messages;
      assert.deepEqual(messages.map(({ data }) => data), payloads);
      assert.deepEqual(messages.filter(({ extras }) => extras?.delta), []);
    }, options);
  }
});

test('the command publishes, both clients apply the deltas', async () => {
  const { options } = counting();
  const name = 'from-capably';
  await withRealtime(server, 'msgpack', async (client) => {
    const collected = await collect(client.channels.get(name, { params }), 3);
    const subscription = await subscribe(server, 'json', name, 3, '--delta');
    const texts = [1, 2, 3].map((number) => `${text} ${number}`);
    for (const own of texts) await capably(server, 'publish', name, 'm', own);
    const [theirs, ours] = await Promise.all([collected.messages, subscription.messages]);
    assert.deepEqual(theirs.map(({ data }) => data), texts);
    assert.deepEqual(ours.map(({ data }) => data), texts);
    assert.deepEqual(theirs.map(({ extras }) => extras), ours.map(({ extras }) => extras));
  }, options);
});
