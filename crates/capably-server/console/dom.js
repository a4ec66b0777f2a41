// Building and updating elements. Text enters the page only as text nodes, so content of messages never becomes markup.

import { stringify } from './payload.js';

const SVG = 'http://www.w3.org/2000/svg';

/** Makes an element. `properties` holds attributes, `on` (listeners by event name) and `value`-like DOM properties. */
export function h(name, properties, ...children) {
  return fill(document.createElement(name), properties, children);
}

/** Makes an SVG element. */
export function svg(name, properties, ...children) {
  return fill(document.createElementNS(SVG, name), properties, children);
}

const AS_PROPERTY = new Set(['value', 'checked', 'disabled', 'hidden', 'open', 'selected', 'required', 'readOnly']);

function fill(element, properties, children) {
  for (const [key, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null) continue;
    if (key === 'on') {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (AS_PROPERTY.has(key)) {
      element[key] = value;
    } else if (value !== false) {
      element.setAttribute(key, value === true ? '' : value);
    }
  }
  append(element, children);
  return element;
}

/** Appends nodes and texts; lists are flattened, and empty values are left out. */
export function append(element, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child !== undefined && child !== null && child !== false) element.append(child);
  }
}

/** Replaces all children of an element. */
export function replace(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

/** Sets a text only if it changed, so that selections and screen readers are left alone. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Makes the children of `parent` those of `items`, in order. Elements are reused by key, so focus and scroll stay. */
export function keyed(parent, items, keyOf, make, update) {
  const old = (parent.keyedChildren ??= new Map());
  const next = new Map();
  let at = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    if (next.has(key)) continue;
    const element = old.get(key) ?? make(item);
    update?.(element, item);
    next.set(key, element);
    if (element === at) at = at.nextElementSibling;
    else parent.insertBefore(element, at);
  }
  for (const [key, element] of old) if (!next.has(key)) element.remove();
  parent.keyedChildren = next;
}

/** Control characters, those that change the direction, and those that take no space. */
const UNSEEN =
  /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\u{e0000}-\u{e007f}]/gu;
/** Joiners, except behind parts of an emoji and behind letters of the scripts that are written with them. */
const JOINERS =
  /(?<!\p{Extended_Pictographic}|\p{Emoji_Modifier}|\ufe0f|(?!\p{Script=Latin}|\p{Script=Greek}|\p{Script=Cyrillic})[\p{L}\p{M}])[\u200c\u200d]/gu;
const code = (char) => `\u27e8U+${char.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}\u27e9`;

/** Content from outside may be anything, also where the protocol has a text. */
const asText = (value) => (typeof value === 'string' ? value : stringify(value));

/** One line of a text from outside: control characters and those that change the direction are shown as ⟨U+202E⟩. */
export function visible(text, limit = 300) {
  const whole = asText(text);
  const cut = whole.length > limit ? `${whole.slice(0, limit)}…` : whole;
  return cut.replace(UNSEEN, code).replace(JOINERS, code).replaceAll('\n', '↵');
}

/** Like `visible`, for texts of several lines. */
export function visibleLines(text) {
  return asText(text)
    .replaceAll('\r\n', '\n')
    .replace(UNSEEN, (char) => (char === '\t' ? char : code(char)))
    .replace(JOINERS, code);
}

/** An element for a text from outside. It has its own direction, and cannot reorder what surrounds it. */
export function outside(text, limit) {
  return h('bdi', { class: 'outside' }, visible(text, limit));
}

let ids = 0;

/** A field with its label. `hint` describes it. */
export function field(label, control, hint) {
  control.id ||= `f${(ids += 1)}`;
  const note = hint && h('small', { id: `${control.id}-hint`, class: 'hint' }, hint);
  if (note) control.setAttribute('aria-describedby', note.id);
  return h('div', { class: 'field' }, h('label', { for: control.id }, label), control, note);
}

/** A checkbox with its label. */
export function check(label, properties) {
  const box = h('input', { type: 'checkbox', ...properties });
  return { box, element: h('label', { class: 'check' }, box, h('span', null, label)) };
}

/** A button; `kind` is `primary`, `danger` or `quiet`. */
export function button(label, click, kind = '', properties) {
  return h('button', { type: 'button', class: `button ${kind}`, on: { click }, ...properties }, label);
}

/** What a panel shows instead of content that does not exist. */
export function empty(title, ...text) {
  return h('div', { class: 'empty' }, h('p', { class: 'empty-title' }, title), h('p', null, text));
}

/** A notice in the flow of a panel: `info`, `warning` or `error`. Its texts may come from outside, as messages of errors do. */
export function notice(kind, ...content) {
  const shown = content.flat(Infinity).map((it) => (typeof it === 'string' ? visible(it, 2000) : it));
  return h('div', { class: `notice ${kind}`, role: kind === 'error' ? 'alert' : 'note' }, shown);
}

/** A list of terms and their descriptions; entries without a description are left out. */
export function facts(entries) {
  const shown = entries.filter(([, value]) => value !== undefined && value !== null && value !== '');
  return h(
    'dl',
    { class: 'facts' },
    shown.map(([term, value]) => h('div', null, h('dt', null, term), h('dd', null, value))),
  );
}

/** A select; `options` are values, or pairs of value and label. */
export function select(options, properties) {
  const pairs = options.map((option) => (Array.isArray(option) ? option : [option, option]));
  return h(
    'select',
    properties,
    pairs.map(([value, label]) => h('option', { value }, label)),
  );
}
