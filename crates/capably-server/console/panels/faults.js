// Rules that make the server fail on purpose, and actions on all connections.

import { poll } from '../api.js';
import { empty, field, h, keyed, notice, setText, visible } from '../dom.js';
import { count } from '../format.js';
import { actionButton, errorPlace, form, operatorOnly } from './shared.js';

const PRESETS = [
  [
    'Lose an acknowledgement and drop the connection',
    {
      match: { type: 'ws_frame_to_client', action: 'ACK' },
      action: [{ type: 'suppress' }, { type: 'disconnect' }],
      times: 1,
    },
  ],
  ['Refuse the next connection', { match: { type: 'ws_connect' }, action: { type: 'refuse_connection' }, times: 1 }],
  [
    'Delay every message by 500 ms',
    { match: { type: 'ws_frame_to_client', action: 'MESSAGE' }, action: { type: 'delay', delayMs: 500 } },
  ],
  [
    'Drop every connection after 6 seconds',
    { match: { type: 'delay_after_ws_connect', delayMs: 6000 }, action: { type: 'disconnect' } },
  ],
  [
    'Answer REST publishes with 503',
    {
      match: { type: 'http_request', method: 'POST', pathContains: '/messages' },
      action: { type: 'http_respond', status: 503, body: { error: { code: 50300, statusCode: 503, message: 'busy' } } },
    },
  ],
  ['Send nothing to clients any more', { match: { type: 'ws_frame_to_client' }, action: { type: 'suppress_onwards' } }],
];
/** Rules that are switched off; they live in the page only. */
const off = new Map();
let offCount = 0;

export function mount(main, { session, toast }) {
  if (!session.operator) {
    main.append(operatorOnly('inject faults'));
    return {};
  }
  const errors = errorPlace();
  const rule = h('textarea', { rows: 11, spellcheck: 'false', class: 'mono' });
  rule.value = JSON.stringify(PRESETS[0][1], null, 2);
  const preset = h(
    'select',
    {
      on: {
        change: () => {
          rule.value = JSON.stringify(PRESETS[preset.value][1], null, 2);
        },
      },
    },
    PRESETS.map(([text], index) => h('option', { value: index }, text)),
  );
  const list = h('ul', { class: 'cards', 'aria-label': 'Rules' });
  const none = empty('No rules', 'Everything passes unchanged. Add a rule to see how a client copes with a failure.');
  const load = (signal) =>
    errors.guard(async () => {
      const { rules } = await session.get('faults/rules', signal);
      const all = [
        ...rules.map((it) => ({ ...it, on: true })),
        ...[...off].map(([key, it]) => ({ ...it, key, on: false })),
      ];
      keyed(
        list,
        all,
        (it) => (it.on ? `on${it.id}` : it.key),
        make,
        (card, it) => setText(card.count, it.on ? `applied ${count(it.applied, 'time')}` : 'off'),
      );
      none.hidden = all.length > 0;
    });
  const make = (it) => {
    const { id, applied: _, key, on, ...text } = it;
    const name = visible(it.comment ?? describe(it), 80);
    const box = h('input', { type: 'checkbox', role: 'switch', checked: on, 'aria-label': `Rule on: ${name}` });
    box.addEventListener('change', () =>
      act(async () => {
        if (on) {
          await session.call('DELETE', `faults/rules/${id}`);
          off.set(`off${(offCount += 1)}`, text);
        } else {
          await session.call('POST', 'faults/rules', text);
          off.delete(key);
        }
      }),
    );
    const remove = actionButton(
      'Remove',
      toast,
      async () => {
        if (on) await session.call('DELETE', `faults/rules/${id}`);
        else off.delete(key);
        await load();
      },
      'quiet',
      { 'aria-label': `Remove rule: ${name}` },
    );
    const applications = h('span', { class: 'muted' });
    const card = h(
      'li',
      { class: 'card' },
      h(
        'div',
        { class: 'line' },
        h('label', { class: 'check grow' }, box, h('strong', null, name)),
        applications,
        remove,
      ),
      h(
        'details',
        null,
        h('summary', null, 'Rule'),
        h('pre', { class: 'code' }, visible(JSON.stringify(text, null, 2), 4000).replaceAll('↵', '\n')),
      ),
    );
    card.count = applications;
    return card;
  };
  async function act(work) {
    try {
      await work();
    } catch (error) {
      toast(error.message, 'error');
    }
    await load();
  }
  main.append(
    notice(
      'info',
      'Rules apply to every client of this server, this page included. The first rule cuts all open connections once, so that clients come back through the rules.',
    ),
    errors.element,
    form(
      { class: 'card' },
      toast,
      async () => {
        let value;
        try {
          value = JSON.parse(rule.value);
        } catch (error) {
          throw new Error(`The rule is not JSON: ${error.message}`, { cause: error });
        }
        await session.call('POST', 'faults/rules', value);
        await load();
        return 'The rule was added.';
      },
      h('h2', null, 'Add a rule'),
      field('Start from', preset),
      field('Rule', rule, 'The rule language is that of capably serve --control.'),
      h(
        'div',
        { class: 'actions' },
        h('button', { class: 'button primary' }, 'Add rule'),
        actionButton(
          'Disconnect all clients now',
          toast,
          async () => {
            await session.call('POST', 'faults/actions', { type: 'disconnect' });
            return 'All connections were cut. Clients connect again and resume.';
          },
          'danger',
        ),
      ),
    ),
    h('section', { 'aria-labelledby': 'rules' }, h('h2', { id: 'rules' }, 'Rules'), list, none),
  );
  return { unmount: poll(1000, load) };
}

function describe({ match, action }) {
  const actions = [action]
    .flat()
    .map((it) => it?.type)
    .join(' + ');
  return `${match?.type}${match?.action ? ` ${match.action}` : ''} → ${actions}`;
}
