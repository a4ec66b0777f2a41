// The `capably` command as a server, and requests to its REST API.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const binary = process.env.CAPABLY_BIN ?? fileURLToPath(new URL('../../target/release/capably', import.meta.url));

/** Starts `capably serve` on a free port. `stop()` ends the server. */
export async function startServer(...options) {
  const child = spawn(binary, ['serve', '--port', '0', '--json', ...options], { stdio: ['ignore', 'pipe', 'inherit'] });
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
        headers: { authorization: `Basic ${btoa(key)}`, 'content-type': 'application/json', 'x-ably-version': '6' },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
      const text = await response.text();
      assert.ok(response.ok, `${method} ${path}: ${response.status} ${text}`);
      return text ? JSON.parse(text) : undefined;
    },
    /** Publishes one message or several. Resolves when the server has acknowledged them. */
    publish(channel, messages, key) {
      return this.rest('POST', `/channels/${encodeURIComponent(channel)}/messages`, messages, key);
    },
    /** Publishes one message to each of these channels. */
    async publishToAll(channels, message) {
      for (let at = 0; at < channels.length; at += 100)
        await this.rest('POST', '/messages', { channels: channels.slice(at, at + 100), messages: [message] });
    },
    /** Applies operations to the objects of a channel. */
    changeObjects(channel, operations) {
      return this.rest('POST', `/channels/${encodeURIComponent(channel)}/object`, operations);
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
