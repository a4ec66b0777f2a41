// Channels, members, messages, connections and objects by the thousand: the page draws a limited number, and says how
// to see the others.
//
// No test measures time on the clock. Work is counted, or compared with the same work for few: processor time of the
// page's thread.

import assert from 'node:assert/strict';

import { connectClient } from '../support/client.mjs';
import { consoleTests, goTo, openChannel, picture, refreshed, signIn, until } from '../support/console.mjs';

const test = consoleTests('--max-objects-bytes', '134217728');

const numbered = (name, count) => Array.from({ length: count }, (_, index) => name + String(index).padStart(5, '0'));

/** The processor time in which the page's thread does `run`, in seconds. */
async function workOf(page, run) {
  const session = await page.context().newCDPSession(page);
  await session.send('Performance.enable', { timeDomain: 'threadTicks' });
  const spent = async () =>
    (await session.send('Performance.getMetrics')).metrics.find(({ name }) => name === 'TaskDuration').value;
  const before = await spent();
  await run();
  const work = (await spent()) - before;
  await session.detach();
  return work;
}

/** The processor time of each of five refreshes of a panel. */
const workOfRefresh = async (page, path) =>
  (await workOf(page, async () => {
    for (let round = 0; round < 5; round += 1) await refreshed(page, path);
  })) / 5;

/** The bytes that the console's API answers to a request. */
async function sizeOfAnswer(page, path) {
  const response = await page.waitForResponse((it) => it.url().includes(`/console/api/${path}`) && it.ok());
  return (await response.body()).length;
}

test('10,000 channels cost what 200 cost, are counted, and one is found', async ({ server, page }) => {
  await server.publishToAll(numbered('a', 200), { data: 'x' });
  await signIn(page, server);
  await goTo(page, 'channels');
  await until(page, () => document.querySelectorAll('tbody tr').length === 200);
  const few = { work: await workOfRefresh(page, 'channels?'), size: await sizeOfAnswer(page, 'channels?') };

  await server.publishToAll(numbered('b', 9800), { data: 'x' });
  await page
    .getByText('200 of 10,000 channels shown. Narrow the search, or sort them differently, to see others.')
    .waitFor();
  const many = { work: await workOfRefresh(page, 'channels?'), size: await sizeOfAnswer(page, 'channels?') };
  console.log('channels', few, many);
  assert.equal(await page.locator('tbody tr').count(), 200);
  assert.ok(many.work < 3 * few.work, `a refresh takes ${many.work} s, for 200 channels ${few.work} s`);
  assert.ok(many.size < 1.5 * few.size, `an answer has ${many.size} bytes, for 200 channels ${few.size}`);
  await picture(page, 'channels-10000');

  await page.getByLabel('Name contains').fill('B09777');
  await page.getByText('1 channel', { exact: true }).waitFor();
  await page.getByRole('link', { name: 'b09777' }).click();
  await page.getByRole('heading', { level: 1, name: 'b09777' }).waitFor();
  await goTo(page, 'overview');
  await until(page, () => document.querySelectorAll('.plain .line').length === 8);
});

test('10,000 members are counted, 200 are drawn, and one is found', async ({ server, page }) => {
  // A service with so many members is played: the server of the command allows 250.
  const names = numbered('member-', 10000);
  await page.routeWebSocket(/access_token=/, (socket) => {
    const service = socket.connectToServer();
    service.onMessage((text) => {
      const frame = JSON.parse(text);
      if (frame.action !== 11) return socket.send(text);
      socket.send(JSON.stringify({ ...frame, flags: frame.flags | 1 }));
      for (let at = 0; at < names.length; at += 100) {
        const presence = names.slice(at, at + 100).map((clientId) => ({
          action: 1,
          clientId,
          connectionId: 'somebody',
          id: `somebody:0:${at}`,
          timestamp: 1700000000000,
          data: 'here',
        }));
        const channelSerial = `sync:${at + 100 < names.length ? at : ''}`;
        socket.send(JSON.stringify({ action: 16, channel: frame.channel, channelSerial, presence }));
      }
    });
  });
  await signIn(page, server);
  await openChannel(page, 'crowd', 'presence');
  await page.getByText('10,000 present, 200 of 10,000 shown. Search to see others.').waitFor();
  const rows = page.getByRole('list', { name: 'Members' }).getByRole('listitem');
  assert.equal(await rows.count(), 200);
  await picture(page, 'members-10000');
  await page.getByLabel('Search').fill('MEMBER-07777');
  await page.getByText('10,000 present', { exact: true }).waitFor();
  assert.equal(await rows.count(), 1);
});

