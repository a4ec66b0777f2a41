// What befalls a client, and what it must make of it: data for `test/faults.test.mjs`.
//
// `steps` are carried out one after the other: `rule` adds a fault, `clear` removes all, `act` strikes the open
// connections now, `until` waits for a state (or for the n-th time it is seen), the rest are calls of the
// client. `patience` is the realtime request timeout, in ms. `seen` is what the client then has told, each
// with the code of its reason: the states of the connection, those of the channel, and how publishes ended;
// and how many tokens it asked for. Where the npm client tells something else, `npm` says what, and which
// point of the specification explains it.

const cut = { type: 'disconnect' };
const error = (code, statusCode) => ({ code, statusCode, message: 'of the script' });

/** CONNECTED, as a service might send it that keeps its promises for a moment only. */
const connected = (details, more = {}) => ({
  action: 4,
  connectionId: 'scripted',
  connectionDetails: {
    connectionKey: 'scripted-key',
    connectionStateTtl: 120000,
    maxIdleInterval: 15000,
    maxMessageSize: 65536,
    ...details,
  },
  ...more,
});

const onFrame = (action, what) => ({
  match: { type: 'ws_frame_to_client', action },
  action: what,
  times: 1,
});
const onConnect = (what, times) => ({ match: { type: 'ws_connect' }, action: what, times });
const replaceBy = (message) => ({ type: 'replace', message });
const inject = (message) => ({ type: 'inject_to_client', message });
const injectAndClose = (message) => ({ type: 'inject_to_client_and_close', message });

