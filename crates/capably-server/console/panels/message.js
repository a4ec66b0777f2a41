// The details of a message: payload, fields, versions, annotations, and changing it.

import { button, facts, field, h, notice, outside, replace, select, visible, visibleLines } from '../dom.js';
import { bytes, moment } from '../format.js';
import { decode, fullText, stringify, summary } from '../payload.js';
import { actionButton, form, lacking } from './shared.js';

/** Shows an item of the list in `place`. `closed` is called when the user closes it. */
export function showMessage(place, item, context, closed) {
  const { raw, payload } = item;
  const isMessage = item.kind === 'message';
  replace(
    place,
    h(
      'div',
      { class: 'line' },
      h('h2', { class: 'grow' }, item.kind === 'gap' ? 'Gap' : `${item.kind}: ${item.action}`),
      button(
        'Close',
        () => {
          place.hidden = true;
          closed();
        },
        'quiet',
        { 'data-close': '' },
      ),
    ),
    payload ? body(payload) : notice('warning', item.summary),
    facts(
      [
        ['Name', raw.name !== undefined && outside(raw.name, 2000)],
        ['Client ID', raw.clientId && outside(raw.clientId, 2000)],
        ['Time', moment(raw.timestamp)],
        ['Encoding', raw.encoding && h('code', null, visible(raw.encoding))],
        ['Size', payload && bytes(payload.size)],
        ['Delta', payload?.isDelta && `against ${visible(raw.extras?.delta?.from ?? 'the message before')}`],
        ['Connection', raw.connectionId && outside(raw.connectionId)],
        ['ID', raw.id && outside(raw.id)],
        ['Serial', raw.serial && h('code', null, outside(raw.serial))],
        ['Version', raw.version?.serial && h('code', null, outside(raw.version.serial))],
      ].map(([term, value]) => [term, value || undefined]),
    ),
    raw.annotations?.summary && [h('h3', null, 'Annotations'), code(stringify(raw.annotations.summary, 2))],
    h('details', null, h('summary', null, 'As received'), code(stringify(raw, 2).slice(0, 100000))),
    isMessage && raw.serial && changes(raw, context),
  );
  place.hidden = false;
}

function code(text) {
  return h('pre', { class: 'code', tabindex: '0' }, visibleLines(text));
}

function body(payload) {
  if (payload.kind === 'none') return h('p', { class: 'muted' }, 'No data');
  const { text, more } = fullText(payload);
  const place = h(
    'div',
    null,
    payload.problem && notice('warning', visible(payload.problem)),
    payload.kind === 'encrypted' &&
      notice('info', `Encrypted: ${visible(payload.left.at(-1))}. The page does not have the key.`),
  );
  const shown = code(text);
  shown.dataset.testid = 'payload';
  place.append(shown);
  if (more) {
    const all = button(`Show all ${more} characters`, () => {
      shown.textContent = visibleLines(fullText(payload, Infinity).text);
      all.remove();
    });
    place.append(all);
  }
  return place;
}

function changes(raw, { session, toast, name }) {
  const path = session.channelPath(name, `/messages/${encodeURIComponent(raw.serial)}`);
  const listed = h('div');
  const list = (title, address, line) =>
    actionButton(title, toast, async () => {
      const { body: items } = await session.rest('GET', address);
      replace(
        listed,
        h('h3', null, title),
        items.length
          ? h(
              'ol',
              { class: 'plain' },
              items.map((it) => h('li', { class: 'line' }, line(it))),
            )
          : h('p', { class: 'muted' }, 'None'),
      );
    });
  const text = h('input', { type: 'text', spellcheck: 'false' });
  const kind = select([
    ['1', 'Update'],
    ['5', 'Append'],
    ['2', 'Delete'],
  ]);
  const type = h('input', { type: 'text', spellcheck: 'false', value: 'reaction:multiple.v1' });
  const label = h('input', { type: 'text', spellcheck: 'false', value: '👍' });
  const any = (word) => session.can(`message-${word}-any`, name) || session.can(`message-${word}-own`, name);
  const canChange = any('update') || any('delete');
  return h(
    'section',
    { class: 'changes' },
    h(
      'div',
      { class: 'actions' },
      session.can('history', name) &&
        list('Versions', `${path}/versions`, (it) => [
          moment(it.version?.timestamp ?? it.timestamp),
          outside(summary(decode(it.data, it.encoding)), 200),
        ]),
      session.can('history', name) &&
        list('All annotations', `${path}/annotations`, (it) => [
          outside(it.type ?? ''),
          outside(it.name ?? ''),
          outside(it.clientId ?? ''),
        ]),
    ),
    listed,
    !session.can('history', name) && lacking('history', 'read versions and annotations', name),
    !canChange && lacking('message-update-own', 'change messages', name),
    canChange &&
      form(
        {},
        toast,
        async () => {
          const action = Number(kind.value);
          await session.rest('PATCH', path, { body: { action, ...(action === 2 ? {} : { data: text.value }) } });
          return 'The message was changed.';
        },
        h('div', { class: 'columns' }, field('Change', kind), field('New data', text)),
        h('button', { class: 'button' }, 'Change'),
      ),
    !session.can('annotation-publish', name) && lacking('annotation-publish', 'annotate messages', name),
    session.can('annotation-publish', name) &&
      form(
        {},
        toast,
        async () => {
          await session.rest('POST', `${path}/annotations`, {
            body: [{ action: 0, type: type.value, name: label.value }],
          });
          return 'The message was annotated.';
        },
        h('div', { class: 'columns' }, field('Annotation type', type), field('Annotation name', label)),
        h('button', { class: 'button' }, 'Annotate'),
      ),
  );
}
