// The npm client and our client with the same commands. Each client has a record of its events.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

import * as Ably from 'ably';

import { clientOptions, realtimeDriver } from './support.mjs';

/** Short timeouts keep the tests fast. In ms. */
const timeouts = {
  disconnectedRetryTimeout: 100,
  suspendedRetryTimeout: 200,
  channelRetryTimeout: 100,
};

/** The events of a client, and the waiters for the next event. */
class Record {
  #seen = { connection: [], channel: [], published: [] };
  #news = [];

  tell(list, what, code) {
    this.#seen[list].push(code ? `${what} ${code}` : what);
    for (const wake of this.#news.splice(0)) wake();
  }

  /** Waits until the event was recorded this many times. */
  async until({ times = 1, ...told }) {
    const [[list, what]] = Object.entries(told);
    const is = (entry) => entry.split(' ')[0] === what;
    while (this.#seen[list].filter(is).length < times) {
      await new Promise((resolve) => this.#news.push(resolve));
    }
  }

  /** A copy of the lists that are not empty. */
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
    // The npm client adds this timeout to the realtime request timeout.
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

/** Our client: see `driver`. */
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

/** The event of a channel, with a note if the attachment was resumed. */
function channelEvent(event, resumed) {
  return resumed ? `${event} resumed` : event;
}
