// One channel: its messages as they pass, its members and its objects.

import { h, notice, outside, replace, setText, visible } from '../dom.js';
import { ACTION } from '../realtime.js';
import { messages } from './messages.js';
import { objects } from './objects.js';
import { members } from './members.js';
import { channelHash, errorPlace, lacking } from './shared.js';
import { poll } from '../api.js';
import { count, rate } from '../format.js';

const TABS = [
  ['messages', 'Messages'],
  ['presence', 'Presence'],
  ['objects', 'Objects'],
];
const NEEDED = {
  subscribe: 'subscribe',
  presence_subscribe: 'subscribe',
  object_subscribe: 'object-subscribe',
  annotation_subscribe: 'annotation-subscribe',
  presence: 'presence',
};

export function mount(main, { session, realtime, heading, toast }, [name, tab]) {
  replace(heading, outside(name, 120));
  const state = h('span', { class: 'badge state' });
  const occupancy = h('p', { class: 'muted' });
  const problem = h('div');
  const links = TABS.map(([id, title]) => h('a', { href: channelHash(name, id) }, title));
  const body = h('div');
  main.append(
    h('p', { class: 'line' }, h('a', { href: '#/channels' }, '← All channels'), state),
    occupancy,
    h('nav', { class: 'tabs', 'aria-label': 'Parts of the channel' }, links),
    problem,
    body,
  );

  const modes = Object.keys(NEEDED).filter((mode) => session.can(NEEDED[mode], name));
  const context = { session, realtime, toast, name };
  const views = { messages: messages(context), presence: members(context), objects: objects(context) };
  let attached;
  if (!modes.length) {
    problem.append(lacking('subscribe', 'receive from this channel', name));
  } else {
    attached = realtime.channel(name, { modes }, (event, frame, error) => {
      if (event === 'frame') return receive(frame);
      if (event === 'gap') return views.messages.gap();
      setText(
        state,
        { waiting: 'waiting', attaching: 'attaching…', attached: 'attached', failed: 'refused' }[frame] ?? frame,
      );
      state.dataset.state = frame;
      replace(
        problem,
        error && notice('error', error.message),
        frame === 'attached' &&
          !attached?.granted.includes('subscribe') &&
          lacking('subscribe', 'receive messages', name),
      );
      if (frame === 'attached') for (const view of Object.values(views)) view.attached?.();
    });
    context.channel = attached;
  }
  function receive(frame) {
    views.messages.receive(frame);
    if (frame.action === ACTION.PRESENCE || frame.action === ACTION.SYNC) views.presence.changed();
    if (frame.action === ACTION.OBJECT || frame.action === ACTION.OBJECT_SYNC) views.objects.changed();
  }
  const show = (id) => {
    const known = Object.hasOwn(views, id ?? '') ? id : 'messages';
    TABS.forEach(([key], index) =>
      key === known ? links[index].setAttribute('aria-current', 'page') : links[index].removeAttribute('aria-current'),
    );
    replace(body, views[known].element);
    views[known].shown?.();
  };
  show(tab);
  const errors = errorPlace();
  const stop = session.can('channel-metadata', name)
    ? poll(1000, (signal) =>
        errors.guard(async () => {
          const { channels } = await session.get(`channels?${new URLSearchParams({ name })}`, signal);
          const [it] = channels;
          const o = it?.occupancy ?? {};
          setText(
            occupancy,
            `${rate(it?.rate?.in)} in / s · ${rate(it?.rate?.out)} out / s · ${count(o.connections, 'connection')} · ${count(o.publishers, 'publisher')} · ${count(o.subscribers, 'subscriber')} · ${count(o.presenceMembers, 'member')}`,
          );
        }),
      )
    : () => {};
  if (!session.can('channel-metadata', name))
    replace(occupancy, 'Rates and occupancy need the capability ', h('code', null, 'channel-metadata'), '.');
  document.title = `${visible(name, 60)} · capably console`;
  return {
    update: ([, next]) => show(next),
    unmount() {
      stop();
      attached?.detach();
      for (const view of Object.values(views)) view.stop?.();
    },
  };
}
