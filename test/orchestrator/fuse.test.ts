import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { ScoredChunk } from '../../orchestrator/ports.ts';
import { fuse, single } from '../../orchestrator/retrieve/fuse.ts';
import { scoredChunk } from './fake-store.ts';

const list = (...ids: string[]): ScoredChunk[] =>
  ids.map((id, index) => scoredChunk(id, { score: 10 - index }));

test('each list gives 1 / (60 + rank), and what both found comes first', () => {
  const fused = fuse(
    new Map([
      ['dense', list('a', 'b')],
      ['keyword', list('b', 'c', 'd')],
    ]),
  );
  expect(fused.map(({ chunk, score }) => [chunk.chunkId, score])).toEqual([
    ['b', 1 / 62 + 1 / 61],
    ['a', 1 / 61],
    ['c', 1 / 62],
    ['d', 1 / 63],
  ]);
});

test('a hit keeps what each source said of it, and the chunk without a score of its own', () => {
  const [best] = fuse(
    new Map([
      ['dense', list('a', 'b')],
      ['keyword', list('b')],
    ]),
  );
  expect(best?.sources).toEqual({ dense: { rank: 2, score: 9 }, keyword: { rank: 1, score: 10 } });
  expect(best?.chunk).toEqual(expect.not.objectContaining({ score: expect.anything() }));
  expect(best?.chunk.text).toBe('text of b');
});

test('any number of sources under any name', () => {
  const lists = new Map([
    ['dense', list('a')],
    ['keyword', list('b', 'a')],
    ['graph', list('c', 'b', 'a')],
  ]);
  expect(fuse(lists).map(({ chunk }) => chunk.chunkId)).toEqual(['a', 'b', 'c']);
  expect(fuse(new Map())).toEqual([]);
});

test('a source that repeats a chunk counts once, with its best rank', () => {
  const [best] = fuse(new Map([['dense', list('a', 'a', 'a')]]));
  expect(best?.score).toBe(1 / 61);
  expect(best?.sources.dense?.rank).toBe(1);
});

test('one source alone keeps its own scores', () => {
  expect(single('keyword', list('a', 'b')).map(({ score, sources }) => [score, sources])).toEqual([
    [10, { keyword: { rank: 1, score: 10 } }],
    [9, { keyword: { rank: 2, score: 9 } }],
  ]);
});

const ids = fc.uniqueArray(fc.constantFrom(...'abcdefghij'), { maxLength: 10 });

test('the order of the sources changes nothing, and every chunk that was found comes out once', () => {
  fc.assert(
    fc.property(ids, ids, (first, second) => {
      const one = fuse(
        new Map([
          ['x', list(...first)],
          ['y', list(...second)],
        ]),
      );
      const other = fuse(
        new Map([
          ['y', list(...second)],
          ['x', list(...first)],
        ]),
      );
      const order = one.map(({ chunk }) => chunk.chunkId);
      expect(other.map(({ chunk }) => chunk.chunkId)).toEqual(order);
      expect(order.toSorted()).toEqual([...new Set([...first, ...second])].toSorted());
      expect(one.every(({ score }, index) => index === 0 || score <= one[index - 1]!.score)).toBe(true);
    }),
  );
});
