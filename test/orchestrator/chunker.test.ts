import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Chunk, type ChunkOptions, chunk } from '../../orchestrator/ingest/chunker.ts';
import type { PageSpan } from '../../orchestrator/ingest/document.ts';
import { contentHash } from '../../orchestrator/ingest/embedded-text.ts';
import { fakeTokens } from './fakes.ts';
import { story } from './ingest-harness.ts';

const countTokens = async (texts: readonly string[]) => texts.map(fakeTokens);

function cut(text: string, options: Partial<ChunkOptions> = {}, pages?: PageSpan[]): Promise<Chunk[]> {
  return chunk({ text, pages }, { countTokens, maxTokens: 60, overlapTokens: 10, ...options });
}

/** Text as documents have it: sentences, lists, headings, blank lines, long words, all kinds of letters. */
const anyText = fc
  .array(
    fc.oneof(
      {
        weight: 6,
        arbitrary: fc.constantFrom(
          'The ship came in.',
          'It was late, e.g. Dr. Low slept!',
          'Why? 世界很大。',
        ),
      },
      {
        weight: 4,
        arbitrary: fc.constantFrom('\n\n', '\n', ' ', '# Head\n', '\n- item one', '\t', '  \n \n', '\r\n'),
      },
      { weight: 2, arbitrary: fc.string({ unit: 'grapheme', maxLength: 60 }) },
      { weight: 1, arbitrary: fc.constantFrom('word '.repeat(150), 'x'.repeat(3_000), '👩‍👩‍👧é'.repeat(90)) },
    ),
    { maxLength: 40 },
  )
  .map((parts) => parts.join(''));

/** A text and pages that cover it, some of them empty. */
const pagedText = fc
  .tuple(anyText, fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 8 }))
  .map(([text, cuts]) => {
    const borders = cuts.map((share) => Math.floor(share * text.length)).toSorted((a, b) => a - b);
    const starts = [0, ...borders];
    const pages = starts.map((start, i) => ({ number: i + 1, start, end: starts[i + 1] ?? text.length }));
    return { text, pages };
  });