export const scripts = [
  {
    name: 'a cut connection is resumed',
    steps: [
      { connect: true },
      { attach: true },
      { until: { channel: 'attached' } },
      { act: cut },
      { until: { connection: 'connected', times: 2 } },
      { until: { channel: 'attached', times: 2 } },
    ],
    seen: {
      connection: ['connecting', 'connected', 'disconnected 80003', 'connecting', 'connected'],
      channel: ['attaching', 'attached', 'attaching', 'attached resumed'],
    },
  },
  {
    name: 'a connection is cut twice, with a publish whose acknowledgement is lost',
    steps: [
      { connect: true },
      { until: { connection: 'connected' } },
      { rule: { ...onFrame('ACK', [{ type: 'suppress' }, cut]), times: 2 } },
      { publish: 'first' },
      { until: { published: 'first' } },
    ],
    seen: {
      connection: [
        'connecting', 'connected', 'disconnected 80003', 'connecting', 'connected', 'disconnected 80003',
        'connecting', 'connected',
      ],
      published: ['first'],
    },
  },
  {
    name: 'the first attempt is refused',
    steps: [
      { rule: onConnect({ type: 'refuse_connection' }, 1) },
      { connect: true },
      { until: { connection: 'connected' } },
    ],
    seen: {
      connection: ['connecting', 'disconnected 80000', 'connecting', 'connected'],
    },
    npm: {
      why:
        'RTN14d: the reason is told, and its code is not laid down; 80000 is of a connection that failed, 80003 of one that was lost',
      seen: {
        connection: ['connecting', 'disconnected 80003', 'connecting', 'connected'],
      },
    },
  },
  {
    name: 'the upgrade is answered with 503, twice',
    steps: [
      { rule: onConnect({ type: 'http_respond', status: 503, body: {} }, 2) },
      { connect: true },
      { until: { connection: 'connected' } },
    ],
    seen: {
      connection: ['connecting', 'disconnected 80000', 'connecting', 'connected'],
    },
    npm: {
      why: 'RTN14d: as above',
      seen: {
        connection: ['connecting', 'disconnected 80003', 'connecting', 'connected'],
      },
    },
  },
  {
    name: 'a service that falls silent',
    patience: 1000,
    steps: [
      { rule: onFrame('CONNECTED', replaceBy(connected({ maxIdleInterval: 100 }))) },
      { connect: true },
      { until: { connection: 'connected', times: 2 } },
    ],
    seen: {
      connection: ['connecting', 'connected', 'disconnected 80014', 'connecting', 'connected 80018'],
    },
    npm: {
      why: 'RTN23a: the code is not laid down; 80014 is of a connection that timed out',
      seen: {
        connection: ['connecting', 'connected', 'disconnected 80003', 'connecting', 'connected 80018'],
      },
    },
  },
  {
    name: 'a service that never says CONNECTED at first',
    patience: 1000,
    steps: [
      { rule: onFrame('CONNECTED', { type: 'suppress_onwards' }) },
      { connect: true },
      { until: { connection: 'connected' } },
    ],
    seen: {
      connection: ['connecting', 'disconnected 80014', 'connecting', 'connected'],
    },
    npm: {
      why: 'RTN14c: the code is not laid down; 80014 is of a connection that timed out',
      seen: {
        connection: ['connecting', 'disconnected 80003', 'connecting', 'connected'],
      },
    },
  },
  {
    name: 'the service asks the client to go',
    steps: [
      { connect: true },
      { until: { connection: 'connected' } },
      { act: injectAndClose({ action: 6, error: error(80003, 503) }) },
      { until: { connection: 'connected', times: 2 } },
    ],
    seen: {
      connection: ['connecting', 'connected', 'disconnected 80003', 'connecting', 'connected'],
    },
  },
  {
    name: 'an error that is final, and a new beginning',
    steps: [
      { rule: onFrame('CONNECTED', replaceBy({ action: 9, error: error(80000, 400) })) },
      { connect: true },
      { until: { connection: 'failed' } },
      { connect: true },
      { until: { connection: 'connected' } },
    ],
    seen: {
      connection: ['connecting', 'failed 80000', 'connecting', 'connected'],
    },
  },
  {
    name: 'an error that is final, with a channel attached',
    steps: [
      { connect: true },
      { attach: true },
      { until: { channel: 'attached' } },
      { act: inject({ action: 9, error: error(50000, 500) }) },
      { until: { connection: 'failed' } },
    ],
    seen: {
      connection: ['connecting', 'connected', 'failed 50000'],
      channel: ['attaching', 'attached', 'failed 50000'],
    },
  },
  {
    name: 'a token expires, and there is another',
    auth: 'url',
    steps: [
      { connect: true },
      { attach: true },
      { until: { channel: 'attached' } },
      { act: injectAndClose({ action: 6, error: error(40142, 401) }) },
      { until: { connection: 'connected', times: 2 } },
      { until: { channel: 'attached', times: 2 } },
    ],
    seen: {
      connection: ['connecting', 'connected', 'disconnected 40142', 'connecting', 'connected'],
      channel: ['attaching', 'attached', 'attaching', 'attached resumed'],
      tokens: 2,
    },
  },
  {
    name: 'tokens that are good for two seconds',
    auth: 'url',
    ttl: 2000,
    steps: [{ connect: true }, { until: { connection: 'connected', times: 2 } }],
    seen: {
      connection: ['connecting', 'connected', 'disconnected 40142', 'connecting', 'connected'],
      tokens: 2,
    },
  },
  {
    name: 'a token is rejected while connecting, and there is another',
    auth: 'url',
    steps: [
      { rule: onFrame('CONNECTED', replaceBy({ action: 9, error: error(40142, 401) })) },
      { connect: true },
      { until: { connection: 'connected' } },
    ],
    seen: {
      connection: ['connecting', 'connected'],
      tokens: 2,
    },
    npm: {
      why: 'RTN14b: the new token is got and used within the attempt; DISCONNECTED is for when that fails',
      seen: {
        connection: ['connecting', 'disconnected 40142', 'connecting', 'connected'],
      },
    },
  },
  {
    name: 'a token expires, and there is no other',
    auth: 'token',
    steps: [
      { connect: true },
      { until: { connection: 'connected' } },
      { act: injectAndClose({ action: 6, error: error(40142, 401) }) },
      { until: { connection: 'failed' } },
    ],
    seen: {
      connection: ['connecting', 'connected', 'failed 40171'],
    },
    npm: {
      why: 'RTN15h1: without a way to renew the token the connection fails at once',
      seen: {
        connection: ['connecting', 'connected', 'disconnected 40142', 'connecting', 'failed 40171'],
      },
    },
  },
  {
    name: 'the service asks for a new token',
    auth: 'url',
    steps: [
      { connect: true },
      { until: { connection: 'connected' } },
      { act: inject({ action: 17 }) },
      { until: { connection: 'update' } },
    ],
    seen: {
      connection: ['connecting', 'connected', 'update'],
      tokens: 2,
    },
  },
  {
    name: 'a connection that cannot be resumed',
    steps: [
      { rule: onFrame('CONNECTED', replaceBy(connected({}))) },
      { connect: true },
      { attach: true },
      { until: { channel: 'attached' } },
      { act: cut },
      { until: { connection: 'connected', times: 2 } },
      { until: { channel: 'attached', times: 2 } },
    ],
    seen: {
      connection: ['connecting', 'connected', 'disconnected 80003', 'connecting', 'connected 80018'],
      channel: ['attaching', 'attached', 'attaching', 'attached resumed'],
    },
  },
  {
    name: 'a service that is away for longer than it keeps connections',
    steps: [
      { rule: onFrame('CONNECTED', replaceBy(connected({ connectionStateTtl: 1000 }))) },
      { connect: true },
      { attach: true },
      { until: { channel: 'attached' } },
      { rule: onConnect({ type: 'refuse_connection' }) },
      { act: cut },
      { until: { connection: 'suspended' } },
      { until: { channel: 'suspended' } },
      { clear: true },
      { until: { connection: 'connected', times: 2 } },
      { until: { channel: 'attached', times: 2 } },
    ],
    seen: {
      connection: [
        'connecting', 'connected', 'disconnected 80003', 'connecting', 'disconnected 80000',
        'suspended 80002', 'connecting', 'connected 80018',
      ],
      channel: ['attaching', 'attached', 'suspended 80002', 'attaching', 'attached resumed'],
    },
    npm: {
      why: 'RTN14d: as above',
      seen: {
        connection: [
          'connecting', 'connected', 'disconnected 80003', 'connecting', 'disconnected 80003',
          'suspended 80002', 'connecting', 'connected 80018',
        ],
      },
    },
  },
  {
    name: 'the service detaches a channel',
    steps: [
      { connect: true },
      { attach: true },
      { until: { channel: 'attached' } },
      { act: inject({ action: 13, channel: 'ch', error: error(90198, 500) }) },
      { until: { channel: 'attached', times: 2 } },
    ],
    seen: {
      connection: ['connecting', 'connected'],
      channel: ['attaching', 'attached', 'attaching 90198', 'attached resumed'],
    },
  },
  {
    name: 'the service detaches a channel that is being attached',
    steps: [
      { connect: true },
      { until: { connection: 'connected' } },
      { rule: onFrame('ATTACHED', replaceBy({ action: 13, channel: 'ch', error: error(90198, 500) })) },
      { attach: true },
      { until: { channel: 'attached' } },
    ],
    seen: {
      connection: ['connecting', 'connected'],
      channel: ['attaching', 'suspended 90198', 'attaching', 'attached'],
    },
  },
  {
    name: 'a channel fails',
    steps: [
      { connect: true },
      { attach: true },
      { until: { channel: 'attached' } },
      { act: inject({ action: 9, channel: 'ch', error: error(40160, 401) }) },
      { until: { channel: 'failed' } },
    ],
    seen: {
      connection: ['connecting', 'connected'],
      channel: ['attaching', 'attached', 'failed 40160'],
    },
  },
  {
    name: 'closing',
    steps: [
      { connect: true },
      { attach: true },
      { until: { channel: 'attached' } },
      { close: true },
      { until: { connection: 'closed' } },
      { until: { channel: 'detached' } },
    ],
    seen: {
      connection: ['connecting', 'connected', 'closing', 'closed'],
      channel: ['attaching', 'attached', 'detached'],
    },
    npm: {
      why: 'RTN4f, TH3: a reason is for errors; that the user closes is none',
      seen: {
        connection: ['connecting', 'connected', 'closing 80017', 'closed 80017'],
        channel: ['attaching', 'attached', 'detached 80017'],
      },
    },
  },
];
