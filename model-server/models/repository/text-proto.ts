/** A message in protobuf's text format as plain data: a field that stands more than once, or as a list, is an array. */
export type TextValue = string | number | boolean | TextMessage;
export interface TextMessage {
  [field: string]: TextValue | TextValue[];
}

/** What is wrong with a text, and where. */
export class TextProtoError extends Error {
  readonly line: number;

  constructor(line: number, what: string) {
    super(`line ${line}: ${what}`);
    this.name = 'TextProtoError';
    this.line = line;
  }
}

interface Token {
  kind: 'name' | 'string' | 'number' | 'symbol' | 'end';
  text: string;
  line: number;
}

const TOKEN =
  /\s+|#[^\n]*|("[^"\\\n]*(?:\\.[^"\\\n]*)*"|'[^'\\\n]*(?:\\.[^'\\\n]*)*')|([A-Za-z_]\w*)|((?:\d|\.\d)(?:[eE][+-]?\d|[\w.])*)|([{}[\]<>:,;-])/gy;

/** Deeper messages than any real one, but not so deep that reading them would exhaust the stack. */
const MOST_LEVELS = 64;

/**
 * Reads protobuf's text format (https://protobuf.dev/reference/protobuf/textformat-spec/) without a schema: enums stay
 * names, a field that stands more than once becomes an array. Extensions and Any are not known.
 * @throws TextProtoError
 */
export function parseTextProto(source: string): TextMessage {
  return new Parser(tokenize(source)).message('end');
}

function tokenize(source: string): Token[] {
  const tokens: Token[] = [];
  let line = 1;
  let at = 0;
  const pattern = new RegExp(TOKEN);
  while (at < source.length) {
    pattern.lastIndex = at;
    const match = pattern.exec(source);
    if (match === null) throw new TextProtoError(line, `unexpected ${JSON.stringify(source[at])}`);
    const [whole, quoted, name, number, symbol] = match;
    if (quoted !== undefined) tokens.push({ kind: 'string', text: unquote(quoted, line), line });
    else if (name !== undefined) tokens.push({ kind: 'name', text: name, line });
    else if (number !== undefined) tokens.push({ kind: 'number', text: number, line });
    else if (symbol !== undefined) tokens.push({ kind: 'symbol', text: symbol, line });
    for (const character of whole) if (character === '\n') line++;
    at = pattern.lastIndex;
  }
  tokens.push({ kind: 'end', text: 'the end of the file', line });
  return tokens;
}

