import { median } from '../cli/bench/figures.ts';

/** The server's memory at one moment. */
export interface Sample {
  residentBytes: number;
  heapBytes: number;
}

/** Medians of a figure in the second and the last fifth of the time, in bytes, and their ratio. */
export interface Growth {
  second: number;
  last: number;
  ratio: number;
}

/**
 * How memory has grown. The first fifth is left out: a server that warms up grows. The heap goes up and down with its
 * collections; medians of a fifth see through that.
 * @throws Error when there are too few samples to tell
 */
export function growthOf(samples: readonly Sample[]): Record<'resident memory' | 'heap', Growth> {
  const fifth = Math.floor(samples.length / 5);
  if (fifth < 3)
    throw new Error(`${samples.length} samples of memory are too few to compare fifths: run it for longer.`);
  const of = (read: (sample: Sample) => number): Growth => {
    const second = median(samples.slice(fifth, 2 * fifth).map(read));
    const last = median(samples.slice(-fifth).map(read));
    return { second, last, ratio: last / second };
  };
  return {
    'resident memory': of(({ residentBytes }) => residentBytes),
    heap: of(({ heapBytes }) => heapBytes),
  };
}
