// The objects of a channel as a tree, and editing them.

import { empty, field, h, outside, replace, select, setText, visible } from '../dom.js';
import { whole } from '../format.js';
import { stringify } from '../payload.js';
import { actionButton, errorPlace, form, lacking } from './shared.js';

/** The least milliseconds between two reads of the objects while they change. A read that takes long is followed by a longer pause. */
const PERIOD = 500;
const PAUSE = 5;
/** Most entries that are drawn of each map, most that a search finds, and most that are drawn in all. */
const LIMIT = 200;
const MOST = 1000;

export function objects(context) {
  const { session, toast, name } = context;
  const path = session.channelPath(name, '/object');
  const errors = errorPlace();
  const tree = h('div', { class: 'tree card' });
  const canEdit = session.can('object-publish', name);
  const open = new Set(['root']);
  const search = h('input', {
    type: 'search',
    spellcheck: 'false',
    autocomplete: 'off',
    'data-search': '',
    on: { input: draw },
  });
  const found = h('p', { class: 'muted', 'data-testid': 'entries' });
  /** The root as it was read last, and how many more entries may be drawn. */
  let root;
  let left = MOST;
  let timer;
  let pause = PERIOD;
  let stopped = false;
  const send = (operation) => session.rest('POST', path, { body: operation }).then(() => load());

  const target = h('input', {
    type: 'text',
    spellcheck: 'false',
    autocomplete: 'off',
    placeholder: 'such as settings.theme',
  });
  const kind = select([
    ['string', 'Text'],
    ['number', 'Number'],
    ['boolean', 'Boolean'],
    ['json', 'JSON'],
    ['bytes', 'Bytes, as base64'],
    ['map', 'New map'],
    ['counter', 'New counter'],
  ]);
  const value = h('input', { type: 'text', spellcheck: 'false', autocomplete: 'off' });
  const edit = form(
    { class: 'card' },
    toast,
    async () => {
      const keys = target.value.split(/(?<!\\)\./);
      const key = keys.at(-1).replaceAll('\\.', '.');
      if (!key) throw new Error('Name the key to set, such as settings.theme.');
      if (kind.value === 'map') await send({ path: target.value, mapCreate: { semantics: 0, entries: {} } });
      else if (kind.value === 'counter')
        await send({ path: target.value, counterCreate: { count: Number(value.value || 0) } });
      else await send({ path: keys.slice(0, -1).join('.'), mapSet: { key, value: typed(kind.value, value.value) } });
      return 'The object was changed.';
    },
    h('h2', null, 'Set a value'),
    h(
      'div',
      { class: 'columns' },
      field('Path', target, 'Keys from the root, with dots between them.'),
      field('Type', kind),
      field('Value', value),
    ),
    h('button', { class: 'button primary' }, 'Set'),
  );
  const element = h(
    'div',
    null,
    canEdit ? edit : lacking('object-publish', 'change objects', name),
    session.can('object-subscribe', name)
      ? [h('div', { class: 'bar' }, field('Key contains', search), found), errors.element, tree]
      : lacking('object-subscribe', 'read objects', name),
  );

  async function load() {
    clearTimeout(timer);
    timer = undefined;
    if (stopped || !session.can('object-subscribe', name)) return;
    const started = performance.now();
    await errors.guard(async () => {
      root = (await session.rest('GET', `${path}?compact=false`)).body;
      draw();
    });
    pause = Math.max(PERIOD, (performance.now() - started) * PAUSE);
  }

  function draw() {
    const focused = tree.contains(document.activeElement) ? document.activeElement.dataset.part : undefined;
    left = MOST;
    const wanted = search.value.toLowerCase();
    const all = wanted ? matches(root, wanted) : undefined;
    if (all) {
      const some = all.slice(0, LIMIT);
      replace(
        tree,
        h(
          'ul',
          null,
          some.map(({ keys, map, data }) => h('li', null, node(data, keys, map))),
        ),
      );
      setText(
        found,
        all.length > some.length ? `${LIMIT} of ${whole(all.length)} found` : `${whole(all.length)} found`,
      );
    } else {
      if (Object.keys(root?.map?.entries ?? {}).length) replace(tree, node(root, ['root'], undefined));
      else replace(tree, empty('No objects', 'Set a value to begin, or let a client do it.'));
      setText(found, '');
    }
    if (focused) [...tree.querySelectorAll('[data-part]')].find((it) => it.dataset.part === focused)?.focus();
  }

  /** The element of an entry: its value, the keys that lead to it, and the id of the map that has it. */
  function node(it, keys, parent) {
    left -= 1;
    const label = keys.join(' › ');
    const key = keys.at(-1);
    const part = (word) => ({ 'data-part': JSON.stringify([parent, key, word]) });
    const remove =
      parent !== undefined &&
      canEdit &&
      actionButton('Remove', toast, () => send({ objectId: parent, mapRemove: { key } }), 'quiet', {
        'aria-label': `Remove ${visible(label, 60)}`,
        ...part('remove'),
      });
    if (it?.map) return h('div', { class: 'node' }, branch(it, label, part('open')), remove);
    if (it?.counter) {
      const step = (number, sign) =>
        canEdit &&
        actionButton(sign, toast, () => send({ objectId: it.objectId, counterInc: { number } }), '', {
          'aria-label': `${number > 0 ? 'Increment' : 'Decrement'} ${visible(label, 60)}`,
          ...part(sign),
        });
      return h(
        'div',
        { class: 'node' },
        outside(label, 100),
        h('span', { class: 'muted' }, ' counter '),
        h('strong', null, String(it.counter.data?.number ?? 0)),
        step(-1, '−'),
        step(1, '+'),
        remove,
      );
    }
    const [type, content] = Object.entries(it ?? {})[0] ?? ['', ''];
    return h(
      'div',
      { class: 'node' },
      outside(label, 100),
      h('span', { class: 'muted' }, ` ${type} `),
      h('code', null, outside(typeof content === 'string' ? content : stringify(content), 300)),
      remove,
    );
  }

  /** A map. Its entries are drawn when it is opened. */
  function branch({ map, objectId: id }, label, properties) {
    const entries = Object.entries(map.entries ?? {});
    const list = h('ul');
    const fillIn = () => {
      const some = entries.slice(0, Math.min(LIMIT, Math.max(left, 0)));
      replace(
        list,
        some.map(([key, entry]) => h('li', null, node(entry.data, [key], id))),
        entries.length > some.length &&
          h('li', { class: 'muted' }, `and ${whole(entries.length - some.length)} more. Search to see them.`),
      );
    };
    const toggle = () => {
      if (box.open === open.has(id)) return;
      if (box.open) open.add(id);
      else open.delete(id);
      left = MOST;
      replace(list);
      if (box.open) fillIn();
    };
    const box = h(
      'details',
      { open: open.has(id), on: { toggle } },
      h('summary', properties, outside(label, 100), h('span', { class: 'muted' }, ` map, ${whole(entries.length)}`)),
      list,
    );
    if (box.open) fillIn();
    return box;
  }
  return {
    element,
    shown: load,
    attached: () => element.isConnected && load(),
    changed() {
      if (element.isConnected) timer ??= setTimeout(load, pause);
    },
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}

/** The entries whose key contains the text, with the keys that lead to each. */
function matches(root, wanted) {
  const found = [];
  const left = [{ it: root, keys: [] }];
  // A map may be at several keys, or below itself: each is looked through once.
  const seen = new Set();
  while (left.length) {
    const { it, keys } = left.pop();
    if (seen.has(it?.objectId)) continue;
    seen.add(it?.objectId);
    for (const [key, { data }] of Object.entries(it?.map?.entries ?? {})) {
      const path = [...keys, key];
      if (key.toLowerCase().includes(wanted)) found.push({ keys: path, map: it.objectId, data });
      if (data?.map) left.push({ it: data, keys: path });
    }
  }
  return found;
}

function typed(kind, text) {
  if (kind === 'number') {
    if (!text.trim() || !Number.isFinite(Number(text))) throw new Error('The value is not a number.');
    return { number: Number(text) };
  }
  if (kind === 'boolean') {
    if (text !== 'true' && text !== 'false') throw new Error('A boolean is true or false.');
    return { boolean: text === 'true' };
  }
  if (kind === 'json') return { json: JSON.stringify(JSON.parse(text)) };
  return { [kind]: text };
}
