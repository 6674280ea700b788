import { NonNegativeFit } from './non-negative-fit.ts';

/** What decides how long a batch of texts takes. */
export interface BatchShape {
  rows: number;
  /** Of all rows, padding not included. */
  tokens: number;
  /** Tokens of the longest row. */
  length: number;
}

/** One batch as it was predicted and as it came out. */
export interface CostSample extends BatchShape {
  /** Microseconds. */
  predictedUs: number;
  measuredUs: number;
}

export interface CostModelOptions {
  /** Whether the dense layers see the tokens alone and only attention sees padding. */
  packed: boolean;
  /** What a batch costs before its first token, counted in tokens; holds until something has been measured. */
  overheadTokens: number;
}

/** Time of one token before anything has been measured; only the ratio to the overhead matters until then. */
const GUESS_US_PER_TOKEN = 100;
/** What padding in attention alone costs against a token, until batches with padding have been seen: warm-ups have none. */
const GUESS_OF_PADDING = 0.2;
/** Samples after which a prediction is worth telling. */
const ENOUGH = 3;
/** How long a sample counts: after this many later ones it has a third of its weight. */
const MEMORY_BATCHES = 200;
/** A batch that took longer than this many times its prediction was held up by something else. */
const MOST_OFF = 4;
/** The first batches are the warm-up's, which come in all shapes: they are not forgotten. */
const FIRST_BATCHES = 64;
/** What one of those counts against one of today, which knows how fast the machine is now. */
const FIRST_WEIGHT = 0.1;
const KEPT_SAMPLES = 512;
/** Of what the latest batches took together, when another one comes: some thirty of them count. */
const KEEP_LATELY = 0.97;
/** What a queue is taken to consist of before its first batch. */
const TYPICAL: BatchShape = { rows: 8, tokens: 128, length: 16 };

/**
 * The time of a batch of texts on one kind of instance, as a sum of what a transformer spends it on: a fixed part for
 * running the graph at all, the dense layers (per token computed), padding that only attention sees, and attention's scores
 * (per cell and length). The four rates are fitted to what batches took, by relative error, and never negative; the first
 * batches, which are those of the warm-up, keep those rates in place that today's traffic says nothing about.
 */
export class CostModel {
  /** Whether the dense layers see the tokens alone and only attention sees padding. */
  readonly packed: boolean;
  readonly #first = new NonNegativeFit(4);
  readonly #live = new NonNegativeFit(4, Math.exp(-1 / MEMORY_BATCHES));
  readonly #samples: CostSample[] = [];
  readonly #lately = { tokens: 0, us: 0 };
  #rates: number[];
  #count = 0;

  constructor({ packed, overheadTokens }: CostModelOptions) {
    this.packed = packed;
    this.#rates = [overheadTokens, 1, GUESS_OF_PADDING, 0].map((tokens) => tokens * GUESS_US_PER_TOKEN);
  }

  /** Whether predictions rest on measurements. */
  get isKnown(): boolean {
    return this.#count >= ENOUGH;
  }

  /** The latest batches, oldest first. */
  get samples(): readonly CostSample[] {
    return this.#samples;
  }

  /** Tokens that the dense layers compute for a batch, padding included. */
  computedTokens({ rows, tokens, length }: BatchShape): number {
    return this.packed ? tokens : rows * length;
  }

  /** Microseconds that an instance will take for a batch. */
  predictUs(shape: BatchShape): number {
    let us = 0;
    for (const [index, feature] of this.#featuresOf(shape).entries()) us += this.#rates[index]! * feature;
    return us;
  }

  /** Microseconds of an instance that a waiting token will take, in batches as they came lately: how fast a queue moves. */
  get usPerToken(): number {
    if (this.#lately.tokens > 0) return this.#lately.us / this.#lately.tokens;
    return this.predictUs(TYPICAL) / TYPICAL.tokens;
  }

  /**
   * Takes in what a batch took.
   * @param measuredUs in the instance
   * @param heldUs for how long it kept the instance from other work, the way to it and back included
   */
  learn(shape: BatchShape, measuredUs: number, heldUs = measuredUs): void {
    const predictedUs = this.predictUs(shape);
    this.#samples.push({ ...shape, predictedUs, measuredUs });
    if (this.#samples.length > KEPT_SAMPLES) this.#samples.shift();
    this.#lately.tokens = this.#lately.tokens * KEEP_LATELY + shape.tokens;
    this.#lately.us = this.#lately.us * KEEP_LATELY + heldUs;
    const heldUp = this.isKnown && measuredUs > predictedUs * MOST_OFF;
    this.#fit(shape, heldUp ? predictedUs * MOST_OFF : measuredUs);
  }

  #fit(shape: BatchShape, measuredUs: number): void {
    if (!(measuredUs > 0)) return;
    // By relative error, or the few long batches would decide what the short ones cost.
    const scaled = this.#featuresOf(shape).map((feature) => feature / measuredUs);
    this.#live.add(scaled, 1);
    if (this.#count < FIRST_BATCHES) this.#first.add(scaled, 1, FIRST_WEIGHT);
    this.#count++;
    this.#rates = NonNegativeFit.solve([this.#first, this.#live], this.#rates);
  }

  /** What the rates are for: the graph, tokens in the dense layers, padding in attention alone, scores in attention. */
  #featuresOf(shape: BatchShape): number[] {
    const cells = shape.rows * shape.length;
    const computed = this.computedTokens(shape);
    return [1, computed, cells - computed, cells * shape.length];
  }
}
