/** An entry of the ledger that may be evicted. */
export interface Candidate {
  bytes: number;
  idleMs: number;
}

/**
 * Which entries to evict so that `neededBytes` come free: the least valuable first, that is the greatest product of
 * bytes and idle time. Of those chosen, the more valuable are spared again where the others suffice.
 *
 * @returns a subset of `candidates`, least valuable first; empty when nothing is needed; undefined when even all of
 * them are not enough
 */
export function chooseVictims<C extends Candidate>(
  candidates: readonly C[],
  neededBytes: number,
): C[] | undefined {
  const order = [...candidates].sort((a, b) => worth(b) - worth(a) || b.bytes - a.bytes);
  const chosen: C[] = [];
  let freed = 0;
  for (const candidate of order) {
    if (freed >= neededBytes) break;
    chosen.push(candidate);
    freed += candidate.bytes;
  }
  if (freed < neededBytes) return undefined;
  for (const candidate of chosen.toReversed()) {
    if (freed - candidate.bytes < neededBytes) continue;
    chosen.splice(chosen.indexOf(candidate), 1);
    freed -= candidate.bytes;
  }
  return chosen;
}

/** Bytes x idle time; something that was used this very moment still counts by its bytes. */
function worth({ bytes, idleMs }: Candidate): number {
  return bytes * Math.max(1, idleMs);
}
