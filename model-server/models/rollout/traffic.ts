import { hash } from 'node:crypto';

/** A version and its weight, which is above 0. */
export interface Share {
  version: number;
  weight: number;
}

/**
 * The version that a key goes to: always the same one, and over many keys in proportion to the weights. Raising a
 * version's weight, or adding a version, moves keys only towards it; losing one moves only the keys that it had.
 *
 * This is rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998) with the
 * logarithmic weighting of Schindelhauer and Schomaker ("Weighted distributed hash tables", 2005): each version draws
 * -ln(u) / weight, an exponential variable, and the least one wins.
 * @param salt what makes draws independent: another model or alias shares the same keys otherwise
 * @param usable versions that may be taken; all when absent
 * @returns undefined when no version may be taken
 */
export function chooseVersion(
  shares: readonly Share[],
  key: string,
  { salt, usable }: { salt: string; usable?: ((version: number) => boolean) | undefined },
): number | undefined {
  if (shares.length === 1) {
    const { version } = shares[0]!;
    return usable === undefined || usable(version) ? version : undefined;
  }
  let chosen: number | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (const { version, weight } of shares) {
    if (usable !== undefined && !usable(version)) continue;
    const draw = -Math.log(drawOf(key, `${salt}\0${version}`)) / weight;
    if (chosen === undefined || draw < least) {
      chosen = version;
      least = draw;
    }
  }
  return chosen;
}

/**
 * Whether a key belongs to the given percent of all keys. A key that belongs to 10 % belongs to 20 % too.
 * @param percent 0 to 100
 * @param salt picks with different salts are independent of each other
 */
export function pickShare(key: string, percent: number, salt: string): boolean {
  if (percent <= 0) return false;
  if (percent >= 100) return true;
  return drawOf(key, salt) * 100 < percent;
}

/** A number in (0, 1) that only key and salt decide: 52 bits of SHA-256, and a half so that it is never 0. */
function drawOf(key: string, salt: string): number {
  const digest = hash('sha256', `${salt}\0${key}`, 'buffer');
  const bits = digest.readUInt32BE(0) * 2 ** 20 + (digest.readUInt32BE(4) >>> 12);
  return (bits + 0.5) / 2 ** 52;
}
