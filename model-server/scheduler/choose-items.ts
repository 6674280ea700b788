import { type BatchLimits, chooseBatch } from './batch-policy.ts';
import type { CostModel } from './cost-model.ts';
import type { Item, TensorItem, TextItem } from './item.ts';

/**
 * Bytes of raw tensors that are joined at most; a call with more runs alone. Beyond this a wider batch saves nothing that
 * one would notice, but holds a copy of all of it.
 */
const MOST_JOINED_BYTES = 32 * 2 ** 20;

/** A bulk batch may take this long: what is urgent may have to wait for one. */
const MOST_BULK_US = 10_000;

/** What the next batch rests on, besides the items. */
export interface ChoiceOptions {
  limits: BatchLimits;
  costs: Pick<CostModel, 'predictUs'>;
  /** Instances that wait for work now, at least 1. */
  freeInstances: number;
}

/** Items that may share one batch. */
export type Company = { kind: 'text'; items: TextItem[] } | { kind: 'tensors'; items: TensorItem[] };

/** From a window of waiting items, the next one first and not empty, those that may share a batch with that one. */
export function companyOf(window: readonly Item[]): Company {
  const next = window[0]!;
  if (next.kind === 'text') return { kind: 'text', items: window.filter((item) => item.kind === 'text') };
  if (!next.call.joinable) return { kind: 'tensors', items: [next] };
  const equals = (item: Item) => item.kind === 'tensors' && item.call.joinable && item.key === next.key;
  return { kind: 'tensors', items: window.filter((item): item is TensorItem => equals(item)) };
}

/**
 * Whether another item could still join the next batch.
 * @param maxRows of one batch
 */
export function hasRoom(company: Company, maxRows: number): boolean {
  if (company.kind === 'tensors' && !company.items[0]!.call.joinable) return false;
  return rowsOf(company.items) < maxRows;
}

/** The next batch: the first item and the best of its company. */
export function chooseItems(company: Company, options: ChoiceOptions): Company {
  const { limits, freeInstances } = options;
  if (company.kind === 'text') {
    const lengths = company.items.map((item) => item.tokens);
    const chosen = chooseBatch(lengths, {
      limits,
      freeInstances,
      costUs: (shape) => options.costs.predictUs(shape),
      maxUs: company.items[0]!.priority === 'bulk' ? MOST_BULK_US : undefined,
    });
    return { kind: 'text', items: chosen.map((index) => company.items[index]!) };
  }
  // As with texts, free instances share the work.
  const share = Math.ceil(rowsOf(company.items) / Math.max(1, freeInstances));
  const maxRows = Math.min(limits.maxItems, share);
  let [rows, bytes] = [0, 0];
  const items = company.items.filter((item, index) => {
    const fits = rows + item.rows <= maxRows && bytes + item.bytes <= MOST_JOINED_BYTES;
    if (index > 0 && !fits) return false;
    rows += item.rows;
    bytes += item.bytes;
    return true;
  });
  return { kind: 'tensors', items };
}

function rowsOf(items: readonly Item[]): number {
  return items.reduce((sum, item) => sum + item.rows, 0);
}
