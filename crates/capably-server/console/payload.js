// Payloads of messages: undoing the steps of `encoding`, and texts for what results.

import { applyDelta } from './vcdiff.js';

/** Most characters that are shown before the user asks for more. */
const SHOWN = 20000;
const STRICT = new TextDecoder('utf-8', { fatal: true });

/** Decodes `data` by `encoding`, from the last step to the first.
 *
 * The result has `kind`: `none`, `text`, `json`, `binary`, `encrypted`, `delta` (its base is missing) or `unknown`; `value`; `left`,
 * the steps that were not undone; `size` in bytes; `base`, what a following delta refers to; and `problem` if a step failed.
 * `previous` is the base of deltas. */
export function decode(data, encoding, previous) {
  const steps = typeof encoding === 'string' && encoding ? encoding.split('/') : [];
  const result = { steps: [...steps], isDelta: steps.includes('vcdiff'), size: sizeOf(data), value: data };
  try {
    if (steps.at(-1) === 'base64' && typeof result.value === 'string') {
      steps.pop();
      result.value = fromBase64(result.value);
      result.size = result.value.length;
    }
    if (!result.isDelta) result.base = asBytes(result.value);
    while (steps.length) {
      const step = steps.at(-1);
      if (step === 'utf-8' && result.value instanceof Uint8Array) {
        result.value = STRICT.decode(result.value);
      } else if (step === 'json' && typeof result.value === 'string') {
        result.value = JSON.parse(result.value);
        result.isJson = true;
      } else if (step === 'base64' && typeof result.value === 'string') {
        result.value = fromBase64(result.value);
      } else if (step === 'vcdiff' && result.value instanceof Uint8Array && previous) {
        result.value = applyDelta(result.value, previous);
        result.base = result.value;
      } else {
        break;
      }
      steps.pop();
    }
  } catch (error) {
    result.problem = `The step ${steps.at(-1)} failed: ${error.message}`;
  }
  result.left = steps;
  result.kind = kindOf(result);
  return result;
}

function kindOf({ left, value, isJson }) {
  const step = left.at(-1);
  if (step?.startsWith('cipher+')) return 'encrypted';
  if (step === 'vcdiff') return 'delta';
  if (step) return 'unknown';
  if (value === undefined || value === null) return isJson ? 'json' : 'none';
  if (value instanceof Uint8Array) return 'binary';
  return typeof value === 'string' && !isJson ? 'text' : 'json';
}

/** One short line for a list. */
export function summary(payload) {
  const { kind, value, size, left } = payload;
  if (kind === 'none') return '';
  if (kind === 'text') return value.slice(0, 400);
  if (kind === 'json') return stringify(value).slice(0, 400);
  if (kind === 'binary') return `${hex(value.subarray(0, 24))}${value.length > 24 ? '…' : ''}`;
  if (kind === 'encrypted') return `Encrypted with ${left.at(-1).slice('cipher+'.length)}, ${size} bytes`;
  if (kind === 'delta') return `A delta of ${size} bytes; its base was not received`;
  return typeof value === 'string' ? value.slice(0, 400) : `${size} bytes, encoding ${left.join('/')}`;
}

/** The whole payload as text of several lines. `more` tells that it was cut at `limit` characters. */
export function fullText(payload, limit = SHOWN) {
  const { kind, value } = payload;
  let text;
  if (kind === 'none') text = '';
  else if (value instanceof Uint8Array) text = dump(value, limit);
  else if (typeof value === 'string' && kind !== 'json') text = value;
  else text = stringify(value, 2);
  return text.length > limit ? { text: text.slice(0, limit), more: text.length } : { text };
}

/** JSON that never throws: what is nested too deeply is named instead. */
export function stringify(value, indent) {
  try {
    return JSON.stringify(value, null, indent) ?? '';
  } catch {
    return '(JSON that is nested too deeply to show)';
  }
}

/** What `data` and `encoding` a text becomes that the user typed as `text`, `json` or `base64`. Throws on bad input. */
export function encode(text, form) {
  if (form === 'none') return {};
  if (form === 'json') {
    JSON.parse(text);
    return { data: text, encoding: 'json' };
  }
  if (form === 'base64') {
    fromBase64(text.trim());
    return { data: text.trim(), encoding: 'base64' };
  }
  return { data: text };
}

/** Decodes base64 in both alphabets, with or without padding. */
export function fromBase64(text) {
  let raw;
  try {
    raw = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
  } catch {
    throw new Error('this is not base64');
  }
  return Uint8Array.from(raw, (char) => char.charCodeAt(0));
}

function asBytes(value) {
  if (value instanceof Uint8Array) return value;
  return typeof value === 'string' ? new TextEncoder().encode(value) : undefined;
}

function sizeOf(data) {
  if (data === undefined || data === null) return 0;
  return new TextEncoder().encode(typeof data === 'string' ? data : stringify(data)).length;
}

const hex = (data) => Array.from(data, (byte) => byte.toString(16).padStart(2, '0')).join(' ');

function dump(data, limit) {
  const lines = [];
  for (let at = 0; at < data.length && lines.length * 76 <= limit; at += 16) {
    const row = data.subarray(at, at + 16);
    const text = Array.from(row, (byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : '.')).join('');
    lines.push(`${at.toString(16).padStart(8, '0')}  ${hex(row).padEnd(47)}  ${text}`);
  }
  if (lines.length * 16 < data.length) lines.push(`… ${data.length} bytes in all`);
  return lines.join('\n');
}
