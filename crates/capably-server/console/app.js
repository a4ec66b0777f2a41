// The page: signing in, the frame around the panels, and which panel the address names.

import { startSession, storedSession } from './api.js';
import { append, button, check, field, h, notice, replace, setText, visible } from './dom.js';
import { Realtime } from './realtime.js';
import * as channel from './panels/channel.js';
import * as channels from './panels/channels.js';
import * as connections from './panels/connections.js';
import * as faults from './panels/faults.js';
import * as frames from './panels/frames.js';
import * as overview from './panels/overview.js';
import * as statistics from './panels/statistics.js';
import * as tokens from './panels/tokens.js';

const PANELS = [
  ['overview', 'Overview', overview],
  ['channels', 'Channels', channels],
  ['connections', 'Connections', connections],
  ['faults', 'Faults', faults],
  ['frames', 'Frames', frames],
  ['tokens', 'Tokens', tokens],
  ['statistics', 'Statistics', statistics],
];
const SHORTCUTS = [
  ['1 – 7', 'Go to a panel'],
  ['/', 'Search or filter'],
  ['p', 'Pause or go on'],
  ['↑ ↓ or k j', 'Move in a list of messages or frames'],
  ['Enter', 'Show the details of a row'],
  ['Escape', 'Close details or a dialog'],
  ['t', 'Change between light and dark'],
  ['?', 'Show this help'],
];
const THEME = 'capably-console-theme';
const KEYS = 'capably-console-keys';

const app = document.getElementById('app');
let view;

applyTheme(localStorage.getItem(THEME));
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  document.getElementById('main')?.focus();
});
start();

/** Signs in with the token in the address, or with the session of an earlier load. */
async function start() {
  const token = /^#([^/].*)$/.exec(location.hash)?.[1];
  if (token && token !== 'main') {
    history.replaceState(null, '', location.pathname);
    try {
      return open(await startSession({ token }));
    } catch (error) {
      const stored = storedSession();
      return stored ? open(stored) : signIn(error.message);
    }
  }
  const stored = storedSession();
  return stored ? open(stored) : signIn();
}

function signIn(problem) {
  close();
  document.title = 'Sign in · capably console';
  const key = h('input', {
    type: 'password',
    autocomplete: 'off',
    spellcheck: 'false',
    required: true,
    placeholder: 'appId.keyId:secret',
  });
  const message = h('div');
  const submit = async (event) => {
    event.preventDefault();
    try {
      open(await startSession({ key: key.value.trim() }));
    } catch (error) {
      replace(message, notice('error', error.message));
      key.focus();
    }
  };
  if (problem) append(message, notice('error', problem));
  replace(
    app,
    h(
      'main',
      { id: 'main', class: 'sign-in', tabindex: '-1' },
      h('h1', null, brand(), 'capably console'),
      h(
        'p',
        null,
        'Open the address that the server printed when it started, or sign in with an API key. The console shows what the key allows.',
      ),
      h(
        'form',
        { on: { submit } },
        field('API key', key),
        message,
        h('button', { class: 'button primary' }, 'Sign in'),
      ),
    ),
  );
  key.focus();
}

/** Shows the panels for a session. */
function open(session) {
  close();
  const realtime = new Realtime(session);
  const state = h('span', { class: 'link-state', 'data-state': 'idle' }, 'Idle');
  realtime.onState = (name, error) => {
    state.dataset.state = name;
    setText(
      state,
      {
        connecting: 'Connecting…',
        connected: 'Connected',
        disconnected: 'Reconnecting…',
        failed: 'Refused',
        closed: 'Closed',
      }[name] ?? name,
    );
    state.title = visible(error?.message ?? '');
  };
  session.onEnd = (error) => {
    session.forget();
    signIn(`The session has ended. ${error.message}`);
  };
  const main = h('main', { id: 'main', tabindex: '-1' });
  const links = new Map(
    PANELS.map(([id, title], index) => [
      id,
      h('a', { href: `#/${id}` }, h('span', { class: 'nav-key', 'aria-hidden': 'true' }, index + 1), title),
    ]),
  );
  replace(
    app,
    h(
      'div',
      { class: 'shell' },
      h(
        'header',
        { class: 'top' },
        h('a', { class: 'brand', href: '#/overview' }, brand(), 'capably'),
        h('span', { class: 'app-id', title: 'The app, and the key of this session' }, session.keyName ?? session.appId),
        !session.operator && h('span', { class: 'badge' }, 'limited key'),
        h('span', { class: 'grow' }),
        state,
        button('Theme', toggleTheme, 'quiet', { title: 'Change between light and dark (t)' }),
        button('Help', help, 'quiet', { title: 'Keyboard shortcuts (?)' }),
        button(
          'Sign out',
          () => {
            session.forget();
            signIn();
          },
          'quiet',
        ),
      ),
      h('nav', { class: 'side', 'aria-label': 'Panels' }, [...links.values()]),
      main,
    ),
  );
  view = { session, realtime, main, links };
  window.addEventListener('hashchange', route);
  document.addEventListener('keydown', shortcut);
  if (!location.hash.startsWith('#/')) history.replaceState(null, '', '#/overview');
  route();
}

