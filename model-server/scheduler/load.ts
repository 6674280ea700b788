import { ServingError } from '../errors.ts';
import type { Batch, BatchResult } from '../types.ts';
import { assemble } from './assemble.ts';
import type { Company } from './choose-items.ts';
import type { BatchShape, CostModel } from './cost-model.ts';
import type { Item, TensorItem, TextItem } from './item.ts';
import type { SchedulerObserver } from './scheduler-options.ts';
import { joinTensors, splitTensors } from './tensor-call.ts';

/** A batch and the items that it is made of. */
export interface Load {
  batch: Batch;
  items: readonly Item[];
  rows: number;
  /** Rows that are raw tensors. */
  tensorRows: number;
  /** Of texts; undefined for raw tensors. */
  shape: BatchShape | undefined;
  /** Gives each item what is its own. @throws ServingError BATCH_FAILED when that can't be told apart */
  deliver(result: BatchResult, startedUs: number): void;
}

/** Puts items together as one batch. */
export function loadOf(company: Company): Load {
  return company.kind === 'text' ? textLoad(company.items) : tensorLoad(company.items);
}

/**
 * Tells of a batch that is done.
 * @param took `predictedUs` is undefined where nothing was predicted for the instance that ran it
 */
export function tellObserver(
  observer: SchedulerObserver | undefined,
  { rows, shape, items }: Load,
  took: { startedUs: number; computeUs: number; predictedUs: number | undefined; costs: CostModel },
): void {
  if (observer === undefined) return;
  observer.batchDone({
    rows,
    tokens: shape?.tokens ?? 0,
    paddedTokens: shape === undefined ? 0 : took.costs.computedTokens(shape),
    computeUs: took.computeUs,
    predictedUs: took.predictedUs,
  });
  for (const item of items) observer.itemQueued(took.startedUs - item.enqueuedUs);
}

function textLoad(items: readonly TextItem[]): Load {
  const batch = assemble(items);
  let [tokens, length] = [0, 0];
  for (const item of items) {
    tokens += item.tokens;
    length = Math.max(length, item.tokens);
  }
  return {
    batch,
    items,
    rows: batch.rows,
    tensorRows: 0,
    shape: { rows: batch.rows, tokens, length },
    deliver({ outputs, computeUs, postUs }, startedUs) {
      items.forEach((item, index) => {
        item.settle({ output: outputs[index]!, queueUs: startedUs - item.enqueuedUs, computeUs, postUs });
      });
    },
  };
}

function tensorLoad(items: readonly TensorItem[]): Load {
  const batch = joinTensors(items.map((item) => item.call));
  return {
    batch,
    items,
    rows: batch.rows,
    tensorRows: batch.rows,
    shape: undefined,
    deliver({ tensors, computeUs, postUs }, startedUs) {
      const parts = split(tensors, items);
      items.forEach((item, index) => {
        item.settle({ tensors: parts[index]!, queueUs: startedUs - item.enqueuedUs, computeUs, postUs });
      });
    },
  };
}

function split(tensors: BatchResult['tensors'], items: readonly TensorItem[]) {
  try {
    return splitTensors(
      tensors,
      items.map((item) => item.rows),
    );
  } catch (thrown) {
    throw new ServingError('BATCH_FAILED', (thrown as Error).message, { cause: thrown });
  }
}
