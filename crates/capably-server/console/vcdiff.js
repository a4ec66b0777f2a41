// Deltas in the format VCDIFF (RFC 3284), without secondary compression and with the default code table, as the service sends them.

const [NOOP, ADD, RUN, COPY] = [0, 1, 2, 3];

/** Largest result, in bytes: a delta of a few bytes can ask for any size. */
const LIMIT = 16 * 1024 * 1024;

/** The default code table: for each code two instructions `[type, size, mode]`; size 0 means that it follows. */
const TABLE = (() => {
  const none = [NOOP, 0, 0];
  const table = [[[RUN, 0, 0], none]];
  for (let size = 0; size <= 17; size += 1) table.push([[ADD, size, 0], none]);
  for (let mode = 0; mode <= 8; mode += 1) {
    table.push([[COPY, 0, mode], none]);
    for (let size = 4; size <= 18; size += 1) table.push([[COPY, size, mode], none]);
  }
  for (let mode = 0; mode <= 8; mode += 1) {
    for (let add = 1; add <= 4; add += 1) {
      for (let copy = 4; copy <= (mode < 6 ? 6 : 4); copy += 1)
        table.push([
          [ADD, add, 0],
          [COPY, copy, mode],
        ]);
    }
  }
  for (let mode = 0; mode <= 8; mode += 1)
    table.push([
      [COPY, 4, mode],
      [ADD, 1, 0],
    ]);
  return table;
})();

/** Applies a delta to its base. Throws an `Error` if the delta is damaged or uses features that the service does not use. */
export function applyDelta(delta, base) {
  const file = new Reader(delta);
  if (file.byte() !== 0xd6 || file.byte() !== 0xc3 || file.byte() !== 0xc4) throw new Error('this is not VCDIFF');
  file.byte();
  const indicator = file.byte();
  if (indicator & 3) throw new Error('compression and code tables are not supported');
  if (indicator & 4) file.take(file.integer());
  const windows = [];
  let total = 0;
  while (!file.done) {
    const window = readWindow(file, base, windows, LIMIT - total);
    total += window.length;
    windows.push(window);
  }
  return join(windows, total);
}

function readWindow(file, base, windows, limit) {
  const indicator = file.byte();
  let source = new Uint8Array(0);
  if (indicator & 3) {
    const length = file.integer();
    const from = file.integer();
    const whole = indicator & 1 ? base : join(windows);
    if (from + length > whole.length) throw new Error('the delta refers beyond its base');
    source = whole.subarray(from, from + length);
  }
  const body = new Reader(file.take(file.integer()));
  const size = body.integer();
  if (size > limit) throw new Error('the result is too large');
  if (body.byte()) throw new Error('compressed sections are not supported');
  const lengths = [body.integer(), body.integer(), body.integer()];
  if (indicator & 4) body.take(4);
  const [data, instructions, addresses] = lengths.map((length) => new Reader(body.take(length)));
  const target = new Uint8Array(size);
  const cache = new AddressCache(addresses);
  let at = 0;
  while (!instructions.done) {
    for (const [type, fixed, mode] of TABLE[instructions.byte()]) {
      if (type === NOOP) continue;
      const length = fixed || instructions.integer();
      if (at + length > size) throw new Error('the delta writes beyond its window');
      if (type === ADD) target.set(data.take(length), at);
      else if (type === RUN) target.fill(data.byte(), at, at + length);
      else copy(source, target, at, cache.address(source.length + at, mode), length);
      at += length;
    }
  }
  if (at !== size) throw new Error('the delta ends early');
  return target;
}

function copy(source, target, at, from, length) {
  // Byte by byte, because a copy may read what it writes.
  for (let index = 0; index < length; index += 1) {
    const place = from + index;
    target[at + index] = place < source.length ? source[place] : target[place - source.length];
  }
}

class AddressCache {
  #near = [0, 0, 0, 0];
  #next = 0;
  #same = new Uint32Array(3 * 256);
  #addresses;

  constructor(addresses) {
    this.#addresses = addresses;
  }

  address(here, mode) {
    let address;
    if (mode === 0) address = this.#addresses.integer();
    else if (mode === 1) address = here - this.#addresses.integer();
    else if (mode < 6) address = this.#near[mode - 2] + this.#addresses.integer();
    else address = this.#same[(mode - 6) * 256 + this.#addresses.byte()];
    if (address < 0 || address >= here) throw new Error('the delta has a bad address');
    this.#near[this.#next] = address;
    this.#next = (this.#next + 1) % 4;
    this.#same[address % 768] = address;
    return address;
  }
}

class Reader {
  #bytes;
  #at = 0;

  constructor(bytes) {
    this.#bytes = bytes;
  }

  get done() {
    return this.#at >= this.#bytes.length;
  }

  byte() {
    if (this.done) throw new Error('the delta is cut off');
    return this.#bytes[this.#at++];
  }

  integer() {
    let value = 0;
    for (;;) {
      const byte = this.byte();
      value = value * 128 + (byte & 127);
      if (value > 0xffffffff) throw new Error('the delta has a number that is too large');
      if (byte < 128) return value;
    }
  }

  take(length) {
    if (this.#at + length > this.#bytes.length) throw new Error('the delta is cut off');
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }
}

function join(parts, total = parts.reduce((sum, part) => sum + part.length, 0)) {
  const whole = new Uint8Array(total);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
