import { readFile } from 'node:fs/promises';
import { CommandFailure, exitCodes } from '../exit-codes.ts';

/** How many texts of so many tokens there are, special tokens included. */
export type Histogram = ReadonlyMap<number, number>;

/** What the server is measured with: lengths of texts, or texts that have those lengths. */
export type Workload = { name: string } & (
  | { texts: readonly string[]; lengths?: undefined }
  | { lengths: Histogram; texts?: undefined }
);

const queries: Histogram = new Map([
  [6, 10],
  [8, 25],
  [10, 25],
  [14, 20],
  [20, 14],
  [32, 6],
]);
const passages: Histogram = new Map([
  [40, 10],
  [80, 20],
  [120, 25],
  [160, 20],
  [200, 20],
  [250, 5],
]);

/** Lengths as searches and RAG have them. */
export const mixes = {
  queries,
  passages,
  // Four questions for each passage that is ingested meanwhile.
  mixed: new Map([...[...queries].map(([length, count]) => [length, 4 * count] as const), ...passages]),
} as const satisfies Record<string, Histogram>;

export type Mix = keyof typeof mixes;

const LONGEST = 100_000;

/**
 * A file of lengths (JSON such as `{"8": 120, "16": 300}`) or of texts, one a line.
 * @throws CommandFailure when it can't be read, is empty, or holds no such lengths
 */
export async function readLengths(path: string): Promise<Workload> {
  const contents = await readText(path, '--lengths');
  if (!contents.trimStart().startsWith('{')) {
    const texts = contents.split(/\r?\n/).filter((line) => line.trim() !== '');
    if (texts.length === 0) throw wrong(`--lengths ${path} is empty; it needs lengths or a text a line.`);
    return { name: `lengths of the ${texts.length} texts of ${path}`, texts };
  }
  const lengths = new Map<number, number>();
  for (const [tokens, count] of Object.entries(jsonObject(contents, path))) {
    if (!isLength(Number(tokens)) || typeof count !== 'number' || !(count >= 0))
      throw wrong(
        `--lengths ${path}: ${JSON.stringify(tokens)}: ${JSON.stringify(count)} is no count of texts by tokens; one looks like "16": 300.`,
      );
    if (count > 0) lengths.set(Number(tokens), count);
  }
  if (lengths.size === 0) throw wrong(`--lengths ${path} holds no length with a count above 0.`);
  return { name: `lengths of ${path}`, lengths };
}

/**
 * The lengths of an access log: JSON lines with a number, or a list of numbers, called `tokens`. Other lines are passed over.
 * @throws CommandFailure when it can't be read or no line tells tokens
 */
export async function readAccessLog(path: string): Promise<Workload> {
  const lengths = new Map<number, number>();
  for (const line of (await readText(path, '--access-log')).split('\n')) {
    for (const tokens of tokensOf(line)) lengths.set(tokens, (lengths.get(tokens) ?? 0) + 1);
  }
  if (lengths.size === 0)
    throw wrong(`--access-log ${path} has no line of JSON with "tokens"; one looks like {"tokens": 12}.`);
  return { name: `requests of ${path}`, lengths };
}

/** Mean tokens of a text. */
export function meanLength(lengths: Histogram): number {
  let [tokens, texts] = [0, 0];
  for (const [length, count] of lengths) {
    tokens += length * count;
    texts += count;
  }
  return tokens / texts;
}

/**
 * So many lengths in the shares of the histogram, the same ones each time, mixed so that any stretch of them has about
 * those shares.
 */
export function sampleLengths(lengths: Histogram, count: number): number[] {
  const rising = [...lengths].sort(([a], [b]) => a - b);
  const total = rising.reduce((sum, [, share]) => sum + share, 0);
  const at = (quantile: number) => {
    let left = quantile * total;
    for (const [length, share] of rising) {
      left -= share;
      if (left < 0) return length;
    }
    return rising.at(-1)![0];
  };
  // Multiples of the golden ratio fall evenly into every stretch.
  const GOLDEN = 0.618_033_988_749_895;
  return Array.from({ length: count }, (_, index) => at((0.5 + index * GOLDEN) % 1));
}

function tokensOf(line: string): number[] {
  let entry: unknown;
  try {
    entry = JSON.parse(line);
  } catch {
    return [];
  }
  if (typeof entry !== 'object' || entry === null || !('tokens' in entry)) return [];
  return [entry.tokens].flat().filter((tokens): tokens is number => isLength(tokens));
}

function isLength(tokens: unknown): boolean {
  return Number.isInteger(tokens) && Number(tokens) > 0 && Number(tokens) <= LONGEST;
}

function jsonObject(contents: string, path: string): Record<string, unknown> {
  try {
    return JSON.parse(contents) as Record<string, unknown>;
  } catch (cause) {
    throw wrong(`--lengths ${path} begins like JSON but is none: ${(cause as Error).message}`, cause);
  }
}

async function readText(path: string, flag: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw wrong(`${flag} ${path} can't be read: ${(cause as Error).message}`, cause);
  }
}

function wrong(message: string, cause?: unknown): CommandFailure {
  return new CommandFailure(message, { exitCode: exitCodes.usage, cause });
}
