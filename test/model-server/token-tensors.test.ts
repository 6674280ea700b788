import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PACKING_INPUTS } from '../../model-server/backend/graph/packing.ts';
import {
  packedTensors,
  paddedTensors,
  planeIndexes,
  type TokenTensors,
} from '../../model-server/backend/token-tensors.ts';
import { assemble } from '../../model-server/scheduler/assemble.ts';
import type { TokenRow } from '../../model-server/types.ts';

const { positions, pad, unpad, first } = PACKING_INPUTS;
const id = fc.integer({ min: 0, max: 2 ** 31 - 1 });
const row: fc.Arbitrary<TokenRow> = fc
  .record({ ids: fc.array(id, { maxLength: 9 }), typed: fc.boolean() })
  .map(({ ids, typed }) => ({
    ids: Int32Array.from(ids),
    typeIds: typed ? Int32Array.from(ids, (_, at) => at % 2) : undefined,
  }));
const rows = fc.array(row, { minLength: 1, maxLength: 6 });

const batchOf = (texts: readonly TokenRow[]) =>
  assemble(texts.map((one) => ({ row: one, reduction: { kind: 'pooled' } as const })));
const read = ({ feeds }: TokenTensors, name: string) =>
  Array.from(feeds[name]!.data as BigInt64Array, Number);
const typesOf = ({ ids, typeIds }: TokenRow) => Array.from(typeIds ?? new Int32Array(ids.length));

describe('texts as tensors', () => {
  it('padded: every row filled up with zeros to the longest', () =>
    fc.assert(
      fc.property(rows, (texts) => {
        const tensors = paddedTensors(batchOf(texts));
        const length = Math.max(1, ...texts.map(({ ids }) => ids.length));
        const filled = (values: (text: TokenRow) => number[]) =>
          texts.flatMap((text) => [...values(text), ...Array<number>(length).fill(0)].slice(0, length));
        expect(read(tensors, 'input_ids')).toEqual(filled(({ ids }) => Array.from(ids)));
        expect(read(tensors, 'attention_mask')).toEqual(filled(({ ids }) => Array.from(ids, () => 1)));
        expect(read(tensors, 'token_type_ids')).toEqual(filled(typesOf));
        for (const { dims } of Object.values(tensors.feeds)) expect(dims).toEqual([texts.length, length]);
        expect(Array.from(tensors.starts)).toEqual(texts.map((_, at) => at * length));
      }),
    ));

  it('packed: all tokens in one row, with the way to the padded layout and back', () =>
    fc.assert(
      fc.property(rows, (texts) => {
        const tensors = packedTensors(batchOf(texts));
        // A text of no tokens is one of a single zero.
        const filled = texts.map((text) => (text.ids.length > 0 ? text : { ids: Int32Array.of(0) }));
        const length = Math.max(...filled.map(({ ids }) => ids.length));
        expect(read(tensors, 'input_ids')).toEqual(filled.flatMap(({ ids }) => Array.from(ids)));
        expect(read(tensors, 'token_type_ids')).toEqual(filled.flatMap(typesOf));
        expect(read(tensors, positions)).toEqual(filled.flatMap(({ ids }) => Array.from(ids.keys())));
        expect(tensors.feeds.input_ids!.dims).toEqual([1, read(tensors, 'input_ids').length]);
        expect(tensors.feeds[pad]!.dims).toEqual([texts.length, length]);
        const [cells, mask, tokens] = [
          read(tensors, pad),
          read(tensors, 'attention_mask'),
          read(tensors, unpad),
        ];
        expect(tokens.map((cell) => cells[cell])).toEqual([...tokens.keys()]);
        expect(mask.flatMap((bit, cell) => (bit === 1 ? [cell] : []))).toEqual(tokens);
        expect(read(tensors, first)).toEqual(Array.from(tensors.starts));
        expect(Array.from(tensors.starts, (start) => read(tensors, positions)[start])).toEqual(
          texts.map(() => 0),
        );
      }),
    ));

  it('planes: every cell is its own token', () => {
    const feeds = planeIndexes({ rows: 2, length: 3 });
    const tensors = { feeds, starts: new Int32Array(0) };
    expect(read(tensors, pad)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(read(tensors, unpad)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(read(tensors, positions)).toEqual([0, 1, 2, 0, 1, 2]);
    expect(read(tensors, first)).toEqual([0, 3]);
  });

  it('a batch carries type ids only when a text has some', () => {
    const [plain, typed] = [
      { ids: Int32Array.of(1, 2) },
      { ids: Int32Array.of(3), typeIds: Int32Array.of(1) },
    ];
    expect(Array.from(new Int32Array(batchOf([plain, plain]).tokens))).toEqual([1, 2, 1, 2]);
    expect(Array.from(new Int32Array(batchOf([plain, typed]).tokens))).toEqual([1, 2, 3, 0, 0, 1]);
  });
});
