// The channels that are live, with rates and occupancy.

import { poll } from '../api.js';
import { empty, field, h, keyed, select, setText } from '../dom.js';
import { count as counted, rate, short, whole } from '../format.js';
import { channelHash, channelLink, errorPlace, form, lacking } from './shared.js';

const LIMIT = 200;

export function mount(main, { session, toast }) {
  const errors = errorPlace();
  const name = h('input', {
    type: 'text',
    spellcheck: 'false',
    autocomplete: 'off',
    required: true,
    placeholder: 'such as chat:lobby',
  });
  const opening = form(
    { class: 'bar' },
    toast,
    () => {
      location.hash = channelHash(name.value);
    },
    field('Open a channel', name),
    h('button', { class: 'button primary' }, 'Open'),
  );
  if (!session.can('channel-metadata')) {
    main.append(lacking('channel-metadata', 'list channels'), opening);
    return {};
  }
  const search = h('input', {
    type: 'search',
    spellcheck: 'false',
    autocomplete: 'off',
    'data-search': '',
    on: { input: () => refresh() },
  });
  const sort = select(
    [
      ['name', 'Name'],
      ['rate', 'Rate'],
      ['connections', 'Connections'],
    ],
    { on: { change: () => refresh() } },
  );
  const count = h('p', { class: 'muted', 'data-testid': 'count' });
  const body = h('tbody');
  const head = ['Channel', 'In / s', 'Out / s', 'Connections', 'Publishers', 'Subscribers', 'Members', 'Attachments'];
  const table = h(
    'div',
    { class: 'table', tabindex: '0', role: 'region', 'aria-label': 'Channels' },
    h(
      'table',
      null,
      h(
        'thead',
        null,
        h(
          'tr',
          null,
          head.map((text, index) => h('th', { scope: 'col', class: index ? 'number' : '' }, text)),
        ),
      ),
      body,
    ),
  );
  const none = empty(
    'No channels',
    'Channels appear as soon as a client attaches or publishes. Open one by its name to publish to it.',
  );
  main.append(
    opening,
    h('div', { class: 'bar' }, field('Name contains', search), field('Sort by', sort), count),
    errors.element,
    table,
  );
  const load = (signal) =>
    errors.guard(async () => {
      const asked = search.value;
      const query = new URLSearchParams({ search: asked, sort: sort.value, limit: LIMIT });
      const { channels, total } = await session.get(`channels?${query}`, signal);
      if (asked !== search.value) return;
      keyed(body, channels, (it) => it.name, makeRow, updateRow);
      setText(
        count,
        total > channels.length
          ? `${whole(channels.length)} of ${whole(total)} channels shown. Narrow the search, or sort them differently, to see others.`
          : counted(total, 'channel'),
      );
      table.hidden = !channels.length;
      if (channels.length) none.remove();
      else main.append(none);
    });
  let stop = poll(1000, load);
  function refresh() {
    stop();
    stop = poll(1000, load);
  }
  return { unmount: () => stop() };
}

function makeRow({ name }) {
  return h(
    'tr',
    null,
    h('th', { scope: 'row' }, channelLink(name)),
    Array.from({ length: 7 }, () => h('td', { class: 'number' })),
  );
}

function updateRow(row, { rate: rates, occupancy: o, attachments }) {
  const values = [
    rate(rates?.in),
    rate(rates?.out),
    short(o?.connections),
    short(o?.publishers),
    short(o?.subscribers),
    short(o?.presenceMembers),
    short(attachments),
  ];
  values.forEach((value, index) => setText(row.children[index + 1], value));
}
