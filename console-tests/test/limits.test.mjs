// Hostile content, keys without rights, floods, and who uses the page without a mouse or on a small screen.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';

import { newPage, openChannel, picture, signIn, startBrowser, startServer, until } from '../support.mjs';

let server, browser, page;
before(async () => {
  [server, browser] = await Promise.all([startServer(), startBrowser()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});
beforeEach(async () => {
  page = await newPage(browser);
});
afterEach(async () => {
  await page.context().close();
  assert.deepEqual(page.problems, []);
});

const HOSTILE = [
  '<img src=x onerror=alert(1)>',
  '<script>alert(2)</script>',
  '<svg onload=alert(3)>',
  '"><iframe src="javascript:alert(4)">',
  'left \u202e right',
  'nul \u0000 bell \u0007',
  '__proto__',
  'constructor',
  '\u{1f469}\u200d\u{1f4bb}',
];

test('hostile names, data and clientIds are text, and what reorders text is made visible', async () => {
  const channel = `x<img src=x onerror=alert(5)>\u202e__proto__`;
  await signIn(page, server);
  await openChannel(page, channel);
  for (const text of HOSTILE)
    await server.publish(channel, { name: text, data: text, clientId: text.replaceAll('\u0000', '') });
  await page.locator('.row', { hasText: 'constructor' }).waitFor();
  await until(page, (count) => document.querySelectorAll('.row').length >= count, HOSTILE.length);
  for (const row of await page.locator('.row').all()) {
    await row.click();
    await page.getByTestId('payload').waitFor();
  }
  assert.match(await page.locator('.stream').innerText(), /left ⟨U\+202E⟩ right/);
  assert.match(await page.locator('h1').innerText(), /⟨U\+202E⟩/);
  assert.equal(await page.locator('main img, main script, main iframe, main svg').count(), 0);
  for (const panel of ['channels', 'overview']) {
    await page.evaluate((name) => {
      location.hash = `#/${name}`;
    }, panel);
    await page.getByRole('link', { name: /x<img/ }).first().waitFor();
    assert.equal(await page.locator('main img, main script, main iframe').count(), 0);
  }
});

test('long texts and deep JSON are cut, and shown whole on demand', async () => {
  await signIn(page, server);
  await openChannel(page, 'large');
  await server.publish('large', { name: 'long', data: 'x'.repeat(60000) });
  await page.locator('.row', { hasText: 'long' }).click();
  assert.equal((await page.getByTestId('payload').innerText()).length, 20000);
  await page.getByRole('button', { name: 'Show all 60000 characters' }).click();
  assert.equal((await page.getByTestId('payload').innerText()).length, 60000);
  await server.publish('large', { name: 'deep', data: `${'['.repeat(20000)}${']'.repeat(20000)}`, encoding: 'json' });
  await page.locator('.row', { hasText: 'deep' }).click();
  await page.getByRole('heading', { name: 'Message: create' }).waitFor();
  const sizes = await page.evaluate(async () => {
    const { decode, fullText, summary } = await import('/console/payload.js');
    const payload = decode('y'.repeat(1024 * 1024));
    return [summary(payload).length, fullText(payload).text.length];
  });
  assert.deepEqual(sizes, [400, 20000]);
});

test('a key without rights is told on each panel which capability is missing', async () => {
  const [key] = await server.createApp([{ 'open:*': ['subscribe'] }]);
  await signIn(page, server, key);
  const missing = {
    overview: 'channel-metadata',
    channels: 'channel-metadata',
    connections: '{"*":["*"]}',
    faults: '{"*":["*"]}',
    frames: '{"*":["*"]}',
    statistics: 'statistics',
  };
  for (const [panel, capability] of Object.entries(missing)) {
    await page.evaluate((name) => {
      location.hash = `#/${name}`;
    }, panel);
    await page.getByRole('note').filter({ hasText: capability }).first().waitFor();
  }
  await openChannel(page, 'open:room');
  for (const [tab, capabilities] of [
    ['messages', ['publish', 'history']],
    ['presence', ['presence']],
    ['objects', ['object-publish', 'object-subscribe']],
  ]) {
    await page.evaluate((hash) => {
      location.hash = hash;
    }, `#/channels/open%3Aroom/${tab}`);
    for (const capability of capabilities)
      await page
        .getByRole('note')
        .filter({ hasText: `capability ${capability} on` })
        .waitFor();
  }
  await picture(page, 'limited');
});

test('1,000 messages a second leave the page responsive, and rows that are not drawn are counted', async () => {
  await signIn(page, server);
  await openChannel(page, 'flood');
  const message = Array.from({ length: 100 }, (_, index) => ({
    name: `flood ${index}`,
    data: { index, text: 'some payload' },
  }));
  let flooding = true;
  const started = performance.now();
  const flood = (async () => {
    for (let sent = 0; sent < 5000; sent += 100) {
      await server.publish('flood', message);
      // The flood is 1,000 messages a second by the clock: wait for the time of the next batch.
      const ahead = sent / 1000 - (performance.now() - started) / 1000;
      if (ahead > 0) await new Promise((resolve) => setTimeout(resolve, ahead * 1000));
    }
    flooding = false;
  })();
  let slowest = 0;
  while (flooding) {
    const asked = performance.now();
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(resolve)));
    slowest = Math.max(slowest, performance.now() - asked);
  }
  await flood;
  await page.getByText('5,000 received').waitFor();
  const status = await page.getByTestId('stream-status').innerText();
  const skipped = Number(/([\d,]+) not drawn/.exec(status)?.[1].replace(',', ''));
  assert.ok(skipped > 0 && skipped < 5000, status);
  assert.equal(await page.locator('.row').count(), 300);
  assert.ok(slowest < 1000, `the page answered within ${Math.round(slowest)} ms`);
  console.log(`flood: slowest answer ${Math.round(slowest)} ms, ${status}`);
  await picture(page, 'flood');
});

