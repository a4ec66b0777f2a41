// Content from outside is text in every panel: it never becomes markup, a link or a script, and it cannot hide.

import assert from 'node:assert/strict';

import { connectClient } from '../support/client.mjs';
import { callApi, consoleTests, goTo, openChannel, signIn, until } from '../support/console.mjs';

const test = consoleTests();

/** Each sets `window.breached` if it runs; `consoleTests` checks that after every test. */
const SCRIPTS = [
  '<img src=x onerror="window.breached=1">',
  '<script>window.breached=2</script>',
  '<svg onload="window.breached=3">',
  '"><iframe srcdoc="<script>parent.breached=4</script>">',
  'javascript:window.breached=5',
  '\' autofocus onfocus="window.breached=6" x="',
  '__proto__',
  'constructor',
];
const UNSEEN = [
  'left \u202e right',
  'zero\u200bwidth ad\u200dmin',
  'bell \u0007 escape \u001b[31m \u009b31m',
  '\ufeffmark',
];
const HOSTILE = [...SCRIPTS, ...UNSEEN];
const ALL = HOSTILE.join(' ');
const LARGE = `${ALL} ${'x'.repeat(1024 * 1024)}`;
const DEEP = `${'['.repeat(50000)}${']'.repeat(50000)}`;
const ERROR = { error: { code: 40000, statusCode: 400, message: ALL } };

/** Asserts that the page has no element or attribute that content could have made, and no character that cannot be seen. */
async function assertHarmless(page) {
  const found = await page.evaluate(() => {
    const problems = [];
    for (const element of document.querySelectorAll('body *')) {
      if (/^(img|script|iframe|object|embed|style|base|link|meta|image)$/i.test(element.localName))
        problems.push(element.outerHTML);
      for (const { name, value } of element.attributes)
        if (/^on/i.test(name) || /^\s*javascript:/i.test(value)) problems.push(`${name}=${value}`);
      if (element.localName === 'a' && !/^#(\/|main$)/.test(element.getAttribute('href')))
        problems.push(element.outerHTML);
    }
    const hidden =
      /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]|d\u200dm/u;
    const texts = [document.title, document.body.innerText];
    for (const element of document.querySelectorAll('[title], [aria-label]'))
      texts.push(element.title, element.getAttribute('aria-label') ?? '');
    for (const text of texts) {
      const at = hidden.exec(text)?.index;
      if (at !== undefined)
        problems.push(`a hidden character: ${JSON.stringify(text.slice(Math.max(0, at - 40), at + 40))}`);
    }
    return problems;
  });
  assert.deepEqual(found, []);
}

/** Opens each row of a list of messages or frames, and looks at its details. */
async function openRows(page, label, count) {
  await until(page, (least) => document.querySelectorAll('.row').length >= least, count);
  const details = page.getByRole('complementary', { name: label });
  for (const row of await page.locator('.row').all()) {
    await row.click();
    await details.waitFor();
    for (const more of await details.locator('details').all()) await more.locator('summary').click();
    await assertHarmless(page);
  }
}

const answer = (page, url, body, status = 200) =>
  page.route(url, (route) => route.fulfill({ status, contentType: 'application/json', body: JSON.stringify(body) }));

test('signing in: the message of a refusal', async ({ server, page }) => {
  await answer(page, '**/console/api/session', ERROR, 401);
  await page.goto(`${server.origin}/console/#${encodeURIComponent(SCRIPTS[0])}`);
  await page.getByRole('alert').getByText('⟨U+202E⟩').waitFor();
  await assertHarmless(page);
  await page.getByLabel('API key').fill(ALL);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await assertHarmless(page);
});

