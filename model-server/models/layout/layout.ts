/** How the instances of a version share the cores. */
export interface Layout {
  /** Instances that share the load. */
  instances: number;
  /** Threads inside each of them. */
  threads: number;
  /** Threads of one more instance, which is used only while nothing else runs or waits; absent: there is none. */
  lone?: number | undefined;
  /** Tokens that a lone text must have to be faster there; absent: any has enough. */
  loneTokens?: number | undefined;
}

/** A layout as one says it: `2 instances x 1 thread + 1 x 2 threads for lone requests`. */
export function layoutText({ instances, threads, lone, loneTokens = 0 }: Layout): string {
  const narrow = `${counted(instances, 'instance')} x ${counted(threads, 'thread')}`;
  if (lone === undefined) return narrow;
  const which = loneTokens === 0 ? '' : ` of ${loneTokens} tokens or more`;
  return `${narrow} + 1 x ${counted(lone, 'thread')} for lone requests${which}`;
}

/** Instances and threads in short: `2 x 1`. */
export function shortText({ instances, threads }: Layout): string {
  return `${instances} x ${threads}`;
}

/**
 * The layouts that use all cores, without one for lone requests: one thread an instance, which load mostly likes best; one
 * instance with all cores, which a lone request does; then what is between them, by rising threads.
 */
export function layoutsFor(cores: number): Layout[] {
  const widths = Array.from({ length: cores }, (_, index) => index + 1).filter(
    (threads) => cores % threads === 0,
  );
  const between = widths.slice(1, -1);
  const ordered = cores === 1 ? [1] : [1, cores, ...between];
  return ordered.map((threads) => ({ instances: cores / threads, threads }));
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}
