// The npm client of chat uses rooms of our server: messages, reactions, presence, typing, occupancy.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { ChatClient } from '@ably/chat';

import { formats, startServer, withRealtime } from '../support.mjs';

let server;
before(async () => (server = await startServer()));
after(() => server?.stop());

/** The next event that `subscribe` delivers and that `wanted` accepts. */
function next(subscribe, wanted = () => true) {
  return new Promise((resolve) => {
    subscribe((event) => {
      if (wanted(event)) resolve(event);
    });
  });
}

/** Runs `use` with a chat client, and an attached room of its own. */
async function withRoom(format, options, use) {
  const inRoom = async (realtime) => {
    const chat = new ChatClient(realtime);
    const room = await chat.rooms.get(`room-${format}-${Math.random()}`, options);
    await room.attach();
    await use(room, chat);
    await chat.rooms.release(room.name);
    await chat.dispose();
  };
  await withRealtime(server, format, inRoom, { clientId: 'ada' });
}

for (const format of formats) {
  describe(`npm client of chat in ${format}`, () => {
    test('sends, updates and deletes messages', async () => {
      await withRoom(format, {}, async (room) => {
        const event = (type) => next((f) => room.messages.subscribe(f), (it) => it.type === type);
        const created = event('message.created');
        const sent = await room.messages.send({
          text: 'Hello',
          metadata: { a: { b: 1 } },
          headers: { c: 'd' },
        });
        const received = (await created).message;
        assert.equal(received.text, 'Hello');
        assert.equal(received.serial, sent.serial);
        assert.deepEqual(received.metadata, { a: { b: 1 } });
        assert.deepEqual(received.headers, { c: 'd' });
        assert.equal(received.clientId, 'ada');
        assert.deepEqual(received.timestamp, sent.timestamp);

        const changed = event('message.updated');
        const updated = await room.messages.update(
          sent.serial,
          sent.copy({ text: 'Goodbye' }),
          { description: 'why', metadata: { k: 'v' } },
        );
        assert.equal(updated.text, 'Goodbye');
        assert.equal(updated.version.description, 'why');
        assert.deepEqual((await changed).message.version, updated.version);
        assert.equal((await room.messages.get(sent.serial)).text, 'Goodbye');

        const removed = event('message.deleted');
        const deleted = await room.messages.delete(sent.serial, { description: 'gone' });
        assert.equal(deleted.text, '');
        assert.equal(deleted.action, 'message.delete');
        const { message } = await removed;
        assert.equal(message.text, '');
        assert.equal(message.version.serial, deleted.version.serial);
        assert.equal(message.version.description, 'gone');
      });
    });

    test('reads the history before a subscription', async () => {
      await withRoom(format, {}, async (room) => {
        const last = next((f) => room.messages.subscribe(f), ({ message }) => message.text === '3');
        for (const text of ['1', '2', '3']) await room.messages.send({ text });
        await last;
        const { historyBeforeSubscribe } = room.messages.subscribe(() => {});
        let page = await historyBeforeSubscribe({ limit: 2 });
        assert.deepEqual(page.items.map(({ text }) => text), ['3', '2']);
        page = await page.next();
        assert.deepEqual(page.items.map(({ text }) => text), ['1']);
        assert.equal(page.hasNext(), false);
        const forwards = await room.messages.history({ orderBy: 'oldestFirst' });
        assert.deepEqual(forwards.items.map(({ text }) => text), ['1', '2', '3']);
      });
    });

    test('reacts to messages', async () => {
      await withRoom(format, { messages: { rawMessageReactions: true } }, async (room) => {
        const { reactions } = room.messages;
        const sent = await room.messages.send({ text: 'x' });
        const raw = next((f) => reactions.subscribeRaw(f));
        const summed = next(
          (f) => reactions.subscribe(f),
          (it) => it.reactions.multiple['👏']?.total === 3,
        );
        await reactions.send(sent.serial, { type: 'multiple', name: '👏', count: 3 });
        assert.equal((await raw).reaction.name, '👏');
        assert.deepEqual((await summed).reactions.multiple['👏'].clientIds, { ada: 3 });
        await reactions.send(sent.serial, { type: 'distinct', name: '👍' });
        const gone = next((f) => reactions.subscribeRaw(f), (it) => it.type === 'reaction.delete');
        await reactions.delete(sent.serial, { type: 'distinct', name: '👍' });
        assert.equal((await gone).reaction.type, 'distinct');
        const message = await room.messages.get(sent.serial);
        assert.equal(message.reactions.multiple['👏'].total, 3);
        assert.deepEqual(message.reactions.distinct, {});
        const own = await reactions.clientReactions(sent.serial);
        assert.equal(own.multiple['👏'].total, 3);
      });
    });

    test('enters presence, types, reacts to the room, and sees the occupancy', async () => {
      await withRoom(format, { occupancy: { enableEvents: true } }, async (room) => {
        const entered = next((f) => room.presence.subscribe(f), (it) => it.type === 'enter');
        await room.presence.enter({ mood: 'good' });
        assert.deepEqual((await entered).member.data, { mood: 'good' });
        assert.equal((await room.presence.get()).length, 1);

        const typing = next((f) => room.typing.subscribe(f));
        await room.typing.keystroke();
        assert.deepEqual([...(await typing).currentlyTyping], ['ada']);

        const reaction = next((f) => room.reactions.subscribe(f));
        await room.reactions.send({ name: '🎉' });
        assert.equal((await reaction).reaction.name, '🎉');

        const occupancy = await room.occupancy.get();
        assert.deepEqual(occupancy, { connections: 1, presenceMembers: 1 });
      });
    });
  });
}
