// What passes on a channel: messages, annotations, presence and operations on objects. And a form to publish.

import { button, check, empty, field, h, outside, select, setText, visible } from '../dom.js';
import { bytes, clock } from '../format.js';
import { decode, encode, stringify, summary } from '../payload.js';
import { PRESENCE_ACTIONS } from '../presence.js';
import { ACTION } from '../realtime.js';
import { Stream } from '../stream.js';
import { showMessage } from './message.js';
import { actionButton, form, lacking } from './shared.js';

export const MESSAGE_ACTIONS = ['create', 'update', 'delete', 'meta', 'summary', 'append'];
const OBJECT_ACTIONS = [
  'map create',
  'map set',
  'map remove',
  'counter create',
  'counter increment',
  'delete',
  'map clear',
];
/** Most characters of the line of an item. */
const SUMMARY = 400;
const KINDS = ['message', 'annotation', 'presence', 'object'];

export function messages(context) {
  const { session, toast, name } = context;
  const details = h('aside', { class: 'details card', 'aria-label': 'Details', hidden: true });
  const stream = new Stream({
    label: 'What passes, newest first',
    draw,
    open: (item) => showMessage(details, item, context, () => stream.unmark()),
  });
  const filter = h('input', { type: 'search', spellcheck: 'false', autocomplete: 'off', 'data-search': '' });
  const kind = select([['', 'All'], ...KINDS]);
  const deltas = check('Deltas', {
    on: { change: () => context.channel?.reattach(deltas.box.checked ? { delta: 'vcdiff' } : {}) },
  });
  const pause = button(
    'Pause',
    () => {
      stream.pause(!stream.paused);
      setText(pause, stream.paused ? 'Go on' : 'Pause');
      pause.setAttribute('aria-pressed', stream.paused);
    },
    '',
    { 'data-pause': '', 'aria-pressed': 'false' },
  );
  let hidden = 0;
  let base;
  let next = session.channelPath(name, '/messages?limit=100');
  const older = actionButton('Load older messages', toast, async () => {
    const page = await session.rest('GET', next);
    stream.addOlder(page.body.map((it) => ofMessage(it)).filter(passes));
    none.hidden = true;
    next = page.next;
    older.hidden = !next;
    return next ? '' : 'There are no older messages.';
  });
  const filtered = h('p', { class: 'muted', 'data-testid': 'filtered' });
  const none = empty(
    'Nothing has passed yet',
    'Messages appear here as they are published. Load older ones, or publish one.',
  );
  const element = h(
    'div',
    null,
    publishForm(context),
    session.can('subscribe', name) &&
      !session.can('annotation-subscribe', name) &&
      lacking('annotation-subscribe', 'receive annotations one by one', name),
    h(
      'div',
      { class: 'bar' },
      field('Filter', filter),
      field('Kind', kind),
      context.session.can('subscribe', name) && deltas.element,
      pause,
      button('Clear', () => {
        stream.clear();
        hidden = 0;
        setText(filtered, '');
      }),
      session.can('history', name) ? older : lacking('history', 'read older messages', name),
    ),
    h('div', { class: 'line' }, stream.status, filtered),
    h('div', { class: 'split' }, h('div', { class: 'grow' }, none, stream.list), details),
  );

  const passes = (item) => {
    if (kind.value && item.kind !== kind.value) return false;
    const wanted = filter.value.toLowerCase();
    return !wanted || `${item.name ?? ''}\n${item.clientId ?? ''}\n${item.summary}`.toLowerCase().includes(wanted);
  };
  function push(item) {
    none.hidden = true;
    if (passes(item)) stream.push(item);
    else setText(filtered, `${(hidden += 1)} filtered out`);
  }
  return {
    element,
    attached: () => {
      base = undefined;
    },
    gap: () =>
      push({
        kind: 'gap',
        action: 'gap',
        time: Date.now(),
        summary: 'The connection was interrupted. Messages may be missing here.',
        raw: {},
      }),
    receive(frame) {
      const list = {
        [ACTION.MESSAGE]: 'messages',
        [ACTION.ANNOTATION]: 'annotations',
        [ACTION.PRESENCE]: 'presence',
        [ACTION.OBJECT]: 'state',
      }[frame.action];
      for (const [index, it] of (frame[list] ?? []).entries()) {
        const raw = {
          ...it,
          id: it.id ?? (frame.id && `${frame.id}:${index}`),
          timestamp: it.timestamp ?? frame.timestamp,
          connectionId: it.connectionId ?? frame.connectionId,
        };
        if (frame.action === ACTION.MESSAGE) {
          const item = ofMessage(raw, base);
          if (item.payload.base) base = item.payload.base;
          push(item);
        } else {
          push(ofOther(raw, list));
        }
      }
    },
  };
}

