// Helpers for all tests: the `capably` command as a server, a browser, and what tests do with them.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, mkdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

const binary = process.env.CAPABLY_BIN ?? fileURLToPath(new URL('../target/release/capably', import.meta.url));

/** Starts `capably serve` on a free port. `stop()` ends the server. */
export async function startServer(...words) {
  const child = spawn(binary, ['serve', '--port', '0', '--json', ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  const server = JSON.parse(line);
  const origin = `http://${server.endpoint}:${server.port}`;
  return {
    ...server,
    origin,
    /** Calls the REST API with a key. */
    async rest(method, path, body, key = server.key) {
      const response = await fetch(origin + path, {
        method,
        headers: { authorization: `Basic ${btoa(key)}`, 'content-type': 'application/json', 'x-ably-version': '5' },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
      const text = await response.text();
      assert.ok(response.ok, `${method} ${path}: ${response.status} ${text}`);
      return text ? JSON.parse(text) : undefined;
    },
    publish(channel, message) {
      return this.rest('POST', `/channels/${encodeURIComponent(channel)}/messages`, message);
    },
    /** Creates an app with these keys (capabilities) and namespaces. Returns the texts of its keys. */
    async createApp(capabilities, namespaces = []) {
      const response = await fetch(`${origin}/apps`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          keys: capabilities.map((capability) => ({ capability: JSON.stringify(capability) })),
          namespaces,
        }),
      });
      assert.equal(response.status, 201);
      return (await response.json()).keys.map(({ keyStr }) => keyStr);
    },
    async stop() {
      child.kill('SIGINT');
      assert.deepEqual(await exited, [0, null], 'the server ends with exit code 0');
    },
  };
}

/** Starts the distribution's Chromium, found in PATH. */
export async function startBrowser() {
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

/** Opens a page, and collects what must never happen: dialogs, errors of scripts and breaches of the policy. */
export async function newPage(browser, options) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
  const page = await context.newPage();
  // Long enough for a machine that builds meanwhile; every wait ends as soon as its condition holds.
  page.setDefaultTimeout(30000);
  page.problems = [];
  page.on('dialog', (dialog) => {
    page.problems.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on('pageerror', (error) => page.problems.push(`error: ${error.message}`));
  page.on('console', (entry) => {
    if (/Content Security Policy|Refused to/.test(entry.text())) page.problems.push(entry.text());
  });
  return page;
}

/** Opens the console with a key. */
export async function signIn(page, server, key = server.key) {
  await page.goto(`${server.origin}/console/`);
  await page.getByLabel('API key').fill(key);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
}

/** Opens the panel of a channel and waits until it is attached. */
export async function openChannel(page, name, tab = 'messages') {
  await page.evaluate(
    (hash) => {
      location.hash = hash;
    },
    `#/channels/${encodeURIComponent(name)}/${tab}`,
  );
  await page.locator('.state[data-state="attached"]').waitFor();
}

/** Saves a picture if `CONSOLE_SCREENSHOTS` names a folder. */
export async function picture(page, name) {
  const folder = process.env.CONSOLE_SCREENSHOTS;
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`) });
}

/** Waits until `check(argument)` is true in the page, and looks once a frame. Playwright's own `waitForFunction` evaluates text inside
 * the page, which the console's Content-Security-Policy forbids. */
export async function until(page, check, argument) {
  const deadline = performance.now() + 30000;
  while (!(await page.evaluate(check, argument))) {
    assert.ok(performance.now() < deadline, `never became true: ${check}`);
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(resolve)));
  }
}
