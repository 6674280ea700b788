import { cosine, kendallTau, topOverlap } from './agreement.ts';
import { RunningDistribution, ValueWindow } from './figures.ts';
import type { ShadowFigures } from './status.ts';

/** Texts of one request whose vectors are compared; more would only hold up the event loop. */
const MOST_VECTORS = 32;
/** Documents of one request whose ranking is compared, for the same reason. */
const MOST_DOCUMENTS = 1000;
const TOP = 10;

/** A mirrored version and the one whose answer the caller got. */
export interface ShadowPair {
  version: number;
  against: number;
}

/** One mirrored request and what the answered one said. */
export type ShadowSample = ShadowPair & {
  /** Milliseconds of the mirrored request. */
  ms: number;
  /** Milliseconds of the answered one; undefined when only a part of it was mirrored, so that the times say nothing. */
  againstMs: number | undefined;
} & (
    | {
        kind: 'embed';
        /** Vector of each text, [dimension] each, from the mirrored version. */
        vectors: readonly ArrayLike<number>[];
        /** The same texts' vectors from the answering version. */
        againstVectors: readonly ArrayLike<number>[];
      }
    | {
        kind: 'rerank';
        /** Score of each document, in the request's order, from the mirrored version. */
        scores: ArrayLike<number>;
        /** The same documents' scores from the answering version. */
        againstScores: ArrayLike<number>;
      }
  );

/** Figures of one pair. */
class PairFigures {
  requests = 0;
  errors = 0;
  dropped = 0;
  readonly cosine = new RunningDistribution();
  readonly kendallTau = new RunningDistribution();
  readonly topOverlap = new RunningDistribution();
  readonly latencyRatio = new RunningDistribution();
  readonly latency = new ValueWindow();
}

/** What mirrored requests have shown, by pair of versions. */
export class ShadowBook {
  readonly #pairs = new Map<string, ShadowPair & { figures: PairFigures }>();

  /** Figures of a pair, made when they are first asked for. */
  of({ version, against }: ShadowPair): PairFigures {
    const key = `${version}/${against}`;
    let pair = this.#pairs.get(key);
    if (pair === undefined) {
      pair = { version, against, figures: new PairFigures() };
      this.#pairs.set(key, pair);
    }
    return pair.figures;
  }

  /** Figures of a pair, if there are any. */
  peek({ version, against }: ShadowPair): PairFigures | undefined {
    return this.#pairs.get(`${version}/${against}`)?.figures;
  }

  /** Counts a mirrored request and compares the two answers. */
  add(sample: ShadowSample): void {
    const figures = this.of(sample);
    figures.requests += 1;
    const { ms, againstMs } = sample;
    if (againstMs !== undefined) {
      figures.latency.add(ms);
      if (againstMs > 0) figures.latencyRatio.add(ms / againstMs);
    }
    if (sample.kind === 'embed') {
      const count = Math.min(sample.vectors.length, sample.againstVectors.length, MOST_VECTORS);
      for (let at = 0; at < count; at++) {
        figures.cosine.add(cosine(sample.vectors[at]!, sample.againstVectors[at]!));
      }
      return;
    }
    const scores = Array.from(sample.scores).slice(0, MOST_DOCUMENTS);
    const againstScores = Array.from(sample.againstScores).slice(0, MOST_DOCUMENTS);
    if (scores.length !== againstScores.length) return;
    const tau = kendallTau(scores, againstScores);
    if (tau !== undefined) figures.kendallTau.add(tau);
    if (scores.length > 1) figures.topOverlap.add(topOverlap(scores, againstScores, TOP));
  }

  /** Forgets everything. */
  clear(): void {
    this.#pairs.clear();
  }

  read(): ShadowFigures[] {
    return [...this.#pairs.values()].map(({ version, against, figures }) => ({
      version,
      against,
      requests: figures.requests,
      errors: figures.errors,
      dropped: figures.dropped,
      cosine: figures.cosine.read(),
      kendallTau: figures.kendallTau.read(),
      topOverlap: figures.topOverlap.read(),
      latencyRatio: figures.latencyRatio.read(),
    }));
  }
}
