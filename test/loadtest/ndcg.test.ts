import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readJudgedSet } from '../../loadtest/beir.ts';
import { documentsOf, mean, ndcg, percentile, recall, reciprocalRank } from '../../loadtest/ndcg.ts';

const gains = new Map([
  ['a', 3],
  ['b', 2],
  ['c', 0],
  ['d', 1],
]);

test('nDCG of a worked example, with linear gains', () => {
  const ideal = 3 + 2 / Math.log2(3) + 1 / 2;
  expect(ndcg(['c', 'b', 'x', 'a'], gains, 10)).toBeCloseTo(
    (2 / Math.log2(3) + 3 / Math.log2(5)) / ideal,
    12,
  );
  expect(ndcg(['b', 'a'], gains, 2)).toBeCloseTo((2 + 3 / Math.log2(3)) / (3 + 2 / Math.log2(3)), 12);
});

test('the best order has 1, and nothing relevant has 0', () => {
  expect(ndcg(['a', 'b', 'd'], gains, 10)).toBe(1);
  expect(ndcg(['a'], gains, 1)).toBe(1);
  expect(ndcg(['x', 'y'], gains, 10)).toBe(0);
  expect(ndcg(['a'], new Map(), 10)).toBe(0);
});

test('no order is better than the ideal one, and only the first k count', () => {
  fc.assert(
    fc.property(
      fc.shuffledSubarray(['a', 'b', 'c', 'd', 'x', 'y']),
      fc.integer({ min: 1, max: 6 }),
      (ranked, k) => {
        const value = ndcg(ranked, gains, k);
        expect(value).toBeGreaterThanOrEqual(0);
        expect(value).toBeLessThanOrEqual(1 + 1e-12);
        expect(ndcg(ranked.slice(0, k), gains, k)).toBe(value);
      },
    ),
  );
});

test('recall and reciprocal rank', () => {
  expect(recall(['x', 'b', 'c'], gains, 10)).toBeCloseTo(1 / 3);
  expect(recall(['x', 'b', 'a'], gains, 2)).toBeCloseTo(1 / 3);
  expect(recall(['x'], new Map(), 10)).toBe(0);
  expect(reciprocalRank(['c', 'x', 'd'], gains, 10)).toBeCloseTo(1 / 3);
  expect(reciprocalRank(['c', 'x', 'd'], gains, 2)).toBe(0);
});

test('a document stands where its best chunk stands', () => {
  expect(documentsOf(['b', 'a', 'b', 'c', 'a'].map((document_id) => ({ document_id })))).toEqual([
    'b',
    'a',
    'c',
  ]);
});

test('mean and percentile', () => {
  expect([
    mean([1, 2, 6]),
    mean([]),
    percentile([5, 1, 3, 2, 4], 0.5),
    percentile([1, 2], 0.95),
    percentile([], 0.5),
  ]).toEqual([3, 0, 3, 2, 0]);
});

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'beir-'));
  await writeFile(
    join(folder, 'corpus.jsonl'),
    '{"_id":"1","title":"T","text":"x"}\n\n{"_id":2,"text":"y"}\n',
  );
  await writeFile(
    join(folder, 'queries.jsonl'),
    '{"_id":"q","text":"what"}\n{"_id":"unjudged","text":"who"}\n',
  );
});

afterEach(() => rm(folder, { recursive: true }));

test('a judged set is read, and queries without a relevant document are left out', async () => {
  await writeFile(
    join(folder, 'qrels.tsv'),
    'query-id\tcorpus-id\tscore\r\nq\t1\t2\r\nq\t2\t0\r\nunjudged\t1\t0\r\n',
  );
  const set = await readJudgedSet(folder);
  expect(set.corpus).toEqual([
    { _id: '1', title: 'T', text: 'x' },
    { _id: '2', title: '', text: 'y' },
  ]);
  expect(set.queries.map(({ _id }) => _id)).toEqual(['q']);
  expect(set.judgements).toEqual(new Map([['q', new Map([['1', 2]])]]));
});

test('judgements are found where BEIR has them, or where told', async () => {
  await expect(readJudgedSet(folder)).rejects.toThrow(/qrels\.tsv.*qrels\/test\.tsv/);
  await mkdir(join(folder, 'qrels'));
  await writeFile(join(folder, 'qrels/test.tsv'), 'query-id\tcorpus-id\tscore\nq\t1\t1\n');
  await writeFile(join(folder, 'graded.tsv'), 'query-id\tcorpus-id\tscore\nq\t1\t4\n');
  expect((await readJudgedSet(folder)).qrelsFile).toBe(join(folder, 'qrels/test.tsv'));
  expect((await readJudgedSet(folder, 'graded.tsv')).judgements.get('q')?.get('1')).toBe(4);
});

test('a bad line is named', async () => {
  await writeFile(join(folder, 'qrels.tsv'), 'query-id\tcorpus-id\tscore\nq 1 1\n');
  await expect(readJudgedSet(folder)).rejects.toThrow(/qrels\.tsv line 2/);
  await writeFile(join(folder, 'qrels.tsv'), 'query-id\tcorpus-id\tscore\nq\t1\t1\n');
  await writeFile(join(folder, 'queries.jsonl'), '{"_id":"q","text":"what"}\n{"_id":"q2"}\n');
  await expect(readJudgedSet(folder)).rejects.toThrow(/queries\.jsonl line 2.*text/s);
});
