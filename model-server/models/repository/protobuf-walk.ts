import type { FileHandle } from 'node:fs/promises';

/** Where the bytes of a message lie in the file. */
export interface Range {
  start: number;
  end: number;
}

/** One field of a message: its number, and its value or (for strings, bytes and messages) where that lies. */
export interface Field extends Range {
  number: number;
  /** Of a varint; 0 for others. */
  value: number;
  /** Whether `start` and `end` are the bounds of a string, bytes or message. */
  hasBytes: boolean;
}

/** A file that is no whole protobuf message: torn, still being written, or something else altogether. */
export class TornMessage extends Error {}

const WINDOW_BYTES = 64 * 1024;
/** A tag and a length take ten bytes each at most. */
const LONGEST_HEADER = 20;
const LONGEST_TEXT = 64 * 1024;
/** Far above the largest model; a file of nothing but tiny fields shall not keep the reader busy for ever. */
const MOST_FIELDS = 20_000_000;

/** Walks over the fields of a protobuf file by reading their headers alone, so that large values are never read. */
export class ProtobufWalk {
  readonly size: number;
  readonly #handle: FileHandle;
  readonly #window = Buffer.alloc(WINDOW_BYTES);
  #windowStart = 0;
  #windowEnd = 0;
  #fields = 0;

  /** `size` is the file's length in bytes. */
  constructor(handle: FileHandle, size: number) {
    this.#handle = handle;
    this.size = size;
  }

  /** Calls `visit` for every field between two offsets. @throws TornMessage when the bytes there are no fields */
  async fields(range: Range, visit: (field: Field) => Promise<void> | undefined): Promise<void> {
    let at = range.start;
    while (at < range.end) {
      if (at < this.#windowStart || Math.min(at + LONGEST_HEADER, this.size) > this.#windowEnd)
        await this.#fill(at);
      const field = this.#header(at, range.end);
      const pending = visit(field);
      if (pending !== undefined) await pending;
      at = field.end;
    }
  }

  /** The text of a field. @throws TornMessage when it is longer than any name */
  async text({ start, end }: Range): Promise<string> {
    if (end - start > LONGEST_TEXT) throw new TornMessage(`a name of ${end - start} bytes at byte ${start}`);
    return (await this.#bytes(start, end)).toString('utf8');
  }

  /** The varints of a packed field. */
  async packed({ start, end }: Range): Promise<number[]> {
    if (end - start > LONGEST_TEXT)
      throw new TornMessage(`${end - start} bytes of dimensions at byte ${start}`);
    const bytes = await this.#bytes(start, end);
    const values: number[] = [];
    for (let at = 0; at < bytes.length; ) {
      const [value, next] = varint(bytes, at, bytes.length);
      values.push(value);
      at = next;
    }
    return values;
  }

  async #bytes(start: number, end: number): Promise<Buffer> {
    if (start >= this.#windowStart && end <= this.#windowEnd)
      return this.#window.subarray(start - this.#windowStart, end - this.#windowStart);
    const bytes = Buffer.alloc(end - start);
    const { bytesRead } = await this.#handle.read(bytes, 0, bytes.length, start);
    if (bytesRead < bytes.length) throw new TornMessage(`the file ends before byte ${end}`);
    return bytes;
  }

  async #fill(at: number): Promise<void> {
    const { bytesRead } = await this.#handle.read(this.#window, 0, WINDOW_BYTES, at);
    this.#windowStart = at;
    this.#windowEnd = at + bytesRead;
    if (bytesRead < Math.min(LONGEST_HEADER, this.size - at))
      throw new TornMessage(`the file ends before byte ${at + LONGEST_HEADER}`);
  }

  #header(at: number, limit: number): Field {
    if (++this.#fields > MOST_FIELDS) throw new TornMessage(`more than ${MOST_FIELDS} fields`);
    const base = this.#windowStart;
    const end = Math.min(this.#windowEnd, limit) - base;
    const [tag, afterTag] = varint(this.#window, at - base, end);
    const [number, wireType] = [Math.floor(tag / 8), tag % 8];
    if (number === 0) throw new TornMessage(`no field at byte ${at}`);
    const field = { number, value: 0, hasBytes: false, start: base + afterTag, end: base + afterTag };
    if (wireType === 0) {
      const [value, next] = varint(this.#window, afterTag, end);
      return { ...field, value, end: base + next };
    }
    if (wireType === 1 || wireType === 5) field.end += wireType === 1 ? 8 : 4;
    else if (wireType === 2) {
      const [length, next] = varint(this.#window, afterTag, end);
      field.hasBytes = true;
      field.start = base + next;
      field.end = field.start + length;
    } else throw new TornMessage(`no field at byte ${at}`);
    if (field.end > limit)
      throw new TornMessage(
        `field ${number} at byte ${at} needs ${field.end - limit} bytes more than there are`,
      );
    return field;
  }
}

/** A varint and where it ends. Negative numbers come out as such; others are exact up to 2^53. */
function varint(bytes: Buffer, from: number, end: number): [value: number, next: number] {
  let value = 0;
  let scale = 1;
  for (let at = from; at < Math.min(end, from + 10); at++) {
    const byte = bytes[at]!;
    value += (byte & 0x7f) * scale;
    scale *= 128;
    if (byte < 0x80) return [value >= 2 ** 63 ? value - 2 ** 64 : value, at + 1];
  }
  throw new TornMessage('a number is cut off');
}
