// The connections of the app, and buttons that cut them.

import { poll } from '../api.js';
import { empty, field, h, keyed, outside, replace, setText, visible } from '../dom.js';
import { bytes, count as counted, duration, whole } from '../format.js';
import { actionButton, channelLink, errorPlace, operatorOnly } from './shared.js';

export function mount(main, { session, realtime, toast }) {
  if (!session.operator) {
    main.append(operatorOnly('list connections'));
    return {};
  }
  const errors = errorPlace();
  const search = h('input', {
    type: 'search',
    spellcheck: 'false',
    autocomplete: 'off',
    'data-search': '',
    on: { input: () => refresh() },
  });
  const count = h('p', { class: 'muted', 'data-testid': 'count' });
  const list = h('ul', { class: 'cards', 'aria-label': 'Connections' });
  const none = empty('No connections', 'Clients appear here as soon as they connect.');
  main.append(h('div', { class: 'bar' }, field('Connection or client', search), count), errors.element, list);
  const load = (signal) =>
    errors.guard(async () => {
      const query = new URLSearchParams({ limit: 200, search: search.value });
      const { connections, total } = await session.get(`connections?${query}`, signal);
      keyed(
        list,
        connections,
        (it) => it.connectionId,
        (it) => makeCard(it, session, toast),
        (card, it) => updateCard(card, it, realtime),
      );
      setText(
        count,
        total > connections.length
          ? `The newest ${whole(connections.length)} of ${whole(total)} connections are shown. Narrow the search to see others.`
          : counted(total, 'connection'),
      );
      if (connections.length) none.remove();
      else main.append(none);
    });
  let stop = poll(1000, load);
  function refresh() {
    stop();
    stop = poll(1000, load);
  }
  return { unmount: () => stop() };
}

function makeCard({ connectionId: id }, session, toast) {
  const path = `connections/${encodeURIComponent(id)}`;
  const state = h('span', { class: 'badge state' });
  const details = h('p', { class: 'muted' });
  const channels = h('p', { class: 'chips' });
  const client = h('strong');
  const cut = actionButton(
    'Cut',
    toast,
    async () => {
      await session.call('DELETE', path);
      return `Cut ${visible(id)}. The client will connect again and resume.`;
    },
    '',
    { 'aria-label': `Cut connection ${visible(id)}` },
  );
  const forget = actionButton(
    'Cut and forget',
    toast,
    async () => {
      await session.call('DELETE', `${path}?forget=true`);
      return `Forgot ${visible(id)}. The client cannot resume it.`;
    },
    'danger',
    { 'aria-label': `Cut and forget connection ${visible(id)}` },
  );
  const card = h(
    'li',
    { class: 'card' },
    h(
      'div',
      { class: 'line' },
      h('div', { class: 'grow' }, client, ' ', h('code', null, outside(id)), ' ', state),
      h('div', { class: 'actions' }, cut, forget),
    ),
    details,
    channels,
  );
  card.parts = { state, details, channels, client };
  return card;
}

function updateCard({ parts }, it, realtime) {
  const own = it.connectionId === realtime.connectionId ? ' · this page' : '';
  setText(parts.client, it.clientId ? visible(it.clientId, 120) : 'no clientId');
  setText(parts.state, it.state);
  parts.state.dataset.state = it.state;
  const since = duration(Date.now() - it.since);
  setText(
    parts.details,
    [`${since}${own}`, it.format, it.address, it.agent, it.queueBytes && `${bytes(it.queueBytes)} queued`]
      .filter(Boolean)
      .map((text) => visible(text))
      .join(' · '),
  );
  const key = JSON.stringify([it.channels, it.channelCount]);
  if (parts.key === key) return;
  parts.key = key;
  const more = (it.channelCount ?? 0) - it.channels.length;
  replace(
    parts.channels,
    it.channels.map(({ name, modes }) =>
      h('span', { class: 'chip', title: (modes ?? []).join(', ') }, channelLink(name)),
    ),
    more > 0 && h('span', { class: 'muted' }, `and ${whole(more)} more`),
    !it.channels.length && h('span', { class: 'muted' }, 'No channels attached'),
  );
}
