/** Maps values to pixels along one axis. */
export interface Scale {
  at(value: number): number;
  /** Values to label. */
  ticks: readonly number[];
}

export interface ScaleOptions {
  /** Pixel of the least and of the greatest value. */
  from: number;
  to: number;
}

const WANTED_TICKS = 5;

/** From 0 to a round number above all values. */
export function linearScale(values: readonly number[], { from, to }: ScaleOptions): Scale {
  const most = Math.max(...values.filter(Number.isFinite), Number.MIN_VALUE);
  const step = roundStep(most / WANTED_TICKS);
  const count = Math.ceil(most / step);
  const ticks = Array.from({ length: count + 1 }, (_, index) => Number((index * step).toPrecision(12)));
  return { at: (value) => from + ((to - from) * value) / (count * step), ticks };
}

/** Logarithmic, from the 1, 2 or 5 below all values to the one above them. */
export function logScale(values: readonly number[], { from, to }: ScaleOptions): Scale {
  const positive = values.filter((value) => Number.isFinite(value) && value > 0);
  const [least, most] = [Math.min(...positive, Infinity), Math.max(...positive, 0)];
  if (most === 0) return { at: () => from, ticks: [] };
  const marks: number[] = [];
  // A decade more on either side, for logarithms are not exact.
  const [bottom, top] = [Math.floor(Math.log10(least)) - 1, Math.ceil(Math.log10(most)) + 1];
  for (let decade = bottom; decade <= top; decade++)
    marks.push(...[1, 2, 5].map((digit) => Number(`${digit}e${decade}`)));
  const first = marks.findLastIndex((mark) => mark <= least);
  const last = marks.findIndex((mark) => mark >= most && mark > marks[first]!);
  const ticks = marks.slice(first, last + 1);
  const [low, high] = [Math.log(ticks[0]!), Math.log(ticks.at(-1)!)];
  const at = (value: number) => from + ((to - from) * (Math.log(value) - low)) / (high - low);
  return { at: (value) => at(Math.max(value, ticks[0]!)), ticks };
}

/** As many places as there are names, side by side; values are indexes. */
export function namedScale(names: readonly string[], { from, to }: ScaleOptions): Scale {
  const ticks = names.map((_, index) => index);
  return { at: (index) => from + ((to - from) * (index + 0.5)) / names.length, ticks };
}

/** The 1, 2, 2.5 or 5 of a power of ten that is next above. */
function roundStep(least: number): number {
  const decade = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 2.5, 5, 10].map((digit) => digit * decade).find((step) => step >= least * 0.999_999)!;
}
