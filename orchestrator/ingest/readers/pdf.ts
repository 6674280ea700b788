import { createRequire, registerHooks } from 'node:module';
import { dirname, join } from 'node:path';
import { RagError } from '../../errors.ts';
import type { PageSpan, ReadDocument } from '../document.ts';
import { type PdfPage, pdfLines, type TextRun } from './pdf-lines.ts';
import { bodySize, hyphenatedWords, pageBorder, pageText } from './pdf-paragraphs.ts';
import { RunningLines } from './pdf-running.ts';

type Pdfjs = typeof import('pdfjs-dist/legacy/build/pdf.mjs');
type PdfDocument = Awaited<ReturnType<Pdfjs['getDocument']>['promise']>;

/** Called after each page. */
export type PageProgress = (done: number, total: number) => void;

interface ReadPages {
  pages: PdfPage[];
  broken: { number: number; message: string }[];
}

const NO_LETTERS = 'the fonts do not say which letters their glyphs are';
const OCR_MISSING = 'Nereid does no OCR: run the file through an OCR program first (for example ocrmypdf).';

/**
 * pdf.js draws through a native canvas addon of 33 MB that text extraction never calls, but that it loads and whose
 * DOMMatrix it constructs on import. Neither is wanted in a worker that opens strangers' files.
 */
async function loadPdfjs(): Promise<Pdfjs> {
  const hooks = registerHooks({
    resolve(specifier, context, next) {
      if (specifier === '@napi-rs/canvas') throw new Error('Text extraction draws nothing.');
      return next(specifier, context);
    },
  });
  try {
    for (const name of ['DOMMatrix', 'ImageData', 'Path2D']) {
      if (!(name in globalThis))
        Object.defineProperty(globalThis, name, { value: class {}, configurable: true });
    }
    return await import('pdfjs-dist/legacy/build/pdf.mjs');
  } finally {
    hooks.deregister();
  }
}

function openError(thrown: unknown, name: string): RagError {
  const kind = thrown instanceof Error ? thrown.name : '';
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  if (kind === 'PasswordException') {
    return new RagError(
      'DOCUMENT_ENCRYPTED',
      `${name} is protected by a password: remove it and upload the file again.`,
    );
  }
  return new RagError('DOCUMENT_UNREADABLE', `${name} is not a readable PDF: ${message}`, { cause: thrown });
}

async function readPage(pdf: PdfDocument, number: number): Promise<PdfPage> {
  const page = await pdf.getPage(number);
  try {
    const content = await page.getTextContent();
    return pdfLines(content.items.filter((item): item is typeof item & TextRun => 'str' in item));
  } finally {
    page.cleanup();
  }
}

async function readPages(pdf: PdfDocument, onPage: PageProgress): Promise<ReadPages> {
  const read: ReadPages = { pages: [], broken: [] };
  for (let number = 1; number <= pdf.numPages; number++) {
    try {
      read.pages.push(await readPage(pdf, number));
    } catch (thrown) {
      read.pages.push({ lines: [], garbled: 0 });
      read.broken.push({ number, message: thrown instanceof Error ? thrown.message : String(thrown) });
    }
    onPage(number, pdf.numPages);
  }
  return read;
}

function assemble(pages: readonly PdfPage[]): { text: string; spans: PageSpan[] } {
  const running = new RunningLines();
  for (const { lines } of pages) running.note(lines);
  const hyphenated = hyphenatedWords(pages.flatMap((page) => page.lines));
  const parts: string[] = [];
  const spans: PageSpan[] = [];
  let length = 0;
  let before = '';
  for (const [index, { lines }] of pages.entries()) {
    const page = pageText(running.strip(lines), hyphenated);
    if (page !== '' && before !== '') {
      const border = pageBorder(before, page);
      parts.push(border);
      length += border.length;
    }
    spans.push({ number: index + 1, start: length, end: length + page.length });
    parts.push(page);
    length += page.length;
    if (page !== '') before = page.slice(-200);
  }
  return { text: parts.join(''), spans };
}

/** What a program wrote in place of a title. */
const NO_TITLE =
  /^(?:untitled|no title|title|document\d*|slide 1|powerpoint presentation|\(?anonymous\)?)$|^\S+\.\w{2,5}$/i;

