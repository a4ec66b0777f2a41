// Who uses the page without a mouse, with a screen reader, in the dark or on a small screen.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

import { connectClient } from '../support/client.mjs';
import { callApi, consoleTests, goTo, openChannel, picture, placesOf, refreshed, signIn } from '../support/console.mjs';

const test = consoleTests();
const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
const THEMES = ['light', 'dark'];
const CHANNEL = 'mutable:room';

/** Gives every panel something to show: channels, members, objects, a rule, recorded frames, clients. */
async function fill(server) {
  const [key] = await server.createApp([{ '*': ['*'] }], [{ id: 'mutable', mutableMessages: true }]);
  const client = await connectClient(server, { key, agent: 'example/1.0' });
  await client.attach(CHANNEL);
  for (const name of ['ada', 'grace', 'linus']) await client.enter(CHANNEL, name, `here since ${name.length} o'clock`);
  for (const [path, value] of [
    ['title', { string: 'A list of things' }],
    ['count', { number: 12.5 }],
    ['settings', { json: '{"dark":true}' }],
  ])
    await server.rest(
      'POST',
      `/channels/${encodeURIComponent(CHANNEL)}/object`,
      { objectId: 'root', mapSet: { key: path, value } },
      key,
    );
  await server.rest(
    'POST',
    `/channels/${encodeURIComponent(CHANNEL)}/object`,
    { path: 'votes', counterCreate: { count: 3 } },
    key,
  );
  const publish = () =>
    server.publish(
      CHANNEL,
      [
        { name: 'greeting', data: { user: { name: 'Ada' } }, clientId: 'ada' },
        { name: 'note', data: 'A line of text', clientId: 'grace' },
        { name: 'bytes', data: 'AAEC/w==', encoding: 'base64' },
      ],
      key,
    );
  await publish();
  return { key, publish, client };
}

/** Opens a place and what it shows on demand: details of rows, results of forms. */
async function visit(page, place, { publish }) {
  await goTo(page, place);
  if (place === 'overview' || place === 'channels') await page.getByRole('link', { name: CHANNEL }).waitFor();
  if (place === 'connections')
    await page
      .getByRole('button', { name: /^Cut connection/ })
      .first()
      .waitFor();
  if (place === 'frames') {
    await page.getByRole('switch', { name: 'Record' }).check();
    while (!(await callApi(page, 'overview')).frames);
    await publish();
    await page.locator('.row').first().click();
  }
  if (place === 'statistics') await page.getByRole('img').first().waitFor();
  if (place === 'tokens') {
    await page.getByRole('button', { name: 'Make token' }).click();
    await page.getByRole('button', { name: 'Look into it' }).click();
    await page.getByRole('button', { name: 'Try', exact: true }).click();
    await page.getByRole('button', { name: 'Ask the server' }).click();
    await page.getByText('Answers of the server').waitFor();
  }
  if (place.endsWith('/messages')) {
    await page.locator('.state[data-state="attached"]').waitFor();
    await page.getByText('Publish a message').click();
    await page.getByRole('button', { name: 'Load older messages' }).click();
    await page.locator('.row', { hasText: 'greeting' }).first().click();
    await page.getByRole('button', { name: 'Versions' }).click();
    await page.locator('.details ol').waitFor();
  }
  if (place.endsWith('/presence')) await page.getByText('linus').waitFor();
  if (place.endsWith('/objects')) await page.locator('.tree').getByText('votes').waitFor();
}

const use = (page, colorScheme) => page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });

