// What every test of the console uses: its server, browser and page, and the ways through the panels.

import assert from 'node:assert/strict';
import { accessSync, mkdirSync, readFileSync } from 'node:fs';
import { delimiter, extname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';

import { startServer } from './server.mjs';

/** Milliseconds until a wait fails: enough for a machine that builds meanwhile. A wait ends as soon as its condition
 * holds. */
const PATIENCE = 30000;

/** All panels: the word in the address, and the title. */
export const PANELS = [
  ['overview', 'Overview'],
  ['channels', 'Channels'],
  ['connections', 'Connections'],
  ['faults', 'Faults'],
  ['frames', 'Frames'],
  ['tokens', 'Tokens'],
  ['statistics', 'Statistics'],
];

/** The addresses of all panels, those of the channel `name` included. */
export const placesOf = (name) => [
  ...PANELS.map(([id]) => id),
  ...['messages', 'presence', 'objects'].map((tab) => `channels/${encodeURIComponent(name)}/${tab}`),
];

/** The set-up of a test file: one server and one browser for the file, and a new page for each test. Returns the
 * function that defines a test; the test gets `{server, browser, page}`. A test fails if a dialog opens in its page, if a
 * script throws or breaks the page's policy, or if hostile content runs. */
export function consoleTests(...options) {
  let server, browser;
  before(async () => {
    [server, browser] = await Promise.all([startServer(...options), startBrowser()]);
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });
  return (name, run) =>
    test(name, async () => {
      const page = await newPage(browser);
      try {
        await run({ server, browser, page });
        assert.equal(await page.evaluate(() => window.breached), undefined, 'hostile content has run');
      } finally {
        await page.context().close();
      }
      assert.deepEqual(page.problems, []);
    });
}

/** Opens a page, and collects what must never happen. */
export async function newPage(browser, options) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.problems = [];
  page.on('dialog', (dialog) => {
    page.problems.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on('pageerror', (error) => page.problems.push(`error: ${error.message}`));
  page.on('console', (entry) => {
    if (/Content Security Policy|Refused to/.test(entry.text())) page.problems.push(entry.text());
  });
  if (process.env.CONSOLE_FILES) await serveFiles(page, process.env.CONSOLE_FILES);
  return page;
}

/** Serves the scripts and styles of the page from a folder, with the headers of the server: a change of the page needs
 * no new build. The document still comes from the server, or Chromium would not let it connect to an address of this
 * machine. */
async function serveFiles(page, folder) {
  const types = { '.js': 'text/javascript', '.css': 'text/css' };
  await page.route(/\/console\/(?!api\/).*\.(js|css)$/, async (route) => {
    const name = new URL(route.request().url()).pathname.slice('/console/'.length);
    const response = await route.fetch();
    const headers = { ...response.headers(), 'content-type': types[extname(name)] };
    await route.fulfill({ status: 200, headers, body: readFileSync(join(folder, name)) });
  });
}

/** Starts the distribution's Chromium, found in PATH. */
async function startBrowser() {
  const found = process.env.PATH.split(delimiter)
    .map((folder) => join(folder, 'chromium'))
    .find((path) => {
      try {
        accessSync(path);
        return true;
      } catch {
        return false;
      }
    });
  assert.ok(found, 'chromium is in PATH');
  return chromium.launch({ executablePath: found, args: ['--no-sandbox', '--disable-gpu'] });
}

/** Opens the console with a key. */
export async function signIn(page, server, key = server.key) {
  await page.goto(`${server.origin}/console/`);
  await page.getByLabel('API key').fill(key);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
}

/** Opens a place of the console by its address, such as `overview`. */
export async function goTo(page, place) {
  await page.evaluate((hash) => {
    location.hash = hash;
  }, `#/${place}`);
  await until(page, (hash) => location.hash === hash && document.querySelector('main h1'), `#/${place}`);
}

/** Opens a panel by its link. */
export async function goByLink(page, title) {
  await page.getByRole('navigation', { name: 'Panels' }).getByRole('link', { name: title }).click();
  await page.getByRole('heading', { level: 1, name: title }).waitFor();
}

/** Opens the panel of a channel and waits until it is attached. */
export async function openChannel(page, name, tab = 'messages') {
  await goTo(page, `channels/${encodeURIComponent(name)}/${tab}`);
  await page.locator('.state[data-state="attached"]').waitFor();
}

/** Calls the API of the console with the session of the page. */
export function callApi(page, path) {
  return page.evaluate(async (path) => {
    const { session } = JSON.parse(sessionStorage.getItem('capably-console-session'));
    const response = await fetch(`/console/api/${path}`, { headers: { authorization: `Bearer ${session}` } });
    return response.json();
  }, path);
}

/** Resolves when the page has shown the next answer of the console's API to a request for `path`. */
export async function refreshed(page, path) {
  await page.waitForResponse((response) => response.url().includes(`/console/api/${path}`) && response.ok());
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve))));
}

/** Waits until `check(argument)` is true in the page, and looks once a frame. Playwright's own `waitForFunction`
 * evaluates text inside the page, which the console's Content-Security-Policy forbids. */
export async function until(page, check, argument) {
  const deadline = performance.now() + PATIENCE;
  while (!(await page.evaluate(check, argument))) {
    assert.ok(performance.now() < deadline, `never became true: ${check}`);
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(resolve)));
  }
}

/** Saves a picture if `CONSOLE_SCREENSHOTS` names a folder. */
export async function picture(page, name) {
  const folder = process.env.CONSOLE_SCREENSHOTS;
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`) });
}
