import { spread } from '../cli/bench/figures.ts';
import type { SpeedBed } from './speed-bed.ts';

/** One line of the table: what is to be reached. */
export interface SpeedRow {
  id: string;
  what: string;
  target: { atLeast: number } | { atMost: number };
  /** Decimals and what stands behind the figure. */
  digits: number;
  unit: string;
}

/** What a measurement gives for a row: a value for each round, or why there is none; and what else is worth knowing. */
export type RowResult = { values: number[]; note?: string } | { skipped: string };

/** What measurements need. */
export interface SpeedContext {
  bed: SpeedBed;
  rounds: number;
  seconds: number;
  /** Requests of the memory row. */
  requests: number;
  say: (line: string) => void;
}

/** A measurement that fills some rows; those that are compared are measured in turns. */
export interface Measurement {
  rows: readonly SpeedRow[];
  measure(context: SpeedContext): Promise<ReadonlyMap<string, RowResult>>;
}

/** The cells of a row: what, to reach, measured, met or not. */
export function rowCells({ what, target, digits, unit }: SpeedRow, result: RowResult): string[] {
  const text = (value: number) => `${value.toFixed(digits)}${unit}`;
  const goal = 'atLeast' in target ? `>= ${text(target.atLeast)}` : `<= ${text(target.atMost)}`;
  if ('skipped' in result) return [what, goal, `skipped: ${result.skipped}`, '-'];
  const of = spread(result.values);
  if (of === undefined) return [what, goal, 'nothing was measured', 'NO'];
  const note = result.note === undefined ? '' : `; ${result.note}`;
  const range = `${text(of.median)} (${of.min.toFixed(digits)}..${of.max.toFixed(digits)})${note}`;
  return [what, goal, range, isMet(target, of.median) ? 'yes' : 'NO'];
}

/** Whether a value reaches the target. */
export function isMet(target: SpeedRow['target'], value: number): boolean {
  return 'atLeast' in target ? value >= target.atLeast : value <= target.atMost;
}
