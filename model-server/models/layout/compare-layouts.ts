import type { Finding } from './choose-layout.ts';
import type { Layout } from './layout.ts';
import type { Shape, Workbench } from './workbench.ts';

/** What was measured of one layout, medians. */
export interface Figures {
  layout: Layout;
  /** Texts in a second under load, short ones and long ones. */
  rates: [short: number, long: number];
  /** Milliseconds of a lone text. */
  loneMs: [short: number, long: number];
}

/** Two layouts, timed in turns. */
export interface Comparison {
  finding: Finding;
  base: Figures;
  candidate: Figures;
}

export interface CompareOptions {
  workbench: Workbench;
  /** A short text and a long one, each in the widest batch that there is. */
  shapes: readonly [short: Shape, long: Shape];
  /** Whether to stop; asked between two runs. */
  shouldStop: () => boolean;
}

/** Fewer have no median that a disturbed round does not move. */
const LEAST_ROUNDS = 3;
const MOST_ROUNDS = 7;
/**
 * A candidate counts for what it reached in three rounds of four. On a quiet machine that is nearly the median; on a busy
 * one the first layout, which does well nearly everywhere, is not given up for a whim.
 */
const DOUBT = 0.25;

/** One value for each shape and layout: [base short, candidate short, base long, candidate long]. */
type Row = [number, number, number, number];

/**
 * Times two layouts in turns, so that what else the machine does meets both alike.
 * @returns undefined when it had to stop before each had been timed often enough
 */
export async function compareLayouts(
  base: Layout,
  candidate: Layout,
  { workbench, shapes, shouldStop }: CompareOptions,
): Promise<Comparison | undefined> {
  const layouts = [base, candidate];
  const runs = [
    (layout: Layout, shape: Shape) => workbench.saturate(layout, shape),
    (layout: Layout, { length }: Shape) => workbench.alone(layout, { rows: 1, length }),
  ];
  const rounds: [rates: Row, times: Row][] = [];
  // The first round is not counted: it makes the sessions allocate what these shapes need.
  for (let round = 0; round <= MOST_ROUNDS; round++) {
    const values: number[] = [];
    for (const run of runs)
      for (const shape of shapes)
        for (const layout of layouts) {
          if (shouldStop()) return summary(base, candidate, rounds);
          values.push(await run(layout, shape));
        }
    if (round > 0) rounds.push([values.slice(0, 4) as Row, values.slice(4) as Row]);
  }
  return summary(base, candidate, rounds);
}

function summary(
  base: Layout,
  candidate: Layout,
  rounds: readonly [rates: Row, times: Row][],
): Comparison | undefined {
  if (rounds.length < LEAST_ROUNDS) return undefined;
  const of = (kind: 0 | 1, at: number) =>
    quantile(
      rounds.map((round) => round[kind][at]!),
      0.5,
    );
  const figures = (layout: Layout, at: 0 | 1): Figures => ({
    layout,
    rates: [of(0, at), of(0, at + 2)],
    loneMs: [of(1, at), of(1, at + 2)],
  });
  // Short texts count as much as long ones.
  const rates = rounds.map(([[b0, c0, b1, c1]]) => Math.sqrt((c0 / b0) * (c1 / b1)));
  const timesOf = (at: 0 | 2) => rounds.map(([, times]) => times[at + 1]! / times[at]!);
  return {
    finding: {
      layout: candidate,
      rate: quantile(rates, DOUBT),
      loneTimes: [quantile(timesOf(0), 1 - DOUBT), quantile(timesOf(2), 1 - DOUBT)],
    },
    base: figures(base, 0),
    candidate: figures(candidate, 1),
  };
}

/** @param share 0.5 for the median */
function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) * share)]!;
}
