// The client of the npm package `ably`: `node --expose-gc client.mjs <receive|publish|connect|memory> <msgpack|json>
// <port> <count>`. Prints the figures as one line of JSON.

import { readFileSync } from 'node:fs';

import * as Ably from 'ably';

const IN_FLIGHT = 1024;
const WARM_UP = 10_000;

const [figure, format, port, count] = process.argv.slice(2).map((word, at) => (at < 2 ? word : Number(word)));
const figures = { receive, publish, connect: connecting, memory };
console.log(JSON.stringify(await figures[figure]()));
process.exit(0);

async function connect() {
  const client = new Ably.Realtime({
    key: 'appIdX.keyId:keySecret',
    endpoint: '127.0.0.1',
    port,
    tls: false,
    transports: ['web_socket'],
    useBinaryProtocol: format === 'msgpack',
  });
  await client.connection.once('connected');
  return client;
}

// Runs the work with a short warm-up before, and measures the second run.
async function measure(work) {
  await work(WARM_UP);
  const [start, cpu] = [performance.now(), process.cpuUsage()];
  await work(count);
  const { user, system } = process.cpuUsage(cpu);
  return { seconds: (performance.now() - start) / 1e3, cpu: (user + system) / 1e6 };
}

async function receive() {
  const client = await connect();
  let seen = 0, bytes = 0, expected = 0, done;
  await client.channels.get('prices').subscribe((message) => {
    bytes += message.data.length;
    seen += 1;
    if (seen === expected) done();
  });
  return measure(async (messages) => {
    [seen, bytes, expected] = [0, 0, messages];
    const all = new Promise((resolve) => (done = resolve));
    await client.channels.get(`go:${messages}`).attach();
    await all;
    if (bytes !== messages * 100) throw new Error(`${bytes} bytes`);
  });
}

async function publish() {
  const client = await connect();
  const channel = client.channels.get('prices');
  await channel.attach();
  const data = 'x'.repeat(100);
  return measure(async (messages) => {
    let left = messages;
    const publisher = async () => {
      while (left > 0) {
        left -= 1;
        await channel.publish('tick', data);
      }
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, publisher));
  });
}

async function connecting() {
  const times = [];
  for (let round = 0; round < count; round += 1) {
    const start = performance.now();
    const client = await connect();
    await client.channels.get('prices').attach();
    times.push((performance.now() - start) / 1e3);
    client.close();
    await client.connection.once('closed');
  }
  return { p50: times.sort((one, other) => one - other)[count >> 1] };
}

async function memory() {
  const client = await connect();
  await client.channels.get('prices').subscribe(() => {});
  const idle = memoryOf('VmRSS');
  const own = memoryOf('RssAnon');
  for (let number = 0; number < count; number += 1) {
    await client.channels.get(`channel:${number}`).attach();
  }
  return { idle, own, channel: Math.round((memoryOf('VmRSS') - idle) / count) };
}

// Bytes of memory, by the name of a field of /proc. The collector runs before, so that garbage does not count.
function memoryOf(field) {
  globalThis.gc();
  const status = readFileSync('/proc/self/status', 'utf8');
  return Number(status.match(new RegExp(`^${field}:\\s*(\\d+) kB`, 'm'))[1]) * 1024;
}
