import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';

/** One field of a protobuf message, as it lies in the file. */
export interface Field {
  number: number;
  /** All of it, tag included: a view of the message. */
  bytes: Uint8Array;
  /** Of a string, bytes or message: what it holds, a view of the message; else empty. */
  content: Uint8Array;
  /** Of a varint or a 32-bit float; beyond 2^53 the nearest number. */
  value: number;
}

const NOTHING = new Uint8Array(0);

/** The fields of a message one after another, none of them copied. @throws Error when the bytes are no message */
export function* fieldsOf(message: Uint8Array): Generator<Field> {
  const reader = new BinaryReader(message);
  while (reader.pos < reader.len) {
    const start = reader.pos;
    const [number, type] = reader.tag();
    let content: Uint8Array = NOTHING;
    let value = 0;
    if (type === WireType.LengthDelimited) content = reader.bytes();
    else if (type === WireType.Varint) value = Number(reader.int64());
    else if (type === WireType.Bit32) value = reader.float();
    else reader.skip(type, number);
    yield { number, bytes: message.subarray(start, reader.pos), content, value };
  }
}

const utf8 = new TextDecoder();

/** What a field of text says. */
export function textOf(field: Field): string {
  return utf8.decode(field.content);
}

/** Adds the integers of a repeated field, packed or one by one, to a list. */
export function addIntegers(field: Field, list: number[]): void {
  if (field.content.length === 0) {
    list.push(field.value);
    return;
  }
  const reader = new BinaryReader(field.content);
  while (reader.pos < reader.len) list.push(Number(reader.int64()));
}