/** The biggest lines of the first page, when they stand out from its body text. */
function printedTitle(page: PdfPage | undefined): string {
  const lines = page?.lines.filter((line) => line.upright) ?? [];
  const biggest = lines.reduce((size, line) => Math.max(size, line.size), 0);
  if (biggest < bodySize(lines) * 1.2) return '';
  const first = lines.findIndex((line) => line.size > biggest * 0.95);
  let last = first;
  while ((lines[last + 1]?.size ?? 0) > biggest * 0.95) last++;
  const title = lines
    .slice(first, last + 1)
    .map((line) => line.text)
    .join(' ');
  return title.length >= 5 && title.length <= 200 && /\p{L}{2}/u.test(title) ? title : '';
}

async function pdfTitle(pdf: PdfDocument, firstPage: PdfPage | undefined): Promise<string> {
  const { info } = await pdf.getMetadata().catch(() => ({ info: {} }));
  const given = 'Title' in info && typeof info.Title === 'string' ? info.Title : '';
  const title = given
    .replace(/^Microsoft (?:Word|PowerPoint|Excel) - /, '')
    .replace(/[\s\x00]+/g, ' ')
    .trim();
  return title !== '' && !NO_TITLE.test(title) ? title.slice(0, 300) : printedTitle(firstPage);
}

function listed(numbers: readonly number[]): string {
  const shown = numbers.slice(0, 20).join(', ');
  return numbers.length > 20 ? `${shown} and ${numbers.length - 20} more` : shown;
}

function pageWarnings({ pages, broken }: ReadPages): string[] {
  const failed = new Set(broken.map((page) => page.number));
  const garbled = pages.flatMap((page, i) => (page.garbled > page.lines.length / 3 ? [i + 1] : []));
  const empty = pages.flatMap((page, i) =>
    page.lines.length === 0 && page.garbled === 0 && !failed.has(i + 1) ? [i + 1] : [],
  );
  const warnings: string[] = [];
  if (broken[0] !== undefined) {
    warnings.push(`Could not read page ${listed([...failed])}: ${broken[0].message}`);
  }
  if (garbled.length > 0) {
    warnings.push(`Left out lines on page ${listed(garbled)}: ${NO_LETTERS}. ${OCR_MISSING}`);
  }
  if (empty.length > 0) {
    warnings.push(
      `No text on page ${listed(empty)}; scanned pages are not found by searches. ${OCR_MISSING}`,
    );
  }
  return warnings;
}

function refuseEmpty({ pages, broken }: ReadPages, name: string): void {
  if (pages.some((page) => page.lines.length > 0)) return;
  if (broken[0] !== undefined) throw openError(broken[0].message, name);
  const why = pages.some((page) => page.garbled > 0)
    ? NO_LETTERS
    : `none of its pages (${pages.length}) has a text layer, as after scanning`;
  throw new RagError('DOCUMENT_HAS_NO_TEXT', `${name} has no text: ${why}. ${OCR_MISSING}`);
}

/**
 * A PDF as text, page by page, in the order of its content; running heads and page numbers are left out.
 * @throws RagError DOCUMENT_ENCRYPTED, DOCUMENT_UNREADABLE, DOCUMENT_HAS_NO_TEXT
 */
export async function readPdf(bytes: Uint8Array, name: string, onPage: PageProgress): Promise<ReadDocument> {
  const pdfjs = await loadPdfjs();
  const folder = dirname(createRequire(import.meta.url).resolve('pdfjs-dist/package.json'));
  const task = pdfjs.getDocument({
    data: bytes,
    isEvalSupported: false,
    disableFontFace: true,
    useSystemFonts: false,
    useWorkerFetch: false,
    useWasm: false,
    enableXfa: false,
    verbosity: pdfjs.VerbosityLevel.ERRORS,
    cMapUrl: join(folder, 'cmaps/'),
    cMapPacked: true,
    standardFontDataUrl: join(folder, 'standard_fonts/'),
  });
  try {
    const pdf = await task.promise.catch((thrown: unknown) => {
      throw openError(thrown, name);
    });
    const read = await readPages(pdf, onPage);
    refuseEmpty(read, name);
    const { text, spans } = assemble(read.pages);
    const title = await pdfTitle(pdf, read.pages[0]);
    return { text, pages: spans, title, mediaType: 'application/pdf', warnings: pageWarnings(read) };
  } finally {
    await task.destroy();
  }
}
