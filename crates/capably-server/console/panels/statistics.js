// Statistics of the app as small charts.

import { poll } from '../api.js';
import { bars } from '../chart.js';
import { check, empty, field, h, replace, select, visible } from '../dom.js';
import { bytes, short, whole } from '../format.js';
import { errorPlace, lacking } from './shared.js';

const SERIES = [
  ['Messages in', 'messages.inbound.all.messages.count', whole],
  ['Messages out', 'messages.outbound.all.messages.count', whole],
  ['Bytes in', 'messages.inbound.all.messages.data', bytes],
  ['Bytes out', 'messages.outbound.all.messages.data', bytes],
  ['Connections, peak', 'connections.all.peak', whole],
  ['Channels, peak', 'channels.peak', whole],
  ['REST requests', 'apiRequests.other.succeeded', whole],
  ['REST requests refused', 'apiRequests.other.failed', whole],
];

export function mount(main, { session }) {
  if (!session.can('statistics')) {
    main.append(lacking('statistics', 'read statistics'));
    return {};
  }
  const errors = errorPlace();
  const charts = h('div', { class: 'charts' });
  const unit = select(
    [
      ['minute', 'Minutes'],
      ['hour', 'Hours'],
      ['day', 'Days'],
      ['month', 'Months'],
    ],
    { on: { change: () => refresh() } },
  );
  const asTable = check('As a table', { on: { change: () => refresh() } });
  main.append(h('div', { class: 'bar' }, field('Intervals', unit), asTable.element), errors.element, charts);
  let last;
  const load = (signal) =>
    errors.guard(async () => {
      const { body } = await session.rest('GET', `/stats?unit=${unit.value}&limit=60`, { signal });
      const text = JSON.stringify(body);
      if (text === last) return;
      last = text;
      const intervals = body.toReversed().map((it) => ({ ...it, intervalId: visible(it.intervalId, 40) }));
      if (!intervals.length)
        replace(
          charts,
          empty(
            'No statistics yet',
            'The first interval appears a few seconds after the first connection, message or request.',
          ),
        );
      else if (asTable.box.checked) replace(charts, table(intervals));
      else
        replace(
          charts,
          SERIES.map(([title, key, format]) => chart(title, key, format, intervals)),
        );
    });
  let stop = poll(5000, load);
  function refresh() {
    last = undefined;
    stop();
    stop = poll(5000, load);
  }
  return { unmount: () => stop() };
}

function value(interval, key) {
  const number = Number(interval.entries?.[key] ?? 0);
  return Number.isFinite(number) ? number : 0;
}

function chart(title, key, format, intervals) {
  const points = intervals.map((it) => ({ label: it.intervalId, value: value(it, key) }));
  const values = points.map((point) => point.value);
  const isPeak = key.endsWith('.peak');
  const total = isPeak ? Math.max(...values) : values.reduce((sum, one) => sum + one, 0);
  return bars(title, points, format, format === bytes ? bytes(total) : short(total));
}

function table(intervals) {
  return h(
    'div',
    { class: 'table', tabindex: '0', role: 'region', 'aria-label': 'Statistics' },
    h(
      'table',
      null,
      h(
        'thead',
        null,
        h(
          'tr',
          null,
          h('th', { scope: 'col' }, 'Interval'),
          SERIES.map(([title]) => h('th', { scope: 'col', class: 'number' }, title)),
        ),
      ),
      h(
        'tbody',
        null,
        intervals.toReversed().map((it) =>
          h(
            'tr',
            null,
            h('th', { scope: 'row' }, it.intervalId),
            SERIES.map(([, key, format]) => h('td', { class: 'number' }, format(value(it, key)))),
          ),
        ),
      ),
    ),
  );
}
