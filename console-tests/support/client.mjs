// A realtime client that sends exactly the frames that a test wants: a bare WebSocket in JSON.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import { request } from 'node:http';

/** Milliseconds until a client gives up a frame that it waits for. */
const PATIENCE = 30000;

/** Connects with the server's key. `query` adds parameters, such as `clientId`. */
export async function connectClient(server, query = {}, headers = {}) {
  const parameters = new URLSearchParams({ key: server.key, v: '6', format: 'json', heartbeats: 'false', ...query });
  const opening = request(`${server.origin}/?${parameters}`, {
    headers: {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': randomBytes(16).toString('base64'),
      ...headers,
    },
  });
  opening.end();
  const [, socket, head] = await once(opening, 'upgrade');
  const client = new Client(socket, head);
  const answer = await client.frame(({ action }) => action === 4 || action === 9);
  assert.equal(answer.action, 4, answer.error?.message);
  return client;
}

class Client {
  #socket;
  #unread;
  #waiting = [];
  #frames = [];
  #serial = 0;

  constructor(socket, head) {
    this.#socket = socket;
    this.#unread = head;
    socket.on('data', (bytes) => {
      this.#unread = Buffer.concat([this.#unread, bytes]);
      this.#read();
    });
    // A test that waits for a frame fails by its own deadline; one that does not wait has no use for the error.
    socket.on('error', () => {});
    this.#read();
  }

  get address() {
    return `${this.#socket.localAddress}:${this.#socket.localPort}`;
  }

  /** The next frame that matches, of those that no call has taken. */
  frame(matches) {
    const at = this.#frames.findIndex(matches);
    if (at >= 0) return Promise.resolve(this.#frames.splice(at, 1)[0]);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`no frame arrived for which this is true: ${matches}`)),
        PATIENCE,
      );
      const found = (frame) => {
        clearTimeout(timer);
        resolve(frame);
      };
      this.#waiting.push({ matches, found });
    });
  }

  send(frame) {
    const text = Buffer.from(JSON.stringify(frame));
    const length =
      text.length < 126 ? Buffer.from([128 | text.length]) : Buffer.from([254, text.length >> 8, text.length & 255]);
    // A mask of zeros is a mask, and leaves the text as it is.
    this.#socket.write(Buffer.concat([Buffer.from([0x81]), length, Buffer.alloc(4), text]));
  }

  /** Sends a frame, and resolves with its ACK or NACK. */
  request(frame) {
    const msgSerial = this.#serial++;
    this.send({ ...frame, msgSerial });
    return this.frame((it) => (it.action === 1 || it.action === 2) && it.msgSerial === msgSerial);
  }

  /** Attaches to a channel. */
  attach(channel) {
    this.send({ action: 10, channel });
    return this.frame((it) => it.action === 11 && it.channel === channel);
  }

  /** Enters the presence set of an attached channel. */
  enter(channel, clientId, data) {
    return this.request({ action: 14, channel, presence: [{ action: 2, clientId, data }] });
  }

  close() {
    this.#socket.destroy();
  }

  #read() {
    for (;;) {
      const bytes = this.#unread;
      if (bytes.length < 2) return;
      let [length, at] = [bytes[1] & 127, 2];
      if (length === 126) {
        if (bytes.length < 4) return;
        [length, at] = [bytes.readUInt16BE(2), 4];
      } else if (length === 127) {
        if (bytes.length < 10) return;
        [length, at] = [Number(bytes.readBigUInt64BE(2)), 10];
      }
      if (bytes.length < at + length) return;
      this.#unread = bytes.subarray(at + length);
      if ((bytes[0] & 15) === 1) this.#received(JSON.parse(bytes.toString('utf8', at, at + length)));
    }
  }

  #received(frame) {
    const at = this.#waiting.findIndex(({ matches }) => matches(frame));
    if (at >= 0) this.#waiting.splice(at, 1)[0].found(frame);
    else this.#frames.push(frame);
  }
}
