// The npm client and ours, each told what to do in the same words, and each with a record of what it told.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

import * as Ably from 'ably';

import { clientOptions, realtimeDriver } from './support.mjs';

/** Short enough that nobody waits, in ms. */
const timeouts = {
  disconnectedRetryTimeout: 100,
  suspendedRetryTimeout: 200,
  channelRetryTimeout: 100,
};

/** What a client has told, and who waits for more. */
class Record {
  #seen = { connection: [], channel: [], published: [] };
  #news = [];

  tell(list, what, code) {
    this.#seen[list].push(code ? `${what} ${code}` : what);
    for (const wake of this.#news.splice(0)) wake();
  }

  /** Waits until this was told so many times. */
  async until({ times = 1, ...told }) {
    const [[list, what]] = Object.entries(told);
    const is = (entry) => entry.split(' ')[0] === what;
    while (this.#seen[list].filter(is).length < times) {
      await new Promise((resolve) => this.#news.push(resolve));
    }
  }

  /** The lists that hold something, as they are now. */
  get seen() {
    const lists = Object.entries(structuredClone(this.#seen));
    return Object.fromEntries(lists.filter(([, list]) => list.length > 0));
  }
}

/** The npm client. */
export function npm(server, format, more) {
  const record = new Record();
  const client = new Ably.Realtime({
    ...clientOptions({ ...server, key: undefined }, format, timeouts),
    transports: ['web_socket'],
    // It adds this one to the realtime request timeout.
    webSocketConnectTimeout: 100,
    autoConnect: false,
    fallbackHosts: [],
    ...more,
  });
  const event = ({ current, previous }) => (current === previous ? 'update' : current);
  client.connection.on((change) => record.tell('connection', event(change), change.reason?.code));
  const channel = client.channels.get('ch');
  return {
    record,
    connect: () => client.connect(),
    attach() {
      channel.on((change) => record.tell('channel', channelEvent(event(change), change.resumed), change.reason?.code));
      channel.attach().catch(() => {});
    },
    publish(name) {
      channel.publish(name, 'data').then(
        () => record.tell('published', name),
        ({ code }) => record.tell('published', name, code),
      );
    },
    close: () => client.close(),
    async end() {
      client.close();
      if (client.connection.state !== 'failed') await client.connection.whenState('closed');
    },
  };
}

/** Ours: see `driver`. */
export function ours(server, format, more) {
  const record = new Record();
  const child = realtimeDriver();
  const exited = once(child, 'exit');
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => {
    const told = JSON.parse(line);
    if ('connection' in told) record.tell('connection', told.connection, told.code);
    if ('channel' in told) record.tell('channel', channelEvent(told.channel, told.resumed), told.code);
    if ('published' in told) record.tell('published', told.published, told.code);
  });
  const say = (words) => child.stdin.write(`${JSON.stringify(words)}\n`);
  const { endpoint, port } = server;
  say({ endpoint, port, format, ...timeouts, ...more });
  return {
    record,
    connect: () => say({ do: 'connect' }),
    attach: () => say({ do: 'attach', channel: 'ch' }),
    publish: (name) => say({ do: 'publish', channel: 'ch', name }),
    close: () => say({ do: 'close' }),
    async end() {
      say({ do: 'close' });
      child.stdin.end();
      assert.deepEqual(await exited, [0, null], 'the driver');
    },
  };
}

/** Whether an attachment went on where it was is part of what it tells. */
function channelEvent(event, resumed) {
  return resumed ? `${event} resumed` : event;
}
