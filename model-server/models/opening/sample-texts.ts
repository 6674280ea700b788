import type { BatchRow } from '../../scheduler/assemble.ts';
import type { TextParts } from '../loaded.ts';
import type { ModelConfig } from '../repository/model-config.ts';
import { reductionOf } from './reduction-of.ts';

/** Makes texts that are the same word again and again. */
export async function sampleTexts(
  { tokenizer }: TextParts,
  task: ModelConfig['task'],
): Promise<(length: number, rows: number) => BatchRow[]> {
  const [ids] = await tokenizer.idsOf(['a']);
  const reduction = reductionOf(task);
  return (length, rows) => {
    const { row } = tokenizer.wrap(new Array<number>(length).fill(ids![0]!), length);
    return Array.from({ length: rows }, () => ({ row, reduction }));
  };
}
