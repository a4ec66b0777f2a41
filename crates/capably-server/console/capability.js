// Capabilities: which operations a key or token allows on which channels.

/** The operations of channels, with what each is for. */
export const OPERATIONS = [
  ['subscribe', 'Receive messages and presence'],
  ['publish', 'Publish messages'],
  ['history', 'Read past messages and versions'],
  ['presence', 'Enter presence, and read the members'],
  ['channel-metadata', 'List channels, read their occupancy'],
  ['statistics', 'Read statistics'],
  ['object-subscribe', 'Read objects'],
  ['object-publish', 'Change objects'],
  ['annotation-subscribe', 'Receive annotations one by one'],
  ['annotation-publish', 'Annotate messages'],
  ['message-update-own', 'Update own messages'],
  ['message-update-any', 'Update all messages'],
  ['message-delete-own', 'Delete own messages'],
  ['message-delete-any', 'Delete all messages'],
  ['push-subscribe', 'Subscribe a device to push'],
  ['push-admin', 'Manage all push devices'],
  ['privileged-headers', 'Send privileged headers'],
];

/** Reads a capability: an object, or its JSON text. Throws an `Error` that says what is wrong. */
export function parse(capability) {
  const value = typeof capability === 'string' ? JSON.parse(capability) : capability;
  if (!value || typeof value !== 'object' || Array.isArray(value)) {
    throw new Error('A capability is an object, such as {"chat:*": ["subscribe"]}.');
  }
  const rules = [];
  for (const [resource, operations] of Object.entries(value)) {
    const list = typeof operations === 'string' ? [operations] : operations;
    if (!Array.isArray(list) || list.some((operation) => typeof operation !== 'string')) {
      throw new Error(`The operations of ${JSON.stringify(resource)} must be an array of texts.`);
    }
    rules.push({ resource, operations: list });
  }
  return rules;
}

/** Whether the capability allows the operation on this channel. */
export function allows(rules, operation, channel) {
  return rules.some((rule) => has(rule, operation) && matches(rule.resource, channel));
}

/** Whether the capability allows the operation on some channel. */
export function allowsSomewhere(rules, operation) {
  return rules.some((rule) => has(rule, operation));
}

const has = (rule, operation) => rule.operations.includes('*') || rule.operations.includes(operation);

/** Whether a resource pattern covers a channel: `*` is one part between colons, or at the end all that follows. */
export function matches(resource, channel) {
  const [pattern, segments] = split(resource);
  const [qualifier, parts] = split(channel);
  if (pattern !== '*' && pattern !== qualifier) return false;
  for (const [index, segment] of segments.entries()) {
    if (index >= parts.length) return false;
    if (segment === '*' && index === segments.length - 1) return true;
    if (segment !== '*' && segment !== parts[index]) return false;
  }
  return parts.length === segments.length;
}

function split(name) {
  const end = name.startsWith('[') ? name.indexOf(']') : -1;
  return end < 0 ? [null, name.split(':')] : [name.slice(1, end), name.slice(end + 1).split(':')];
}
