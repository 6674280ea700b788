const SWEEPS = 30;

/**
 * Least squares with coefficients that are never negative, over a stream of samples of which older ones fade. Only the
 * normal equations are kept, so that a sample costs the same however many came before it.
 */
export class NonNegativeFit {
  readonly #size: number;
  readonly #keep: number;
  /** Row-major [size, size]: sum of the products of each two features. */
  readonly #products: Float64Array;
  /** Sum of each feature times its target. */
  readonly #targets: Float64Array;

  /** @param keep what is left of a sample's weight when another one comes; 1: all */
  constructor(size: number, keep = 1) {
    this.#size = size;
    this.#keep = keep;
    this.#products = new Float64Array(size * size);
    this.#targets = new Float64Array(size);
  }

  add(features: readonly number[], target: number, weight = 1): void {
    for (let i = 0; i < this.#size; i++) {
      this.#targets[i] = this.#targets[i]! * this.#keep + weight * features[i]! * target;
      for (let j = 0; j < this.#size; j++) {
        const at = i * this.#size + j;
        this.#products[at] = this.#products[at]! * this.#keep + weight * features[i]! * features[j]!;
      }
    }
  }

  /**
   * The coefficients that fit the samples of all fits together, by coordinate descent (each step is exact for one
   * coefficient). Coefficients that the samples say nothing about stay where they are.
   */
  static solve(fits: readonly NonNegativeFit[], from: readonly number[]): number[] {
    const size = from.length;
    const at = (index: number) => fits.reduce((sum, fit) => sum + fit.#products[index]!, 0);
    const products = Float64Array.from({ length: size * size }, (_, index) => at(index));
    const targets = Float64Array.from({ length: size }, (_, i) =>
      fits.reduce((sum, fit) => sum + fit.#targets[i]!, 0),
    );
    const found = [...from];
    for (let sweep = 0; sweep < SWEEPS; sweep++) {
      for (let i = 0; i < size; i++) {
        const own = products[i * size + i]!;
        if (own === 0) continue;
        let rest = targets[i]!;
        for (let j = 0; j < size; j++) if (j !== i) rest -= products[i * size + j]! * found[j]!;
        found[i] = Math.max(0, rest / own);
      }
    }
    return found;
  }
}
