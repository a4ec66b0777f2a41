// The presence set of a channel, and entering it.

import { empty, field, h, keyed, outside, replace, setText } from '../dom.js';
import { moment, whole } from '../format.js';
import { decode, summary } from '../payload.js';
import { actionButton, form, lacking } from './shared.js';

/** Most members that are drawn. */
const LIMIT = 200;
/** Milliseconds between two times, while members come and go. */
const PERIOD = 250;

export function members(context) {
  const { session, toast, name } = context;
  const search = h('input', { type: 'search', spellcheck: 'false', 'data-search': '', on: { input: () => draw() } });
  const count = h('p', { class: 'muted', 'data-testid': 'members' });
  const list = h('ul', { class: 'cards', 'aria-label': 'Members' });
  const none = empty('Nobody is present', 'Members appear here when clients enter.');
  const client = h('input', { type: 'text', spellcheck: 'false', autocomplete: 'off', required: true });
  const data = h('input', { type: 'text', spellcheck: 'false', autocomplete: 'off' });
  const enter = form(
    { class: 'card' },
    toast,
    async () => {
      await context.channel.enterPresence(client.value, data.value ? { data: data.value } : {});
      return 'Entered.';
    },
    h('h2', null, 'Enter'),
    h('div', { class: 'columns' }, field('Client ID', client), field('Data', data, 'Entering again updates the data.')),
    h('button', { class: 'button primary' }, 'Enter'),
  );
  const readable = session.can('subscribe', name);
  const element = h(
    'div',
    null,
    session.can('presence', name) ? enter : lacking('presence', 'enter', name),
    readable
      ? [h('div', { class: 'bar' }, field('Search', search), count), none, list]
      : lacking('subscribe', 'see the members', name),
  );
  let timer;
  function draw() {
    clearTimeout(timer);
    timer = undefined;
    const all = context.channel?.presence.members ?? [];
    const wanted = search.value.toLowerCase();
    const found = all.filter((it) => (it.clientId ?? '').toLowerCase().includes(wanted));
    keyed(list, found.slice(0, LIMIT), (it) => `${it.connectionId}:${it.clientId}`, make, update);
    const state = context.channel?.presence.syncing
      ? `${whole(all.length)} present so far`
      : `${whole(all.length)} present`;
    setText(
      count,
      found.length > LIMIT ? `${state}, ${LIMIT} of ${whole(found.length)} shown. Search to see others.` : state,
    );
    none.hidden = all.length > 0;
  }
  function make(it) {
    const detail = h('p', { class: 'data' });
    const leave = actionButton(
      'Leave',
      toast,
      () => context.channel.leavePresence(it.clientId).then(() => 'Left.'),
      'quiet',
    );
    const card = h(
      'li',
      { class: 'card' },
      h(
        'div',
        { class: 'line' },
        h(
          'div',
          { class: 'grow' },
          h('strong', null, outside(it.clientId, 120)),
          ' ',
          h('code', { class: 'muted' }, outside(it.connectionId ?? '')),
        ),
        leave,
      ),
      detail,
    );
    card.parts = { detail, leave };
    return card;
  }
  function update({ parts }, it) {
    parts.leave.hidden = !context.channel.isOwn(it);
    if (parts.id === it.id) return;
    parts.id = it.id;
    replace(
      parts.detail,
      outside(summary(decode(it.data, it.encoding)), 400),
      ' ',
      h('span', { class: 'muted' }, moment(it.timestamp)),
    );
  }
  return {
    element,
    shown: draw,
    attached: draw,
    changed() {
      if (element.isConnected) timer ??= setTimeout(draw, PERIOD);
    },
    stop: () => clearTimeout(timer),
  };
}
