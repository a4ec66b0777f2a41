// Helpers for all tests: the `capably` command as a server and as a client, our client, and the npm client.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import * as Ably from 'ably';

const binary =
  process.env.CAPABLY_BIN ?? fileURLToPath(new URL('../target/release/capably', import.meta.url));
/** Our clients as a program: see `driver`. */
const driver = join(dirname(binary), 'capably-interop');
/** The test data that all client libraries share. */
const fixtures = new URL('../crates/capably-protocol/tests/fixtures/', import.meta.url);

/** The transport of the npm client's realtime connections: `web_socket`, or the one that `CAPABLY_TRANSPORT` names. */
const transport = process.env.CAPABLY_TRANSPORT ?? 'web_socket';

/** The npm client sends JSON over comet, whatever its options say. */
export const formats = transport === 'comet' ? ['json'] : ['json', 'msgpack'];

/** Reads a file of the shared fixtures. */
export async function fixture(name) {
  return JSON.parse(await readFile(new URL(name, fixtures), 'utf8'));
}

/** Starts `capably serve` with these additional arguments, on a free port unless they contain `--port`. `stop()` ends the
 * server. With `CAPABLY_BROKERS`, it is the only node of a cluster of its own. With `CAPABLY_ENGINE=disk`, it persists its
 * data in a directory of its own, which `stop()` removes. */
export async function startServer(...words) {
  const brokers = process.env.CAPABLY_BROKERS;
  if (brokers) words.push('--cluster', brokers, '--cluster-name', `test-${randomUUID()}`);
  const wantsDisk = process.env.CAPABLY_ENGINE === 'disk' && !words.includes('--data');
  const directory = wantsDisk ? await mkdtemp(join(tmpdir(), 'capably-')) : null;
  if (directory) words.push('--data', directory);
  const port = words.includes('--port') ? [] : ['--port', '0'];
  const child = spawn(binary, ['serve', ...port, '--json', ...words], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const [line] = await firstOf(once(createInterface({ input: child.stdout }), 'line'), exited);
  return {
    ...JSON.parse(line),
    async stop() {
      child.kill('SIGINT');
      assert.deepEqual(await exited, [0, null], 'the server ends with exit code 0');
      if (directory) await rm(directory, { recursive: true });
    },
  };
}

/** Creates the app of the shared fixtures. Returns the server with the app's keys; the first key is `key`. */
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

/** The options that connect the npm client to a server. */
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
  const options = clientOptions(server, format, { transports: [transport], ...more });
  const client = new Ably.Realtime(options);
  try {
    await client.connection.whenState('connected');
    const { shortName } = client.connection.connectionManager.activeProtocol.getTransport();
    assert.ok(options.transports.includes(shortName), `connected over ${shortName}`);
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
 * Runs `work` with our client, and resolves to the result: `{ ok }` or `{ error }`. The client uses the server's key
 * unless `credentials` contains others.
 */
export async function ours(server, format, work, credentials = { key: server.key }) {
  const child = drive(server, format, work, credentials);
  const [output, [code]] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  assert.equal(code, 0, work.do);
  return JSON.parse(output);
}

/** Starts our realtime client, which reads commands from standard input. */
export function realtimeDriver() {
  return spawn(driver, ['realtime'], { stdio: ['pipe', 'pipe', 'inherit'] });
}

/** Starts our client of the objects of a channel, which reads commands from standard input. */
export function objectsDriver() {
  return spawn(driver, ['objects'], { stdio: ['pipe', 'pipe', 'inherit'] });
}

/**
 * Starts our client, and resolves once it listens to a channel. `seen` resolves to `{ messages, annotations }` when
 * the numbers in `task` have arrived.
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

/** Converts a payload of the npm client to the form that `ours` accepts and returns. */
export function payload(data) {
  if (data === undefined || data === null) return null;
  if (typeof data === 'string') return { text: data };
  if (Buffer.isBuffer(data)) return { base64: data.toString('base64') };
  return { json: data };
}

/** Runs `capably <command>` as a client of the server until it ends, and returns its output. */
export async function capably(server, command, ...words) {
  const child = start(server, command, words);
  const [output, [code]] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  assert.equal(code, 0, `capably ${command}`);
  return output;
}

/**
 * Starts `capably subscribe`, and resolves once it is attached. `messages` resolves to the printed messages when
 * `count` of them have arrived.
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

/** Starts `capably presence --enter`, and resolves once its members are present. `leave()` ends the command. */
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

/** Collects `count` messages of the npm client's channel. The channel is attached when the function returns. */
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

/** Resolves to the event, or fails if the process ends before the event. */
async function firstOf(event, exited) {
  return Promise.race([
    event,
    exited.then(([code]) => {
      throw new Error(`capably ended early, with exit code ${code}`);
    }),
  ]);
}
