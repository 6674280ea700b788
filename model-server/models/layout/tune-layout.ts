import { chooseLayout, type Finding, loneTokensOf } from './choose-layout.ts';
import { type Comparison, compareLayouts } from './compare-layouts.ts';
import { evidenceOf } from './evidence.ts';
import type { Layout } from './layout.ts';
import type { Shape, Workbench } from './workbench.ts';

export interface TuneOptions {
  workbench: Workbench;
  /** The first one's instances are open; the others are tried in this order. */
  candidates: readonly [Layout, ...Layout[]];
  shapes: readonly [short: Shape, long: Shape];
  /** Of opening and timing, in all. */
  tuneMs: number;
  /** What it took to open the first layout: another one that can't be opened in what is left is not begun. */
  openMs: number;
  nowMs: () => number;
  /** Memory that a layout takes. */
  bytesOf: (layout: Layout) => number;
  /** Whether others need the cores or the memory now. What was timed beside them counts for nothing. */
  shouldYield: () => boolean;
}

/** What came of it. */
export interface Tuned {
  layout: Layout;
  /** The figures, in words; empty when nothing was measured. */
  evidence: string;
  /** `time` was up before all had been timed, it had to `yield` to others, or it was `done`. */
  stoppedBy: 'done' | 'time' | 'yield';
}

/**
 * Times the candidates against the first one, and finds the best. Each is opened, timed and, unless it is of use to the best so
 * far, closed again; when this resolves, what the best one needs is open, and perhaps the first one.
 * @throws what the workbench throws
 */
export async function tuneLayout(options: TuneOptions): Promise<Tuned> {
  const { workbench, candidates, tuneMs, openMs, nowMs, shouldYield, bytesOf } = options;
  const [base, ...others] = candidates;
  const untilMs = nowMs() + tuneMs;
  let findings: Finding[] = [{ layout: base, rate: 1, loneTimes: [1, 1] }];
  let best = base;
  const comparisons: Comparison[] = [];
  let isCutShort = false;
  for (const [index, candidate] of others.entries()) {
    if (shouldYield()) break;
    const leftMs = untilMs - nowMs();
    isCutShort = leftMs <= openMs;
    if (isCutShort) break;
    if (!(await workbench.open(candidate))) continue;
    const shareEndsMs = untilMs - leftMs + leftMs / (others.length - index);
    const shouldStop = () => shouldYield() || nowMs() >= shareEndsMs;
    const comparison = await compareLayouts(base, candidate, { ...options, shouldStop });
    if (shouldYield()) break;
    if (comparison === undefined) isCutShort = true;
    else {
      comparisons.push(comparison);
      findings.push(comparison.finding);
    }
    best = chooseLayout(findings, bytesOf);
    await workbench.keep([base, best]);
    findings = findings.filter(({ layout }) =>
      [base.threads, best.threads, best.lone].includes(layout.threads),
    );
  }
  if (shouldYield()) return { layout: base, evidence: '', stoppedBy: 'yield' };
  return {
    layout: withLoneTokens(best, { findings, baseMs: comparisons[0]?.base.loneMs, shapes: options.shapes }),
    evidence: evidenceOf(comparisons, options.shapes),
    stoppedBy: isCutShort ? 'time' : 'done',
  };
}

interface Measured {
  findings: readonly Finding[];
  /** Of a lone text on the first layout, a short and a long one; the findings are shares of that. */
  baseMs: readonly [number, number] | undefined;
  shapes: readonly [short: Shape, long: Shape];
}

/** Adds from how many tokens on a lone text is better off at the instance for lone requests. */
function withLoneTokens(layout: Layout, { findings, baseMs, shapes: [short, long] }: Measured): Layout {
  const msOf = (threads: number | undefined): [number, number] | undefined => {
    const times = findings.find((finding) => finding.layout.threads === threads)?.loneTimes;
    return times && baseMs && [times[0] * baseMs[0], times[1] * baseMs[1]];
  };
  const [narrowMs, wideMs] = [msOf(layout.threads), msOf(layout.lone)];
  if (narrowMs === undefined || wideMs === undefined) return layout;
  const loneTokens = loneTokensOf(narrowMs, wideMs, [short.length, long.length]);
  return loneTokens === 0 ? layout : { ...layout, loneTokens };
}