function ofMessage(raw, base) {
  const payload = decode(raw.data, raw.encoding, base);
  const isSummary = raw.action === 4;
  return {
    kind: 'message',
    action: MESSAGE_ACTIONS[raw.action ?? 0] ?? visible(`action ${raw.action}`, 40),
    raw,
    payload,
    name: raw.name,
    clientId: raw.clientId,
    time: raw.version?.timestamp ?? raw.timestamp,
    summary: isSummary ? stringify(raw.annotations?.summary ?? {}).slice(0, SUMMARY) : summary(payload),
    size: payload.size,
  };
}

function ofOther(raw, list) {
  const payload = decode(raw.data, raw.encoding);
  const common = { raw, payload, clientId: raw.clientId, time: raw.timestamp, size: payload.size };
  if (list === 'presence')
    return {
      ...common,
      kind: 'presence',
      action: PRESENCE_ACTIONS[raw.action ?? 0] ?? 'presence',
      summary: summary(payload),
    };
  if (list === 'annotations')
    return {
      ...common,
      kind: 'annotation',
      action: raw.action === 1 ? 'annotation off' : 'annotation',
      name: raw.type,
      summary: `${raw.name ?? ''} ${summary(payload)}`.trim(),
    };
  const { action, objectId, ...rest } = raw.operation ?? {};
  return {
    ...common,
    time: raw.serialTimestamp ?? raw.timestamp ?? Date.now(),
    kind: 'object',
    action: OBJECT_ACTIONS[action] ?? 'object',
    name: objectId,
    summary: stringify(rest).slice(0, SUMMARY),
    size: stringify(rest).length,
  };
}

function draw(item) {
  return [
    h('span', { class: 'cell time' }, clock(item.time)),
    h('span', { class: `cell badge ${item.kind}` }, item.action),
    h(
      'span',
      { class: 'cell name' },
      item.name === undefined || item.name === null ? '' : outside(item.name, 80),
      item.clientId && [' ', h('span', { class: 'muted' }, outside(item.clientId, 60))],
    ),
    h(
      'span',
      { class: 'cell data' },
      item.payload?.isDelta && h('span', { class: 'badge' }, 'delta'),
      outside(item.summary, 240),
    ),
    h('span', { class: 'cell size' }, item.size === undefined ? '' : bytes(item.size)),
  ];
}

function publishForm({ session, toast, name }) {
  if (!session.can('publish', name)) return lacking('publish', 'publish', name);
  const title = h('input', { type: 'text', spellcheck: 'false', autocomplete: 'off' });
  const clientId = h('input', { type: 'text', spellcheck: 'false', autocomplete: 'off' });
  const data = h('textarea', { rows: 3, spellcheck: 'false', class: 'mono' });
  const kind = select([
    ['text', 'Text'],
    ['json', 'JSON'],
    ['base64', 'Binary, as base64'],
    ['none', 'None'],
  ]);
  return h(
    'details',
    { class: 'card' },
    h('summary', null, 'Publish a message'),
    form(
      {},
      toast,
      async () => {
        let body;
        try {
          body = encode(data.value, kind.value);
        } catch (error) {
          throw new Error(`The data is not ${kind.value === 'json' ? 'JSON' : 'base64'}: ${visible(error.message)}`, {
            cause: error,
          });
        }
        if (title.value) body.name = title.value;
        if (clientId.value) body.clientId = clientId.value;
        await session.rest('POST', session.channelPath(name, '/messages'), { body });
        return 'Published.';
      },
      h('div', { class: 'columns' }, field('Name', title), field('Client ID', clientId), field('Type of data', kind)),
      field('Data', data),
      h('button', { class: 'button primary' }, 'Publish'),
    ),
  );
}
