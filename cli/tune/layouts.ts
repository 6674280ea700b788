import type { Candidate } from './point.ts';

/** Instances and the threads of each. */
export type Layout = Pick<Candidate, 'instances' | 'threads'>;

/**
 * The layouts of the coarse search, one instance for each core first: every power of two (and the number of cores) as threads with
 * as many instances as fit, and one instance less than there are cores, which leaves one to the server itself. None has
 * more threads than there are cores.
 */
export function layouts(cores: number): Layout[] {
  const found: Layout[] = [{ instances: cores, threads: 1 }];
  const add = (layout: Layout) => {
    const known = found.some(
      ({ instances, threads }) => instances === layout.instances && threads === layout.threads,
    );
    if (layout.instances > 0 && !known) found.push(layout);
  };
  add({ instances: cores - 1, threads: 1 });
  for (let threads = 2; threads < cores; threads *= 2)
    add({ instances: Math.floor(cores / threads), threads });
  add({ instances: 1, threads: cores });
  return found;
}
