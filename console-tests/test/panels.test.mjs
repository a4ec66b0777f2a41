// Every panel shows what the server has, and does what its controls say.

import assert from 'node:assert/strict';

import { callApi, consoleTests, goByLink, newPage, openChannel, picture, signIn, until } from '../support/console.mjs';
import { startServer } from '../support/server.mjs';

const test = consoleTests();

test('the printed address signs in once, the tab stays signed in, and the token leaves the address', async ({
  browser,
  page,
}) => {
  const first = await startServer();
  try {
    await page.goto(first.console);
    await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
    assert.equal(new URL(page.url()).hash, '#/overview');
    await page.reload();
    await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
    const other = await newPage(browser);
    await other.goto(first.console);
    await other.getByRole('alert').waitFor();
    assert.match(await other.getByRole('alert').innerText(), /restart|key/i);
    await other.context().close();
  } finally {
    await first.stop();
  }
});

test('a wrong key is refused with a message', async ({ server, page }) => {
  await page.goto(`${server.origin}/console/`);
  await page.getByLabel('API key').fill(`${server.key}wrong`);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('alert').waitFor();
  assert.equal(await page.getByRole('heading', { name: 'Overview' }).count(), 0);
});

test('the overview and the list of channels follow what clients publish', async ({ server, page }) => {
  await signIn(page, server);
  await server.publish('list:one', { name: 'a', data: 'b' });
  await page.getByRole('link', { name: 'list:one' }).waitFor();
  await picture(page, 'overview');
  await goByLink(page, 'Channels');
  await page.getByLabel('Name contains').fill('list:');
  await page.getByRole('row').filter({ hasText: 'list:one' }).waitFor();
  await page.getByText('1 channel', { exact: true }).waitFor();
  await picture(page, 'channels');
  await page.getByRole('link', { name: 'list:one' }).click();
  await page.getByRole('heading', { level: 1, name: 'list:one' }).waitFor();
});

test('messages pass decoded, can be filtered and paused, and older ones are loaded', async ({ server, page }) => {
  await server.publish('live', { name: 'before', data: 'older' });
  await signIn(page, server);
  await openChannel(page, 'live');
  await page.getByRole('button', { name: 'Load older messages' }).click();
  await page.locator('.row', { hasText: 'older' }).waitFor();
  await server.publish('live', { name: 'greeting', data: { user: { name: 'Ada' } } });
  await server.publish('live', { name: 'bytes', data: 'AAEC/w==', encoding: 'base64' });
  await page.locator('.row', { hasText: '00 01 02 ff' }).waitFor();
  await page.locator('.row', { hasText: 'greeting' }).click();
  assert.equal(await page.getByTestId('payload').innerText(), JSON.stringify({ user: { name: 'Ada' } }, null, 2));
  await picture(page, 'messages');
  await page.keyboard.press('Escape');
  await page.getByRole('complementary', { name: 'Details' }).waitFor({ state: 'hidden' });
  await page.getByLabel('Filter').fill('wanted');
  await server.publish('live', { name: 'other', data: 'x' });
  await server.publish('live', { name: 'wanted', data: 'y' });
  await page.locator('.row', { hasText: 'wanted' }).waitFor();
  await page.getByText('1 filtered out').waitFor();
  assert.equal(await page.locator('.row', { hasText: 'other' }).count(), 0);
  await page.getByRole('button', { name: 'Pause' }).click();
  await server.publish('live', { name: 'wanted', data: 'late' });
  await page.getByText('1 waiting').waitFor();
  assert.equal(await page.locator('.row', { hasText: 'late' }).count(), 0);
  await page.getByRole('button', { name: 'Go on' }).click();
  await page.locator('.row', { hasText: 'late' }).waitFor();
});

