import { RagError } from '../../errors.ts';

export interface DecodedText {
  /** With `\n` line ends and without a byte order mark. */
  text: string;
  warnings: string[];
}

/** Every how many bytes a control character may come before the bytes are no text. */
const CONTROL_CHARACTER_SHARE = 100;

function byteOrderMark(bytes: Uint8Array): string | undefined {
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) return 'utf-8';
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return 'utf-16le';
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return 'utf-16be';
  return undefined;
}

function refuseBinary(bytes: Uint8Array, name: string): void {
  const zero = bytes.indexOf(0);
  let controls = 0;
  for (const byte of bytes.subarray(0, 65_536)) {
    if (byte < 32 && byte !== 9 && byte !== 10 && byte !== 12 && byte !== 13 && byte !== 27) controls++;
  }
  if (zero < 0 && controls * CONTROL_CHARACTER_SHARE <= Math.min(bytes.length, 65_536)) return;
  const where = zero < 0 ? `${controls} control characters near its start` : `a zero byte at offset ${zero}`;
  throw new RagError(
    'DOCUMENT_UNREADABLE',
    `${name || 'The document'} is not text: it has ${where}. Is it a binary file?`,
  );
}

function decoder(label: string): InstanceType<typeof TextDecoder> | undefined {
  try {
    return new TextDecoder(label, { fatal: true });
  } catch {
    return undefined;
  }
}

function tryDecode(bytes: Uint8Array, label: string): string | undefined {
  try {
    return decoder(label)?.decode(bytes);
  } catch {
    return undefined;
  }
}

/**
 * Bytes as text: by byte order mark, else by the charset that the document declares, else UTF-8, else
 * windows-1252 with a warning.
 * @throws RagError DOCUMENT_UNREADABLE when the bytes are no text
 */
export function decodeText(bytes: Uint8Array, name: string, declared?: string): DecodedText {
  const mark = byteOrderMark(bytes);
  if (mark === undefined || mark === 'utf-8') refuseBinary(bytes, name);
  const warnings: string[] = [];
  let text: string | undefined;
  for (const label of [mark, declared, 'utf-8']) {
    if (text === undefined && label !== undefined) text = tryDecode(bytes, label);
  }
  if (text === undefined) {
    text = new TextDecoder('windows-1252').decode(bytes);
    warnings.push('The text is not valid UTF-8 and was read as windows-1252; some characters may be wrong.');
  }
  return { text: text.replace(/\r\n?/g, '\n'), warnings };
}
