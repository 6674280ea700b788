import type { Description } from '../describe.ts';
import type { ModelDefaults } from '../host.ts';
import type { Shape } from '../layout/workbench.ts';
import { bucketsOf } from './warm-up.ts';

/** Tokens of a question and of a passage, more or less. */
const SHORT_TOKENS = 16;
const LONG_TOKENS = 128;

/** A short text and a long one in the widest batches that the limits allow, of the shapes that a warm-up runs. */
export function shapesToTime({ config }: Description, defaults: ModelDefaults): [short: Shape, long: Shape] {
  const buckets = bucketsOf({
    maxTokens: config.maxTokens,
    maxBatchTokens: defaults.maxBatchTokens,
    maxBatchItems: config.maxBatchItems ?? defaults.maxBatchItems,
  });
  // Buckets rise by their tokens, so the last one of a length is the widest; the shortest model has one length only.
  const widest = (tokens: number) => buckets.findLast(({ length }) => length <= tokens) ?? buckets.at(-1)!;
  return [widest(SHORT_TOKENS), widest(LONG_TOKENS)];
}
