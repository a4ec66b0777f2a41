// The frames between the server and its clients.

import { poll } from '../api.js';
import {
  button,
  check,
  facts,
  field,
  h,
  notice,
  outside,
  replace,
  select,
  setText,
  visible,
  visibleLines,
} from '../dom.js';
import { bytes, clock, moment, whole } from '../format.js';
import { Stream } from '../stream.js';
import { channelLink, errorPlace, operatorOnly } from './shared.js';

export function mount(main, { session, toast }) {
  if (!session.operator) {
    main.append(operatorOnly('record frames'));
    return {};
  }
  const errors = errorPlace();
  const details = h('aside', { class: 'details card', 'aria-label': 'Frame', hidden: true });
  const stream = new Stream({ label: 'Frames, newest first', draw, open: (frame) => show(details, frame, stream) });
  const record = check('Record', { role: 'switch', on: { change: () => change() } });
  const connection = h('input', { type: 'search', spellcheck: 'false', on: { input: restart } });
  const channel = h('input', { type: 'search', spellcheck: 'false', 'data-search': '', on: { input: restart } });
  const direction = select(
    [
      ['', 'Both'],
      ['toServer', 'To the server'],
      ['toClient', 'To the client'],
    ],
    { on: { change: restart } },
  );
  const beats = check('Heartbeats', { on: { change: restart } });
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
  const lost = h('p', { class: 'muted' });
  let changes = 0;
  let cursor = 0;
  let dropped = 0;
  function restart() {
    cursor = 0;
    dropped = 0;
    stream.clear();
    setText(lost, '');
  }
  async function change() {
    changes += 1;
    try {
      await session.call('PUT', 'frames', { on: record.box.checked });
    } catch (error) {
      record.box.checked = !record.box.checked;
      toast(error.message, 'error');
    }
  }
  main.append(
    h(
      'div',
      { class: 'bar' },
      record.element,
      field('Channel', channel),
      field('Connection', connection),
      field('Direction', direction),
      beats.element,
      pause,
      button('Clear', () => stream.clear()),
    ),
    errors.element,
    stream.status,
    lost,
    h('div', { class: 'split' }, stream.list, details),
    notice(
      'info',
      'The server records frames only while this is on, and keeps the newest. Secrets are left out. MessagePack frames are shown as JSON.',
    ),
  );
  // A recording that nobody reads ends, for example while the page is hidden: look now and then.
  let rounds = 0;
  const stop = poll(500, (signal) =>
    errors.guard(async () => {
      if (rounds++ % 8 === 0) {
        const before = changes;
        const { frames } = await session.get('overview', signal);
        // An answer from before a click says nothing about the click.
        if (before === changes) record.box.checked = frames === true;
      }
      const query = new URLSearchParams({ after: cursor, limit: 500 });
      if (connection.value) query.set('connection', connection.value);
      if (channel.value) query.set('channel', channel.value);
      const asked = `${connection.value} ${channel.value}`;
      const answer = await session.get(`frames?${query}`, signal);
      if (asked !== `${connection.value} ${channel.value}`) return;
      cursor = answer.next ?? cursor;
      dropped += answer.dropped ?? 0;
      for (const frame of answer.frames) {
        if (direction.value && frame.direction !== direction.value) continue;
        if (frame.action !== 'HEARTBEAT' || beats.box.checked) stream.push(frame);
      }
      setText(lost, dropped ? `${whole(dropped)} frames were dropped before the page fetched them.` : '');
    }),
  );
  return { unmount: stop };
}

const arrow = (frame) => (frame.direction === 'toClient' ? '← to client' : '→ to server');

function draw(frame) {
  return [
    h('span', { class: 'cell time' }, clock(frame.time)),
    h('span', { class: `cell badge ${frame.direction}` }, arrow(frame)),
    h('span', { class: 'cell name' }, visible(frame.action ?? '?', 40)),
    h(
      'span',
      { class: 'cell data' },
      frame.channel && [outside(frame.channel, 80), ' '],
      outside(frame.text ?? '', 200),
    ),
    h('span', { class: 'cell size' }, bytes(frame.bytes)),
  ];
}

function show(details, frame, stream) {
  let text = frame.text ?? '';
  try {
    text = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // The server cuts long frames: they are shown as they are.
  }
  replace(
    details,
    h(
      'div',
      { class: 'line' },
      h('h2', { class: 'grow' }, visible(frame.action ?? 'Frame', 40)),
      button(
        'Close',
        () => {
          details.hidden = true;
          stream.unmark();
        },
        'quiet',
        { 'data-close': '' },
      ),
    ),
    facts([
      ['Time', moment(frame.time)],
      ['Direction', arrow(frame)],
      ['Connection', frame.connectionId && outside(frame.connectionId)],
      ['Channel', frame.channel && channelLink(frame.channel)],
      ['Size', bytes(frame.bytes)],
    ]),
    h('pre', { class: 'code', tabindex: '0' }, visibleLines(text)),
  );
  details.hidden = false;
}
