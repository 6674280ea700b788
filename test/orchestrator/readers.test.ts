import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ReadDocument } from '../../orchestrator/ingest/document.ts';
import { DocumentReader } from '../../orchestrator/ingest/document-reader.ts';
import { readFileAsDocument } from '../../orchestrator/ingest/readers/read.ts';
import { hasShared, shared } from '../shared.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nereid-readers-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function read(bytes: Uint8Array | string, name: string, mediaType?: string): Promise<ReadDocument> {
  const path = join(folder, 'file');
  await writeFile(path, bytes);
  return readFileAsDocument({ path, name, mediaType }, () => {});
}

function bytes(...values: (number | string)[]): Buffer {
  return Buffer.concat(
    values.map((value) => (typeof value === 'string' ? Buffer.from(value) : Buffer.of(value))),
  );
}

describe('text', () => {
  it.each([
    ['UTF-8', Buffer.from('Grüße, 世界\n')],
    ['UTF-8 with a byte order mark', bytes(0xef, 0xbb, 0xbf, 'Grüße, 世界\n')],
    ['UTF-16LE with a byte order mark', Buffer.from('\ufeffGrüße, 世界\n', 'utf16le')],
    ['UTF-16BE with a byte order mark', Buffer.from('\ufeffGrüße, 世界\n', 'utf16le').swap16()],
  ])('reads %s', async (_, file) => {
    expect(await read(file, 'a.txt')).toEqual({
      text: 'Grüße, 世界\n',
      title: '',
      mediaType: 'text/plain',
      warnings: [],
    });
  });

  it('reads what is not UTF-8 as windows-1252, and says so', async () => {
    const document = await read(bytes('Caf', 0xe9, ' ', 0x93, 'x', 0x94), 'a.txt');
    expect(document.text).toBe('Café “x”');
    expect(document.warnings).toEqual([expect.stringContaining('windows-1252')]);
  });

  it('turns every kind of line end into a line feed', async () => {
    expect((await read('a\r\nb\rc\n', 'a.log')).text).toBe('a\nb\nc\n');
  });

  it('takes bare text at its word, whatever it begins with', async () => {
    expect((await read('%PDF-1.4 is how a PDF begins', '', 'text/plain')).text).toContain('%PDF-1.4');
    expect((await read('<html> is a tag', '', 'text/plain')).text).toBe('<html> is a tag');
  });

  it.each([
    ['zero bytes', '', 'DOCUMENT_UNREADABLE', /0 bytes/],
    ['a binary file', bytes('abc', 0, 'def'), 'DOCUMENT_UNREADABLE', /zero byte at offset 3/],
    ['control characters', Buffer.alloc(500, 7), 'DOCUMENT_UNREADABLE', /500 control characters/],
    ['only blanks', ' \n\t\n', 'DOCUMENT_HAS_NO_TEXT', /only blanks/],
  ])('refuses %s', async (_, file, reason, message) => {
    await expect(read(file, 'x.txt')).rejects.toMatchObject({
      reason,
      message: expect.stringMatching(message),
    });
  });
});

describe('markdown', () => {
  it('takes the title from the front matter, which is no part of the text', async () => {
    const document = await read('---\ntitle: "The *Tide*"\ntags: [a]\n---\n# Other\n\nText.\n', 'a.md');
    expect(document).toMatchObject({
      title: 'The *Tide*',
      text: '# Other\n\nText.\n',
      mediaType: 'text/markdown',
    });
  });

  it.each([
    ['```sh\n# no title\n```\n\n## The `real` **one** ##\n', 'The real one'],
    ['Underlined\n===\n\ntext', 'Underlined'],
    ['Just text.', ''],
    ['---\n: [not yaml\n---\n# Title\n', 'Title'],
  ])('finds the title of %j', async (text, title) => {
    expect((await read(text, 'a.md')).title).toBe(title);
  });
});

describe('html', () => {
  const page = `<!DOCTYPE html><html><head><title> A &amp; B
    </title><style>p{}</style></head><body><nav><ul><li>Menu</ul></nav>
    <h1>Head</h1><p>One<b>two</b> three<br>four &eacute;</p><script>alert("x")</script>
    <ul><li>first</li><li>second</li></ul><table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>
    <pre>  kept
    as is</pre><div hidden>secret</div><div>End <img src=x>.</div></body></html>`;

  it('keeps the visible text with its blocks', async () => {
    const document = await read(page, 'x.bin');
    expect(document.title).toBe('A & B');
    expect(document.mediaType).toBe('text/html');
    expect(document.text.split('\n')).toEqual([
      'Head',
      '',
      'Onetwo three',
      'four é',
      '',
      'first',
      'second',
      '',
      'a b',
      'c',
      '',
      '  kept',
      '    as is',
      '',
      'End .',
    ]);
  });

  it('takes the first heading when there is no title', async () => {
    expect((await read('<h1>First <i>one</i></h1><h1>Second</h1>', 'x.html')).title).toBe('First one');
  });

  it('reads the charset that the page declares', async () => {
    const file = bytes('<html><head><meta charset="iso-8859-2"></head><body>', 0xb1, '</body></html>');
    expect(await read(file, 'x.html')).toMatchObject({ text: 'ą', warnings: [] });
  });

  it('reads a page that nobody closed, and refuses one without text', async () => {
    expect((await read('<html><body>'.concat('<div>'.repeat(5_000), 'deep'), 'x')).text).toBe('deep');
    await expect(read('<html><script>1</script></html>', 'x')).rejects.toMatchObject({
      reason: 'DOCUMENT_HAS_NO_TEXT',
    });
  });
});