const PLAIN_ESCAPES: Record<string, number> = {
  a: 7,
  b: 8,
  t: 9,
  n: 10,
  v: 11,
  f: 12,
  r: 13,
  '"': 34,
  "'": 39,
  '?': 63,
  '\\': 92,
};
const ESCAPE =
  /\\(?:([0-7]{1,3})|[xX]([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([\s\S])|$)|[^\\]+/g;

/** The text of a literal. Octal and hex escapes are bytes of its UTF-8. */
function unquote(quoted: string, line: number): string {
  const inner = quoted.slice(1, -1);
  if (!inner.includes('\\')) return inner;
  const parts: Uint8Array[] = [];
  for (const [whole, octal, hex, short, long, plain] of inner.matchAll(ESCAPE)) {
    if (octal !== undefined) parts.push(byte(Number.parseInt(octal, 8), whole, line));
    else if (hex !== undefined) parts.push(byte(Number.parseInt(hex, 16), whole, line));
    else if (short !== undefined || long !== undefined)
      parts.push(Buffer.from(character(Number.parseInt(short ?? long!, 16), whole, line)));
    else if (!whole.startsWith('\\')) parts.push(Buffer.from(whole));
    else parts.push(byte(PLAIN_ESCAPES[plain ?? ''], whole, line));
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.concat(parts));
  } catch {
    throw new TextProtoError(line, `the bytes of ${quoted.slice(0, 100)} are no UTF-8 text`);
  }
}

function byte(value: number | undefined, literal: string, line: number): Uint8Array {
  if (value === undefined || value > 255)
    throw new TextProtoError(line, `the escape ${literal} is not known`);
  return Uint8Array.of(value);
}

function character(codePoint: number, literal: string, line: number): string {
  const isSurrogate = codePoint >= 0xd800 && codePoint <= 0xdfff;
  if (codePoint > 0x10ffff || isSurrogate)
    throw new TextProtoError(line, `the escape ${literal} is no character`);
  return String.fromCodePoint(codePoint);
}

class Parser {
  readonly #tokens: Token[];
  #at = 0;
  #level = 0;

  constructor(tokens: Token[]) {
    this.#tokens = tokens;
  }

  message(close: '}' | '>' | 'end'): TextMessage {
    if (++this.#level > MOST_LEVELS) this.#fail(`messages lie deeper than ${MOST_LEVELS} levels`);
    // A map, because a field may be called __proto__.
    const fields = new Map<string, TextValue | TextValue[]>();
    while (!this.#isClose(close)) {
      const field = this.#next();
      if (field.kind !== 'name')
        throw new TextProtoError(field.line, `expected a field name, found ${told(field)}`);
      add(fields, field.text, this.#fieldValue());
      if (this.#peekSymbol(',') || this.#peekSymbol(';')) this.#at++;
    }
    this.#at++;
    this.#level--;
    return Object.fromEntries(fields);
  }

  #fieldValue(): TextValue | TextValue[] {
    const colon = this.#peekSymbol(':');
    if (colon) this.#at++;
    if (this.#peekSymbol('[')) return this.#list(colon);
    return this.#value(colon);
  }

  #list(scalarAllowed: boolean): TextValue[] {
    this.#at++;
    const values: TextValue[] = [];
    if (this.#peekSymbol(']')) {
      this.#at++;
      return values;
    }
    for (;;) {
      values.push(this.#value(scalarAllowed));
      const after = this.#next();
      if (after.kind === 'symbol' && after.text === ']') return values;
      if (after.kind !== 'symbol' || after.text !== ',')
        throw new TextProtoError(after.line, `expected , or ], found ${told(after)}`);
    }
  }

  #value(scalarAllowed: boolean): TextValue {
    const token = this.#next();
    if (token.kind === 'symbol' && token.text === '{') return this.message('}');
    if (token.kind === 'symbol' && token.text === '<') return this.message('>');
    if (scalarAllowed && token.kind === 'string') return this.#adjacent(token.text);
    if (scalarAllowed && token.kind === 'name') return named(token.text);
    if (scalarAllowed && token.kind === 'number') return toNumber(token);
    if (scalarAllowed && token.kind === 'symbol' && token.text === '-') return this.#negative();
    throw new TextProtoError(
      token.line,
      `expected ${scalarAllowed ? 'a value' : ': or {'}, found ${told(token)}`,
    );
  }

  #negative(): number {
    const token = this.#next();
    const value = token.kind === 'number' ? toNumber(token) : UNCOMMON.get(token.text.toLowerCase());
    if (token.kind === 'string' || value === undefined)
      throw new TextProtoError(token.line, `expected a number after -, found ${told(token)}`);
    return -value;
  }

  /** Neighbouring strings are one string, as in C. */
  #adjacent(first: string): string {
    const parts = [first];
    while (this.#tokens[this.#at]!.kind === 'string') parts.push(this.#next().text);
    return parts.join('');
  }

  #isClose(close: '}' | '>' | 'end'): boolean {
    const token = this.#tokens[this.#at]!;
    if (close === 'end') return token.kind === 'end';
    if (token.kind === 'end') this.#fail(`a message is not closed with ${close}`);
    return token.kind === 'symbol' && token.text === close;
  }

  #peekSymbol(symbol: string): boolean {
    const token = this.#tokens[this.#at]!;
    return token.kind === 'symbol' && token.text === symbol;
  }

  #next(): Token {
    const token = this.#tokens[this.#at]!;
    if (token.kind !== 'end') this.#at++;
    return token;
  }

  #fail(what: string): never {
    throw new TextProtoError(this.#tokens[this.#at]!.line, what);
  }
}

/** A token as errors show it. */
const told = ({ text }: Token) => (text.length > 100 ? `${text.slice(0, 100)}…` : text);

const UNCOMMON = new Map([
  ['inf', Infinity],
  ['infinity', Infinity],
  ['nan', NaN],
]);

function named(text: string): string | boolean {
  if (text === 'true' || text === 'True') return true;
  return text === 'false' || text === 'False' ? false : text;
}

function add(
  fields: Map<string, TextValue | TextValue[]>,
  field: string,
  value: TextValue | TextValue[],
): void {
  const before = fields.get(field);
  if (before === undefined) fields.set(field, value);
  else if (!Array.isArray(before))
    fields.set(field, Array.isArray(value) ? [before, ...value] : [before, value]);
  else if (Array.isArray(value)) for (const item of value) before.push(item);
  else before.push(value);
}

function toNumber(token: Token): number {
  const { text, line } = token;
  if (/^0[0-7]+$/.test(text)) return Number.parseInt(text, 8);
  const isHex = /^0[xX]/.test(text);
  const isDecimal = /^(?:0|[1-9]\d*)?(?:\.\d*)?(?:[eE][+-]?\d+)?[fF]?$|^0\d*[.eE]/.test(text);
  const value = Number(isHex ? text : text.replace(/[fF]$/, ''));
  if ((!isHex && !isDecimal) || Number.isNaN(value))
    throw new TextProtoError(line, `${told(token)} is not a number`);
  return value;
}
