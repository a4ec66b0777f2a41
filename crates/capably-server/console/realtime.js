// A small client of Ably's realtime protocol in JSON: one connection, its channels, acknowledgements, resume.

import { ApiError } from './api.js';
import { PresenceSet } from './presence.js';

export const ACTION = {
  HEARTBEAT: 0,
  ACK: 1,
  NACK: 2,
  CONNECTED: 4,
  DISCONNECTED: 6,
  CLOSE: 7,
  CLOSED: 8,
  ERROR: 9,
  ATTACH: 10,
  ATTACHED: 11,
  DETACH: 12,
  DETACHED: 13,
  PRESENCE: 14,
  MESSAGE: 15,
  SYNC: 16,
  AUTH: 17,
  OBJECT: 19,
  OBJECT_SYNC: 20,
  ANNOTATION: 21,
};

/** The bits of the modes in `flags`. */
const MODES = {
  presence: 16,
  publish: 17,
  subscribe: 18,
  presence_subscribe: 19,
  annotation_publish: 21,
  annotation_subscribe: 22,
  object_subscribe: 24,
  object_publish: 25,
};
const RESUMED = 2;
const HAS_PRESENCE = 0;

/** Milliseconds: a wait for an answer, the first wait before a retry, and the longest. */
const ANSWER = 10000;
const FIRST_RETRY = 500;
const LAST_RETRY = 15000;

/** The connection. `session.token()` gives its token. `onState(state, error)` is called on each change of state. */
export class Realtime {
  #session;
  #socket;
  #channels = new Map();
  #waiting = new Map();
  #serial = 0;
  #key;
  #retries = 0;
  #timer;
  #idle;
  #answer;
  #closed = false;
  onState = () => {};
  state = 'idle';

  constructor(session) {
    this.#session = session;
  }

  /** Connects if nothing else is under way. */
  connect() {
    if (this.#socket || this.#timer || this.#closed || this.state === 'connecting') return;
    this.#open();
  }

  /** Closes the connection for good. */
  close() {
    this.#closed = true;
    this.#send({ action: ACTION.CLOSE });
    this.#drop();
    clearTimeout(this.#timer);
    this.#failWaiting(new ApiError('The connection was closed.'));
    this.#enter('closed');
  }

  /** A channel, attached with these modes and parameters. The listener gets its frames and changes of state. */
  channel(name, { modes, params }, listener) {
    const channel = new Channel(this, name, modes, params, listener);
    this.#channels.get(name)?.forgotten();
    this.#channels.set(name, channel);
    this.connect();
    if (this.state === 'connected') this.attach(channel);
    return channel;
  }

  /** Sends the ATTACH of a channel. */
  attach(channel) {
    channel.enter('attaching');
    const { name, modes, params } = channel;
    const flags = modes.reduce((sum, mode) => sum + 2 ** MODES[mode], 0);
    this.#send({ action: ACTION.ATTACH, channel: name, flags, params, channelSerial: channel.serial });
  }

  /** Detaches a channel and forgets it. */
  detach(channel) {
    if (this.#channels.get(channel.name) !== channel) return;
    this.#channels.delete(channel.name);
    this.#send({ action: ACTION.DETACH, channel: channel.name });
  }

  /** Sends a frame that the service acknowledges. Rejects if it is refused, or if the connection is lost before the answer. */
  request(frame) {
    if (this.state !== 'connected')
      return Promise.reject(new ApiError('The page is not connected. Try again when it is.'));
    const msgSerial = this.#serial++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(msgSerial, { resolve, reject });
      this.#send({ ...frame, msgSerial });
    });
  }

  async #open() {
    this.#timer = undefined;
    this.#enter('connecting');
    let token;
    try {
      token = await this.#session.token();
    } catch (error) {
      // A key without rights does not get them by asking again.
      if (error.status === 401 || error.status === 403 || error.status === 400) this.#enter('failed', error);
      else this.#retry(error);
      return;
    }
    if (this.#closed) return;
    const query = new URLSearchParams({ v: '6', format: 'json', heartbeats: 'true', access_token: token });
    if (this.#key) query.set('resume', this.#key);
    const socket = new WebSocket(`${location.origin.replace(/^http/, 'ws')}/?${query}`);
    this.#socket = socket;
    this.#answer = setTimeout(() => this.#lost(socket, new ApiError('The server does not answer.')), ANSWER);
    socket.onmessage = (event) => {
      if (socket === this.#socket) this.#receive(JSON.parse(event.data));
    };
    socket.onclose = () => this.#lost(socket, new ApiError('The connection was lost.'));
  }

  #receive(frame) {
    this.#watch();
    const { action, channel: name } = frame;
    if (action === ACTION.CONNECTED) return this.#connected(frame);
    if (action === ACTION.ACK || action === ACTION.NACK) return this.#acknowledge(frame);
    if (action === ACTION.AUTH) return this.#reauthorize();
    if (action === ACTION.DISCONNECTED) return this.#refused(frame.error);
    if (action === ACTION.ERROR && name === undefined) return this.#refused(frame.error, true);
    this.#channels.get(name)?.receive(frame);
  }

  #connected({ connectionId, connectionDetails, error }) {
    clearTimeout(this.#answer);
    const resumed = this.connectionId === connectionId && !error;
    this.connectionId = connectionId;
    this.#key = connectionDetails?.connectionKey;
    this.#idle = { limit: (connectionDetails?.maxIdleInterval ?? 15000) + ANSWER };
    this.#watch();
    if (this.state === 'connected') return;
    this.#retries = 0;
    if (!resumed) {
      this.#serial = 0;
    }
    this.#failWaiting(new ApiError('The connection was lost before the answer.'));
    this.#enter('connected');
    for (const channel of this.#channels.values()) this.attach(channel);
  }

  #acknowledge({ action, msgSerial, count, res, error }) {
    for (let serial = msgSerial; serial < msgSerial + (count ?? 1); serial += 1) {
      const request = this.#waiting.get(serial);
      this.#waiting.delete(serial);
      if (action === ACTION.ACK) request?.resolve(res?.[serial - msgSerial]);
      else request?.reject(asError(error));
    }
  }

  async #reauthorize() {
    this.#session.dropToken();
    try {
      this.#send({ action: ACTION.AUTH, auth: { accessToken: await this.#session.token() } });
    } catch {
      // The service ends the connection when the token expires; the page then tries again.
    }
  }

  #refused(error, fatal = false) {
    const renewable = error?.code >= 40140 && error?.code < 40150;
    if (renewable) this.#session.dropToken();
    this.#drop();
    if (fatal && !renewable && error?.statusCode < 500) {
      this.#key = undefined;
      this.#failWaiting(asError(error));
      this.#enter('failed', asError(error));
    } else {
      this.#retry(asError(error));
    }
  }