describe('what is not read', () => {
  it.each([
    ['a photo called text', bytes(0xff, 0xd8, 0xff, 0xe0), 'a.txt', 'UNSUPPORTED_MEDIA_TYPE', /JPEG/],
    ['a zip', 'PK\x03\x04 something', 'a.zip', 'UNSUPPORTED_MEDIA_TYPE', /zip archive/],
    ['a renamed docx', 'PK\x03\x04 word/document.xml', 'a.pdf', 'UNSUPPORTED_MEDIA_TYPE', /docx/],
    [
      'an RTF',
      '{\\rtf1 hello}',
      'a.txt',
      'UNSUPPORTED_MEDIA_TYPE',
      /RTF.*Plain text, Markdown, HTML and PDF/,
    ],
    ['mail', 'From: a@example.org\n\nHi', 'a.eml', 'UNSUPPORTED_MEDIA_TYPE', /mail/],
    ['text called a PDF', 'hello', 'a.pdf', 'DOCUMENT_UNREADABLE', /a\.pdf is called a PDF/],
  ])('%s is refused by name', async (_, file, name, reason, message) => {
    await expect(read(file, name)).rejects.toMatchObject({ reason, message: expect.stringMatching(message) });
  });
});

const outcomes: Readonly<Record<string, { reason: string } | { pages: number; has: string }>> = {
  'apple.jpg': { reason: 'UNSUPPORTED_MEDIA_TYPE' },
  'arabic.pdf': { pages: 1, has: 'انواع' },
  'book-geotopo.pdf': { pages: 117, has: 'Hausdorffraum' },
  'broken.pdf': { pages: 1, has: 'pdf.js test' },
  'form-160F.pdf': { pages: 1, has: "n° d'identification national" },
  'multicolumn.pdf': { pages: 3, has: 'consectetuer adipiscing elit' },
  'outline.pdf': { pages: 3, has: 'Paragraph 1.1' },
  'paper-14-pages.pdf': { pages: 14, has: 'naïve implementation, inner loops' },
  'password.pdf': { reason: 'DOCUMENT_ENCRYPTED' },
  'react-paper.pdf': { pages: 31, has: 'While large language models (LLMs)' },
  'review.pdf': { pages: 23, has: 'Technology Acceptance Model' },
  'sample.docx': { reason: 'UNSUPPORTED_MEDIA_TYPE' },
  'sample.eml': { reason: 'UNSUPPORTED_MEDIA_TYPE' },
  'sample.epub': { reason: 'UNSUPPORTED_MEDIA_TYPE' },
  'sample.pptx': { reason: 'UNSUPPORTED_MEDIA_TYPE' },
  'sample.xlsx': { reason: 'UNSUPPORTED_MEDIA_TYPE' },
  'scanned.pdf': { reason: 'DOCUMENT_HAS_NO_TEXT' },
};

describe.skipIf(!hasShared)('real documents (skipped without ../shared)', () => {
  const reader = new DocumentReader({ timeoutMs: 60_000, memoryMb: 512 });
  afterAll(() => reader.close());

  it('are all in the table', async () => {
    expect(await readdir(shared('docs'))).toEqual(Object.keys(outcomes));
  });

  it.each(Object.entries(outcomes))('%s', async (name, outcome) => {
    const reading = reader.read({ path: shared('docs', name), name });
    if ('reason' in outcome) {
      await expect(reading).rejects.toMatchObject({
        reason: outcome.reason,
        message: expect.stringContaining(name),
      });
      return;
    }
    const { text, pages = [] } = await reading;
    expect(text).toContain(outcome.has);
    expect(pages).toHaveLength(outcome.pages);
    for (const [i, page] of pages.entries()) {
      expect(page.number).toBe(i + 1);
      expect(page.start).toBeGreaterThanOrEqual(pages[i - 1]?.end ?? 0);
      expect(page.end).toBeLessThanOrEqual(text.length);
    }
  });
});