test('overview and channels: names', async ({ server, page }) => {
  const [key] = await server.createApp([{ '*': ['*'] }]);
  for (const name of HOSTILE) await server.publish(`of ${name}`, { data: 'x' }, key);
  await signIn(page, server, key);
  for (const place of ['overview', 'channels']) {
    await goTo(page, place);
    await page.getByRole('link', { name: /^of / }).first().waitFor();
    await assertHarmless(page);
  }
  assert.equal(await page.locator('tbody tr').count(), HOSTILE.length);
  for (const name of [SCRIPTS[0], SCRIPTS[4], UNSEEN[0]]) {
    await openChannel(page, `of ${name}`);
    await assertHarmless(page);
  }
  assert.match(await page.locator('h1').innerText(), /left ⟨U\+202E⟩ right/);
  await page.getByText('← All channels').click();
  await page.getByLabel('Name contains').fill(SCRIPTS[0]);
  await page.getByText('1 channel', { exact: true }).waitFor();
  await answer(page, '**/console/api/channels?*', ERROR, 400);
  await page.getByRole('alert').waitFor();
  await assertHarmless(page);
});

test('messages: names, clientIds, data, extras, annotations and versions', async ({ server, page }) => {
  const [key] = await server.createApp([{ '*': ['*'] }], [{ id: 'mutable', mutableMessages: true }]);
  const channel = 'mutable:room';
  await signIn(page, server, key);
  await openChannel(page, channel);
  for (const [index, text] of HOSTILE.entries()) {
    const extras = { headers: { [text]: text } };
    await server.publish(
      channel,
      { name: text, data: index % 2 ? text : { [text]: [text] }, clientId: text, extras },
      key,
    );
  }
  await openRows(page, 'Details', HOSTILE.length);
  const [{ serial }] = await server.rest('GET', `/channels/mutable%3Aroom/messages?limit=1`, undefined, key);
  const path = `/channels/mutable%3Aroom/messages/${encodeURIComponent(serial)}`;
  for (const text of SCRIPTS)
    await server.rest(
      'POST',
      `${path}/annotations`,
      [{ action: 0, type: `${text}:multiple.v1`, name: text, clientId: text }],
      key,
    );
  await server.rest('PATCH', path, { action: 1, data: ALL }, key);
  const updated = page.locator('.row').filter({ hasText: 'update' });
  await updated.click();
  for (const [title, count] of [
    ['All annotations', SCRIPTS.length],
    ['Versions', 2],
  ]) {
    await page.getByRole('button', { name: title }).click();
    await page.getByRole('heading', { level: 3, name: title }).waitFor();
    assert.equal(await page.locator('.details ol li').count(), count);
    await assertHarmless(page);
  }
  for (const row of await page.locator('.row').all()) {
    await row.click();
    await assertHarmless(page);
  }
});

test('messages: 1 MB, deep JSON, unknown encodings and hostile errors, from history', async ({ server, page }) => {
  const raw = { id: ALL, serial: ALL, connectionId: ALL, timestamp: 1e300, version: { serial: ALL } };
  await answer(page, '**/messages?limit=100', [
    { ...raw, name: LARGE, clientId: LARGE, data: LARGE },
    { ...raw, name: 'deep', data: DEEP, encoding: 'json' },
    { ...raw, name: 'broken', data: '{', encoding: 'json' },
    { ...raw, name: 'unknown', data: ALL, encoding: `utf-8/${SCRIPTS[0]}` },
    { ...raw, name: 'cipher', data: 'AAAA', encoding: `cipher+${SCRIPTS[0]}/base64` },
    { ...raw, name: 'delta', data: 'AAAA', encoding: 'vcdiff/base64', extras: { delta: { from: ALL } } },
    {
      ...raw,
      name: { toString: 1 },
      action: 4,
      annotations: { summary: { [ALL]: JSON.parse(DEEP.slice(49000, 51000)) } },
    },
    { action: ALL, timestamp: ALL },
  ]);
  await signIn(page, server);
  await openChannel(page, 'hostile');
  await page.getByRole('button', { name: 'Load older messages' }).click();
  await openRows(page, 'Details', 8);
  await page.locator('.row').first().click();
  await page.getByRole('button', { name: /^Show all/ }).click();
  assert.ok((await page.getByTestId('payload').innerText()).length > 1024 * 1024);
  await assertHarmless(page);
  await answer(page, '**/messages/**', ERROR, 400);
  await page.getByRole('button', { name: 'Versions' }).click();
  await page.locator('.toast.error').waitFor();
  await page.getByRole('button', { name: 'Annotate' }).click();
  await page.getByRole('alert').waitFor();
  await assertHarmless(page);
});