  #lost(socket, error) {
    if (socket !== this.#socket) return;
    this.#drop();
    this.#retry(error);
  }

  #retry(error) {
    if (this.#closed) return;
    this.#failWaiting(new ApiError('The connection was lost before the answer.'));
    const wait = this.#retries ? Math.min(FIRST_RETRY * 2 ** (this.#retries - 1), LAST_RETRY) : 0;
    this.#retries += 1;
    this.#enter('disconnected', error);
    for (const channel of this.#channels.values()) channel.enter('waiting');
    this.#timer = setTimeout(() => this.#open(), wait);
  }

  #drop() {
    const socket = this.#socket;
    this.#socket = undefined;
    clearTimeout(this.#answer);
    clearTimeout(this.#idle?.timer);
    socket?.close();
  }

  /** Ends a connection on which nothing arrives, not even a heartbeat. */
  #watch() {
    if (!this.#idle) return;
    clearTimeout(this.#idle.timer);
    const socket = this.#socket;
    this.#idle.timer = setTimeout(
      () => this.#lost(socket, new ApiError('The server has gone silent.')),
      this.#idle.limit,
    );
  }

  #failWaiting(error) {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  #send(frame) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(frame));
  }

  #enter(state, error) {
    this.state = state;
    this.error = error;
    this.onState(state, error);
  }
}

/** A channel of the connection. `state` is `waiting`, `attaching`, `attached` or `failed`. */
class Channel {
  #realtime;
  #listener;
  #entered = new Map();
  presence = new PresenceSet();
  state = 'waiting';
  granted = [];

  constructor(realtime, name, modes, params, listener) {
    this.#realtime = realtime;
    this.name = name;
    this.modes = modes;
    this.params = params;
    this.#listener = listener;
  }

  /** Handles a frame of the connection. */
  receive(frame) {
    if (frame.channelSerial && ![ACTION.SYNC, ACTION.OBJECT_SYNC].includes(frame.action))
      this.serial = frame.channelSerial;
    switch (frame.action) {
      case ACTION.ATTACHED:
        this.#attached(frame);
        break;
      case ACTION.DETACHED:
        this.enter('waiting', frame.error);
        if (this.#realtime.state === 'connected')
          setTimeout(() => this.state === 'waiting' && this.#realtime.attach(this), FIRST_RETRY);
        break;
      case ACTION.ERROR:
        this.enter('failed', asError(frame.error));
        break;
      case ACTION.PRESENCE:
      case ACTION.SYNC:
        this.presence.apply(frame);
        this.#listener('frame', frame);
        break;
      default:
        this.#listener('frame', frame);
    }
  }

  #attached(frame) {
    const flags = BigInt(frame.flags ?? 0);
    const has = (bit) => ((flags >> BigInt(bit)) & 1n) === 1n;
    this.granted = Object.keys(MODES).filter((mode) => has(MODES[mode]));
    const gap = this.wasAttached && !has(RESUMED);
    this.wasAttached = true;
    if (!has(RESUMED)) {
      if (has(HAS_PRESENCE)) this.presence.expectSync();
      else this.presence.clear();
      for (const message of this.#entered.values()) this.#presence(2, message).catch(() => {});
    }
    this.enter('attached');
    if (gap) this.#listener('gap');
  }

  /** Enters a member, or updates it. */
  async enterPresence(clientId, payload) {
    await this.#presence(2, { clientId, ...payload });
    this.#entered.set(clientId, { clientId, ...payload });
  }

  /** Leaves as a member that this page entered. */
  async leavePresence(clientId) {
    await this.#presence(3, { clientId });
    this.#entered.delete(clientId);
  }

  /** Whether this page entered the member. */
  isOwn(member) {
    return member.connectionId === this.#realtime.connectionId && this.#entered.has(member.clientId);
  }

  #presence(action, message) {
    return this.#realtime.request({ action: ACTION.PRESENCE, channel: this.name, presence: [{ action, ...message }] });
  }

  /** Attaches again, with other parameters if there are any. */
  reattach(params = this.params) {
    this.params = params;
    this.serial = undefined;
    if (this.#realtime.state === 'connected') this.#realtime.attach(this);
  }

  enter(state, error) {
    this.state = state;
    this.error = error;
    this.#listener('state', state, error);
  }

  detach() {
    this.#listener = () => {};
    this.#realtime.detach(this);
  }

  forgotten() {
    this.#listener = () => {};
  }
}

function asError(error) {
  return new ApiError(error?.message ?? 'The server refused the request.', error?.code ?? 0, error?.statusCode ?? 0);
}