test('axe finds nothing serious in any panel, in light and in dark', async ({ server, page }) => {
  await page.addInitScript({ path: AXE });
  const scene = await fill(server);
  const check = async (place) => {
    const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
    const found = violations.flatMap(({ id, impact, nodes }) =>
      nodes.map(({ html, failureSummary }) => `${place}: ${impact} ${id}: ${html.slice(0, 200)} ${failureSummary}`),
    );
    assert.deepEqual(found, []);
  };
  for (const theme of THEMES) {
    await use(page, theme);
    await page.goto(`${server.origin}/console/`);
    await page.getByRole('button', { name: 'Sign in' }).waitFor();
    await check(`sign in, ${theme}`);
    await signIn(page, server, scene.key);
    for (const place of placesOf(CHANNEL)) {
      await visit(page, place, scene);
      await check(`${place}, ${theme}`);
    }
    await page.getByRole('button', { name: 'Help' }).click();
    await page.getByRole('dialog', { name: 'Keyboard' }).waitFor();
    await check(`help, ${theme}`);
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: 'Sign out' }).click();
  }
  // The rules of the first app, which operates the server.
  await signIn(page, server);
  await goTo(page, 'faults');
  await page.getByRole('button', { name: 'Add rule' }).click();
  await page.getByRole('button', { name: /^Remove rule/ }).waitFor();
  for (const theme of THEMES) {
    await use(page, theme);
    await check(`faults, ${theme}`);
  }
  await page.getByRole('button', { name: /^Remove rule/ }).click();
  await page.getByText('No rules').waitFor();
  scene.client.close();
});