test('deltas are decoded and marked', async ({ server, page }) => {
  await signIn(page, server);
  await openChannel(page, 'deltas');
  await page.evaluate(() => {
    window.seen = [];
    new MutationObserver(() => window.seen.push(document.querySelector('.state').dataset.state)).observe(
      document.querySelector('.state'),
      { attributes: true },
    );
  });
  await page.getByLabel('Deltas').check();
  await until(page, () => window.seen.at(-1) === 'attached' && window.seen.length > 1);
  const text = 'a long text that hardly changes from message to message, so that a delta is short '.repeat(4);
  await server.publish('deltas', { name: 'm', data: `${text}one` });
  await server.publish('deltas', { name: 'm', data: `${text}two` });
  const row = page.locator('.row').filter({ has: page.locator('.badge', { hasText: /^delta$/ }) });
  await row.click();
  assert.equal(await page.getByTestId('payload').innerText(), `${text}two`);
});

test('a message is published in each form, and bad JSON is explained', async ({ server, page }) => {
  await signIn(page, server);
  await openChannel(page, 'publish');
  await page.getByText('Publish a message').click();
  await page.getByLabel('Name', { exact: true }).fill('typed');
  await page.getByLabel('Type of data').selectOption('json');
  await page.getByLabel('Data', { exact: true }).fill('{"a": ');
  await page.getByRole('button', { name: 'Publish', exact: true }).click();
  await page.getByRole('alert').filter({ hasText: 'not JSON' }).waitFor();
  await page.getByLabel('Data', { exact: true }).fill('{"a": 1}');
  await page.getByRole('button', { name: 'Publish', exact: true }).click();
  await page.locator('.row', { hasText: '{"a":1}' }).waitFor();
});

test('versions and annotations of a mutable message are made and shown', async ({ server, page }) => {
  const [key] = await server.createApp([{ '*': ['*'] }], [{ id: 'mutable', mutableMessages: true }]);
  await signIn(page, server, key);
  await openChannel(page, 'mutable:room');
  await server.rest('POST', '/channels/mutable%3Aroom/messages', { name: 'm', data: 'first' }, key);
  await page.locator('.row', { hasText: 'first' }).click();
  await page.getByLabel('New data').fill('second');
  await page.getByRole('button', { name: 'Change', exact: true }).click();
  await page.locator('.row', { hasText: 'second' }).filter({ hasText: 'update' }).waitFor();
  await page.getByRole('button', { name: 'Versions' }).click();
  await page.locator('.details li', { hasText: 'first' }).waitFor();
  await page.locator('.details li', { hasText: 'second' }).waitFor();
  await page.getByRole('button', { name: 'Annotate' }).click();
  await page.locator('.row', { hasText: 'summary' }).waitFor();
});

test('a member enters, updates and leaves', async ({ server, page }) => {
  await signIn(page, server);
  await openChannel(page, 'members', 'presence');
  await page.getByLabel('Client ID').fill('ada');
  await page.getByLabel('Data').fill('busy');
  await page.getByRole('button', { name: 'Enter' }).click();
  const member = page.getByRole('list', { name: 'Members' }).getByRole('listitem').filter({ hasText: 'ada' });
  await member.filter({ hasText: 'busy' }).waitFor();
  await page.getByLabel('Data').fill('free');
  await page.getByRole('button', { name: 'Enter' }).click();
  await member.filter({ hasText: 'free' }).waitFor();
  await picture(page, 'presence');
  await member.getByRole('button', { name: 'Leave' }).click();
  await page.getByText('Nobody is present').waitFor();
});

test('objects are made, counted and removed', async ({ server, page }) => {
  await signIn(page, server);
  await openChannel(page, 'objects', 'objects');
  const set = async (path, type, value) => {
    await page.getByLabel('Path').fill(path);
    await page.getByLabel('Type').selectOption(type);
    await page.getByLabel('Value').fill(value);
    await page.getByRole('button', { name: 'Set', exact: true }).click();
    await page.locator('.tree').getByText(path.split('.').at(-1), { exact: true }).waitFor({ state: 'attached' });
  };
  await set('title', 'string', 'Hello');
  await set('settings', 'map', '');
  // The entries of a map are drawn when it is opened, and it stays open.
  await page.locator('.tree summary', { hasText: 'settings' }).click();
  await set('settings.dark', 'boolean', 'true');
  await set('votes', 'counter', '3');
  await page.getByRole('button', { name: 'Increment votes' }).click();
  await page.locator('.tree strong').getByText('4', { exact: true }).waitFor();
  await picture(page, 'objects');
  await server.rest('POST', '/channels/objects/object', {
    objectId: 'root',
    mapSet: { key: 'fromOutside', value: { number: 7 } },
  });
  await page.locator('.tree').getByText('fromOutside').waitFor();
  await page.getByRole('button', { name: 'Remove title' }).click();
  await page.locator('.tree').getByText('title', { exact: true }).waitFor({ state: 'detached' });
});

