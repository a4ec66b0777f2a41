// Compares the npm client with ours: the sync of a large tree of objects, and a stream of changes.
//
//   cargo build --release -p capably-cli -p capably-interop && node interop/objects-bench.mjs
//
// In each round, a new process of each client attaches a channel with 10,000 objects, and then receives 50,000 changes.
// Both clients get the same bytes: a relay records once what the server sends to a client, and later plays the server with
// the recording. So neither the server nor the publisher sets the pace. Times are those of the client process, without its
// start; the relay uses another process. Linux only: our client reads its CPU time from /proc.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
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
  const recording = await record(server, format, channel);
  const sizes = [recording.sync, recording.stream].map(({ length }) => `${(length / 1e6).toFixed(1)} MB`);
  console.log(`${format} recorded: sync ${sizes[0]}, stream ${sizes[1]}`);
  const results = { npm: [], capably: [] };
  for (let round = 1; round <= rounds; round++) {
    for (const [name, start] of Object.entries(programs)) {
      const result = await measure(recording, { key: server.key, format, channel }, start);
      results[name].push(result);
      console.log(`${format} ${round} ${name.padEnd(8)} ${show(result)}`);
    }
  }
  const [npm, capably] = [median(results.npm), median(results.capably)];
  console.log(`${format} median npm: ${show(npm)}`);
  console.log(`${format} median capably: ${show(capably)}`);
  const ratios = figures.map((name, at) => `${name} ${(npm[at] / capably[at]).toFixed(1)}`);
  console.log(`${format} npm / capably: ${ratios.join(', ')}\n`);
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

/** Records what the server sends to a client that attaches the channel and receives all changes. */
async function record(server, format, channel) {
  const relay = await startRelay(server);
  let recording;
  await withOurs(server, 'msgpack', channel, async (publisher) => {
    await fill(publisher);
    const through = { endpoint: '127.0.0.1', port: relay.port, key: server.key };
    await withOurs(through, format, channel, async (client) => {
      const sync = relay.take();
      const end = (await client.read('end')) + 1;
      const applied = client.until('end', end, 'end');
      await publish(publisher, end);
      await applied;
      recording = { ...sync, stream: relay.take().rest, end };
    });
  });
  relay.stop();
  return recording;
}

/** Relays connections to the server. `take()` returns what the server has sent since the last call, by its parts. */
async function startRelay(server) {
  let sent = [];
  let isAttached = false;
  let connected = [];
  const relay = createServer((client) => {
    const upstream = connect(server.port, '127.0.0.1');
    let isOpen = false;
    client.setNoDelay().on('data', (data) => {
      // After the handshake, the first frame of the client is its ATTACH.
      isAttached ||= isOpen;
      upstream.write(data);
    });
    upstream.setNoDelay().on('data', (data) => {
      const body = isOpen ? data : data.subarray(data.indexOf('\r\n\r\n') + 4);
      isOpen = true;
      (isAttached ? sent : connected).push(body);
      client.write(data);
    });
    upstream.on('end', () => client.end());
    for (const socket of [client, upstream]) socket.on('error', () => client.destroy());
  });
  await once(relay.listen(0, '127.0.0.1'), 'listening');
  return {
    port: relay.address().port,
    take() {
      const rest = Buffer.concat(sent.splice(0));
      return { connected: Buffer.concat(connected), sync: rest, rest };
    },
    stop: () => relay.close(),
  };
}

async function measure({ connected, sync, stream, end }, settings, start) {
  const player = await startPlayer(connected, sync);
  const program = new Program(start(), { endpoint: '127.0.0.1', port: player.port, ...settings });
  await program.connected;
  const synced = await program.get();
  const applied = program.until('end', end, 'end');
  // This read ends once the program waits for the end.
  await program.read('end');
  player.send(stream);
  const streamed = await applied;
  player.stop();
  await program.end();
  return [synced.cpu, synced.wall, streamed.cpu, streamed.wall];
}

/** A server that answers the WebSocket handshake and the ATTACH of a client with recorded frames. */
async function startPlayer(connected, sync) {
  let socket;
  const player = createServer((client) => {
    let step = 0;
    socket = client.setNoDelay();
    client.on('error', () => client.destroy());
    client.on('data', (data) => {
      step += 1;
      if (step === 1) client.write(Buffer.concat([handshake(data), connected]));
      if (step === 2) client.write(sync);
    });
  });
  await once(player.listen(0, '127.0.0.1'), 'listening');
  return {
    port: player.address().port,
    send: (bytes) => socket.write(bytes),
    stop() {
      socket.end();
      player.close();
    },
  };
}

/** The answer to the HTTP request of a WebSocket. */
function handshake(request) {
  const key = /^sec-websocket-key: *(.*)\r$/im.exec(request.toString())[1];
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  const lines = ['Upgrade: websocket', 'Connection: Upgrade', `Sec-WebSocket-Accept: ${accept}`];
  return Buffer.from(`HTTP/1.1 101 Switching Protocols\r\n${lines.join('\r\n')}\r\n\r\n`);
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