/** The texts of the page whose contrast with what is behind them is too low, by WCAG's formula (1.4.3, 4.5 to 1). */
const lowContrast = () => {
  const parse = (text) => {
    const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
    return text.startsWith('color(srgb') ? [r * 255, g * 255, b * 255, a] : [r, g, b, a];
  };
  const over = ([r, g, b, a], [r2, g2, b2]) => [r * a + r2 * (1 - a), g * a + g2 * (1 - a), b * a + b2 * (1 - a)];
  const luminance = (color) => {
    const [r, g, b] = color.map((it) => (it / 255 <= 0.04045 ? it / 255 / 12.92 : ((it / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const layers = [];
    for (let it = element; it; it = it.parentElement) layers.push(parse(getComputedStyle(it).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const found = [];
  let lowest = 21;
  const check = (element, color, text) => {
    const ground = behind(element);
    const [a, b] = [luminance(over(parse(color), ground)), luminance(ground)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    lowest = Math.min(lowest, ratio);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)}: ${text.slice(0, 60)}, ${color} on ${ground.map(Math.round)}`);
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let count = 0;
  while (texts.nextNode()) {
    const { parentElement: element, data } = texts.currentNode;
    if (!data.trim() || !element.checkVisibility() || element.closest('svg, option, :disabled')) continue;
    count += 1;
    check(element, getComputedStyle(element).color, data);
  }
  for (const element of document.querySelectorAll('input, textarea, select')) {
    if (!element.checkVisibility()) continue;
    check(element, getComputedStyle(element).color, element.value || 'a field');
    if (element.placeholder) check(element, getComputedStyle(element, '::placeholder').color, element.placeholder);
  }
  return { found, lowest, count };
};

test('every text has a contrast of at least 4.5 to 1, in light and in dark', async ({ server, page }) => {
  const scene = await fill(server);
  for (const theme of THEMES) {
    await use(page, theme);
    await signIn(page, server, scene.key);
    let lowest = 21;
    for (const place of placesOf(CHANNEL)) {
      await visit(page, place, scene);
      const result = await page.evaluate(lowContrast);
      assert.deepEqual(result.found, [], `${place}, ${theme}`);
      assert.ok(result.count > 15, `${place} has texts`);
      lowest = Math.min(lowest, result.lowest);
    }
    console.log(`contrast, ${theme}: at least ${lowest.toFixed(2)}`);
    await page.getByRole('button', { name: 'Sign out' }).click();
  }
  // A measure that finds nothing proves nothing unless it finds a low contrast.
  await page.locator('h1').evaluate((heading) => heading.classList.add('muted', 'test-low'));
  await page.evaluate(() => {
    document.querySelector('.test-low').style.color = 'rgb(120 120 120)';
    document.querySelector('.test-low').style.backgroundColor = 'rgb(100 100 100)';
  });
  assert.equal((await page.evaluate(lowContrast)).found.length, 1);
  scene.client.close();
});

test('the Tab key reaches every control of every panel, and shows where it is', async ({ server, page }) => {
  const scene = await fill(server);
  await signIn(page, server, scene.key);
  for (const place of placesOf(CHANNEL)) {
    await visit(page, place, scene);
    const expected = await page.evaluate(() => {
      const all = document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex="0"]');
      const reachable = [...all].filter((it) => it.tabIndex >= 0 && !it.disabled && it.checkVisibility());
      // The page redraws its lists: elements are counted when the walk is over.
      window.walk = { reachable: new Set(reachable), unseen: [] };
      document.activeElement.blur();
      return reachable.length;
    });
    for (let step = 0; step < expected + 10; step += 1) {
      await page.keyboard.press('Tab');
      await page.evaluate(() => {
        const { activeElement: element } = document;
        if (element === document.body) return;
        window.walk.reachable.delete(element);
        const { outlineStyle, outlineWidth } = getComputedStyle(element);
        if (outlineStyle === 'none' || parseFloat(outlineWidth) < 2)
          window.walk.unseen.push(element.outerHTML.slice(0, 200));
      });
    }
    const { missed, unseen } = await page.evaluate(() => ({
      missed: [...window.walk.reachable]
        .filter((it) => it.isConnected && it.checkVisibility())
        .map((it) => it.outerHTML.slice(0, 200)),
      unseen: window.walk.unseen,
    }));
    assert.deepEqual(missed, [], `${place}: not reached`);
    assert.deepEqual(unseen, [], `${place}: no outline`);
  }
  scene.client.close();
});

test('single keys go to panels, search, move in lists and open help', async ({ server, page }) => {
  await signIn(page, server);
  await page.keyboard.press('2');
  await page.getByRole('heading', { level: 1, name: 'Channels' }).waitFor();
  await page.keyboard.press('/');
  assert.equal(await page.evaluate(() => document.activeElement.labels[0].textContent), 'Name contains');
  await page.keyboard.type('2?t');
  assert.equal(await page.getByLabel('Name contains').inputValue(), '2?t');
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

test('it fits a screen of 360 pixels and one of 1,600, in light and in dark', async ({ server, page }) => {
  const scene = await fill(server);
  await signIn(page, server, scene.key);
  for (const width of [360, 1600])
    for (const theme of THEMES) {
      await page.setViewportSize({ width, height: 900 });
      await use(page, theme);
      for (const place of placesOf(CHANNEL)) {
        await visit(page, place, scene);
        if (place === 'overview') await refreshed(page, 'overview');
        const wide = await page.evaluate(() =>
          document.documentElement.scrollWidth <= window.innerWidth
            ? []
            : [...document.querySelectorAll('main *')]
                .filter((it) => it.getBoundingClientRect().right > window.innerWidth && !it.closest('.table, .code'))
                .map((it) => it.outerHTML.slice(0, 150)),
        );
        assert.deepEqual(wide, [], `${place} at ${width}`);
        const { left, right } = await page.locator('.side [aria-current]').evaluate((it) => it.getBoundingClientRect());
        assert.ok(left > -1 && right < width + 1, `the link of ${place} is in sight at ${width}: ${left} to ${right}`);
        await page.evaluate(() => window.scrollTo(0, 0));
        await picture(page, `${place.split('/').at(-1)}-${width}-${theme}`);
      }
    }
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await ground();
  await page.getByRole('heading', { level: 1 }).focus();
  await page.keyboard.press('t');
  assert.notEqual(await ground(), dark);
  await page.reload();
  await page.locator('main h1').waitFor();
  assert.notEqual(await ground(), dark, 'the choice is kept');
  scene.client.close();
});
