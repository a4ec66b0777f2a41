// The npm client and ours behave alike when the network and the service do not.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, before, describe, test } from 'node:test';

import { npm, ours } from '../fault-clients.mjs';
import { scripts } from '../fault-scripts.mjs';
import { formats, rest, startServer } from '../support.mjs';

/** Each client in each format has a server of its own, which all its scripts are played on. */
const stages = formats.flatMap((format) => [{ client: ours, format }, { client: npm, format }]);
before(() => Promise.all(stages.map(async (stage) => {
  stage.server = await startServer('--control', '0');
})));
after(() => Promise.all(stages.map(({ server }) => server?.stop())));

/** Asks something of a server's faults. */
async function control(server, method, path, body) {
  const url = `http://127.0.0.1:${server.control}/${path}`;
  const response = await fetch(url, { method, body: body && JSON.stringify(body) });
  assert.ok(response.ok, `${method} ${path}: ${response.status} ${await response.text()}`);
}

/** Gives tokens of this time to live, and counts how many. */
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

/** With what a client authenticates: a key, unless the script says otherwise. */
async function credentials(server, auth, tokens) {
  if (auth === 'url') return { authUrl: tokens.url };
  if (auth === 'token') return { token: (await rest(server, 'json').auth.requestToken()).token };
  return { key: server.key };
}

/** Carries out a script, and returns what the client told, and how many tokens it asked for. */
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

/** How often a client tries depends on its jitter: attempts that fail alike count as one. */
function fold(states) {
  const folded = [];
  for (const state of states) {
    folded.push(state);
    const [a, b, c, d] = folded.slice(-4);
    if (folded.length >= 4 && a === 'connecting' && a === c && b === d && b.startsWith('disconnected')) {
      folded.splice(-2);
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

test('a difference is explained by a point of the specification, and is one', () => {
  for (const { name, seen, npm } of scripts.filter((script) => script.npm)) {
    assert.match(npm.why, /^(RT|RS|TH)[A-Z]*\d+[a-z]?\d*(, [A-Z]+\d+)*: /, name);
    assert.notDeepEqual({ ...seen, ...npm.seen }, seen, name);
  }
});
