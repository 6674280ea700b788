import { readFile } from 'node:fs/promises';
import { CommandFailure, exitCodes } from '../exit-codes.ts';
import { drawLength, type LengthMix } from './lengths.ts';
import type { Random } from './random.ts';
import { FILLERS, FOUR_LETTERS } from './words.ts';

/** Words at the start of a made text that are written anew for each request. */
export const VARIED_WORDS = 3;
/** A word of FOUR_LETTERS and the space behind it. */
export const VARIED_BYTES = 5;

/** The texts that a load is made of. */
export interface TextPool {
  texts: readonly string[];
  /** Tokens of each, special tokens included: wished for, until a tokenizer has counted them. */
  tokens: readonly number[];
  /** Words at the start of each that may be written over, so that no two requests are the same. */
  variedWords: readonly number[];
}

/**
 * Made texts of common words, about as long as wished in tokens; the two special tokens of the usual encoders count.
 * With their first words written anew, three words give millions of different texts.
 */
export function makeTexts(count: number, mix: LengthMix, random: Random): TextPool {
  const tokens = Array.from({ length: count }, () => drawLength(mix, random));
  const words = tokens.map((length) => Math.max(1, length - 2));
  const pick = (list: readonly string[]) => list[Math.floor(random() * list.length)]!;
  const texts = words.map((length) =>
    Array.from({ length }, (_, at) => pick(at < VARIED_WORDS ? FOUR_LETTERS : FILLERS)).join(' '),
  );
  return { texts, tokens, variedWords: words.map((length) => Math.min(length, VARIED_WORDS)) };
}

/**
 * The lines of a file, sent as they are and again from the start when all are used.
 * @throws CommandFailure when it can't be read or holds no text
 */
export async function readTexts(file: string): Promise<TextPool> {
  const content = await readFile(file, 'utf8').catch((error: Error) => {
    throw new CommandFailure(`--texts ${file} can't be read: ${error.message}`, {
      exitCode: exitCodes.usage,
    });
  });
  const texts = content.split(/\r?\n/).filter((line) => line.trim() !== '');
  if (texts.length === 0)
    throw new CommandFailure(`--texts ${file} holds no text; it must have one text a line.`, {
      exitCode: exitCodes.usage,
    });
  return { texts, tokens: texts.map(() => Number.NaN), variedWords: texts.map(() => 0) };
}
