// The npm client administers push on our server, and receives pushes to a channel.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import * as Ably from 'ably';

import { clientOptions, formats, startServer, withRealtime } from '../support.mjs';

let server;

before(async () => {
  const first = await startServer();
  const response = await fetch(`http://${first.endpoint}:${first.port}/apps`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ keys: [{}], namespaces: [{ id: 'pushenabled', pushEnabled: true }] }),
  });
  const app = await response.json();
  server = { ...first, key: app.keys[0].keyStr, stop: first.stop };
});

after(() => server.stop());

/** A device that receives pushes through a channel. */
function phone(id, clientId, channel) {
  const ablyUrl = `http://${server.endpoint}:${server.port}`;
  return {
    id,
    clientId,
    platform: 'android',
    formFactor: 'phone',
    metadata: { model: 'one' },
    push: { recipient: { transportType: 'ablyChannel', channel, ablyKey: server.key, ablyUrl } },
  };
}

/** The items of all pages. */
async function all(page) {
  const items = [];
  for (let next = page; next; next = await next.next()) items.push(...next.items);
  return items;
}

for (const format of formats) {
  test(`the npm client administers devices and subscriptions (${format})`, async () => {
    const { admin } = new Ably.Rest(clientOptions(server, format)).push;
    const { deviceRegistrations: devices, channelSubscriptions: subscriptions } = admin;
    const ids = ['d1', 'd2', 'd3'].map((id) => `${id}/${format}`);
    const client = `client-${format}`;
    for (const id of ids) {
      const device = phone(id, client, 'c');
      const saved = await devices.save(device);
      assert.equal(saved.push.state, 'ACTIVE');
      assert.deepEqual(saved.push.recipient, device.push.recipient);
      assert.deepEqual(saved.metadata, device.metadata);
      assert.deepEqual({ ...(await devices.get(id)) }, { ...saved });
    }
    const listed = await all(await devices.list({ clientId: client, limit: 2 }));
    assert.deepEqual(listed.map((device) => device.id), ids);
    await assert.rejects(devices.get('nobody'), { code: 40400, statusCode: 404 });
    await assert.rejects(devices.save({ ...phone('x', client, 'c'), platform: 'amiga' }), {
      code: 40000,
      statusCode: 400,
    });

    const channels = ['a', 'b'].map((name) => `pushenabled:${name}-${format}`);
    for (const channel of channels) {
      const saved = await subscriptions.save({ channel, deviceId: ids[0] });
      assert.equal(saved.channel, channel);
      assert.equal(saved.deviceId, ids[0]);
      await subscriptions.save({ channel, clientId: client });
    }
    const known = (await all(await subscriptions.listChannels({ limit: 1 }))).filter((name) =>
      name.endsWith(format),
    );
    assert.deepEqual(known, channels);
    const found = await all(await subscriptions.list({ channel: channels[0], limit: 1 }));
    assert.deepEqual(found.map(({ clientId, deviceId }) => clientId ?? deviceId), [client, ids[0]]);
    await subscriptions.remove({ channel: channels[0], clientId: client });
    await subscriptions.removeWhere({ clientId: client });
    await devices.remove(ids[0]);
    for (const channel of channels) {
      assert.deepEqual((await subscriptions.list({ channel })).items, []);
    }
    await devices.removeWhere({ clientId: client });
    assert.deepEqual((await devices.list({ clientId: client })).items, []);
  });

  test(`the npm client receives pushes to its channel (${format})`, async () => {
    const payload = {
      notification: { title: 'Test message', body: 'Test message body' },
      data: { foo: 'bär' },
    };
    await withRealtime(server, format, async (client) => {
      const inbox = client.channels.get(`inbox-${format}`);
      const pushed = [];
      let finish;
      const third = new Promise((resolve) => (finish = resolve));
      await inbox.subscribe('__ably_push__', ({ data }) => {
        if (pushed.push(JSON.parse(data)) === 3) finish();
      });
      const { admin } = client.push;
      const device = phone(`d-${format}`, `c-${format}`, inbox.name);
      await admin.publish(device.push.recipient, payload);
      await admin.deviceRegistrations.save(device);
      await admin.publish({ clientId: device.clientId }, payload);
      const channel = client.channels.get(`pushenabled:news-${format}`);
      await admin.channelSubscriptions.save({ channel: channel.name, deviceId: device.id });
      await channel.publish({ name: 'event', data: 'data', extras: { push: payload } });
      await third;
      // The channel delivers in order, so a push too many has arrived when this message arrives.
      const last = new Promise((resolve) => inbox.subscribe('last', resolve));
      await inbox.publish('last', null);
      await last;
      assert.deepEqual(pushed, [payload, payload, payload]);
      await assert.rejects(admin.publish({ clientId: 'ada' }, { xxx: 5 }), { code: 40000 });
    });
  });

  test(`the npm client starts, updates and ends a live activity (${format})`, async () => {
    const { admin } = new Ably.Rest(clientOptions(server, format)).push;
    const { id: apnsBroadcast } = await admin.createApnsBroadcast({ messageStoragePolicy: 1 });
    const apns = { aps: { event: 'update' } };
    const { liveActivity } = admin;
    await assert.rejects(liveActivity.update({ apnsBroadcast, apns }), { code: 40000 });
    const recipient = { channels: [`pushenabled:news-${format}`] };
    await liveActivity.start({ recipient, apnsBroadcast, apns });
    await liveActivity.update({ apnsBroadcast, apns });
    await liveActivity.end({ apnsBroadcast, apns });
    await assert.rejects(liveActivity.update({ apnsBroadcast, apns }), { code: 40000 });
    await assert.rejects(liveActivity.end({ apnsBroadcast: 'x', apns }), { code: 40400 });
  });
}
