import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ReadDocument } from '../../orchestrator/ingest/document.ts';
import { readFileAsDocument } from '../../orchestrator/ingest/readers/read.ts';
import { type PdfTestLine, tinyPdf } from './tiny-pdf.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nereid-pdf-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function read(file: Uint8Array, onPage = (_done: number, _total: number) => {}): Promise<ReadDocument> {
  const path = join(folder, 'file');
  await writeFile(path, file);
  return readFileAsDocument({ path, name: 'a.pdf' }, onPage);
}

/** Lines 12 points apart, as set text has them. */
function lines(y: number, ...texts: string[]): PdfTestLine[] {
  return texts.map((text, i) => ({ text, y: y - i * 12 }));
}

function pageTexts({ text, pages = [] }: ReadDocument): string[] {
  return pages.map(({ start, end }) => text.slice(start, end));
}

it('reads pages in order and says where each lies', async () => {
  const progress: number[][] = [];
  const file = tinyPdf([lines(700, 'First page here.'), lines(700, 'Second page here.')], {
    title: 'A Title',
  });
  const document = await read(file, (done, total) => progress.push([done, total]));
  expect(document.text).toBe('First page here.\n\nSecond page here.');
  expect(pageTexts(document)).toEqual(['First page here.', 'Second page here.']);
  expect(document).toMatchObject({ title: 'A Title', mediaType: 'application/pdf', warnings: [] });
  expect(progress).toEqual([
    [1, 2],
    [2, 2],
  ]);
});

it('keeps lines together in paragraphs, and sets headings and gaps apart', async () => {
  const document = await read(
    tinyPdf([
      [
        { text: 'A Big Heading', y: 740, size: 18 },
        ...lines(700, 'One sentence that runs', 'over two lines.'),
        ...lines(640, 'Another paragraph.'),
      ],
    ]),
  );
  expect(document.text).toBe(
    'A Big Heading\n\nOne sentence that runs\nover two lines.\n\nAnother paragraph.',
  );
  expect(document.title).toBe('A Big Heading');
});

it('mends words that a line end broke, but not compounds that the text writes with a hyphen', async () => {
  const page = lines(700, 'The broken exam-', 'ple, and a state-of-the-', 'art state-of-the-art thing.');
  expect((await read(tinyPdf([page]))).text).toBe(
    'The broken example, and a state-of-the-art state-of-the-art thing.',
  );
});

it('lets a sentence run over a page border, without running heads and page numbers in between', async () => {
  const page = (n: number, text: string) => [
    { text: `My Book, chapter ${n}`, y: 760 },
    { text, y: 700 },
    { text: `${n}`, y: 30 },
  ];
  const document = await read(
    tinyPdf([
      page(1, 'This sentence goes'),
      page(2, 'on here.'),
      page(3, 'A third page.'),
      page(4, 'A fourth.'),
    ]),
  );
  expect(document.text).toBe('This sentence goes\non here.\n\nA third page.\n\nA fourth.');
});

it('warns of pages without text among others', async () => {
  const document = await read(tinyPdf([lines(700, 'Text.'), [], lines(700, 'More.'), []]));
  expect(pageTexts(document)).toEqual(['Text.', '', 'More.', '']);
  expect(document.warnings).toEqual([expect.stringMatching(/No text on page 2, 4;.*OCR/)]);
});

it('leaves out lines whose font does not say which letters they are', async () => {
  const garbled = { bytes: Buffer.from('BT /F1 10 Tf 72 700 Td (\x01\x02\x03\x04\x05) Tj ET', 'latin1') };
  const document = await read(tinyPdf([lines(700, 'Text.'), garbled]));
  expect(document.text).toBe('Text.');
  expect(document.warnings).toEqual([expect.stringMatching(/Left out lines on page 2: the fonts/)]);
});

it('refuses a PDF without any text, and says that there is no OCR', async () => {
  await expect(read(tinyPdf([[], []]))).rejects.toMatchObject({
    reason: 'DOCUMENT_HAS_NO_TEXT',
    message: expect.stringMatching(/a\.pdf has no text: none of its pages \(2\).*does no OCR/),
  });
});

it.each([
  ['cut off', tinyPdf([lines(700, 'x')]).subarray(0, 60)],
  ['garbage', Buffer.from('%PDF-1.7\n\x00\x01garbage')],
])('refuses a PDF that is %s', async (_, file) => {
  await expect(read(file)).rejects.toMatchObject({
    reason: 'DOCUMENT_UNREADABLE',
    message: expect.stringContaining('a.pdf is not a readable PDF'),
  });
});

it.each(['untitled', 'Microsoft Word - report.doc', 'thesis.dvi'])(
  'does not take %j for a title',
  async (title) => {
    expect((await read(tinyPdf([lines(700, 'Text.')], { title }))).title).toBe('');
  },
);