test('a flood of messages is counted and drawn in small steps', async ({ server, page }) => {
  // The test decides when the page draws: `draw()` runs what waits for the next frame.
  await page.addInitScript(() => {
    const { requestAnimationFrame: native, WebSocket: Native } = window;
    const held = (window.held = []);
    window.requestAnimationFrame = (callback) => (window.holds ? held.push(callback) : native(callback));
    window.draw = () => held.splice(0).forEach((callback) => callback(performance.now()));
    window.received = 0;
    window.WebSocket = class extends Native {
      constructor(...args) {
        super(...args);
        this.addEventListener('message', ({ data }) => {
          const frame = JSON.parse(data);
          // After the page's own listener.
          if (frame.action === 15) setTimeout(() => (window.received += frame.messages.length));
        });
      }
    };
  });
  await signIn(page, server);
  await openChannel(page, 'flood');
  await page.evaluate(() => (window.holds = true));
  const batch = numbered('flood ', 100).map((name) => ({ name, data: { text: 'some payload' } }));
  for (let sent = 100; sent <= 10000; sent += 100) {
    await server.publish('flood', batch);
    // The page answers between any two batches.
    while ((await page.evaluate(() => window.received)) < sent);
  }
  const drawn = [];
  for (let step = 0; step < 15; step += 1) {
    while (!(await page.evaluate(() => window.held.length)));
    await page.evaluate(() => window.draw());
    drawn.push(await page.locator('.row').count());
  }
  assert.deepEqual(
    drawn,
    Array.from({ length: 15 }, (_, step) => 20 * (step + 1)),
  );
  const status = await page.getByTestId('stream-status').innerText();
  assert.equal(status, '10,000 received · 9,700 not drawn');

  await page.evaluate(() => (window.holds = false));
  for (let round = 0; round < 20; round += 1) await server.publish('flood', batch);
  await page.getByText('12,000 received').waitFor();
  assert.equal(await page.locator('.row').count(), 300);
  await picture(page, 'flood');
});

test('older messages are loaded page by page, and the rows stay limited', async ({ server, page }) => {
  const data = numbered('', 100).map((text) => ({ data: text }));
  for (let round = 0; round < 10; round += 1)
    await server.publish(
      'long',
      data.map((it) => ({ name: `round ${round}`, ...it })),
    );
  await signIn(page, server);
  await openChannel(page, 'long');
  const older = page.getByRole('button', { name: 'Load older messages' });
  for (let pages = 1; pages <= 10; pages += 1) {
    await older.click();
    await page.getByText(`${pages === 10 ? '1,000' : `${pages}00`} received`).waitFor();
  }
  assert.match(await page.getByTestId('stream-status').innerText(), /500 older ones not shown any more/);
  assert.equal(await page.locator('.row').count(), 500);
  await page.locator('.row').last().getByText('00000').waitFor();
  await server.publish('long', data);
  await page.getByText('1,100 received').waitFor();
  await until(page, () => document.querySelectorAll('.row').length === 600);
  await page.locator('.row').last().getByText('round 0').waitFor();
});

test('1,000 connections cost what 200 cost, are counted, and one is found', async ({ server, page }) => {
  // An app of its own: the pages of earlier tests can still resume their connections.
  const [key] = await server.createApp([{ '*': ['*'] }]);
  const clients = [];
  const connect = async (names) => {
    for (let at = 0; at < names.length; at += 50)
      clients.push(
        ...(await Promise.all(names.slice(at, at + 50).map((clientId) => connectClient(server, { key, clientId })))),
      );
  };
  await connect(numbered('client-', 1000).slice(0, 200));
  await signIn(page, server, key);
  await goTo(page, 'connections');
  await page.getByText('200 connections', { exact: true }).waitFor();
  const few = await workOfRefresh(page, 'connections?');
  await connect(numbered('client-', 1000).slice(200));
  await page.getByText('The newest 200 of 1,000 connections are shown. Narrow the search to see others.').waitFor();
  const many = await workOfRefresh(page, 'connections?');
  console.log('connections', few, many);
  assert.equal(await page.getByRole('list', { name: 'Connections' }).locator(':scope > li').count(), 200);
  assert.ok(many < 3 * few, `a refresh takes ${many} s, for 200 connections ${few} s`);
  await picture(page, 'connections-1000');
  await page.getByLabel('Connection or client').fill('client-00777');
  await page.getByText('1 connection', { exact: true }).waitFor();
  await page.getByText('client-00777').waitFor();
  for (const client of clients) client.close();
});

test('10,000 entries of an object are counted, 200 are drawn, and one is found', async ({ server, page }) => {
  const set = (keys) =>
    keys.map((key) => ({ objectId: 'root', mapSet: { key, value: { string: `value of ${key}` } } }));
  const keys = numbered('key-', 10000);
  for (let at = 0; at < keys.length; at += 100) await server.changeObjects('store', set(keys.slice(at, at + 100)));
  await signIn(page, server);
  await openChannel(page, 'store', 'objects');
  await page.getByText('map, 10,000').waitFor();
  await page.getByText('and 9,800 more. Search to see them.').waitFor();
  assert.equal(await page.locator('.tree li').count(), 201);
  await picture(page, 'objects-10000');
  await page.getByLabel('Key contains').fill('KEY-07777');
  await page.getByText('1 found', { exact: true }).waitFor();
  await page.locator('.tree').getByText('value of key-07777').waitFor();
  await server.changeObjects('store', [
    { objectId: 'root', mapSet: { key: 'key-07777', value: { string: 'changed' } } },
  ]);
  await page.locator('.tree').getByText('changed').waitFor();
  assert.equal(await page.locator('.tree li').count(), 1);
});
