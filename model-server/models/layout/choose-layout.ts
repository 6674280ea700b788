import type { Layout } from './layout.ts';

/** What was found by timing one layout. Figures are shares of what the first layout did in the same moments. */
export interface Finding {
  layout: Layout;
  /** Texts in a second with all instances at work; above 1 it is faster than the first layout. */
  rate: number;
  /** Time of a lone text, a short and a long one; below 1 it is faster than the first layout. */
  loneTimes: readonly [short: number, long: number];
}

/** Rates that are this near to the best one are held for equal: timings are not more exact. */
const NEAR = 0.97;
/** What a lone request must gain for more memory to be spent on it: with 0.85 it takes 15 % less time. */
const WORTH = 0.85;

/**
 * The layout that does the most work under load. Of those that do equally much, and with or without an instance for lone
 * requests, the one that takes the least memory, unless another makes a lone request clearly faster.
 * @param findings not empty; each layout must be open or affordable, for any of them may be chosen, and one instance of any of
 * them may be chosen for lone requests beside another
 * @param bytesOf what a layout takes
 */
export function chooseLayout(findings: readonly Finding[], bytesOf: (layout: Layout) => number): Layout {
  const best = Math.max(...findings.map(({ rate }) => rate));
  const near = findings.filter(({ rate }) => rate >= best * NEAR);
  const options = near
    .flatMap((finding) => [finding, ...withLone(finding, findings)])
    .map(({ layout, loneTimes }) => ({ layout, loneTime: meanOf(loneTimes), bytes: bytesOf(layout) }))
    .sort((a, b) => a.bytes - b.bytes || a.loneTime - b.loneTime);
  const [first, ...rest] = options;
  return rest.reduce(
    (chosen, option) => (option.loneTime <= chosen.loneTime * WORTH ? option : chosen),
    first!,
  ).layout;
}

/** Short texts count as much as long ones. */
function meanOf([short, long]: Finding['loneTimes']): number {
  return Math.sqrt(short * long);
}

/**
 * The same layout with each of the others' instances beside it, as far as they are wider, faster with long texts and worth
 * their memory. Short ones, which may be done before all threads are awake, go where they are done sooner.
 */
function withLone({ layout, rate, loneTimes }: Finding, findings: readonly Finding[]): Finding[] {
  const [short, long] = loneTimes;
  return findings
    .filter((other) => other.layout.threads > layout.threads && other.loneTimes[1] < long)
    .map(
      ({ layout: { threads }, loneTimes: [wideShort, wideLong] }): Finding => ({
        layout: { ...layout, lone: threads },
        rate,
        loneTimes: [Math.min(short, wideShort), wideLong],
      }),
    )
    .filter((withIt) => meanOf(withIt.loneTimes) <= meanOf(loneTimes) * WORTH);
}

/** What a lone text takes on an instance, milliseconds of a short and of a long one. */
type LoneMs = readonly [short: number, long: number];

/**
 * Tokens from which on a lone text is done sooner by a wide instance, which is faster with long ones. Time rises with the
 * tokens, on each instance along a line of its own; this is where they meet.
 * @param lengths tokens of the short and of the long text
 */
export function loneTokensOf(narrow: LoneMs, wide: LoneMs, [short, long]: LoneMs): number {
  const [gainShort, gainLong] = [narrow[0] - wide[0], narrow[1] - wide[1]];
  if (gainShort >= 0) return 0;
  return Math.ceil(short + ((long - short) * -gainShort) / (gainLong - gainShort));
}
