// Failures, and the expected reactions of a client: data for `test/faults.test.mjs`.
//
// The test runs `steps` in order. `rule` adds a fault, and `clear` removes all faults. `act` applies a fault to the
// open connections at once. `until` waits for a state, or for its n-th occurrence. All other steps are calls of the
// client.
// `patience` is the realtime request timeout, in ms. `seen` contains the expected events, each with the code of its
// reason: the states of the connection, the states of the channel, and the results of the publishes. `seen` also
// contains the number of requested tokens. If the npm client behaves differently, `npm` contains its events, and the
// point of the specification that explains the difference.

const cut = { type: 'disconnect' };
const error = (code, statusCode) => ({ code, statusCode, message: 'of the script' });

/** A CONNECTED frame with a connection id that the server does not know, and with the given details. */
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
    name: 'a client resumes a cut connection',
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
    name: 'a connection is cut twice, and loses the acknowledgement of a publish',
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
    name: 'the server refuses the first connection attempt',
    steps: [
      { rule: onConnect({ type: 'refuse_connection' }, 1) },
      { connect: true },
      { until: { connection: 'connected' } },
    ],
    seen: {
      connection: ['connecting', 'disconnected 80000', 'connecting', 'connected'],
    },
    npm: {
      why: 'RTN14d: the code of the reason is not specified; 80000 is for a failed connection, 80003 for a lost one',
      seen: {
        connection: ['connecting', 'disconnected 80003', 'connecting', 'connected'],
      },
    },
  },
  {
    name: 'the server answers the upgrade with 503, twice',
    steps: [
      { rule: onConnect({ type: 'http_respond', status: 503, body: {} }, 2) },
      { connect: true },
      { until: { connection: 'connected' } },
    ],
    seen: {
      connection: ['connecting', 'disconnected 80000', 'connecting', 'connected'],
    },
    npm: {
      why: 'RTN14d: the code of the reason is not specified; 80000 is for a failed connection, 80003 for a lost one',
      seen: {
        connection: ['connecting', 'disconnected 80003', 'connecting', 'connected'],
      },
    },
  },
  {
    name: 'the service becomes silent',
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
      why: 'RTN23a: the code is not specified; 80014 is for a connection that timed out',
      seen: {
        connection: ['connecting', 'connected', 'disconnected 80003', 'connecting', 'connected 80018'],
      },
    },
  },
  {
    name: 'the service sends no CONNECTED on the first attempt',
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
      why: 'RTN14c: the code is not specified; 80014 is for a connection that timed out',
      seen: {
        connection: ['connecting', 'disconnected 80003', 'connecting', 'connected'],
      },
    },
  },
  {
    name: 'the service disconnects the client',
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
    name: 'a fatal error fails the connection, and the client connects again',
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
    name: 'a fatal error fails the connection and its attached channel',
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
    name: 'a token expires, and the client gets another token',
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
    name: 'a client renews tokens that are valid for two seconds',
    auth: 'url',
    ttl: 2000,
    steps: [{ connect: true }, { until: { connection: 'connected', times: 2 } }],
    seen: {
      connection: ['connecting', 'connected', 'disconnected 40142', 'connecting', 'connected'],
      tokens: 2,
    },
  },
  {
    name: 'the service rejects a token while connecting, and the client gets another token',
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
      why: 'RTN14b: the client gets and uses the new token within the attempt; DISCONNECTED follows only if that fails',
      seen: {
        connection: ['connecting', 'disconnected 40142', 'connecting', 'connected'],
      },
    },
  },
  {
    name: 'a token expires, and the client cannot get another token',
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
    name: 'the service requests a new token',
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
    name: 'the service cannot resume a connection',
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
    name: 'the service is unreachable for longer than the connectionStateTtl',
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
      why: 'RTN14d: the code of the reason is not specified; 80000 is for a failed connection, 80003 for a lost one',
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
    name: 'the service detaches a channel that is attaching',
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
    name: 'the service fails a channel',
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
    name: 'the client closes the connection',
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
      why: 'RTN4f, TH3: a reason is for errors; a close by the user is not an error',
      seen: {
        connection: ['connecting', 'connected', 'closing 80017', 'closed 80017'],
        channel: ['attaching', 'attached', 'detached 80017'],
      },
    },
  },
];
