// The members of a channel, as presence messages and syncs describe them.

const [ABSENT, PRESENT, LEAVE] = [0, 1, 3];

/** The names of the presence actions on the wire. */
export const PRESENCE_ACTIONS = ['absent', 'present', 'enter', 'leave', 'update'];

/** The set of members. A sync removes members that it does not mention. */
export class PresenceSet {
  #members = new Map();
  #sync;

  /** The members, in the order of their clientIds. */
  get members() {
    return [...this.#members.values()].sort((a, b) => (a.clientId < b.clientId ? -1 : a.clientId > b.clientId ? 1 : 0));
  }

  get size() {
    return this.#members.size;
  }

  /** Whether the first answer about the members is still under way. */
  get syncing() {
    return this.#sync !== undefined;
  }

  clear() {
    this.#members.clear();
    this.#sync = undefined;
  }

  /** The service will send all members. */
  expectSync() {
    this.#sync = { id: undefined, seen: new Set() };
  }

  /** Applies a PRESENCE or SYNC frame. */
  apply(frame) {
    const [id, cursor] = frame.action === 16 ? (frame.channelSerial ?? ':').split(':') : [];
    if (id !== undefined && this.#sync?.id !== id) this.#sync = { id, seen: new Set() };
    for (const [index, item] of (frame.presence ?? []).entries()) {
      this.#put({
        ...item,
        id: item.id ?? (frame.id && `${frame.id}:${index}`),
        connectionId: item.connectionId ?? frame.connectionId,
        timestamp: item.timestamp ?? frame.timestamp,
      });
    }
    if (id !== undefined && !cursor) this.#endSync();
  }

  #put(member) {
    const key = `${member.connectionId}:${member.clientId}`;
    const known = this.#members.get(key);
    if (known && !isNewer(member, known)) {
      this.#sync?.seen.add(key);
      return;
    }
    if (member.action === LEAVE || member.action === ABSENT) {
      this.#members.delete(key);
    } else {
      this.#members.set(key, { ...member, action: PRESENT });
      this.#sync?.seen.add(key);
    }
  }

  #endSync() {
    for (const key of this.#members.keys()) if (!this.#sync.seen.has(key)) this.#members.delete(key);
    this.#sync = undefined;
  }
}

/** Compares by the numbers of the ids, or by time if the service made one of the messages up. */
function isNewer(member, known) {
  const [ours, theirs] = [numbers(member), numbers(known)];
  if (!ours || !theirs) return (member.timestamp ?? 0) >= (known.timestamp ?? 0);
  return ours[0] !== theirs[0] ? ours[0] > theirs[0] : ours[1] > theirs[1];
}

function numbers({ id, connectionId }) {
  if (!id?.startsWith(`${connectionId}:`)) return undefined;
  const parts = id
    .slice(connectionId.length + 1)
    .split(':')
    .map(Number);
  return parts.length === 2 && parts.every(Number.isInteger) ? parts : undefined;
}
