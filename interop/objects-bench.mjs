// Compares the npm client with ours: the sync of a large tree of objects, and a stream of changes.
//
//   cargo build --release -p capably-cli -p capably-interop && node interop/objects-bench.mjs
//
// In each round, a new process of each client attaches a channel with 10,000 objects, and then receives 50,000 changes. The
// changes are published before that, and a relay holds them back until the client is ready, so that neither the publisher nor
// the server sets the pace. Times are those of the client process, without its start; the relay and the server use other
// processes. Linux only: our client reads its CPU time from /proc.

import { spawn } from 'node:child_process';
import { connect, createServer } from 'node:net';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import * as Ably from 'ably';
import { LiveObjects } from 'ably/liveobjects';

import { Program, counter, increment, json, map, set, withOurs } from './object-clients.mjs';
import { clientOptions, formats, objectsDriver, startServer } from './support.mjs';

const rounds = 5;
const changes = 50_000;
/** The root has this many maps, each with as many objects that the total is 10,000: without the root and the end marker. */
const groups = 100;
const inGroup = 99;
const perFrame = 100;
/** What a round measures, in order. */
const figures = ['sync CPU', 'sync', 'stream CPU', 'stream'];

const file = fileURLToPath(import.meta.url);
const npmProgram = () => spawn(process.execPath, [file, 'npm'], { stdio: ['pipe', 'pipe', 'inherit'] });
const programs = { npm: npmProgram, capably: objectsDriver };

if (process.argv[2] === 'npm') await theirs();
else await compare();

async function compare() {
  const server = await startServer();
  try {
    for (const format of formats) await compareIn(format, server);
  } finally {
    await server.stop();
  }
}

async function compareIn(format, server) {
  const channel = `bench:${format}`;
  await withOurs(server, 'msgpack', channel, async (publisher) => {
    await fill(publisher);
    const results = { npm: [], capably: [] };
    for (let round = 1; round <= rounds; round++) {
      for (const [name, start] of Object.entries(programs)) {
        const result = await measure(server, format, channel, publisher, start);
        results[name].push(result);
        console.log(`${format} ${round} ${name.padEnd(8)} ${show(result)}`);
      }
    }
    const [npm, capably] = [median(results.npm), median(results.capably)];
    console.log(`${format} median npm: ${show(npm)}`);
    console.log(`${format} median capably: ${show(capably)}`);
    const ratios = figures.map((name, at) => `${name} ${(npm[at] / capably[at]).toFixed(1)}`);
    console.log(`${format} npm / capably: ${ratios.join(', ')}\n`);
  });
}

function show(times) {
  return figures.map((name, at) => `${name} ${times[at].toFixed(1)} ms`).join(', ');
}

function median(results) {
  return figures.map((_, at) => results.map((result) => result[at]).sort((a, b) => a - b)[results.length >> 1]);
}

/** Makes the tree: maps with maps of two keys and counters, by turns. */
async function fill(publisher) {
  for (let group = 0; group < groups; group++) {
    const entry = (at) => (at % 2 ? map({ name: json(`item ${at}`), done: json(false) }) : counter(at));
    const entries = Array.from({ length: inGroup }, (_, at) => [`k${at}`, entry(at)]);
    await publisher.write(set('', `g${group}`, map(Object.fromEntries(entries))));
  }
  await publisher.write(set('', 'end', counter(0)));
}

/** Increments of counters and sets of keys by turns, all over the tree. The last change increments the end marker. */
async function publish(publisher, end) {
  const change = (step) => {
    const at = `g${step % groups}.k${Math.floor(step / groups) % inGroup}`;
    const isMap = Math.floor(step / groups) % inGroup % 2;
    return isMap ? set(at, 'name', json(`item ${step}`)) : increment(at, 1);
  };
  for (let first = 0; first < changes - 1; first += perFrame) {
    const length = Math.min(perFrame, changes - 1 - first);
    await publisher.batch(Array.from({ length }, (_, index) => change(first + index)));
  }
  await publisher.write(increment('end', 1));
  await publisher.until('end', end, 'end');
}

async function measure(server, format, channel, publisher, start) {
  const relay = await startRelay(server);
  const { key } = server;
  const program = new Program(start(), { endpoint: '127.0.0.1', port: relay.port, key, format, channel });
  await program.connected;
  const sync = await program.get();
  const end = (await program.read('end')) + 1;
  relay.hold();
  await publish(publisher, end);
  const applied = program.until('end', end, 'end');
  // The relay does not hold back standard input: this read ends once the program waits for the end.
  await program.read('end');
  relay.release();
  const stream = await applied;
  await program.end();
  relay.stop();
  return [sync.cpu, sync.wall, stream.cpu, stream.wall];
}

/** Relays connections to the server. Between `hold()` and `release()`, what the server sends is kept here. */
async function startRelay(server) {
  const kept = [];
  let isHolding = false;
  const relay = createServer((client) => {
    const upstream = connect(server.port, '127.0.0.1');
    client.setNoDelay().pipe(upstream.setNoDelay());
    upstream.on('data', (data) => (isHolding ? kept.push([client, data]) : client.write(data)));
    upstream.on('end', () => client.end());
    for (const socket of [client, upstream]) {
      socket.on('error', () => {
        client.destroy();
        upstream.destroy();
      });
    }
  });
  await once(relay.listen(0, '127.0.0.1'), 'listening');
  return {
    port: relay.address().port,
    hold: () => (isHolding = true),
    release() {
      isHolding = false;
      for (const [client, data] of kept.splice(0)) client.write(data);
    },
    stop: () => relay.close(),
  };
}

/** The npm client as a program with the commands of our driver that this benchmark uses. */
async function theirs() {
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const say = (words) => process.stdout.write(`${JSON.stringify(words)}\n`);
  const { format, channel, ...server } = JSON.parse((await lines.next()).value);
  const client = new Ably.Realtime(
    clientOptions(server, format, { transports: ['web_socket'], plugins: { LiveObjects } }),
  );
  await client.connection.whenState('connected');
  say({ connected: client.connection.id });
  const { object } = client.channels.get(channel, { modes: ['OBJECT_SUBSCRIBE', 'OBJECT_PUBLISH'] });
  let root;
  const commands = {
    async get() {
      const spent = clock();
      root = await object.get();
      return spent();
    },
    read: async ({ path }) => root.at(path).value(),
    async until({ path, equals, watch }) {
      const spent = clock();
      await new Promise((resolve) => {
        const check = () => root.at(path).value() === equals && resolve();
        root.at(watch).subscribe(check);
        check();
      });
      return spent();
    },
  };
  for await (const line of lines) {
    const { number, command } = JSON.parse(line);
    commands[command.do](command).then((ok) => say({ number, ok }));
  }
  client.close();
}

/** Returns a function that returns the CPU time and the time since then, in ms. */
function clock() {
  const [cpu, wall] = [process.cpuUsage(), performance.now()];
  return () => {
    const { user, system } = process.cpuUsage(cpu);
    return { cpu: (user + system) / 1e3, wall: performance.now() - wall };
  };
}
