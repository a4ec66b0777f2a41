// What the page shows to keys that lack rights: each panel names the capability that is missing.

import assert from 'node:assert/strict';

import { connectClient } from '../support/client.mjs';
import { consoleTests, goTo, openChannel, picture, signIn } from '../support/console.mjs';

const test = consoleTests();

const EVERYTHING = '{"*":["*"]}';
const notice = (page, ...texts) =>
  texts
    .reduce((found, hasText) => found.filter({ hasText }), page.getByRole('note'))
    .first()
    .waitFor();

test('a key with one right is told on each panel which capability is missing', async ({ server, page }) => {
  const [key] = await server.createApp([{ 'open:*': ['subscribe'] }]);
  await signIn(page, server, key);
  for (const [panel, text, capability] of [
    ['overview', 'cannot list channels', 'channel-metadata'],
    ['overview', 'rates', EVERYTHING],
    ['channels', 'cannot list channels', 'channel-metadata'],
    ['connections', 'cannot list connections', EVERYTHING],
    ['faults', 'cannot inject faults', EVERYTHING],
    ['frames', 'cannot record frames', EVERYTHING],
    ['statistics', 'cannot read statistics', 'statistics'],
  ]) {
    await goTo(page, panel);
    await notice(page, text, capability);
  }
  await openChannel(page, 'open:room');
  await page.getByText('Rates and occupancy need the capability channel-metadata.').waitFor();
  for (const [tab, capabilities] of [
    ['messages', ['publish', 'history', 'annotation-subscribe']],
    ['presence', ['presence']],
    ['objects', ['object-publish', 'object-subscribe']],
  ]) {
    await goTo(page, `channels/open%3Aroom/${tab}`);
    for (const capability of capabilities) await notice(page, `capability ${capability} on open:room`);
  }
  await picture(page, 'limited');
});

test('a key that lacks one right of a channel is told which one, where it is needed', async ({ server, page }) => {
  const places = {
    subscribe: ['messages', 'presence'],
    publish: ['messages'],
    history: ['messages'],
    presence: ['presence'],
    'object-subscribe': ['objects'],
    'object-publish': ['objects'],
    'annotation-subscribe': ['messages'],
  };
  await page.goto(`${server.origin}/console/`);
  const all = await page.evaluate(async () => {
    const { OPERATIONS } = await import('/console/capability.js');
    return OPERATIONS.map(([operation]) => operation);
  });
  const missing = Object.keys(places);
  const keys = await server.createApp(missing.map((operation) => ({ '*': all.filter((it) => it !== operation) })));
  for (const [index, operation] of missing.entries()) {
    await signIn(page, server, keys[index]);
    for (const tab of places[operation]) {
      await openChannel(page, 'room', tab);
      await notice(page, `capability ${operation} on room`);
    }
    await page.getByRole('button', { name: 'Sign out' }).click();
  }
});

test('the details of a message name the capabilities for what cannot be done with it', async ({ server, page }) => {
  const [full, reader] = await server.createApp(
    [{ '*': ['*'] }, { '*': ['subscribe'] }],
    [{ id: 'mutable', mutableMessages: true }],
  );
  await signIn(page, server, reader);
  await openChannel(page, 'mutable:room');
  await server.publish('mutable:room', { data: 'x' }, full);
  await page.locator('.row').click();
  for (const capability of ['history', 'message-update-own', 'annotation-publish'])
    await notice(page.getByRole('complementary', { name: 'Details' }), `capability ${capability} on mutable:room`);
});

test('a key without a right on this channel, and one without any, open no panel by accident', async ({
  server,
  page,
}) => {
  const [key] = await server.createApp([{ 'other:*': ['*'] }]);
  await signIn(page, server, key);
  await goTo(page, 'channels/room/messages');
  await notice(page, 'cannot receive from this channel', 'capability subscribe on room');
  for (const tab of ['presence', 'objects']) {
    await goTo(page, `channels/room/${tab}`);
    await notice(page, 'It needs the capability');
  }
  await goTo(page, 'tokens');
  await page.getByLabel('Channel', { exact: true }).fill('room');
  await page.getByRole('button', { name: 'Ask the server' }).click();
  await page.getByRole('row', { name: /history.*40160/ }).waitFor();
});

test('the operator of another app is told who operates the server', async ({ server, page }) => {
  const [key] = await server.createApp([{ '*': ['*'] }]);
  const client = await connectClient(server, { key, clientId: 'theirs' });
  await signIn(page, server, key);
  await notice(page, 'rates', 'first app');
  await goTo(page, 'faults');
  await page.getByRole('alert').filter({ hasText: 'sign in with the key of its first app' }).waitFor();
  await goTo(page, 'connections');
  await page.getByText('theirs').waitFor();
  client.close();
});

test('the page matches capabilities as the server does', async ({ server, page }) => {
  await signIn(page, server);
  const cases = [
    ['*', 'a:b', true],
    ['*', '[meta]a', false],
    ['[*]*', '[meta]a', true],
    ['ns:*', 'ns:a:b', true],
    ['ns:*', 'ns', false],
    ['foo*', 'foobar', false],
    ['a:*:c', 'a:x:c', true],
    ['a:*:c', 'a:x:y:c', false],
    ['a', 'a', true],
    ['a', 'b', false],
  ];
  const results = await page.evaluate(async (all) => {
    const { matches } = await import('/console/capability.js');
    return all.map(([resource, channel]) => matches(resource, channel));
  }, cases);
  assert.deepEqual(
    results,
    cases.map(([, , expected]) => expected),
  );
});