test('presence: clientIds and data', async ({ server, page }) => {
  const client = await connectClient(server);
  await client.attach('members');
  for (const text of HOSTILE) assert.equal((await client.enter('members', text, text)).action, 1);
  await signIn(page, server);
  await openChannel(page, 'members', 'presence');
  await page.getByText(`${HOSTILE.length} present`, { exact: true }).waitFor();
  await assertHarmless(page);
  await page.getByLabel('Client ID').fill(ALL);
  await page.getByLabel('Data').fill(ALL);
  await page.getByRole('button', { name: 'Enter' }).click();
  await page.getByText(`${HOSTILE.length + 1} present`, { exact: true }).waitFor();
  await assertHarmless(page);
  client.close();
});

test('objects: keys, values, depth and errors', async ({ server, page }) => {
  for (const text of HOSTILE) {
    await server.changeObjects('tree', { objectId: 'root', mapSet: { key: text, value: { string: text } } });
    await server.changeObjects('tree', {
      objectId: 'root',
      mapSet: { key: `json ${text}`, value: { json: JSON.stringify({ [text]: text }) } },
    });
  }
  await signIn(page, server);
  await openChannel(page, 'tree', 'objects');
  await page.getByText(`map, ${2 * HOSTILE.length}`).waitFor();
  await assertHarmless(page);
  await page.getByLabel('Key contains').fill('onerror');
  await page.getByText('2 found', { exact: true }).waitFor();
  await assertHarmless(page);
  // A map in a map, 500 levels deep, is drawn as far as it is opened.
  let deep = { string: ALL };
  for (let level = 0; level < 500; level += 1)
    deep = { objectId: `map:${level}@1`, map: { entries: { [`level ${level}`]: { data: deep } } } };
  await answer(page, '**/object?compact=false', { objectId: 'root', map: { entries: { top: { data: deep } } } });
  await page.getByLabel('Key contains').fill('');
  await server.changeObjects('tree', { objectId: 'root', mapSet: { key: 'more', value: { number: 1 } } });
  await page.locator('.tree summary', { hasText: 'top' }).click();
  await page.locator('.tree summary', { hasText: 'level 499' }).waitFor();
  assert.equal(await page.locator('.tree li').count(), 2);
  await page.getByLabel('Key contains').fill('level 0');
  await page.locator('.tree').getByText('⟨U+202E⟩').first().waitFor();
  await assertHarmless(page);
  await answer(page, /\/object$/, ERROR, 400);
  await page
    .getByRole('button', { name: /^Remove/ })
    .first()
    .click();
  await page.locator('.toast.error').waitFor();
  await assertHarmless(page);
});

test('connections: clientIds, agents and channels', async ({ server, page }) => {
  const [key] = await server.createApp([{ '*': ['*'] }]);
  const clients = [];
  for (const text of HOSTILE) {
    const client = await connectClient(server, { key, clientId: text, agent: text });
    await client.attach(`of ${text}`);
    clients.push(client);
  }
  await signIn(page, server, key);
  await goTo(page, 'connections');
  await page.getByText(`${HOSTILE.length} connections`, { exact: true }).waitFor();
  await assertHarmless(page);
  await page
    .getByRole('button', { name: /^Cut connection/ })
    .first()
    .click();
  await page.locator('.toast').waitFor();
  await assertHarmless(page);
  for (const client of clients) client.close();
});

test('frames: everything that passes', async ({ server, page }) => {
  await signIn(page, server);
  const client = await connectClient(server);
  await goTo(page, 'frames');
  await page.getByRole('switch', { name: 'Record' }).click();
  while (!(await callApi(page, 'overview')).frames);
  for (const text of HOSTILE) {
    await client.attach(`of ${text}`);
    await client.request({ action: 15, channel: `of ${text}`, messages: [{ name: text, data: text, [text]: text }] });
  }
  await openRows(page, 'Frame', 3 * HOSTILE.length);
  client.close();
});

