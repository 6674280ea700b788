import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { CommandFailure, exitCodes } from '../exit-codes.ts';
import type { Random } from './random.ts';

/** Texts of `from` to `to` tokens, special tokens included, all lengths alike; `weight` against the other bands. */
export interface Band {
  from: number;
  to: number;
  weight: number;
}

/** How long texts are. */
export type LengthMix = readonly Band[];

/** Longest text that can be asked for, in tokens; models cut off far earlier. */
const MOST_TOKENS = 100_000;

const histogram = z.record(z.string(), z.number().positive());

/**
 * Reads `16`, `5-20`, or the name of a JSON file with weights by length such as {"5-20": 90, "300": 10}.
 * @throws CommandFailure naming what is wrong with it
 */
export async function readLengths(text: string): Promise<LengthMix> {
  const single = band(text, 1);
  if (single !== undefined) return [single];
  if (!text.endsWith('.json'))
    throw usage(`--tokens must be a length (16), a range (5-20) or a JSON file with weights, not "${text}".`);
  const entries = Object.entries(await readHistogram(text));
  if (entries.length === 0)
    throw usage(`${text} names no length; write for example {"5-20": 90, "300": 10}.`);
  const bands = entries.map(([length, weight]) => {
    const read = band(length, weight);
    if (read !== undefined) return read;
    throw usage(`${text}: "${length}" is no length such as "16" or "5-20" (1 to ${MOST_TOKENS} tokens).`);
  });
  return bands.sort((a, b) => a.from - b.from || a.to - b.to);
}

/** Tokens of one text of the mix. */
export function drawLength(mix: LengthMix, random: Random): number {
  let at = random() * mix.reduce((sum, { weight }) => sum + weight, 0);
  let chosen = mix[0]!;
  for (const band of mix) {
    chosen = band;
    at -= band.weight;
    if (at < 0) break;
  }
  return chosen.from + Math.floor(random() * (chosen.to - chosen.from + 1));
}

/** The mix as a person writes it. */
export function lengthsText(mix: LengthMix): string {
  const parts = mix.map(({ from, to, weight }) => {
    const range = from === to ? `${from}` : `${from}-${to}`;
    return mix.length === 1 ? range : `${range} (weight ${weight})`;
  });
  return `${parts.join(', ')} tokens`;
}

function band(text: string, weight: number): Band | undefined {
  const match = /^(\d+)(?:-(\d+))?$/.exec(text.trim());
  if (match === null) return undefined;
  const from = Number(match[1]);
  const to = Number(match[2] ?? match[1]);
  return from >= 1 && from <= to && to <= MOST_TOKENS ? { from, to, weight } : undefined;
}

async function readHistogram(file: string): Promise<Record<string, number>> {
  try {
    return histogram.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch (error) {
    const why = error instanceof z.ZodError ? z.prettifyError(error) : (error as Error).message;
    throw usage(`--tokens ${file} is no JSON object of weights by length: ${why}`);
  }
}

function usage(message: string): CommandFailure {
  return new CommandFailure(message, { exitCode: exitCodes.usage });
}
