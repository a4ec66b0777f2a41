// Numbers, sizes and times for people.

const WHOLE = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat('en', { maximumFractionDigits: 1, notation: 'compact' });

/** 12,345 */
export const whole = (value) => WHOLE.format(value ?? 0);

/** 1 channel, 2 channels */
export const count = (value, noun) => `${whole(value)} ${noun}${value === 1 ? '' : 's'}`;

/** 12.3K */
export const short = (value) => ((value ?? 0) < 10000 ? WHOLE.format(value ?? 0) : SHORT.format(value));

/** A rate: one digit after the point while it is small. */
export const rate = (value) => ((value ?? 0) > 0 && value < 10 ? value.toFixed(1) : short(Math.round(value ?? 0)));

/** Bytes as B, KiB, MiB or GiB. */
export function bytes(value) {
  let size = value ?? 0;
  if (size < 1024) return `${Math.round(size)} B`;
  for (const unit of ['KiB', 'MiB', 'GiB']) {
    size /= 1024;
    if (size < 1024 || unit === 'GiB') return `${size < 10 ? size.toFixed(1) : Math.round(size)} ${unit}`;
  }
}

/** A duration of `ms` in its two largest units. */
export function duration(ms) {
  const seconds = Math.max(0, Math.floor((ms ?? 0) / 1000));
  const [d, hours, m, s] = [
    Math.floor(seconds / 86400),
    Math.floor(seconds / 3600) % 24,
    Math.floor(seconds / 60) % 60,
    seconds % 60,
  ];
  if (d) return `${d} d ${hours} h`;
  if (hours) return `${hours} h ${m} min`;
  if (m) return `${m} min ${s} s`;
  return `${s} s`;
}

const two = (value) => String(value).padStart(2, '0');

/** The time of day with milliseconds. */
export function clock(ms) {
  const date = new Date(ms);
  if (!Number.isFinite(date.getTime())) return '–';
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':');
  return `${time}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}

/** The date and the time. */
export function moment(ms) {
  const date = new Date(ms);
  if (!Number.isFinite(date.getTime())) return '–';
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${clock(ms)}`;
}
