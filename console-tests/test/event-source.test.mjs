// A page of another origin reads an event stream with the browser's own `EventSource`.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect, createServer as createRelay } from 'node:net';
import { after, before } from 'node:test';

import { consoleTests } from '../support/console.mjs';

const test = consoleTests();

let site;
before(async () => {
  site = createServer((_, response) => response.setHeader('content-type', 'text/html').end('<!doctype html><title>page</title>'));
  site.listen(0, '127.0.0.1');
  await once(site, 'listening');
});
after(() => site?.close());

test('the browser receives events of several channels', async ({ server, page }) => {
  await page.goto(`http://127.0.0.1:${site.address().port}/`);
  const url = `${server.origin}/sse?v=1.2&channels=a,b&key=${encodeURIComponent(server.key)}`;
  await page.evaluate((url) => {
    window.seen = [];
    window.source = new EventSource(url);
    window.source.onmessage = ({ data, lastEventId }) => window.seen.push({ ...JSON.parse(data), lastEventId });
    return new Promise((resolve) => (window.source.onopen = resolve));
  }, url);
  await server.publish('a', [{ data: 'one' }, { data: 'zwei\nü' }]);
  await server.publish('b', { data: 'three' });
  await page.waitForFunction(() => window.seen.length === 3);
  const seen = await page.evaluate(() => window.seen);
  assert.deepEqual(seen.map(({ channel, data }) => [channel, data]), [['a', 'one'], ['a', 'zwei\nü'], ['b', 'three']]);

  // A new source goes on behind the first message.
  const rest = await page.evaluate(
    ({ url, lastEventId }) =>
      new Promise((resolve) => {
        window.source.close();
        const seen = [];
        const source = new EventSource(`${url}&lastEvent=${lastEventId}`);
        source.onmessage = ({ data }) => {
          seen.push(JSON.parse(data).data);
          if (seen.length === 2) resolve(seen);
        };
      }),
    { url, lastEventId: seen[0].lastEventId },
  );
  assert.deepEqual(rest.sort(), ['three', 'zwei\nü']);
});

test('a browser whose connection is cut before its first event misses nothing', async ({ server, page }) => {
  const sockets = new Set();
  const relay = createRelay((socket) => {
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
  await page.goto(`http://127.0.0.1:${site.address().port}/`);
  const origin = `http://127.0.0.1:${relay.address().port}`;
  const url = `${origin}/sse?v=1.2&channels=cut&key=${encodeURIComponent(server.key)}`;
  await page.evaluate((url) => {
    window.seen = [];
    window.opened = 0;
    window.source = new EventSource(url);
    window.source.onopen = () => (window.opened += 1);
    window.source.onmessage = ({ data }) => window.seen.push(JSON.parse(data).data);
  }, url);
  await page.waitForFunction(() => window.opened === 1);
  for (let round = 0; round < 2; round += 1) {
    sockets.forEach((socket) => socket.destroy());
    await server.publish('cut', [{ data: `${round}.0` }, { data: `${round}.1` }]);
    await page.waitForFunction((count) => window.opened === count && window.seen.length === 2 * (count - 1), round + 2);
  }
  assert.deepEqual(await page.evaluate(() => window.seen), ['0.0', '0.1', '1.0', '1.1']);
  await page.evaluate(() => window.source.close());
  relay.close();
});
