// Tokens: making one, looking into one, and trying what one allows.

import { allows, OPERATIONS, parse } from '../capability.js';
import { button, facts, field, h, notice, outside, replace, visible, visibleLines } from '../dom.js';
import { duration, moment } from '../format.js';
import { fromBase64, stringify } from '../payload.js';
import { form } from './shared.js';

/** Requests that change nothing, one for each operation that has such a request. */
const PROBES = [
  ['history', (path) => path('/messages?limit=1')],
  ['presence', (path) => path('/presence?limit=1')],
  ['channel-metadata', (path) => path('')],
  ['object-subscribe', (path) => path('/object')],
  ['statistics', () => '/stats?limit=1'],
];

export function mount(main, { session, toast }) {
  const made = h('div', { class: 'result', 'aria-live': 'polite' });
  const clientId = h('input', { type: 'text', spellcheck: 'false', autocomplete: 'off' });
  const ttl = h('input', { type: 'number', min: 1, max: 1440, value: 60 });
  const capability = h('textarea', { rows: 3, spellcheck: 'false', class: 'mono' });
  const token = h('textarea', { rows: 3, spellcheck: 'false', class: 'mono', required: true });
  const looked = h('div', { class: 'result' });
  const rights = h('textarea', {
    rows: 3,
    spellcheck: 'false',
    class: 'mono',
    required: true,
    value: stringify(session.capability),
  });
  const channel = h('input', {
    type: 'text',
    spellcheck: 'false',
    autocomplete: 'off',
    required: true,
    value: 'chat:lobby',
  });
  const tried = h('div', { class: 'result', 'aria-live': 'polite' });

  const make = form(
    { class: 'card' },
    toast,
    async () => {
      const body = { ttl: Number(ttl.value) * 60000 };
      if (clientId.value) body.clientId = clientId.value;
      if (capability.value.trim()) body.capability = readCapability(capability.value);
      const details = await session.call('POST', 'token', body);
      const text = h('textarea', { rows: 3, readOnly: true, class: 'mono', value: details.token });
      const copy = button('Copy', async () => {
        text.select();
        await navigator.clipboard?.writeText(details.token).then(
          () => toast('The token was copied.'),
          () => toast('Select the token and copy it.'),
        );
      });
      replace(
        made,
        field('The token', text),
        factsOf(details),
        h(
          'div',
          { class: 'actions' },
          copy,
          button('Look into it', () => {
            token.value = details.token;
            look(details.capability);
          }),
        ),
      );
    },
    h('h2', null, 'Make a token'),
    field('Client ID', clientId, 'Empty: none. * allows any.'),
    field('Minutes until it expires', ttl),
    field('Capability', capability, 'Empty: all rights of the key. For example {"chat:*": ["subscribe", "history"]}'),
    h('button', { class: 'button primary' }, 'Make token'),
    made,
  );

  function look(known) {
    const content = inspect(token.value.trim());
    if (known && !content.capability) content.capability = known;
    replace(
      looked,
      content.parts.map(([title, value]) => [
        h('h3', null, title),
        h('pre', { class: 'code', tabindex: '0' }, visibleLines(value)),
      ]),
      content.facts,
      content.capability &&
        button('Try this capability', () => {
          rights.value = typeof content.capability === 'string' ? content.capability : stringify(content.capability);
          channel.focus();
        }),
    );
  }

  const inspectForm = form(
    { class: 'card' },
    toast,
    () => look(),
    h('h2', null, 'Look into a token'),
    field('Token', token, 'A JWT, the JSON of a token, or a token of the server.'),
    h('button', { class: 'button' }, 'Look'),
    looked,
  );

  const probe = h('div', { 'aria-live': 'polite' });
  const tryForm = form(
    { class: 'card wide' },
    toast,
    () => {
      const rules = parse(readCapability(rights.value));
      replace(
        tried,
        h(
          'table',
          null,
          h('caption', null, 'On ', outside(channel.value, 100)),
          h(
            'thead',
            null,
            h(
              'tr',
              null,
              ['Operation', 'Allowed', 'For'].map((text) => h('th', { scope: 'col' }, text)),
            ),
          ),
          h(
            'tbody',
            null,
            OPERATIONS.map(([name, text]) => {
              const yes = allows(rules, name, channel.value);
              return h(
                'tr',
                null,
                h('th', { scope: 'row' }, h('code', null, name)),
                h('td', { class: yes ? 'yes' : 'no' }, yes ? '✓ yes' : '✗ no'),
                h('td', { class: 'muted' }, text),
              );
            }),
          ),
        ),
      );
    },
    h('h2', null, 'Try a capability'),
    h('div', { class: 'columns' }, field('Capability to try', rights), field('Channel', channel)),
    h(
      'div',
      { class: 'actions' },
      h('button', { class: 'button' }, 'Try'),
      button('Ask the server', async () => {
        replace(probe, h('p', { class: 'muted' }, 'Asking…'));
        try {
          const details = await session.call('POST', 'token', { capability: readCapability(rights.value), ttl: 60000 });
          const path = (rest) => session.channelPath(channel.value, rest);
          const rows = [];
          for (const [name, address] of PROBES) {
            const answer = await session.rest('GET', address(path), { token: details.token }).then(
              () => '✓ allowed',
              (error) => `✗ ${error.code || ''} ${error.message}`,
            );
            rows.push(h('tr', null, h('th', { scope: 'row' }, h('code', null, name)), h('td', null, visible(answer))));
          }
          replace(
            probe,
            h(
              'table',
              null,
              h('caption', null, 'Answers of the server to requests that change nothing'),
              h('tbody', null, rows),
            ),
          );
        } catch (error) {
          replace(probe, notice('error', error.message));
        }
      }),
    ),
    tried,
    probe,
  );
  main.append(h('div', { class: 'two' }, make, inspectForm), tryForm);
}

function readCapability(text) {
  try {
    const value = JSON.parse(text);
    parse(value);
    return value;
  } catch (error) {
    throw new Error(`The capability cannot be used: ${error.message}`, { cause: error });
  }
}

function factsOf(details) {
  return facts([
    ['Key', details.keyName && outside(details.keyName)],
    ['Client ID', details.clientId && outside(details.clientId)],
    ['Issued', details.issued && moment(details.issued)],
    [
      'Expires',
      details.expires &&
        `${moment(details.expires)}, ${details.expires > Date.now() ? `in ${duration(details.expires - Date.now())}` : 'expired'}`,
    ],
    [
      'Capability',
      details.capability &&
        h(
          'code',
          null,
          visible(typeof details.capability === 'string' ? details.capability : stringify(details.capability), 2000),
        ),
    ],
  ]);
}

/** What a token says about itself. */
function inspect(text) {
  if (text.startsWith('{')) {
    const details = JSON.parse(text);
    return { parts: [], facts: factsOf(details), capability: details.capability };
  }
  const [header, claims, signature] = text.split('.');
  if (signature !== undefined) {
    const [top, body] = [header, claims].map((part) => JSON.parse(new TextDecoder().decode(fromBase64(part))));
    const details = {
      keyName: top.kid,
      clientId: body['x-ably-clientId'],
      issued: body.iat * 1000,
      expires: body.exp * 1000,
      capability: body['x-ably-capability'],
    };
    return {
      parts: [
        ['Header', stringify(top, 2)],
        ['Claims', stringify(body, 2)],
      ],
      facts: factsOf(details),
      capability: details.capability,
    };
  }
  return {
    parts: [],
    facts: notice(
      'info',
      'This is a token of the server, or no token: its content is not readable. Its app is ',
      outside(header, 60),
      '.',
    ),
  };
}
