// What several panels share: notices about missing rights and errors, actions with feedback, links to channels.

import { button, h, notice, outside, replace } from '../dom.js';

/** A notice that names the operation that the key lacks. */
export function lacking(operation, what, channel) {
  return notice(
    'warning',
    'This key cannot ',
    what,
    '. It needs the capability ',
    h('code', null, operation),
    channel ? [' on ', outside(channel)] : ' on a channel',
    '.',
  );
}

/** The notice for panels that only a key with all rights can use. */
export function operatorOnly(what) {
  return notice(
    'warning',
    `This key cannot ${what}. It needs all rights on the app: the capability `,
    h('code', null, '{"*":["*"]}'),
    '.',
  );
}

/** A place for the error of a poll: it shows an error until the next success. */
export function errorPlace() {
  const element = h('div');
  let shown = '';
  return {
    element,
    async guard(work) {
      try {
        await work();
        if (shown) element.replaceChildren();
        shown = '';
      } catch (error) {
        if (error.name !== 'AbortError' && error.message !== shown) {
          shown = error.message;
          replace(element, notice('error', error.message));
        }
      }
    },
  };
}

/** A button for an action of the server: it is disabled meanwhile, and reports the outcome. */
export function actionButton(label, toast, work, kind = '', properties) {
  const element = button(
    label,
    async () => {
      element.disabled = true;
      try {
        const text = await work();
        if (text) toast(text);
      } catch (error) {
        toast(error.message, 'error');
      } finally {
        element.disabled = false;
      }
    },
    kind,
    properties,
  );
  return element;
}

/** Handles the submission of a form: reports errors below its fields. */
export function form(properties, toast, work, ...children) {
  const message = h('div');
  let busy = false;
  const submit = async (event) => {
    event.preventDefault();
    if (busy) return;
    busy = true;
    try {
      const text = await work();
      message.replaceChildren();
      if (text) toast(text);
    } catch (error) {
      replace(message, notice('error', error.message));
    } finally {
      busy = false;
    }
  };
  return h('form', { ...properties, on: { submit } }, children, message);
}

/** A link to the panel of a channel. */
export function channelLink(name) {
  return h('a', { href: channelHash(name) }, outside(name, 120));
}

/** The address of a channel's panel. */
export const channelHash = (name, tab) => `#/channels/${encodeURIComponent(name)}${tab ? `/${tab}` : ''}`;
