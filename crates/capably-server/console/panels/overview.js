// What the server does right now. Rates are those of the whole server; only its operator gets them.

import { poll } from '../api.js';
import { sparkline } from '../chart.js';
import { empty, facts, h, keyed, notice, replace, setText } from '../dom.js';
import { bytes, count, duration, rate, short } from '../format.js';
import { channelLink, errorPlace, lacking } from './shared.js';

/** Values of each chart: one a second. */
const VALUES = 90;

const CHARTS = [
  ['Messages in, per second', (it) => it.rates?.in, rate],
  ['Messages out, per second', (it) => it.rates?.out, rate],
  ['Bytes in, per second', (it) => it.rates?.bytesIn, bytes],
  ['Bytes out, per second', (it) => it.rates?.bytesOut, bytes],
  ['Connections', (it) => it.connections, short],
  ['Channels', (it) => it.channels, short],
];

export function mount(main, { session }) {
  const charts = CHARTS.map(([label, value, format]) => ({
    chart: sparkline(label, VALUES),
    value,
    format,
    values: [],
  }));
  const server = h('div');
  const noRates = notice(
    'info',
    'The rates are those of the whole server. Only a key of its first app with all rights sees them: the capability ',
    h('code', null, '{"*":["*"]}'),
    '.',
  );
  noRates.hidden = true;
  const errors = errorPlace();
  const rows = h('ul', { class: 'plain' });
  const busiest = h(
    'section',
    { class: 'card', 'aria-labelledby': 'busiest' },
    h('h2', { id: 'busiest' }, 'Busiest channels'),
    rows,
  );
  const none = empty('No channels are active', 'Channels appear as soon as a client attaches or publishes.');
  if (!session.can('channel-metadata')) busiest.append(lacking('channel-metadata', 'list channels'));
  main.append(
    errors.element,
    h(
      'div',
      { class: 'stats' },
      charts.map(({ chart }) => chart.element),
    ),
    noRates,
    busiest,
    server,
  );
  const unmount = poll(1000, (signal) =>
    errors.guard(async () => {
      const now = await session.get('overview', signal);
      for (const { chart, value, format, values } of charts) {
        const known = value(now);
        chart.element.hidden = known === undefined || known === null;
        values.push(known ?? 0);
        if (values.length > VALUES) values.shift();
        chart.set(values, format(values.at(-1)));
      }
      noRates.hidden = Boolean(now.rates);
      replace(
        server,
        facts([
          ['Server', now.server?.version],
          ['Engine', now.server?.engine],
          ['Uptime', duration(now.server?.uptime)],
          ['App', now.app?.id],
        ]),
      );
      if (!session.can('channel-metadata')) return;
      const { channels } = await session.get('channels?sort=rate&limit=8', signal);
      keyed(
        rows,
        channels,
        ({ name }) => name,
        ({ name }) => h('li', { class: 'line' }, channelLink(name), h('span', { class: 'number' })),
        (row, it) =>
          setText(
            row.lastElementChild,
            `${rate(it.rate?.in)} in · ${rate(it.rate?.out)} out · ${count(it.occupancy?.connections, 'connection')}`,
          ),
      );
      if (channels.length) none.remove();
      else busiest.append(none);
    }),
  );
  return { unmount };
}
