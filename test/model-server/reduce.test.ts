import { describe, expect, it } from 'vitest';
import { reduce } from '../../model-server/backend/reduce.ts';
import { assemble } from '../../model-server/scheduler/assemble.ts';

describe('reduce', () => {
  it.each(['mean', 'max', 'cls'] as const)(
    'a text of no tokens gets zeros, its neighbours what is theirs (%s)',
    (pooling) => {
      const reduction = { kind: 'pooled' } as const;
      const rows = [[], [7, 8]].map((ids) => ({ row: { ids: Int32Array.from(ids) }, reduction }));
      const data = Float32Array.of(9, 9, 9, 9, 3, 4, 3, 4);
      const forward = { data, perToken: true, width: 2, starts: Int32Array.of(0, 2) };
      const { values, ends } = reduce(forward, assemble(rows), { pooling, normalize: true });
      expect(ends).toEqual([2, 4]);
      expect(Array.from(values, (value) => Number(value.toFixed(3)))).toEqual([0, 0, 0.6, 0.8]);
    },
  );
});
