import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Gains } from './ndcg.ts';

const entry = z.object({ _id: z.coerce.string().min(1), title: z.string().default(''), text: z.string() });
export type Entry = z.infer<typeof entry>;

/** A judged test collection in the layout of BEIR. */
export interface JudgedSet {
  corpus: Entry[];
  /** Only those that have a relevant document. */
  queries: Entry[];
  /** Per query id. */
  judgements: ReadonlyMap<string, Gains>;
  qrelsFile: string;
}

/**
 * Reads corpus.jsonl, queries.jsonl and the judgements (query-id, corpus-id, score under a header line).
 * @throws Error naming the file and line that is not as it should be
 */
export async function readJudgedSet(folder: string, qrels?: string): Promise<JudgedSet> {
  const candidates = (qrels === undefined ? ['qrels.tsv', 'qrels/test.tsv'] : [qrels]).map((name) =>
    join(folder, name),
  );
  const qrelsFile = candidates.find((file) => existsSync(file));
  if (!qrelsFile) throw new Error(`No judgements in ${folder}: looked for ${candidates.join(', ')}.`);
  const judgements = await readQrels(qrelsFile);
  const queries = await readJsonLines(join(folder, 'queries.jsonl'));
  return {
    corpus: await readJsonLines(join(folder, 'corpus.jsonl')),
    queries: queries.filter(({ _id }) => judgements.has(_id)),
    judgements,
    qrelsFile,
  };
}

/** The entries of a corpus.jsonl or queries.jsonl. @throws Error naming the line that is not as it should be */
export async function readJsonLines(file: string): Promise<Entry[]> {
  const lines = (await readFile(file, 'utf8')).split('\n').filter((line) => line.trim() !== '');
  return lines.map((line, index) => {
    try {
      return entry.parse(JSON.parse(line));
    } catch (error) {
      const why = error instanceof z.ZodError ? z.prettifyError(error) : String(error);
      throw new Error(`${file} line ${index + 1}: ${why}`);
    }
  });
}

async function readQrels(file: string): Promise<Map<string, Map<string, number>>> {
  const judgements = new Map<string, Map<string, number>>();
  const lines = (await readFile(file, 'utf8')).split(/\r?\n/);
  for (const [index, line] of lines.entries()) {
    if (index === 0 || line === '') continue;
    const [query, document, score] = line.split('\t');
    if (!query || !document || Number.isNaN(Number(score ?? 'none'))) {
      throw new Error(
        `${file} line ${index + 1}: not "query-id<TAB>corpus-id<TAB>score": ${line.slice(0, 80)}`,
      );
    }
    if (Number(score) <= 0) continue;
    const gains = judgements.get(query) ?? new Map<string, number>();
    judgements.set(query, gains.set(document, Number(score)));
  }
  return judgements;
}
