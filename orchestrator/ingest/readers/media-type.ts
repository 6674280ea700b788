import { RagError } from '../../errors.ts';

/** What the readers read. */
export type ReadableType = 'application/pdf' | 'text/html' | 'text/markdown' | 'text/plain';

const READ_TYPES = 'Plain text, Markdown, HTML and PDF are read.';
const TRUSTED_WHEN_UNNAMED: readonly string[] = ['text/plain', 'text/markdown', 'text/html'];

/** Signatures of what is not read; `at` is the offset of the bytes. */
const signatures: readonly { what: string; bytes: string; at?: number }[] = [
  { what: 'a JPEG image', bytes: '\xff\xd8\xff' },
  { what: 'a PNG image', bytes: '\x89PNG' },
  { what: 'a GIF image', bytes: 'GIF8' },
  { what: 'a TIFF image', bytes: 'II*\0' },
  { what: 'a TIFF image', bytes: 'MM\0*' },
  { what: 'a WebP image', bytes: 'WEBP', at: 8 },
  { what: 'an old Office document (doc, xls, ppt)', bytes: '\xd0\xcf\x11\xe0' },
  { what: 'an RTF document', bytes: '{\\rtf' },
  { what: 'a gzip archive', bytes: '\x1f\x8b' },
  { what: 'a 7-Zip archive', bytes: '7z\xbc\xaf' },
  { what: 'a RAR archive', bytes: 'Rar!' },
  { what: 'a program', bytes: '\x7fELF' },
  { what: 'an MP3 sound file', bytes: 'ID3' },
  { what: 'an Ogg sound file', bytes: 'OggS' },
  { what: 'an MP4 video or HEIC image', bytes: 'ftyp', at: 4 },
];

/** A zip's own file names tell the office formats apart; the central directory lies at the end. */
const zipMembers: readonly { what: string; member: string }[] = [
  { what: 'a Word document (docx)', member: 'word/document.xml' },
  { what: 'a PowerPoint presentation (pptx)', member: 'ppt/presentation.xml' },
  { what: 'an Excel workbook (xlsx)', member: 'xl/workbook.xml' },
  { what: 'an EPUB book', member: 'application/epub+zip' },
  { what: 'an OpenDocument file', member: 'application/vnd.oasis.opendocument' },
];

const extensions: Readonly<Record<string, ReadableType>> = {
  pdf: 'application/pdf',
  html: 'text/html',
  htm: 'text/html',
  xhtml: 'text/html',
  md: 'text/markdown',
  markdown: 'text/markdown',
};

function unsupported(name: string, what: string): RagError {
  return new RagError(
    'UNSUPPORTED_MEDIA_TYPE',
    `${name || 'The document'} is ${what}, which is not read yet. ${READ_TYPES}`,
  );
}

function zipKind(bytes: Uint8Array): string {
  const edge = 65_536;
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const names = view.toString('latin1', 0, edge) + view.toString('latin1', Math.max(0, view.length - edge));
  return zipMembers.find(({ member }) => names.includes(member))?.what ?? 'a zip archive';
}

/**
 * The type of a document by its bytes first, then by its name and what the caller said. Bare text (no name, and a
 * text type given) is taken at its word, whatever it begins with.
 * @throws RagError UNSUPPORTED_MEDIA_TYPE naming what it is and what is read; DOCUMENT_UNREADABLE for a PDF that is none
 */
export function detectMediaType(bytes: Uint8Array, name: string, given = ''): ReadableType {
  const declared = given.split(';')[0]?.trim().toLowerCase() ?? '';
  if (name === '' && TRUSTED_WHEN_UNNAMED.includes(declared)) return declared as ReadableType;
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.byteLength, 1_024)).toString(
    'latin1',
  );
  if (head.includes('%PDF-')) return 'application/pdf';
  if (head.startsWith('PK\x03\x04')) throw unsupported(name, zipKind(bytes));
  const known = signatures.find((signature) => head.startsWith(signature.bytes, signature.at ?? 0));
  if (known !== undefined) throw unsupported(name, known.what);

  const extension = /\.([a-z0-9]+)$/i.exec(name)?.[1]?.toLowerCase() ?? '';
  if (extension === 'eml' || declared === 'message/rfc822') throw unsupported(name, 'a mail message');
  const type = extensions[extension] ?? declared;
  if (type === 'application/pdf') {
    const message = `${name || 'The document'} is called a PDF, but does not begin like one (%PDF-): it is damaged or something else.`;
    throw new RagError('DOCUMENT_UNREADABLE', message);
  }
  if (
    /^[\s\u00ef\u00bb\u00bf]*(?:<\?xml[^>]*>\s*)?(?:<!--[\s\S]*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b/i.test(
      head,
    )
  ) {
    return 'text/html';
  }
  return type === 'text/html' || type === 'text/markdown' ? type : 'text/plain';
}