test('all is reached with the keyboard alone', async () => {
  await signIn(page, server);
  await page.keyboard.press('2');
  await page.getByRole('heading', { level: 1, name: 'Channels' }).waitFor();
  await page.keyboard.press('/');
  assert.equal(await page.evaluate(() => document.activeElement.labels[0].textContent), 'Name starts with');
  await page.keyboard.type('2?t');
  assert.equal(await page.getByLabel('Name starts with').inputValue(), '2?t');
  await openChannel(page, 'keys');
  await server.publish('keys', [
    { name: 'first', data: '1' },
    { name: 'second', data: '2' },
  ]);
  await page.locator('.row').nth(1).waitFor();
  await page.locator('.row').first().focus();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  const details = page.getByRole('complementary', { name: 'Details' });
  await details.waitFor();
  await page.keyboard.press('Escape');
  await details.waitFor({ state: 'hidden' });
  assert.match(await page.evaluate(() => document.activeElement.className), /row/);
  await page.keyboard.press('?');
  await page.getByRole('dialog', { name: 'Keyboard' }).waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('dialog', { name: 'Keyboard' }).waitFor({ state: 'detached' });
});

test('every control has a name, in every panel', async () => {
  await signIn(page, server);
  const places = [
    'overview',
    'channels',
    'connections',
    'faults',
    'frames',
    'tokens',
    'statistics',
    'channels/a/messages',
    'channels/a/presence',
    'channels/a/objects',
  ];
  for (const place of places) {
    await page.evaluate((hash) => {
      location.hash = hash;
    }, `#/${place}`);
    await until(page, (hash) => location.hash === hash && document.querySelector('main h1'), `#/${place}`);
    const session = await page.context().newCDPSession(page);
    const { nodes } = await session.send('Accessibility.getFullAXTree');
    const roles = ['button', 'link', 'textbox', 'searchbox', 'combobox', 'checkbox', 'switch', 'spinbutton', 'img'];
    const controls = nodes.filter((node) => !node.ignored && roles.includes(node.role?.value));
    assert.ok(controls.length > 8, `${place} has controls`);
    assert.deepEqual(
      controls.filter((node) => !node.name?.value?.trim()).map((node) => node.role.value),
      [],
      place,
    );
    await session.detach();
  }
});

test('it fits a screen of 360 pixels and one of 1,600, in light and in dark', async () => {
  await signIn(page, server);
  for (const [width, colorScheme] of [
    [360, 'light'],
    [360, 'dark'],
    [1600, 'light'],
    [1600, 'dark'],
  ]) {
    await page.setViewportSize({ width, height: 820 });
    await page.emulateMedia({ colorScheme });
    for (const place of [
      'overview',
      'channels',
      'connections',
      'faults',
      'frames',
      'tokens',
      'statistics',
      'channels/a/messages',
    ]) {
      await page.evaluate((hash) => {
        location.hash = hash;
      }, `#/${place}`);
      await until(page, (hash) => location.hash === hash && document.querySelector('main h1'), `#/${place}`);
      assert.ok(
        await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth),
        `${place} at ${width}`,
      );
    }
    await page.locator('.state[data-state="attached"]').waitFor();
    await server.publish('a', [
      { name: 'greeting', data: { hello: 'world' } },
      { name: 'note', data: 'A line of text' },
    ]);
    await page.locator('.row').nth(1).waitFor();
    await picture(page, `${width}-${colorScheme}`);
  }
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await ground();
  await page.keyboard.press('t');
  assert.notEqual(await ground(), dark);
  await page.reload();
  await page.locator('main h1').waitFor();
  assert.notEqual(await ground(), dark, 'the choice is kept');
});

test('the page matches capabilities as the server does', async () => {
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
