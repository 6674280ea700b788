import type { Comparison } from '../reports.ts';
import { cosine, topOf } from './agreement.ts';

/** One version's side of a comparison. */
export interface ComparedVersion {
  version: number;
  /** Its vector space, claims left aside; empty when it has none. */
  space: string;
  /** One vector for each text, [dimension] each, in the same order on both sides. */
  vectors: readonly ArrayLike<number>[];
}

const NEIGHBOURS = 10;

/**
 * From here on two versions count as near. On the texts of comparison-texts.ts, all-MiniLM-L6-v2 in int8 has a mean cosine
 * of 0.998 with its fp32 original and keeps 0.95 of the neighbours; with another pooling, which makes it another space,
 * it has 0.51 and 0.62, and by chance 0.43 of the neighbours are the same. A fine-tuned model may keep a high cosine
 * and rank otherwise, hence both.
 */
const NEAR = { meanCosine: 0.95, neighbourOverlap: 0.8 };

/**
 * Whether vectors of version `a` may stand beside vectors of version `b`, judged by the same texts under both.
 * Different dimensions are incompatible; the same space is identical, whatever rounding does to the figures.
 */
export function compareVersions(a: ComparedVersion, b: ComparedVersion): Comparison {
  const texts = Math.min(a.vectors.length, b.vectors.length);
  const report = { a: a.version, b: b.version, texts };
  const [dimensionA, dimensionB] = [a.vectors[0]?.length ?? 0, b.vectors[0]?.length ?? 0];
  if (texts === 0 || dimensionA !== dimensionB) {
    const why =
      texts === 0
        ? 'there are no vectors to compare'
        : `version ${a.version} makes vectors of ${dimensionA} numbers, version ${b.version} of ${dimensionB}`;
    return { ...report, verdict: 'incompatible', why, minCosine: 0, meanCosine: 0, neighbourOverlap: 0 };
  }
  const cosines = Array.from({ length: texts }, (_, at) => cosine(a.vectors[at]!, b.vectors[at]!));
  const minCosine = Math.min(...cosines);
  const meanCosine = cosines.reduce((sum, value) => sum + value, 0) / texts;
  const neighbourOverlap = overlapOf(a.vectors.slice(0, texts), b.vectors.slice(0, texts));
  const figures = { minCosine, meanCosine, neighbourOverlap };
  const told = `over ${texts} texts the cosine is ${round(meanCosine)} on average and ${round(minCosine)} at worst, and ${round(neighbourOverlap)} of the nearest neighbours are the same`;
  if (a.space !== '' && a.space === b.space) {
    return { ...report, ...figures, verdict: 'identical', why: `both are of space ${a.space}; ${told}` };
  }
  const near = meanCosine >= NEAR.meanCosine && neighbourOverlap >= NEAR.neighbourOverlap;
  const limits = `near is ${NEAR.meanCosine} on average and ${NEAR.neighbourOverlap} of the neighbours`;
  return { ...report, ...figures, verdict: near ? 'near' : 'incompatible', why: `${told}; ${limits}` };
}

/** Mean share of each text's nearest neighbours under `a` that are also nearest under `b`, 0 to 1. */
function overlapOf(a: readonly ArrayLike<number>[], b: readonly ArrayLike<number>[]): number {
  const count = a.length;
  // Of few texts all would be neighbours of each other: then half of the others count.
  const size = Math.min(NEIGHBOURS, Math.floor((count - 1) / 2));
  if (size === 0) return 1;
  let sum = 0;
  for (let at = 0; at < count; at++) {
    const near = new Set(neighboursOf(at, b, size));
    sum += neighboursOf(at, a, size).filter((other) => near.has(other)).length / size;
  }
  return sum / count;
}

function neighboursOf(at: number, vectors: readonly ArrayLike<number>[], size: number): number[] {
  const scores = vectors.map((vector, other) =>
    other === at ? Number.NEGATIVE_INFINITY : cosine(vectors[at]!, vector),
  );
  return topOf(scores, size);
}

const round = (value: number) => Number(value.toFixed(4));
