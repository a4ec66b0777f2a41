// The objects of a channel as a tree, and editing them.

import { empty, field, h, outside, replace, select, visible } from '../dom.js';
import { stringify } from '../payload.js';
import { actionButton, errorPlace, form, lacking } from './shared.js';

/** Milliseconds between two reads of the tree while it changes, and most entries that are drawn of each map. */
const PERIOD = 500;
const LIMIT = 200;

export function objects(context) {
  const { session, toast, name } = context;
  const path = session.channelPath(name, '/object');
  const errors = errorPlace();
  const tree = h('div', { class: 'tree card' });
  const canEdit = session.can('object-publish', name);
  const open = new Set(['root']);
  let timer;
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
    session.can('object-subscribe', name) ? [errors.element, tree] : lacking('object-subscribe', 'read objects', name),
  );

  async function load() {
    clearTimeout(timer);
    timer = undefined;
    if (stopped || !session.can('object-subscribe', name)) return;
    await errors.guard(async () => {
      const { body } = await session.rest('GET', `${path}?compact=false`);
      const entries = Object.keys(body?.map?.entries ?? {});
      if (entries.length) replace(tree, node(body, 'root', undefined, undefined));
      else replace(tree, empty('No objects', 'Set a value to begin, or let a client do it.'));
    });
  }

  function node(it, label, parent, key) {
    const remove =
      parent !== undefined &&
      canEdit &&
      actionButton('Remove', toast, () => send({ objectId: parent, mapRemove: { key } }), 'quiet', {
        'aria-label': `Remove ${visible(label, 60)}`,
      });
    if (it?.map) {
      const entries = Object.entries(it.map.entries ?? {});
      const id = it.objectId;
      const box = h(
        'details',
        { open: open.has(id), on: { toggle: () => (box.open ? open.add(id) : open.delete(id)) } },
        h('summary', null, outside(label, 100), h('span', { class: 'muted' }, ` map, ${entries.length}`)),
        h(
          'ul',
          null,
          entries.slice(0, LIMIT).map(([name_, entry]) => h('li', null, node(entry.data, name_, id, name_))),
          entries.length > LIMIT && h('li', { class: 'muted' }, `and ${entries.length - LIMIT} more`),
        ),
      );
      return h('div', { class: 'node' }, box, remove);
    }
    if (it?.counter) {
      const step = (number, sign) =>
        canEdit &&
        actionButton(sign, toast, () => send({ objectId: it.objectId, counterInc: { number } }), '', {
          'aria-label': `${number > 0 ? 'Increment' : 'Decrement'} ${visible(label, 60)}`,
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
  return {
    element,
    shown: load,
    attached: () => element.isConnected && load(),
    changed() {
      if (element.isConnected) timer ??= setTimeout(load, PERIOD);
    },
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
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
