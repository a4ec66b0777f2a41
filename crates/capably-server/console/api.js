// The session with the server: the console's own API, and Ably's REST API with a token of the session's key.

import { allows, allowsSomewhere, parse } from './capability.js';

const STORED = 'capably-console-session';
/** A token is replaced when less than this part of its life is left. */
const RENEW_AT = 0.25;

/** An error of the server, or of the way to it. `code` and `status` are 0 if the server was not reached. */
export class ApiError extends Error {
  constructor(message, code = 0, status = 0) {
    super(message);
    this.name = 'ApiError';
    this.code = code;
    this.status = status;
  }
}

/** Exchanges a one-time token or an API key for a session. */
export async function startSession(credentials) {
  const details = await read(
    await reach('/console/api/session', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(credentials),
    }),
  );
  sessionStorage.setItem(STORED, JSON.stringify(details));
  return new Session(details);
}

/** The session of an earlier load of this tab, if it has not expired. */
export function storedSession() {
  try {
    const details = JSON.parse(sessionStorage.getItem(STORED) ?? 'null');
    return details?.session && !(details.expires <= Date.now()) ? new Session(details) : undefined;
  } catch {
    return undefined;
  }
}

/** A session of the console. `onEnd` is called when the server no longer knows it. */
export class Session {
  #details;
  #token;
  #renewing;
  onEnd = () => {};

  constructor(details) {
    this.#details = details;
    try {
      this.rules = parse(details.capability ?? {});
    } catch {
      this.rules = [];
    }
  }

  get operator() {
    return this.#details.operator === true;
  }
  get appId() {
    return this.#details.appId;
  }
  get keyName() {
    return this.#details.keyName;
  }
  get capability() {
    return this.#details.capability;
  }

  /** Forgets the session in this tab. */
  forget() {
    sessionStorage.removeItem(STORED);
  }

  /** Whether the key allows the operation; without a channel, on some channel. */
  can(operation, channel) {
    return channel === undefined ? allowsSomewhere(this.rules, operation) : allows(this.rules, operation, channel);
  }

  /** Calls the console's API. Resolves with the decoded body, `undefined` for none. */
  async call(method, path, body, signal) {
    try {
      return await read(
        await reach(`/console/api/${path}`, {
          method,
          signal,
          headers: {
            authorization: `Bearer ${this.#details.session}`,
            ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          },
          body: body === undefined ? undefined : JSON.stringify(body),
        }),
      );
    } catch (error) {
      if (error.status === 401 && error.code !== 40160) this.onEnd(error);
      throw error;
    }
  }

  get(path, signal) {
    return this.call('GET', path, undefined, signal);
  }

  /** A token for Ably's APIs, for any clientId. It is renewed before it expires. */
  async token() {
    const now = Date.now();
    if (this.#token && now < this.#token.renew) return this.#token.value;
    this.#renewing ??= this.call('POST', 'token', { clientId: '*' })
      .then((details) => {
        const life = details.expires - details.issued;
        this.#token = { value: details.token, renew: Date.now() + life * (1 - RENEW_AT) };
      })
      .finally(() => {
        this.#renewing = undefined;
      });
    await this.#renewing;
    return this.#token.value;
  }

  /** Drops the token, so that the next use gets another one. */
  dropToken() {
    this.#token = undefined;
  }

  /** Calls Ably's REST API in JSON. Resolves with the body and the path of the next page, if there is one. */
  async rest(method, path, { body, signal, token } = {}) {
    for (let attempt = 0; ; attempt += 1) {
      const used = token ?? (await this.token());
      try {
        const response = await reach(path, {
          method,
          signal,
          headers: {
            authorization: `Bearer ${btoa(used)}`,
            accept: 'application/json',
            'x-ably-version': '6',
            ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          },
          body: body === undefined ? undefined : JSON.stringify(body),
        });
        return { body: await read(response), next: nextPage(response, path) };
      } catch (error) {
        const renewable = error.code >= 40140 && error.code < 40150;
        if (token || attempt || !renewable) throw error;
        this.dropToken();
      }
    }
  }

  /** The path of a channel in Ably's REST API. */
  channelPath(name, rest = '') {
    return `/channels/${encodeURIComponent(name)}${rest}`;
  }
}

async function reach(path, options) {
  try {
    return await fetch(path, { cache: 'no-store', credentials: 'omit', ...options });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError('The server does not answer. Check that it is still running.');
  }
}

async function read(response) {
  const text = await response.text();
  let body;
  try {
    body = text ? JSON.parse(text) : undefined;
  } catch {
    body = undefined;
  }
  if (response.ok) return body;
  const { message, code, statusCode } = body?.error ?? {};
  throw new ApiError(
    message ?? `The server answered ${response.status} ${response.statusText}.`,
    code ?? 0,
    statusCode ?? response.status,
  );
}

function nextPage(response, path) {
  for (const link of (response.headers.get('link') ?? '').split(/,\s*(?=<)/)) {
    const found = /^<([^>]*)>;\s*rel="?next"?/.exec(link);
    if (found) return new URL(found[1], new URL(path, location.origin)).href.slice(location.origin.length);
  }
  return undefined;
}

/** The part of the time that polling may take, as a divisor: work that takes long is done less often. */
const SHARE = 5;

/** Calls `work` at once and then every `ms`, one call at a time, while the page is visible. Returns a function that stops it. */
export function poll(ms, work) {
  const abort = new AbortController();
  let timer;
  const round = async () => {
    const started = performance.now();
    if (!document.hidden) {
      try {
        await work(abort.signal);
      } catch (error) {
        if (!abort.signal.aborted) console.warn(error);
      }
    }
    const pause = Math.max(ms, (performance.now() - started) * (SHARE - 1));
    if (!abort.signal.aborted) timer = setTimeout(round, pause);
  };
  round();
  return () => {
    abort.abort();
    clearTimeout(timer);
  };
}