test('a connection is cut, and the client connects again', async ({ server, page }) => {
  await signIn(page, server);
  await openChannel(page, 'cut');
  await goByLink(page, 'Connections');
  const own = page.getByRole('listitem').filter({ hasText: 'this page' });
  await own.waitFor();
  await picture(page, 'connections');
  await page.evaluate(() => {
    window.states = [];
    const state = document.querySelector('.link-state');
    new MutationObserver(() => window.states.push(state.dataset.state)).observe(state, { attributes: true });
  });
  await own.getByRole('button', { name: /^Cut connection/ }).click();
  await until(page, () => window.states.includes('disconnected') && window.states.at(-1) === 'connected');
});

test('a rule is added, switched off and on, and removed', async ({ server, page }) => {
  await signIn(page, server);
  await goByLink(page, 'Faults');
  await page.getByLabel('Start from').selectOption({ label: 'Refuse the next connection' });
  await page.getByRole('button', { name: 'Add rule' }).click();
  const rules = async () => (await callApi(page, 'faults/rules')).rules.length;
  const on = page.getByRole('switch');
  await on.waitFor();
  assert.equal(await rules(), 1);
  await picture(page, 'faults');
  await on.click();
  await page.getByText('off', { exact: true }).waitFor();
  assert.equal(await rules(), 0);
  await page.getByRole('switch').click();
  await page.getByText(/applied \d+ time/).waitFor();
  assert.equal(await rules(), 1);
  await page.getByRole('button', { name: /^Remove rule/ }).click();
  await page.getByText('No rules').waitFor();
  assert.equal(await rules(), 0);
});

test('frames are recorded while the switch is on', async ({ server, browser, page }) => {
  await signIn(page, server);
  const client = await newPage(browser);
  await signIn(client, server);
  await openChannel(client, 'recorded');
  await goByLink(page, 'Frames');
  await page.getByRole('switch', { name: 'Record' }).click();
  await page.getByLabel('Channel').fill('recorded');
  while (!(await callApi(page, 'overview')).frames);
  await server.publish('recorded', { name: 'm', data: 'in a frame' });
  const row = page.locator('.row', { hasText: 'MESSAGE' });
  await row.click();
  await page.getByRole('complementary', { name: 'Frame' }).getByText('in a frame').waitFor();
  await picture(page, 'frames');
  await client.context().close();
});

test('a token is made, looked into and tried', async ({ server, page }) => {
  await signIn(page, server);
  await goByLink(page, 'Tokens');
  await page.getByLabel('Capability', { exact: true }).fill('{"chat:*": ["subscribe", "history"]}');
  await page.getByRole('button', { name: 'Make token' }).click();
  await page.getByLabel('The token').waitFor();
  await page.getByRole('button', { name: 'Look into it' }).click();
  await page.getByRole('button', { name: 'Try this capability' }).click();
  await page.getByRole('button', { name: 'Try', exact: true }).click();
  const row = (name) =>
    page
      .getByRole('row')
      .filter({ has: page.getByRole('rowheader', { name, exact: true }) })
      .first();
  await row('history').filter({ hasText: 'yes' }).waitFor();
  await row('publish').filter({ hasText: 'no' }).waitFor();
  await page.getByRole('button', { name: 'Ask the server' }).click();
  await page.getByRole('row', { name: /statistics.*40160/ }).waitFor();
  await picture(page, 'tokens');
});

test('statistics are drawn, and readable as a table', async ({ server, page }) => {
  await server.publish('stats', { name: 'm', data: 'x' });
  await signIn(page, server);
  await goByLink(page, 'Statistics');
  await page.getByRole('img', { name: /^Messages in: / }).waitFor();
  await picture(page, 'statistics');
  await page.getByLabel('As a table').check();
  await page.getByRole('columnheader', { name: 'Messages in' }).waitFor();
});
