import type { SelfCheckReport } from '../reports.ts';
import type { Golden } from './golden.ts';

/** A vector maker; `together`: all texts in one batch, else each in a batch of its own. */
export interface EmbedderUnderCheck {
  embed: (texts: readonly string[], together: boolean) => Promise<readonly Float32Array[]>;
  golden?: Golden | undefined;
}

/** A cross-encoder; gives one raw score per pair of query and document. */
export interface RankerUnderCheck {
  score: (
    pairs: readonly (readonly [query: string, document: string])[],
    together: boolean,
  ) => Promise<readonly number[]>;
}

const MOST_GOLDEN_TEXTS = 16;
/** Rounding in another order gives 0.999999; the usual dynamic int8, whose scale is that of the whole batch, 0.987. */
const LEAST_BATCH_COSINE = 0.9999;
/** A difference of logits that could change an order; rounding gives 0.00001. */
const MOST_LOGIT_DIFFERENCE = 0.01;

/** From 1 to about 30 words: a batch of them pads all but one, and costs little (0.1 s in all for the shipped model). */
const TEXTS: readonly string[] = [
  'Rain.',
  'What is the boiling point of water at sea level?',
  'A short note.',
  'The committee met on Tuesday and, after a long debate about costs, decided to postpone the construction of the new bridge until the spring.',
  'error 0x80070005: access denied (EACCES) while opening "/var/lib/app/data.db"',
  'Der Hund schläft im Garten, während die Kinder spielen.',
  'Photosynthesis turns light into chemical energy: chlorophyll absorbs mostly red and blue light, splits water, sets oxygen free, and stores what it gained as sugar.',
  '42',
];

/**
 * Runs a model on known inputs right after loading: against golden vectors, if it has some, and alone against batched.
 * Cheap: at most 16 golden texts and 8 others.
 * @throws what the model throws on any of them
 */
export async function selfCheck(model: EmbedderUnderCheck | RankerUnderCheck): Promise<SelfCheckReport> {
  return 'embed' in model ? checkEmbedder(model) : checkRanker(model);
}

async function checkEmbedder({ embed, golden }: EmbedderUnderCheck): Promise<SelfCheckReport> {
  const warnings: string[] = [];
  const [alone, batched] = [await embed(TEXTS, false), await embed(TEXTS, true)];
  const batchMinCosine = minCosine(alone, batched);
  if (!alone.every((vector) => vector.every(Number.isFinite)))
    warnings.push('vectors hold values that are no finite numbers; the weights are broken');
  if (!(batchMinCosine >= LEAST_BATCH_COSINE)) {
    warnings.push(
      `vectors depend on their neighbours: a text alone and in a batch have a cosine of only ${batchMinCosine.toFixed(4)}, as is usual for dynamic int8 with one scale per tensor. For vectors that can be reproduced use a model quantized per row, or fp32`,
    );
  }
  const report = { goldenTexts: 0, goldenMinCosine: 1 };
  if (golden !== undefined) {
    const cases = golden.cases.slice(0, MOST_GOLDEN_TEXTS);
    const texts = cases.map(({ text }) => text);
    const references = cases.map(({ embedding }) => Float32Array.from(embedding));
    report.goldenTexts = cases.length;
    report.goldenMinCosine = minCosine(await embed(texts, false), references);
    if (!(report.goldenMinCosine >= golden.minCosine)) {
      warnings.push(
        `vectors differ from golden.json (${golden.reference}): least cosine ${report.goldenMinCosine.toFixed(4)}, expected at least ${golden.minCosine}. Check pooling, normalisation and tokenizer`,
      );
    }
  }
  const batchIdentical = alone.every((vector, index) => isSame(vector, batched[index]));
  return { ...report, batchMinCosine, batchIdentical, warnings };
}

async function checkRanker({ score }: RankerUnderCheck): Promise<SelfCheckReport> {
  const pairs = TEXTS.map((document, index) => [TEXTS[(index + 1) % TEXTS.length]!, document] as const);
  const [alone, batched] = [await score(pairs, false), await score(pairs, true)];
  const differences = alone.map((logit, index) => Math.abs(logit - batched[index]!));
  const most = Math.max(...differences);
  const warnings: string[] = [];
  if (!alone.every(Number.isFinite)) warnings.push('scores are no finite numbers; the weights are broken');
  else if (!(most <= MOST_LOGIT_DIFFERENCE)) {
    warnings.push(
      `scores depend on their neighbours: the logits of a pair alone and in a batch differ by up to ${most.toFixed(4)}. For scores that can be reproduced use a model quantized per row, or fp32`,
    );
  }
  const batchIdentical = differences.every((difference) => difference === 0);
  // Scores have no direction, so there is no cosine to tell.
  return { goldenTexts: 0, goldenMinCosine: 1, batchMinCosine: 1, batchIdentical, warnings };
}

function minCosine(a: readonly Float32Array[], b: readonly Float32Array[]): number {
  return Math.min(...a.map((vector, index) => cosine(vector, b[index])));
}

/** 0 for vectors of different widths, of no length, or with values that are not finite: none of them agrees. */
function cosine(a: Float32Array, b: Float32Array | undefined): number {
  if (b === undefined || a.length !== b.length) return 0;
  let dot = 0;
  let squaresA = 0;
  let squaresB = 0;
  for (let i = 0; i < a.length; i++) {
    dot += a[i]! * b[i]!;
    squaresA += a[i]! * a[i]!;
    squaresB += b[i]! * b[i]!;
  }
  const value = dot / Math.sqrt(squaresA * squaresB);
  return Number.isFinite(value) ? Math.min(1, value) : 0;
}

function isSame(a: Float32Array, b: Float32Array | undefined): boolean {
  return b !== undefined && a.length === b.length && a.every((value, index) => value === b[index]);
}
