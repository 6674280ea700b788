import { describe, expect, it } from 'vitest';
import { toPoint } from '../../orchestrator/adapters/qdrant-point.ts';
import { sparseDocument, sparseQuery, terms } from '../../orchestrator/adapters/sparse-text.ts';
import { chunk } from './stored-chunk.ts';

describe('terms', () => {
  it.each([
    ['The Runner is RUNNING; he runs!', 'runner run run'],
    ['naïve Café, Ångström', 'naiv cafe angstrom'],
    ["don't foo-bar user_name x1.2", 'foo bar user name x1 2'],
    ['dogs & cats, 2 of 3', 'dog cat 2 3'],
    ['ﬁle ２０２６', 'file 2026'],
    ['שלום עולם', 'שלום עולם'],
    ['हिन्दी में खोज', 'हिन्दी में खोज'],
    ['全文検索の仕組み', '全文 検索 の 仕組み'],
    ['', ''],
    ['🙂 … — "', ''],
    [`${'x'.repeat(41)} short`, 'short'],
  ])('of %j', (text, expected) => {
    expect(terms(text).join(' ')).toBe(expected);
  });
});

describe('BM25 as sparse vectors', () => {
  it('saturates the frequency of a term, and weighs it against the length', () => {
    const weight = (text: string) => {
      const [word] = sparseQuery('harbour').indices;
      const { indices, values } = sparseDocument('', text);
      return values[indices.indexOf(word!)]!;
    };
    // Frequency 1 in a text of 1 term: 2.2 / (1 + 1.2 * (0.25 + 0.75 / 100)).
    expect(weight('harbour')).toBeCloseTo(2.2 / (1 + 1.2 * 0.2575), 10);
    expect(weight('harbour harbours')).toBeCloseTo(4.4 / (2 + 1.2 * 0.265), 10);
    expect(weight(`harbour${' word'.repeat(99)}`)).toBeCloseTo(1, 10);
  });

  it('counts words of the title twice', () => {
    expect(sparseDocument('harbour', 'sea')).toEqual(sparseDocument('', 'harbour harbour sea'));
  });

  it('names each term of a query once', () => {
    expect(sparseQuery('sea Seas SEA the harbour')).toEqual({
      indices: sparseQuery('sea harbour').indices,
      values: [1, 1],
    });
    expect(sparseQuery('of the')).toEqual({ indices: [], values: [] });
  });

  it('keeps the ids that stored collections were written with', () => {
    expect(sparseQuery('harbour 検索').indices).toEqual([3894328072, 4272097083]);
    expect(toPoint(chunk()).id).toBe('592e9084-310e-5596-8cda-c0f21cf186c7');
  });

  it('leaves the sparse vector of a text without words out', () => {
    expect(Object.keys(toPoint(chunk({ text: 'of the' })).vector)).toEqual(['dense']);
  });
});
