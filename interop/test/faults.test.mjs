// The npm client and our client behave alike when the network or the service fails.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, before, describe, test } from 'node:test';

import { npm, ours } from '../fault-clients.mjs';
import { scripts } from '../fault-scripts.mjs';
import { formats, rest, startServer } from '../support.mjs';

/** Each client in each format has its own server, which runs all scripts of the client. */
const stages = formats.flatMap((format) => [{ client: ours, format }, { client: npm, format }]);
before(() => Promise.all(stages.map(async (stage) => {
  stage.server = await startServer('--control', '0');
})));
after(() => Promise.all(stages.map(({ server }) => server?.stop())));

/** Sends a request to the fault control of a server. */
async function control(server, method, path, body) {
  const url = `http://127.0.0.1:${server.control}/${path}`;
  const response = await fetch(url, { method, body: body && JSON.stringify(body) });
  assert.ok(response.ok, `${method} ${path}: ${response.status} ${await response.text()}`);
}

/** Starts a server that issues tokens with this time to live, and counts the requests. */
async function tokenServer(server, ttl) {
  let asked = 0;
  const http = createServer(async (_, response) => {
    asked += 1;
    const details = await rest(server, 'json').auth.requestToken({ ttl });
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(details));
  });
  await once(http.listen(0, '127.0.0.1'), 'listening');
  return {
    url: `http://127.0.0.1:${http.address().port}/`,
    get asked() {
      return asked;
    },
    stop() {
      http.close();
      http.closeAllConnections();
    },
  };
}

/** The credentials of a client: a key, unless the script requires others. */
async function credentials(server, auth, tokens) {
  if (auth === 'url') return { authUrl: tokens.url };
  if (auth === 'token') return { token: (await rest(server, 'json').auth.requestToken()).token };
  return { key: server.key };
}

/** Runs a script. Returns the events of the client, and the number of requested tokens. */
async function play({ client, format, server }, { steps, auth, ttl, patience = 10_000 }) {
  await control(server, 'DELETE', 'rules');
  const tokens = await tokenServer(server, ttl);
  const { record, end, ...calls } = client(server, format, {
    realtimeRequestTimeout: patience,
    ...(await credentials(server, auth, tokens)),
  });
  try {
    for (const step of steps) {
      const [[what, how]] = Object.entries(step);
      if (what === 'rule') await control(server, 'POST', 'rules', how);
      else if (what === 'clear') await control(server, 'DELETE', 'rules');
      else if (what === 'act') await control(server, 'POST', 'actions', how);
      else if (what === 'until') await record.until(how);
      else calls[what](how);
    }
    const { connection, ...others } = record.seen;
    const asked = auth === 'url' ? { tokens: tokens.asked } : {};
    return { connection: fold(connection), ...others, ...asked };
  } finally {
    await end();
    tokens.stop();
  }
}

/**
 * Merges attempts that failed in the same way, and leaves out a later attempt during which the connection became suspended:
 * their number, and whether one is under way at that time, depends on the client's jitter.
 */
function fold(states) {
  const folded = [];
  for (const state of states) {
    folded.push(state);
    const [a, b, c, d] = folded.slice(-4);
    if (folded.length >= 4 && a === 'connecting' && a === c && b === d && b.startsWith('disconnected')) {
      folded.splice(-2);
    } else if (a === 'connecting' && b?.startsWith('disconnected') && c === a && d?.startsWith('suspended')) {
      folded.splice(-2, 1);
    }
  }
  return folded;
}

for (const format of formats) {
  describe(`in ${format}`, () => {
    for (const script of scripts) {
      test(script.name, { timeout: 60_000 }, async () => {
        const own = stages.filter((stage) => stage.format === format);
        const [us, them] = await Promise.all(own.map((stage) => play(stage, script)));
        assert.deepEqual(us, script.seen, 'ours');
        assert.deepEqual(them, { ...script.seen, ...script.npm?.seen }, 'the npm client');
      });
    }
  });
}

test('every difference is a real difference, and names a point of the specification', () => {
  for (const { name, seen, npm } of scripts.filter((script) => script.npm)) {
    assert.match(npm.why, /^(RT|RS|TH)[A-Z]*\d+[a-z]?\d*(, [A-Z]+\d+)*: /, name);
    assert.notDeepEqual({ ...seen, ...npm.seen }, seen, name);
  }
});
