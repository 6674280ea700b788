/** One field of a message in protobuf's text format, and where it stands. */
export interface TextField {
  name: string;
  start: number;
  end: number;
  /** Inside of the braces of a message or the brackets of a list; undefined for a plain value. */
  inside: { start: number; end: number; isList: boolean } | undefined;
}

const CLOSING: Record<string, string> = { '{': '}', '<': '>', '[': ']' };
/** A comment, a string, or one character. */
const PIECE = /#[^\n]*|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[\s\S]/y;
const NAME = /[A-Za-z_][\w.]*/y;
/** White space, comments and separators between fields. */
const BETWEEN = /(?:\s|#[^\n]*|[,;:])*/y;
const PLAIN = /(?:"(?:[^"\\\n]|\\.)*"\s*|'(?:[^'\\\n]|\\.)*'\s*)+|[^\s,;{}[\]<>#"']+/y;

/**
 * The fields of a message's inside, in order. What the server does not take it refuses itself, so this reads loosely: it
 * stops at what is no field.
 */
export function fieldsOf(text: string, start = 0, end = text.length): TextField[] {
  const fields: TextField[] = [];
  for (let at = skip(BETWEEN, text, start); at < end; at = skip(BETWEEN, text, at)) {
    const afterName = skip(NAME, text, at);
    if (afterName === at) return fields;
    const value = skip(BETWEEN, text, afterName);
    const group = groupAt(text, value, end);
    const stop = group === undefined ? skip(PLAIN, text, value) : group.end + 1;
    const name = text.slice(at, afterName);
    fields.push({ name, start: at, end: Math.min(stop, end), inside: group });
    at = stop;
  }
  return fields;
}

/** The messages of a repeated field, whichever way it is written: inside a list, or as the field's own. */
export function messagesOf(text: string, { inside }: TextField): TextField[] {
  if (inside === undefined) return [];
  if (!inside.isList) return [{ name: '', start: inside.start, end: inside.end, inside }];
  const messages: TextField[] = [];
  for (let at = skip(BETWEEN, text, inside.start); at < inside.end; at = skip(BETWEEN, text, at)) {
    const group = groupAt(text, at, inside.end);
    if (group === undefined) return messages;
    messages.push({ name: '', start: at, end: group.end + 1, inside: group });
    at = group.end + 1;
  }
  return messages;
}

/** The text without these parts, and without the lines that are empty for it. */
export function without(text: string, parts: readonly { start: number; end: number }[]): string {
  let rest = text;
  for (const { start, end } of parts.toSorted((a, b) => b.start - a.start)) {
    const before = rest.slice(0, start).replace(/[ \t]+$/, '');
    const after = rest.slice(end).replace(/^[ \t]*[,;]?[ \t]*/, '');
    const ownsLine = (before === '' || before.endsWith('\n')) && after.startsWith('\n');
    rest = ownsLine ? before + after.slice(1) : `${before} ${after}`;
  }
  return rest;
}

function groupAt(text: string, at: number, end: number): TextField['inside'] {
  const opening = text[at] ?? '';
  if (at >= end || !(opening in CLOSING)) return undefined;
  const open = [CLOSING[opening]!];
  for (let next = at + 1; next < end; ) {
    PIECE.lastIndex = next;
    const piece = PIECE.exec(text)![0];
    if (piece in CLOSING) open.push(CLOSING[piece]!);
    else if (piece === open.at(-1)) open.pop();
    if (open.length === 0) return { start: at + 1, end: next, isList: opening === '[' };
    next += piece.length;
  }
  return undefined;
}

function skip(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : at;
}
