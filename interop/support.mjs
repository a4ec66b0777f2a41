// What the tests share: the `capably` command as a server and as a client, and the npm client.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import * as Ably from 'ably';

const binary =
  process.env.CAPABLY_BIN ?? fileURLToPath(new URL('../target/release/capably', import.meta.url));
/** Our clients as a program: see `driver`. */
const driver = join(dirname(binary), 'capably-interop');
/** What client libraries test with: see the fixtures' folder. */
const fixtures = new URL('../crates/capably-protocol/tests/fixtures/', import.meta.url);

export const formats = ['json', 'msgpack'];

/** Reads a file of the fixtures that all client libraries share. */
export async function fixture(name) {
  return JSON.parse(await readFile(new URL(name, fixtures), 'utf8'));
}

/** A server of `capably serve`, with further `words`, stopped with `stop()`. */
export async function startServer(...words) {
  const child = spawn(binary, ['serve', '--port', '0', '--json', ...words], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const [line] = await firstOf(once(createInterface({ input: child.stdout }), 'line'), exited);
  return {
    ...JSON.parse(line),
    async stop() {
      child.kill('SIGINT');
      assert.deepEqual(await exited, [0, null], 'the server ends with exit code 0');
    },
  };
}

/** An app on the server, as client libraries test with: its keys, and the server with the first of them. */
export async function createApp(server) {
  const { post_apps: spec } = await fixture('test-app-setup.json');
  const response = await fetch(`http://${server.endpoint}:${server.port}/apps`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(spec),
  });
  assert.equal(response.status, 201);
  const keys = (await response.json()).keys.map(({ keyStr }) => keyStr);
  return { ...server, keys, key: keys[0] };
}

/** Options of the npm client for a server. */
export function clientOptions(server, format, more = {}) {
  return {
    key: server.key,
    endpoint: server.endpoint,
    port: server.port,
    tls: false,
    useBinaryProtocol: format === 'msgpack',
    logLevel: 0,
    ...more,
  };
}

/** Runs `work` with a connected npm client, and closes the client. */
export async function withRealtime(server, format, work, more = {}) {
  const options = clientOptions(server, format, { transports: ['web_socket'], ...more });
  const client = new Ably.Realtime(options);
  try {
    await client.connection.whenState('connected');
    await work(client);
  } finally {
    client.close();
    await client.connection.whenState('closed');
  }
}

export function rest(server, format, more = {}) {
  return new Ably.Rest(clientOptions(server, format, more));
}

/**
 * Has our client carry out `work`, and resolves to what came of it: `{ ok }` or `{ error }`. The client has
 * the server's key unless `credentials` say otherwise.
 */
export async function ours(server, format, work, credentials = { key: server.key }) {
  const child = drive(server, format, work, credentials);
  const [output, [code]] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  assert.equal(code, 0, work.do);
  return JSON.parse(output);
}

/** Our realtime client, which is told what to do on its standard input. */
export function realtimeDriver() {
  return spawn(driver, ['realtime'], { stdio: ['pipe', 'pipe', 'inherit'] });
}

/**
 * Our client, once it listens to a channel. `seen` resolves to `{ messages, annotations }`, when as many have
 * arrived as `task` says.
 */
export async function listening(server, format, channel, task, more = {}) {
  const work = { do: 'live', channel, ...more, task: { listen: task } };
  const child = drive(server, format, work, { key: server.key });
  const exited = once(child, 'exit');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const notice = await firstOf(lines.next(), exited);
  assert.equal(notice.value, 'listening');
  const seen = Promise.all([lines.next(), exited]).then(([{ value }, [code]]) => {
    assert.equal(code, 0, 'listening');
    const { ok, error } = JSON.parse(value);
    assert.equal(error, undefined);
    return ok;
  });
  return { seen };
}

function drive({ endpoint, port }, format, work, credentials) {
  const child = spawn(driver, { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.end(JSON.stringify({ endpoint, port, format, ...credentials, work }));
  return child;
}

/** A payload of the npm client, as `ours` takes and gives it. */
export function payload(data) {
  if (data === undefined || data === null) return null;
  if (typeof data === 'string') return { text: data };
  if (Buffer.isBuffer(data)) return { base64: data.toString('base64') };
  return { json: data };
}

/** Runs `capably <command>` as a client of the server, to its end, and returns its output. */
export async function capably(server, command, ...words) {
  const child = start(server, command, words);
  const [output, [code]] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  assert.equal(code, 0, `capably ${command}`);
  return output;
}

/**
 * `capably subscribe`, once it is attached. `messages` resolves to the messages it prints, when `count`
 * of them have arrived.
 */
export async function subscribe(server, format, channel, count, ...more) {
  const limits = ['--count', String(count), '--timeout', '60'];
  const words = ['--json', '--format', format, ...limits, ...more, channel];
  const child = start(server, 'subscribe', words);
  const exited = once(child, 'exit');
  const output = text(child.stdout);
  const [notice] = await firstOf(once(createInterface({ input: child.stderr }), 'line'), exited);
  assert.equal(notice, `Subscribed to ${channel}`);
  const messages = Promise.all([output, exited]).then(([lines, [code]]) => {
    assert.equal(code, 0, 'capably subscribe');
    return lines.trimEnd().split('\n').map((line) => JSON.parse(line));
  });
  return { messages };
}

/** `capably presence --enter`, once its members are there; `leave()` ends it. */
export async function present(server, format, channel, members, data) {
  const enter = members.flatMap((member) => ['--enter', member]);
  const child = start(server, 'presence', [channel, '--format', format, '--data', data, ...enter]);
  const exited = once(child, 'exit');
  const [notice] = await firstOf(once(createInterface({ input: child.stderr }), 'line'), exited);
  assert.equal(notice, `Present on ${channel}`);
  return {
    async leave() {
      child.kill('SIGINT');
      assert.deepEqual(await exited, [0, null], 'capably presence');
    },
  };
}

/** Collects `count` messages of a channel of the npm client, which is attached when this returns. */
export async function collect(channel, count) {
  const seen = [];
  let finish;
  const messages = new Promise((resolve) => (finish = resolve));
  await channel.subscribe((message) => {
    seen.push(message);
    if (seen.length === count) finish(seen);
  });
  return { messages };
}

function start(server, command, words) {
  const { endpoint, port, key } = server;
  const service = { CAPABLY_ENDPOINT: endpoint, CAPABLY_PORT: String(port), CAPABLY_KEY: key };
  return spawn(binary, [command, ...words], {
    env: { ...process.env, ...service },
    stdio: ['ignore', 'pipe', command === 'subscribe' || words.includes('--enter') ? 'pipe' : 'inherit'],
  });
}

async function text(stream) {
  let all = '';
  stream.setEncoding('utf8');
  for await (const part of stream) all += part;
  return all;
}

/** The event, or an error when the process ends before it. */
async function firstOf(event, exited) {
  return Promise.race([
    event,
    exited.then(([code]) => {
      throw new Error(`capably ended early, with exit code ${code}`);
    }),
  ]);
}