describe('any text', () => {
  it('is cut into chunks in order, which are exactly its pieces and leave out only blanks', async () => {
    await fc.assert(
      fc.asyncProperty(
        anyText,
        fc.integer({ min: 8, max: 80 }),
        fc.integer({ min: 0, max: 90 }),
        async (text, maxTokens, overlapTokens) => {
          const chunks = await cut(text, { maxTokens, overlapTokens });
          let covered = 0;
          for (const [i, piece] of chunks.entries()) {
            expect(piece.text).toBe(text.slice(piece.start, piece.end));
            expect(piece.text).toBe(piece.text.trim());
            expect(piece.text).not.toBe('');
            expect(text.slice(covered, piece.start).trim()).toBe('');
            expect(piece.start).toBeGreaterThan(chunks[i - 1]?.start ?? -1);
            expect(piece.end).toBeGreaterThan(covered);
            covered = piece.end;
          }
          expect(text.slice(covered).trim()).toBe('');
        },
      ),
      { numRuns: 300 },
    );
  });

  it('gives no chunk more tokens than asked for, and no huge one of few tokens', async () => {
    await fc.assert(
      fc.asyncProperty(anyText, fc.integer({ min: 8, max: 80 }), async (text, maxTokens) => {
        for (const piece of await cut(text, { maxTokens })) {
          expect(fakeTokens(piece.text)).toBeLessThanOrEqual(maxTokens);
          expect(piece.text.length).toBeLessThanOrEqual(maxTokens * 32);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('is on pages that the document has', async () => {
    await fc.assert(
      fc.asyncProperty(pagedText, async ({ text, pages }) => {
        for (const piece of await cut(text, {}, pages)) {
          const first = pages.find(({ start, end }) => piece.start >= start && piece.start < end);
          const last = pages.find(({ start, end }) => piece.end - 1 >= start && piece.end - 1 < end);
          expect(piece.page).toBe(first?.number);
          expect(piece.pageEnd).toBe(first === last ? undefined : last?.number);
          expect(piece.pageEndOffset).toBe(first === last ? undefined : last?.start);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('is cut the same way every time', async () => {
    await fc.assert(
      fc.asyncProperty(anyText, async (text) => {
        expect(await cut(text)).toEqual(await cut(text));
      }),
      { numRuns: 50 },
    );
  });
});

describe('sentences', () => {
  const sentence = /^[A-Z0-9“"(].*[.!?”")]$/s;

  it('are whole in every chunk, abbreviations and decimals included', async () => {
    const text = [
      'Dr. Smith of St. Ives measured 3.5 knots, e.g. Monday.',
      'See Fig. 3 and Eqs. 4 for more, cf. Table 2.',
      'J. R. Low vs. Mr. Poole was heard on p. 12 at No. 5 Court.',
      'He asked “Why?” and left.',
    ];
    const chunks = await cut(`${text.join(' ')} `.repeat(12), { maxTokens: 40, overlapTokens: 0 });
    expect(chunks.length).toBeGreaterThan(8);
    for (const piece of chunks) {
      expect(piece.text).toMatch(sentence);
      expect(text.some((whole) => piece.text.startsWith(whole))).toBe(true);
      expect(text.some((whole) => piece.text.endsWith(whole))).toBe(true);
    }
  });

  it('run over the ends of lines', async () => {
    const text = 'A sentence that is set\nin lines of a\ncertain width. Another one\nof them. '
      .repeat(9)
      .trim();
    for (const piece of await cut(text, { maxTokens: 30 })) expect(piece.text).toMatch(sentence);
  });

  it('are shared by neighbours up to the overlap', async () => {
    const text = story(60).replaceAll('\n\n', ' ');
    const chunks = await cut(text, { maxTokens: 120, overlapTokens: 30 });
    for (const [i, piece] of chunks.entries()) {
      if (i === 0) continue;
      const shared = text.slice(piece.start, chunks[i - 1]!.end);
      expect(shared).toMatch(/^Sentence number \d+ .*tide\.$/);
      expect(fakeTokens(shared)).toBeLessThanOrEqual(30);
    }
  });

  it('are cut at word borders only when one alone is too long', async () => {
    const long = Array.from({ length: 300 }, (_, i) => `word${i}`).join(' ');
    const chunks = await cut(`Short one. ${long}. Short two.`, { maxTokens: 50, overlapTokens: 0 });
    expect(chunks.length).toBeGreaterThan(5);
    for (const { text } of chunks) expect(text).toMatch(/^(?:Short one\. )?(?:word\d+[ .]*|Short two\.)+$/);
  });
});

describe('borders', () => {
  it('fall between paragraphs and before headings rather than inside them', async () => {
    const sections = Array.from({ length: 12 }, (_, i) => `# Heading ${i}\n\n${story(3, `port${i}`)}`);
    const chunks = await cut(sections.join('\n\n'), { maxTokens: 150, overlapTokens: 0 });
    for (const { text } of chunks) {
      expect(text).toMatch(/^# Heading \d+\n/);
      expect(text).toMatch(/tide\.$/);
    }
  });

  it('keep an unmarked heading with its text', async () => {
    const parts = Array.from({ length: 20 }, (_, i) => `About Port ${i}\n\n${story(2, `port${i}`)}`);
    for (const { text } of await cut(parts.join('\n\n'), { maxTokens: 90 }))
      expect(text).not.toMatch(/About Port \d+$/);
  });
});

describe('a changed document', () => {
  const hashes = (chunks: readonly Chunk[]) => new Set(chunks.map(({ text }) => contentHash('', text)));
  const unpunctuated = (text: string) => text.replaceAll('\n\n', ' ');

  it.each([
    ['in paragraphs', story(1_400)],
    ['in one paragraph', unpunctuated(story(1_400))],
    ['of lines', story(1_400).replaceAll('. ', '.\n- ')],
  ])('keeps most of its chunks: text %s', async (_, text) => {
    const options = { maxTokens: 150, overlapTokens: 25 };
    const before = hashes(await cut(text, options));
    for (const at of [200, 700, 1_150]) {
      const place = text.indexOf(`Sentence number ${at} `);
      const edited = `${text.slice(0, place)}Here is a sentence that was not there before. ${text.slice(place)}`;
      const fresh = [...hashes(await cut(edited, options))].filter((hash) => !before.has(hash));
      expect(fresh.length).toBeGreaterThan(0);
      expect(fresh.length).toBeLessThan(16);
    }
    expect(before.size).toBeGreaterThan(200);
  });
});

describe('a big document', () => {
  it('is counted in batches, with turns for others in between, and in time that grows with its length', async () => {
    const text = story(20_000);
    let turns = 0;
    let done = false;
    const turn = () => {
      turns++;
      if (!done) setImmediate(turn);
    };
    setImmediate(turn);
    const batches: number[] = [];
    const chunks = await cut(text, {
      maxTokens: 200,
      countTokens: (texts) => {
        batches.push(texts.length);
        return countTokens(texts);
      },
    });
    done = true;
    expect(chunks.length).toBeGreaterThan(2_000);
    expect(Math.max(...batches)).toBeLessThanOrEqual(256);
    expect(batches.length).toBeLessThan(100);
    expect(turns).toBeGreaterThan(70);
  });

  it('of one word is cut without a call for each piece', async () => {
    let calls = 0;
    const chunks = await cut('x'.repeat(300_000), {
      countTokens: (texts) => {
        calls++;
        return countTokens(texts);
      },
    });
    expect(chunks.length).toBeGreaterThan(300);
    expect(calls).toBeLessThan(100);
  });

  it('is given up when the signal aborts', async () => {
    const abort = new AbortController();
    const cutting = cut(story(5_000), {
      signal: abort.signal,
      countTokens: (texts) => {
        abort.abort(new Error('enough'));
        return countTokens(texts);
      },
    });
    await expect(cutting).rejects.toThrow('enough');
  });
});
