// Our client of the objects of a channel, as a program that reads commands: see `driver/src/objects.rs`.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

import { objectsDriver } from './support.mjs';

/** Forms of values for `set`. */
export const json = (value) => ({ json: value });
export const bytes = (buffer) => ({ base64: buffer.toString('base64') });
export const map = (entries) => ({ map: entries });
export const counter = (count) => ({ counter: count });

/** Changes of the object at a path, for `write` and `batch`. */
export const set = (path, key, value) => ({ path, change: 'set', key, value });
export const remove = (path, key) => ({ path, change: 'remove', key });
export const clear = (path) => ({ path, change: 'clear' });
export const increment = (path, amount) => ({ path, change: 'increment', amount });

/** A program that carries out commands, and its reports. */
export class Program {
  #child;
  #exited;
  #numbers = 0;
  #waiting = new Map();
  #changes = [];
  #connected;

  /** The id of the connection, once the program is connected. */
  connected = new Promise((resolve) => (this.#connected = resolve));

  constructor(child, settings) {
    this.#child = child;
    this.#exited = once(child, 'exit').then(([code]) => {
      const error = new Error(`the driver ended with exit code ${code}`);
      for (const { reject } of this.#waiting.values()) reject(error);
      return code;
    });
    createInterface({ input: child.stdout }).on('line', (line) => this.#hear(JSON.parse(line)));
    this.#send({ disconnectedRetryTimeout: 100, ...settings });
  }

  /** Resolves to the result of the command. Rejects with an error that has a `code`. */
  run(command) {
    const number = ++this.#numbers;
    const answer = new Promise((resolve, reject) => this.#waiting.set(number, { resolve, reject }));
    this.#send({ number, command });
    return answer;
  }

  get = () => this.run({ do: 'get' });
  write = (change) => this.run({ do: 'write', ...change });
  batch = (writes) => this.run({ do: 'batch', writes });
  read = (path = '') => this.run({ do: 'read', path });
  leaf = (path) => this.run({ do: 'leaf', path });
  hold = (path) => this.run({ do: 'hold', path });
  writeHeld = (change) => this.run({ do: 'writeHeld', ...change });
  subscribe = (path, depth) => this.run({ do: 'subscribe', path, depth });
  until = (path, equals, watch) => this.run({ do: 'until', path, equals, watch });

  /** The changes that the subscriptions have reported. All that came before the end of a command are there. */
  get changes() {
    return [...this.#changes];
  }

  async end() {
    this.#child.stdin.end();
    assert.equal(await this.#exited, 0, 'the exit code of the driver');
  }

  #send(words) {
    this.#child.stdin.write(`${JSON.stringify(words)}\n`);
  }

  #hear({ connected, change, number, ok, error }) {
    if (connected) this.#connected(connected);
    if (change) this.#changes.push(change);
    if (number === undefined) return;
    const { resolve, reject } = this.#waiting.get(number);
    this.#waiting.delete(number);
    if (error === undefined) resolve(ok);
    else reject(Object.assign(new Error(`our client reports the error ${error}`), { code: error }));
  }
}

/** Runs `work` with our client, connected and with the objects of the channel in sync, and ends it. */
export async function withOurs({ endpoint, port, key }, format, channel, work, more = {}) {
  const ours = new Program(objectsDriver(), { endpoint, port, key, format, channel, ...more });
  try {
    await ours.connected;
    await ours.get();
    await work(ours);
  } finally {
    await ours.end();
  }
}