test('faults: comments, frames of rules, and errors', async ({ server, page }) => {
  await signIn(page, server);
  await goTo(page, 'faults');
  const add = async (rule) => {
    await page.getByLabel('Rule', { exact: true }).fill(rule);
    await page.getByRole('button', { name: 'Add rule' }).click();
  };
  const match = { type: 'ws_frame_to_client', channel: ALL };
  const frame = { action: 15, channel: ALL, messages: [{ name: ALL, data: ALL }] };
  await add(JSON.stringify({ comment: ALL, match, action: { type: 'inject_to_client', message: frame }, times: 1 }));
  await page.getByRole('button', { name: /^Remove rule/ }).waitFor();
  await page.getByRole('list', { name: 'Rules' }).locator('summary').click();
  await assertHarmless(page);
  for (const text of [
    JSON.stringify({ match: { type: ALL }, action: { type: ALL } }),
    ALL,
    JSON.stringify({ [ALL]: ALL }),
  ]) {
    await add(text);
    await page.getByRole('alert').waitFor();
    await assertHarmless(page);
  }
  await page.getByRole('button', { name: /^Remove rule/ }).click();
  await page.getByText('No rules').waitFor();
});

test('tokens: fields, claims, capabilities and errors', async ({ server, page }) => {
  await signIn(page, server);
  await goTo(page, 'tokens');
  await page.getByLabel('Client ID').fill(ALL);
  await page.getByLabel('Capability', { exact: true }).fill(JSON.stringify({ [ALL]: ['subscribe'] }));
  await page.getByRole('button', { name: 'Make token' }).click();
  await page.getByLabel('The token').waitFor();
  await assertHarmless(page);
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = {
    iat: ALL,
    exp: ALL,
    'x-ably-clientId': ALL,
    'x-ably-capability': JSON.stringify({ [ALL]: [ALL] }),
    [ALL]: ALL,
  };
  for (const token of [
    `${part({ kid: ALL, [ALL]: ALL })}.${part(claims)}.${SCRIPTS[0]}`,
    `${part({ kid: { toString: 1 } })}.${part({ iat: 1e300, exp: 1e300, 'x-ably-capability': 7 })}.x`,
    JSON.stringify({ keyName: ALL, clientId: ALL, issued: ALL, expires: 1e300, capability: { [ALL]: [ALL] } }),
    JSON.stringify({ clientId: LARGE }),
    `${ALL}.${ALL}.${ALL}`,
    `{${ALL}`,
    ALL,
    LARGE,
  ]) {
    await page.getByLabel('Token', { exact: true }).fill(token);
    await page.getByRole('button', { name: 'Look', exact: true }).click();
    await assertHarmless(page);
  }
  for (const capability of [JSON.stringify({ [ALL]: [ALL] }), JSON.stringify({ [ALL]: 7 }), `{${ALL}`, DEEP]) {
    await page.getByLabel('Capability to try').fill(capability);
    await page.getByLabel('Channel', { exact: true }).fill(ALL);
    await page.getByRole('button', { name: 'Try', exact: true }).click();
    await page.getByRole('button', { name: 'Ask the server' }).click();
    await page.getByText('Asking…').waitFor({ state: 'detached' });
    await assertHarmless(page);
  }
});

test('statistics: names of intervals, and numbers that are none', async ({ server, page }) => {
  const entries = { 'messages.inbound.all.messages.count': ALL, 'connections.all.peak': 1e308, 'channels.peak': -1 };
  await answer(
    page,
    '**/stats?*',
    HOSTILE.map((intervalId) => ({ intervalId, entries })),
  );
  await signIn(page, server);
  await goTo(page, 'statistics');
  await page.locator('.chart').first().waitFor();
  await assertHarmless(page);
  await page.getByLabel('As a table').check();
  await page.getByRole('columnheader', { name: 'Messages in' }).waitFor();
  await assertHarmless(page);
  await page.unroute('**/stats?*');
  await answer(page, '**/stats?*', ERROR, 400);
  await page.getByLabel('As a table').uncheck();
  await page.getByRole('alert').waitFor();
  await assertHarmless(page);
});
