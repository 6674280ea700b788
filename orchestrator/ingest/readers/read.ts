import { readFile, stat } from 'node:fs/promises';
import { RagError } from '../../errors.ts';
import type { DocumentFile, ReadDocument } from '../document.ts';
import { readHtml } from './html.ts';
import { readMarkdown } from './markdown.ts';
import { detectMediaType } from './media-type.ts';
import type { PageProgress } from './pdf.ts';
import { readText } from './text.ts';

async function parse(bytes: Uint8Array, file: DocumentFile, onPage: PageProgress): Promise<ReadDocument> {
  switch (detectMediaType(bytes, file.name, file.mediaType)) {
    case 'application/pdf': {
      // pdf.js costs 40 MB and 0.2 s, which only PDFs should pay.
      const { readPdf } = await import('./pdf.ts');
      return readPdf(bytes, file.name || 'The document', onPage);
    }
    case 'text/html':
      return readHtml(bytes, file.name);
    case 'text/markdown':
      return readMarkdown(bytes, file.name);
    case 'text/plain':
      return readText(bytes, file.name);
  }
}

/**
 * Reads a file of any known type in this thread. Only reader-worker.ts calls it outside of tests: a hostile file may
 * take all the time and memory that its thread has.
 * @throws RagError UNSUPPORTED_MEDIA_TYPE, DOCUMENT_UNREADABLE, DOCUMENT_ENCRYPTED, DOCUMENT_HAS_NO_TEXT
 */
export async function readFileAsDocument(file: DocumentFile, onPage: PageProgress): Promise<ReadDocument> {
  const name = file.name || 'The document';
  const { size } = await stat(file.path);
  if (size === 0)
    throw new RagError('DOCUMENT_UNREADABLE', `${name} is empty (0 bytes): there is nothing to read.`);
  const bytes = await readFile(file.path);
  const document = await parse(
    new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength),
    file,
    onPage,
  );
  if (document.text.trim() === '') {
    throw new RagError(
      'DOCUMENT_HAS_NO_TEXT',
      `${name} has no text: there are only blanks and markup in it.`,
    );
  }
  return document;
}
