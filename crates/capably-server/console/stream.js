// A list of what passes, newest first. It stays fast at any rate: rows that come faster than anybody can read are counted, not drawn.

import { h, setText } from './dom.js';
import { whole } from './format.js';

/** Most rows of items that have passed, and most items that wait to be drawn. */
const ROWS = 300;
/** Most rows of older items behind them. */
const OLDER_ROWS = 500;
/** At most this many rows are drawn at once, and at least this many milliseconds lie between two times. */
const BATCH = 20;
const PERIOD = 50;

/** The list. `draw(item)` makes the content of a row, `open(item)` is called when the user chooses one. */
export class Stream {
  #draw;
  #open;
  #waiting = [];
  #scheduled = false;
  #last = 0;
  #items = new WeakMap();
  #current;
  paused = false;
  /** Items so far, those among them that were never drawn, and older ones that were drawn and removed again. */
  seen = 0;
  skipped = 0;
  removed = 0;
  /** Rows in the list. */
  #recent = 0;
  #older = 0;

  constructor({ label, draw, open }) {
    this.#draw = draw;
    this.#open = open;
    this.list = h('ol', { class: 'stream', 'aria-label': label, on: { keydown: (event) => this.#key(event) } });
    this.status = h('p', { class: 'stream-status', 'data-testid': 'stream-status' }, 'Nothing yet');
  }

  /** Adds an item in front. */
  push(item) {
    this.seen += 1;
    this.#waiting.push(item);
    if (this.#waiting.length > ROWS) {
      this.#waiting.shift();
      this.skipped += 1;
    }
    this.#schedule();
  }

  /** Adds items behind the others, at once: older ones that the user asked for. The oldest stay, whatever passes. */
  addOlder(items) {
    for (const item of items) this.list.append(this.#row(item));
    this.seen += items.length;
    this.#older += items.length;
    for (; this.#older > OLDER_ROWS; this.#older -= 1, this.removed += 1) this.list.children[this.#recent].remove();
    this.#showStatus();
  }

  pause(paused) {
    this.paused = paused;
    this.#schedule();
  }

  clear() {
    this.list.replaceChildren();
    this.#waiting = [];
    this.#current = undefined;
    this.seen = this.skipped = this.removed = this.#recent = this.#older = 0;
    this.#showStatus();
  }

  /** Removes the mark of the row that was chosen, and gives it the focus. */
  unmark() {
    this.#current?.removeAttribute('aria-current');
    this.#current?.focus();
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    const wait = this.#last + PERIOD - performance.now();
    setTimeout(() => requestAnimationFrame(() => this.#flush()), Math.max(0, wait));
  }

  #flush() {
    this.#scheduled = false;
    this.#last = performance.now();
    if (!this.paused) {
      const rows = document.createDocumentFragment();
      for (const item of this.#waiting.splice(0, BATCH)) rows.prepend(this.#row(item));
      this.#recent += rows.childElementCount;
      this.list.prepend(rows);
      for (; this.#recent > ROWS; this.#recent -= 1) this.list.children[this.#recent - 1].remove();
      if (this.#waiting.length) this.#schedule();
    }
    this.#showStatus();
  }

  #showStatus() {
    const parts = [`${whole(this.seen)} received`];
    if (this.#waiting.length && this.paused) parts.push(`${whole(this.#waiting.length)} waiting`);
    if (this.skipped) parts.push(`${whole(this.skipped)} not drawn`);
    if (this.removed) parts.push(`${whole(this.removed)} older ones not shown any more`);
    setText(this.status, this.seen ? parts.join(' · ') : 'Nothing yet');
    this.status.classList.toggle('skipping', this.skipped > 0);
  }

  /** One row of the list is in the order of the Tab key; the arrow keys move from row to row. */
  #row(item) {
    const row = h(
      'button',
      { type: 'button', class: 'row', tabindex: '-1', on: { click: () => this.#choose(row) } },
      this.#draw(item),
    );
    this.#items.set(row, item);
    if (!this.#current?.isConnected) {
      this.#current = row;
      row.tabIndex = 0;
    }
    return h('li', null, row);
  }

  #choose(row) {
    this.#focusable(row);
    row.setAttribute('aria-current', 'true');
    this.#open(this.#items.get(row));
  }

  #focusable(row) {
    this.#current?.removeAttribute('aria-current');
    if (this.#current) this.#current.tabIndex = -1;
    this.#current = row;
    row.tabIndex = 0;
  }

  #key(event) {
    const row = event.target.closest('.row');
    const steps = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
    const step = steps[event.key];
    if (!row || !step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const rows = [...this.list.querySelectorAll('.row')];
    const next = rows[Math.min(Math.max(rows.indexOf(row) + step, 0), rows.length - 1)];
    this.#focusable(next);
    next.focus();
  }
}
