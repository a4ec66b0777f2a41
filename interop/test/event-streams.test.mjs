// The npm package `eventsource` reads event streams of our server.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { after, before, test } from 'node:test';

import { EventSource } from 'eventsource';

import { createApp, startServer } from '../support.mjs';

let server, app;
before(async () => {
  server = await startServer();
  app = await createApp(server);
});
after(() => server?.stop());

function urlOf(query, { endpoint, port } = server) {
  return `http://${endpoint}:${port}/sse?v=1.2&key=${encodeURIComponent(app.key)}&${query}`;
}

async function publish(channel, messages) {
  const response = await fetch(`http://${server.endpoint}:${server.port}/channels/${channel}/messages`, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa(app.key)}`, 'content-type': 'application/json' },
    body: JSON.stringify(messages),
  });
  assert.equal(response.status, 201);
}

/** Collects messages until there are `count` of them. */
function collect(source, count) {
  const seen = [];
  return new Promise((resolve) => {
    source.addEventListener('message', (event) => {
      seen.push({ ...JSON.parse(event.data), lastEventId: event.lastEventId });
      if (seen.length === count) resolve(seen);
    });
  });
}

/** Forwards connections to the server, and cuts them all on demand. */
async function startRelay() {
  const sockets = new Set();
  const relay = createServer((socket) => {
    const upstream = connect(server.port, server.endpoint);
    for (const end of [socket, upstream]) {
      sockets.add(end);
      end.on('error', () => {});
      end.on('close', () => sockets.delete(end));
    }
    socket.pipe(upstream).pipe(socket);
  });
  relay.listen(0, '127.0.0.1');
  await once(relay, 'listening');
  const cut = () => sockets.forEach((socket) => socket.destroy());
  return {
    endpoint: '127.0.0.1',
    port: relay.address().port,
    cut,
    stop() {
      cut();
      relay.close();
    },
  };
}

test('events arrive with their ids', async () => {
  const source = new EventSource(urlOf('channels=sse-a,sse-b'));
  await once(source, 'open').catch(() => {});
  const all = collect(source, 3);
  await publish('sse-a', [{ name: 'one', data: 'x' }, { name: 'two', data: { k: 1 } }]);
  await publish('sse-b', { name: 'three', data: 'line\nbreak' });
  const seen = await all;
  assert.deepEqual(seen.map(({ name, channel }) => [name, channel]), [['one', 'sse-a'], ['two', 'sse-a'], ['three', 'sse-b']]);
  assert.deepEqual(JSON.parse(seen[1].data), { k: 1 });
  assert.equal(seen[2].data, 'line\nbreak');
  assert.equal(new Set(seen.map(({ lastEventId }) => lastEventId)).size, 3);
  source.close();
});

test('a source whose connection is cut goes on without loss or repeats', async () => {
  const relay = await startRelay();
  const source = new EventSource(urlOf('channels=cut-a,cut-b&enveloped=true', relay));
  const opened = () => new Promise((resolve) => source.addEventListener('open', resolve, { once: true }));
  await opened();
  // This package remembers no id before its first event, as browsers do.
  const first = collect(source, 1);
  await publish('cut-a', { data: 'first' });
  await first;
  const all = collect(source, 12);
  for (let round = 0; round < 3; round += 1) {
    await publish('cut-a', [{ data: `${round}.0` }, { data: `${round}.1` }]);
    const again = opened();
    relay.cut();
    await publish('cut-b', [{ data: `${round}.2` }, { data: `${round}.3` }]);
    await again;
  }
  const seen = await all;
  const expected = [0, 1, 2].flatMap((round) => [0, 1, 2, 3].map((part) => `${round}.${part}`));
  assert.deepEqual(seen.map(({ data }) => data).sort(), expected);
  source.close();
  relay.stop();
});

test('a source with bad credentials fails for good', async () => {
  const source = new EventSource(`http://${server.endpoint}:${server.port}/sse?channels=a&accessToken=none`);
  const failure = await new Promise((resolve) => source.addEventListener('error', resolve));
  assert.equal(failure.code, 401);
  assert.equal(source.readyState, EventSource.CLOSED);
});

test('a token that expires ends the stream with an event that says so, and the next token goes on from the last id', async () => {
  const name = app.key.split(':')[0];
  const token = async (ttl) => {
    const response = await fetch(`http://${server.endpoint}:${server.port}/keys/${name}/requestToken`, {
      method: 'POST',
      headers: { authorization: `Basic ${btoa(app.key)}`, 'content-type': 'application/json' },
      body: JSON.stringify({ keyName: name, ttl, timestamp: Date.now() }),
    });
    return (await response.json()).token;
  };
  const base = `http://${server.endpoint}:${server.port}/sse?v=1.2&channels=renewed`;
  const source = new EventSource(`${base}&accessToken=${await token(1500)}`);
  await new Promise((resolve) => source.addEventListener('open', resolve));
  const first = collect(source, 1);
  await publish('renewed', { data: 'before' });
  const [{ lastEventId }] = await first;
  const error = await new Promise((resolve) => {
    source.addEventListener('error', (event) => event.data && resolve(JSON.parse(event.data)));
  });
  assert.deepEqual([error.code, error.statusCode], [40142, 401]);
  source.close();
  await publish('renewed', { data: 'between' });
  const next = new EventSource(`${base}&accessToken=${await token(60000)}&lastEvent=${lastEventId}`);
  const [missed] = await collect(next, 1);
  assert.equal(missed.data, 'between');
  next.close();
});
