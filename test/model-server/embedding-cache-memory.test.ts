import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { EmbeddedText } from '../../model-server/models/embedding-cache/embedded-text.ts';
import { MemoryTier } from '../../model-server/models/embedding-cache/memory-tier.ts';
import { textKey } from '../../model-server/models/embedding-cache/text-key.ts';

const text = (value: number, floats = 100): EmbeddedText => ({
  vector: new Float32Array(floats).fill(value),
  tokens: 3,
  tokensUsed: 3,
  truncated: false,
  cached: true,
});

/** Three entries of 100 floats fit, and not a fourth: each takes 950 bytes besides. */
const THREE = 3 * 1350 + 1349;

it('drops what was asked for least recently when the budget is spent', () => {
  const tier = new MemoryTier({ budgetBytes: THREE, ttlMs: 0, nowMs: () => 0 });
  for (const key of ['a', 'b', 'c']) tier.set(key, text(1));
  expect(tier.get('a')).toBeDefined();
  tier.set('d', text(2));
  expect(['a', 'b', 'c', 'd'].map((key) => tier.get(key) !== undefined)).toEqual([true, false, true, true]);
  expect(tier).toMatchObject({ entries: 3, bytes: 4050, evictions: 1 });
});

it('replaces an entry without counting it as dropped, and takes none that is larger than the budget', () => {
  const tier = new MemoryTier({ budgetBytes: THREE, ttlMs: 0, nowMs: () => 0 });
  tier.set('a', text(1));
  tier.set('a', text(2));
  expect(tier.get('a')!.vector[0]).toBe(2);
  tier.set('b', text(3, 10_000));
  expect(tier.get('b')).toBeUndefined();
  expect(tier).toMatchObject({ entries: 1, evictions: 0 });
});

it('keeps entries for their time, and those from disk for what is left of it', () => {
  let nowMs = 0;
  const tier = new MemoryTier({ budgetBytes: 1e6, ttlMs: 1000, nowMs: () => nowMs });
  tier.set('a', text(1));
  tier.set('b', text(2), 400);
  nowMs = 400;
  expect(['a', 'b'].map((key) => tier.get(key) !== undefined)).toEqual([true, true]);
  nowMs = 401;
  expect(['a', 'b'].map((key) => tier.get(key) !== undefined)).toEqual([true, false]);
  nowMs = 1000;
  // That it was asked for makes it no younger.
  expect(tier.get('a')).toBeDefined();
  nowMs = 1001;
  expect(tier.get('a')).toBeUndefined();
});

it('never takes more than its budget, and gives what was set last under a key', () => {
  const put = fc.record({
    key: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
    floats: fc.integer({ min: 0, max: 900 }),
  });
  fc.assert(
    fc.property(fc.array(put, { maxLength: 60 }), (puts) => {
      const tier = new MemoryTier({ budgetBytes: THREE, ttlMs: 0, nowMs: () => 0 });
      const last = new Map<string, number>();
      puts.forEach(({ key, floats }, index) => {
        tier.set(key, text(index, floats));
        last.set(key, floats);
        expect(tier.bytes).toBeLessThanOrEqual(THREE);
      });
      let bytes = 0;
      for (const [key, floats] of last) {
        const found = tier.get(key);
        if (found === undefined) continue;
        expect(found.vector).toHaveLength(floats);
        bytes += 950 + floats * 4;
      }
      expect(tier.bytes).toBe(bytes);
    }),
  );
});

it('equal keys mean equal texts of one space', () => {
  const space = fc.string({ unit: fc.constantFrom('a', 't', 'j'), maxLength: 3 });
  const unit = fc.constantFrom('a', 't', 'j', '\0', '"', '\\', '\ud800', '\udc00', '\ufffd');
  const pair = fc.tuple(space, fc.string({ unit, maxLength: 4 }));
  fc.assert(
    fc.property(pair, pair, (one, other) => {
      expect(textKey(...one) === textKey(...other)).toBe(one[0] === other[0] && one[1] === other[1]);
    }),
    { numRuns: 2000 },
  );
  expect(textKey('s', 'a')).toMatch(/^[\w-]{43}$/);
  // Either half of a pair alone would be hashed as one replacement character.
  expect(new Set(['\ud800', '\ud801', '\ufffd'].map((lone) => textKey('s', lone))).size).toBe(3);
});
