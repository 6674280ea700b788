import type { Comparison } from './compare-layouts.ts';
import { shortText } from './layout.ts';
import type { Shape } from './workbench.ts';

/** What comparisons with the same first layout have shown, for people; empty without any. */
export function evidenceOf(
  comparisons: readonly Comparison[],
  [short, long]: readonly [short: Shape, long: Shape],
): string {
  const [first] = comparisons;
  if (first === undefined) return '';
  const all = [first.base, ...comparisons.map(({ candidate }) => candidate)];
  const rates = all.map(
    ({ layout, rates: [a, b] }) => `${figure(a)} and ${figure(b)} with ${shortText(layout)}`,
  );
  const times = all.map(
    ({ layout, loneMs: [a, b] }) => `${figure(a)} and ${figure(b)} ms on ${layout.threads}`,
  );
  return `texts/s of ${short.length} and ${long.length} tokens: ${rates.join(', ')}; a lone text: ${times.join(', ')} threads`;
}

function figure(value: number): string {
  return value < 10 ? value.toFixed(1) : value.toFixed(0);
}
