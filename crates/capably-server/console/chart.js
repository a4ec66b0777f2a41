// Small charts of numbers over time, as SVG with a description for screen readers.

import { h, replace, svg } from './dom.js';

const [WIDTH, HEIGHT] = [240, 56];

/** A line of the last `limit` values, the newest at the right edge. `set(values, text)` draws it; `text` is the current value for people. */
export function sparkline(label, limit) {
  const line = svg('polyline', { class: 'spark-line', points: '' });
  const area = svg('polygon', { class: 'spark-area', points: '' });
  const picture = svg(
    'svg',
    { class: 'spark', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' },
    area,
    line,
  );
  const value = h('strong', { class: 'stat-value' }, '–');
  const element = h('div', { class: 'stat' }, h('span', { class: 'stat-label' }, label), value, picture);
  return {
    element,
    set(values, text) {
      value.textContent = text;
      const top = Math.max(1, ...values);
      const step = WIDTH / (limit - 1);
      const start = WIDTH - step * (values.length - 1);
      const points = values.map(
        (v, index) => `${(start + index * step).toFixed(1)},${(HEIGHT - 3 - (v / top) * (HEIGHT - 8)).toFixed(1)}`,
      );
      line.setAttribute('points', points.join(' '));
      area.setAttribute(
        'points',
        values.length > 1 ? `${start.toFixed(1)},${HEIGHT} ${points.join(' ')} ${WIDTH},${HEIGHT}` : '',
      );
    },
  };
}

/** Bars, one for each of `points` (`{label, value}`). `format` writes a value; `total` stands in the heading. */
export function bars(title, points, format, total) {
  const top = Math.max(...points.map(({ value }) => value), 0);
  const width = 320 / Math.max(points.length, 12);
  const picture = svg('svg', {
    class: 'bars',
    viewBox: '0 0 320 90',
    preserveAspectRatio: 'none',
    role: 'img',
    'aria-label': describe(title, points, format),
  });
  points.forEach(({ label, value }, index) => {
    const height = top ? Math.max((value / top) * 86, value ? 1.5 : 0) : 0;
    const x = (index * width + width * 0.1).toFixed(2);
    const bar = svg('rect', {
      class: 'bar',
      x,
      y: (90 - height).toFixed(2),
      width: (width * 0.8).toFixed(2),
      height: height.toFixed(2),
      rx: 1,
    });
    bar.append(svg('title', null, `${label}: ${format(value)}`));
    picture.append(bar);
  });
  const figure = h('figure', { class: 'chart' });
  replace(
    figure,
    h('figcaption', null, h('span', null, title), h('strong', null, total)),
    picture,
    h(
      'div',
      { class: 'axis', 'aria-hidden': 'true' },
      h('span', null, points[0]?.label),
      points.length > 1 && h('span', null, points.at(-1).label),
    ),
  );
  return figure;
}

function describe(title, points, format) {
  if (!points.length) return `${title}: no values`;
  const highest = points.reduce((best, point) => (point.value > best.value ? point : best));
  return `${title}: ${points.length} intervals from ${points[0].label} to ${points.at(-1).label}, highest ${format(highest.value)} at ${highest.label}`;
}
