// The npm client and our client use presence through our server.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { capably, formats, present, startServer, withRealtime } from '../support.mjs';

const MEMBERS = Array.from({ length: 250 }, (_, number) => `user-${number}`).sort();

let server;
before(async () => (server = await startServer()));
after(() => server?.stop());

const byClient = (a, b) => (a.clientId < b.clientId ? -1 : 1);
const PRESENT = 1;

/** The members that `capably presence` lists. */
async function listed(format, channel) {
  const output = await capably(server, 'presence', channel, '--json', '--format', format);
  return output
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))
    .sort(byClient);
}

/** Whether the server has an engine. It answers CLOSE before its engine has stored that the members have left. */
const storesLater = Boolean(process.env.CAPABLY_ENGINE || process.env.CAPABLY_BROKERS);

/** Asserts that the members of a connection that was closed have left: at once, or once an engine has stored that. */
async function nobodyIsListed(format, channel) {
  let members = await listed(format, channel);
  for (let tries = 0; storesLater && members.length > 0 && tries < 100; tries += 1) {
    members = await listed(format, channel);
  }
  assert.deepEqual(members, []);
}

/** Collects presence events of the npm client's channel, until `count` events with this action have arrived. */
async function events(channel, action, count) {
  const seen = [];
  let finish;
  const all = new Promise((resolve) => (finish = resolve));
  await channel.presence.subscribe(action, (event) => {
    seen.push(event);
    if (seen.length === count) finish(seen);
  });
  return { all };
}

for (const theirs of formats) {
  for (const ours of formats) {
    describe(`npm client in ${theirs}, capably in ${ours}`, () => {
      const channelName = (what) => `${what}:${theirs}:${ours}`;

      test('capably lists 250 members of the npm client', async () => {
        const name = channelName('members-to-capably');
        await withRealtime(server, theirs, async (client) => {
          const channel = client.channels.get(name);
          const data = (member) =>
            [member, { member, tags: ['ü', null] }, Buffer.from([0xff, 0, 0x80])][member.length % 3];
          await Promise.all(
            MEMBERS.map((member) => channel.presence.enterClient(member, data(member))),
          );
          const lines = await listed(ours, name);
          assert.deepEqual(lines.map((line) => line.clientId), MEMBERS);
          for (const line of lines) {
            const said = data(line.clientId);
            const binary = Buffer.isBuffer(said);
            assert.deepEqual(line.data, binary ? said.toString('base64') : said);
            assert.equal(line.encoding, binary ? 'base64' : undefined);
            assert.equal(line.connectionId, client.connection.id);
            assert.equal(line.action, PRESENT);
          }
          await channel.presence.updateClient('user-7', 'changed');
          await channel.presence.leaveClient('user-8');
          const after = await listed(ours, name);
          assert.deepEqual(after.length, MEMBERS.length - 1);
          assert.equal(after.find((line) => line.clientId === 'user-7').data, 'changed');
        });
        await nobodyIsListed(ours, name);
      });

      test('the npm client receives 250 members of capably', async () => {
        const name = channelName('members-to-npm');
        await withRealtime(server, theirs, async (client) => {
          const early = client.channels.get(name);
          await early.attach();
          const entered = await events(early, 'enter', MEMBERS.length);
          const left = await events(early, 'leave', MEMBERS.length);
          const members = await present(server, ours, name, MEMBERS, 'Grüße');
          const told = (await entered.all).sort(byClient);
          assert.deepEqual(told.map((event) => event.clientId), MEMBERS);
          await withRealtime(server, theirs, async (late) => {
            for (const channel of [early, late.channels.get(name)]) {
              const seen = (await channel.presence.get()).sort(byClient);
              assert.deepEqual(seen.map((member) => member.clientId), MEMBERS);
              assert.ok(seen.every((member) => member.data === 'Grüße'));
              assert.ok(seen.every((member) => member.action === 'present'));
            }
          });
          await members.leave();
          assert.deepEqual(
            (await left.all).sort(byClient).map((event) => event.clientId),
            MEMBERS,
          );
          assert.deepEqual(await early.presence.get(), []);
        });
      });

      test('a member of the npm client is still present after a reconnection', async () => {
        const name = channelName('reconnection');
        const more = { clientId: 'ada' };
        await withRealtime(server, theirs, async (client) => {
          const channel = client.channels.get(name);
          await channel.presence.enter('here');
          client.connection.connectionManager.disconnectAllTransports();
          await client.connection.whenState('disconnected');
          await client.connection.whenState('connected');
          await channel.presence.get();
          const lines = await listed(ours, name);
          assert.deepEqual(lines.map((line) => [line.clientId, line.data]), [['ada', 'here']]);
        }, more);
      });
    });
  }
}
