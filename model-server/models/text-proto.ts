/** A message in protobuf's text format as plain data: repeated fields are arrays, one value is a value. */
export type TextValue = string | number | boolean | TextMessage;
export interface TextMessage {
  [field: string]: TextValue | TextValue[];
}

interface Token {
  kind: 'name' | 'string' | 'number' | 'symbol' | 'end';
  text: string;
  line: number;
}

const TOKEN =
  /\s+|#[^\n]*|("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|([A-Za-z_][\w.]*)|(-?(?:\d[\w.+-]*|\.\d+))|([{}[\]<>:,;])/gy;

/**
 * Reads protobuf's text format (https://protobuf.dev/reference/protobuf/textformat-spec/) without a schema: enums stay
 * names, a field that stands more than once becomes an array.
 * @throws Error naming the line
 */
export function parseTextProto(source: string): TextMessage {
  const parser = new Parser(tokenize(source));
  const message = parser.message('end');
  return message;
}

function tokenize(source: string): Token[] {
  const tokens: Token[] = [];
  let line = 1;
  let at = 0;
  const pattern = new RegExp(TOKEN);
  while (at < source.length) {
    pattern.lastIndex = at;
    const match = pattern.exec(source);
    if (match === null) throw new Error(`line ${line}: unexpected ${JSON.stringify(source[at])}`);
    const [whole, quoted, name, number, symbol] = match;
    if (quoted !== undefined) tokens.push({ kind: 'string', text: unquote(quoted, line), line });
    else if (name !== undefined) tokens.push({ kind: 'name', text: name, line });
    else if (number !== undefined) tokens.push({ kind: 'number', text: number, line });
    else if (symbol !== undefined) tokens.push({ kind: 'symbol', text: symbol, line });
    line += whole.split('\n').length - 1;
    at = pattern.lastIndex;
  }
  tokens.push({ kind: 'end', text: 'the end of the file', line });
  return tokens;
}

const ESCAPES: Record<string, string> = { n: '\n', r: '\r', t: '\t', '"': '"', "'": "'", '\\': '\\' };

function unquote(quoted: string, line: number): string {
  return quoted.slice(1, -1).replace(/\\(.)/g, (_, escaped: string) => {
    const plain = ESCAPES[escaped];
    if (plain === undefined) throw new Error(`line ${line}: the escape \\${escaped} is not supported`);
    return plain;
  });
}

class Parser {
  readonly #tokens: Token[];
  #at = 0;

  constructor(tokens: Token[]) {
    this.#tokens = tokens;
  }

  message(close: '}' | '>' | 'end'): TextMessage {
    const message: TextMessage = {};
    while (!this.#isClose(close)) {
      const field = this.#next();
      if (field.kind !== 'name')
        throw new Error(`line ${field.line}: expected a field name, found ${field.text}`);
      this.#add(message, field.text, this.#fieldValue());
      if (this.#peekSymbol(',') || this.#peekSymbol(';')) this.#at++;
    }
    this.#at++;
    return message;
  }

  #fieldValue(): TextValue | TextValue[] {
    const colon = this.#peekSymbol(':');
    if (colon) this.#at++;
    if (this.#peekSymbol('[')) return this.#list();
    return this.#value(colon);
  }

  #list(): TextValue[] {
    this.#at++;
    const values: TextValue[] = [];
    while (!this.#peekSymbol(']')) {
      values.push(this.#value(true));
      if (this.#peekSymbol(',')) this.#at++;
      else if (!this.#peekSymbol(']')) this.#fail('expected , or ]');
    }
    this.#at++;
    return values;
  }

  #value(scalarAllowed: boolean): TextValue {
    const token = this.#next();
    if (token.text === '{' && token.kind === 'symbol') return this.message('}');
    if (token.text === '<' && token.kind === 'symbol') return this.message('>');
    if (scalarAllowed && token.kind === 'string') return this.#adjacent(token.text);
    if (scalarAllowed && token.kind === 'name')
      return token.text === 'true' ? true : token.text === 'false' ? false : token.text;
    if (scalarAllowed && token.kind === 'number') return toNumber(token);
    throw new Error(
      `line ${token.line}: expected ${scalarAllowed ? 'a value' : ': or {'}, found ${token.text}`,
    );
  }

  /** Neighbouring strings are one string, as in C. */
  #adjacent(first: string): string {
    let text = first;
    while (this.#tokens[this.#at]!.kind === 'string') text += this.#next().text;
    return text;
  }

  #add(message: TextMessage, field: string, value: TextValue | TextValue[]): void {
    const before = message[field];
    const asList = (item: TextValue | TextValue[]) => (Array.isArray(item) ? item : [item]);
    message[field] = before === undefined ? value : [...asList(before), ...asList(value)];
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
    throw new Error(`line ${this.#tokens[this.#at]!.line}: ${what}`);
  }
}

function toNumber(token: Token): number {
  const value = Number(token.text.replace(/f$/, ''));
  if (Number.isNaN(value)) throw new Error(`line ${token.line}: ${token.text} is not a number`);
  return value;
}
