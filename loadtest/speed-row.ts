import { spread } from '../cli/bench/figures.ts';
import type { SpeedBed } from './speed-bed.ts';

export type Target = { atLeast: number } | { atMost: number };

/** One line of the table: what is to be reached. */
export interface SpeedRow {
  id: string;
  what: string;
  /** Undefined for what is only there to compare with. */
  target: Target | undefined;
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
  const goal = goalText(target, text);
  if ('skipped' in result) return [what, goal, `skipped: ${result.skipped}`, '-'];
  const of = spread(result.values);
  if (of === undefined) return [what, goal, 'nothing was measured', 'NO'];
  const note = result.note === undefined ? '' : `; ${result.note}`;
  const range = `${text(of.median)} (${of.min.toFixed(digits)}..${of.max.toFixed(digits)})${note}`;
  return [what, goal, range, metText(target, of.median)];
}

function goalText(target: Target | undefined, text: (value: number) => string): string {
  if (target === undefined) return 'to compare';
  return 'atLeast' in target ? `>= ${text(target.atLeast)}` : `<= ${text(target.atMost)}`;
}

function metText(target: Target | undefined, value: number): string {
  if (target === undefined) return '-';
  const isMet = 'atLeast' in target ? value >= target.atLeast : value <= target.atMost;
  return isMet ? 'yes' : 'NO';
}