function close() {
  if (!view) return;
  view.unmount?.();
  view.realtime.close();
  view = undefined;
  window.removeEventListener('hashchange', route);
  document.removeEventListener('keydown', shortcut);
  document.querySelector('dialog')?.remove();
}

/** Mounts the panel of the address: `#/panel`, or `#/channels/<name>/<tab>`. */
function route() {
  const [id, ...words] = location.hash.slice(2).split('/').map(decode);
  const found = PANELS.find(([name]) => name === id) ?? PANELS[0];
  const [name, title] = found;
  const panel = name === 'channels' && words[0] ? channel : found[2];
  const place = panel === channel ? `channel ${words[0]}` : name;
  for (const [key, link] of view.links) {
    if (key === name) {
      link.setAttribute('aria-current', 'page');
      // On a small screen, the links are a line that scrolls.
      link.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    } else link.removeAttribute('aria-current');
  }
  if (view.place === place && view.update) return view.update(words);
  view.unmount?.();
  const moved = view.place !== undefined;
  view.place = place;
  const heading = h('h1', { tabindex: '-1' }, title);
  replace(view.main, heading);
  const mounted = panel.mount(view.main, { session: view.session, realtime: view.realtime, heading, toast }, words);
  view.unmount = mounted?.unmount;
  view.update = mounted?.update;
  document.title = `${heading.textContent} · capably console`;
  if (moved) heading.focus();
}

function decode(word) {
  try {
    return decodeURIComponent(word);
  } catch {
    return word;
  }
}

function shortcut(event) {
  const typing = event.target.closest('input:not([type=checkbox]), textarea, select, [contenteditable]');
  if (event.key === 'Escape' && !document.querySelector('dialog[open]'))
    return document.querySelector('[data-close]')?.click();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
  if (localStorage.getItem(KEYS) === 'off' && event.key !== '?') return;
  if (/^[1-7]$/.test(event.key)) location.hash = `#/${PANELS[event.key - 1][0]}`;
  else if (event.key === '/') document.querySelector('[data-search]')?.focus();
  else if (event.key === 'p') document.querySelector('[data-pause]')?.click();
  else if (event.key === 't') toggleTheme();
  else if (event.key === '?') help();
  else return;
  event.preventDefault();
}

function help() {
  const opener = document.activeElement;
  const keys = check('Single-key shortcuts', {
    checked: localStorage.getItem(KEYS) !== 'off',
    on: { change: () => localStorage.setItem(KEYS, keys.box.checked ? 'on' : 'off') },
  });
  const dialog = h(
    'dialog',
    {
      'aria-labelledby': 'help-title',
      on: {
        close: () => {
          dialog.remove();
          opener?.focus();
        },
      },
    },
    h('h2', { id: 'help-title' }, 'Keyboard'),
    h(
      'table',
      { class: 'keys' },
      h(
        'tbody',
        null,
        SHORTCUTS.map(([key, text]) =>
          h('tr', null, h('th', { scope: 'row' }, h('kbd', null, key)), h('td', null, text)),
        ),
      ),
    ),
    keys.element,
    h(
      'p',
      { class: 'actions' },
      button('Close', () => dialog.close(), 'primary'),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
}

function toggleTheme() {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === 'dark'
    : matchMedia('(prefers-color-scheme: dark)').matches;
  const theme = dark ? 'light' : 'dark';
  localStorage.setItem(THEME, theme);
  applyTheme(theme);
}

function applyTheme(theme) {
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
}

/** Shows a short message for some seconds; screen readers read it. */
function toast(text, kind = 'info') {
  const element = h('div', { class: `toast ${kind}` }, visible(text));
  const toasts = document.getElementById('toasts');
  for (const it of [...toasts.children]) if (it.textContent === element.textContent) it.remove();
  toasts.append(element);
  while (toasts.childElementCount > 3) toasts.firstElementChild.remove();
  setTimeout(() => element.remove(), 6000);
}

function brand() {
  return h('span', { class: 'mark', 'aria-hidden': 'true' });
}
