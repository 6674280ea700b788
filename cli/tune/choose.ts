import type { Point } from './point.ts';

/** What the measurements say. */
export interface Choice {
  point: Point;
  /** Whether its p99 is within the target. */
  met: boolean;
}

/**
 * The point of the highest throughput whose p99 is within the target; when there is none, the one of the lowest p99.
 * Undefined without points.
 */
export function choose(points: readonly Point[], targetP99Ms: number): Choice | undefined {
  const within = points.filter(({ p99Ms }) => p99Ms <= targetP99Ms);
  if (within.length > 0) return { point: within.reduce(faster), met: true };
  return points.length === 0 ? undefined : { point: points.reduce(quicker), met: false };
}

function faster(a: Point, b: Point): Point {
  if (a.textsPerSecond !== b.textsPerSecond) return a.textsPerSecond > b.textsPerSecond ? a : b;
  return quicker(a, b);
}

function quicker(a: Point, b: Point): Point {
  return b.p99Ms < a.p99Ms ? b : a;
}
