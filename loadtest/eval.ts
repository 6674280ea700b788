import { parseArgs } from 'node:util';
import { z } from 'zod';
import type { Entry, JudgedSet } from './beir.ts';
import { readJudgedSet } from './beir.ts';
import { documentsOf, mean, ndcg, percentile, recall, reciprocalRank } from './ndcg.ts';
import type { Product } from './product.ts';
import { startProduct } from './product.ts';

const usage = `Usage: npm run eval -- <folder> [--qrels FILE] [--url URL] [--collection NAME] [--chunk-tokens N]

Scores retrieval on a judged set in the layout of BEIR (corpus.jsonl, queries.jsonl, qrels.tsv or qrels/test.tsv)
through the real path: documents in by POST /v1/documents, questions by POST /v1/search.

  --qrels FILE        judgements, relative to the folder
  --url URL           a running orchestrator (default: starts both programs over an empty data folder)
  --collection NAME   collection that the corpus is put into (default: eval)
  --chunk-tokens N    for the programs that it starts
  --json              the table as one line of JSON`;

/** Chunks asked for: enough for 10 documents, and not more than are reranked by default. */
const topK = 50;
/** Judged depth. */
const depth = 10;
const documentsPerCall = 100;

const runs = [
  { name: 'dense', request: { mode: 'dense', rerank: false } },
  { name: 'keyword', request: { mode: 'keyword', rerank: false } },
  { name: 'hybrid', request: { mode: 'hybrid', rerank: false } },
  { name: 'hybrid, reranked', request: { mode: 'hybrid', rerank: true } },
] as const;

const searchReply = z.object({
  hits: z.array(z.object({ document_id: z.string() })),
  degraded: z.array(z.object({ source: z.string(), message: z.string() })),
});
const jobReply = z.object({
  documents: z.array(
    z.object({ id: z.string(), status: z.string(), error: z.object({ message: z.string() }).optional() }),
  ),
});

interface Target {
  url: string;
  collection: string;
}

interface Ingested {
  searchable: number;
  seconds: number;
}

interface Score {
  run: string;
  ndcg: number;
  recall: number;
  mrr: number;
  meanMs: number;
  p95Ms: number;
}

async function main(): Promise<void> {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      qrels: { type: 'string' },
      url: { type: 'string' },
      collection: { type: 'string', default: 'eval' },
      'chunk-tokens': { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const [folder] = positionals;
  if (!folder || values.help) {
    console.log(usage);
    process.exitCode = values.help ? 0 : 2;
    return;
  }
  const set = await readJudgedSet(folder, values.qrels);
  const product = await openProduct(values.url, values['chunk-tokens']);
  const quit = () => product.stop().finally(() => process.exit(130));
  process.once('SIGINT', quit).once('SIGTERM', quit);
  try {
    const target = { url: product.url, collection: values.collection };
    const ingested = await ingest(target, set.corpus);
    const scores: Score[] = [];
    for (const run of runs) scores.push(await score(target, set, run));
    if (values.json)
      console.log(JSON.stringify({ documents: set.corpus.length, queries: set.queries.length, scores }));
    else report({ set, product, ingested, scores });
  } finally {
    await product.stop();
  }
}

/** One line that overwrites itself; nothing where nobody watches. */
function progress(line: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r${line}   `);
}

function openProduct(
  url: string | undefined,
  chunkTokens: string | undefined,
): Promise<Pick<Product, 'url' | 'command' | 'stop'>> {
  if (url !== undefined) {
    return Promise.resolve({
      url: url.replace(/\/+$/, ''),
      command: undefined,
      stop: () => Promise.resolve(),
    });
  }
  return startProduct(chunkTokens === undefined ? [] : ['--chunk-tokens', chunkTokens]);
}

/** Ends when every document is searchable or refused. */
async function ingest({ url, collection }: Target, corpus: readonly Entry[]): Promise<Ingested> {
  const startedAt = performance.now();
  const refused: string[] = [];
  for (let start = 0; start < corpus.length; start += documentsPerCall) {
    const documents = corpus
      .slice(start, start + documentsPerCall)
      .map(({ _id, title, text }) => ({ id: _id, title, text }));
    const job = jobReply.parse(await post(`${url}/v1/documents?wait=true`, { documents, collection }));
    for (const { id, status, error } of job.documents) {
      if (status !== 'ready' && status !== 'unchanged') refused.push(`${id}: ${error?.message ?? status}`);
    }
    progress(`ingested ${Math.min(start + documentsPerCall, corpus.length)} of ${corpus.length}`);
  }
  process.stderr.write('\n');
  if (refused.length > 0)
    console.error(`${refused.length} documents were refused, for example\n  ${refused[0]}`);
  return { searchable: corpus.length - refused.length, seconds: (performance.now() - startedAt) / 1_000 };
}

async function score(
  { url, collection }: Target,
  set: JudgedSet,
  run: (typeof runs)[number],
): Promise<Score> {
  const [ndcgs, recalls, ranks, times]: number[][] = [[], [], [], []];
  for (const { _id, text } of set.queries) {
    const startedAt = performance.now();
    const body = { query: text, collection, top_k: topK, ...run.request };
    const { hits, degraded } = searchReply.parse(await post(`${url}/v1/search`, body));
    times!.push(performance.now() - startedAt);
    if (degraded[0])
      throw new Error(`${run.name} was degraded: ${degraded[0].source}: ${degraded[0].message}`);
    const ranked = documentsOf(hits);
    const gains = set.judgements.get(_id) ?? new Map();
    ndcgs!.push(ndcg(ranked, gains, depth));
    recalls!.push(recall(ranked, gains, depth));
    ranks!.push(reciprocalRank(ranked, gains, depth));
    progress(`${run.name}: ${times!.length} of ${set.queries.length}   `);
  }
  process.stderr.write('\n');
  return {
    run: run.name,
    ndcg: mean(ndcgs!),
    recall: mean(recalls!),
    mrr: mean(ranks!),
    meanMs: mean(times!),
    p95Ms: percentile(times!, 0.95),
  };
}

async function post(url: string, body: unknown): Promise<unknown> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${url} answered ${response.status}: ${text.slice(0, 500)}`);
  return JSON.parse(text);
}

function report(result: {
  set: JudgedSet;
  product: Pick<Product, 'command' | 'url'>;
  ingested: Ingested;
  scores: Score[];
}): void {
  const { set, product, ingested, scores } = result;
  console.log(`\nnpm run eval -- ${process.argv.slice(2).join(' ')}`);
  console.log(product.command ? `started: ${product.command}` : `against: ${product.url}`);
  console.log(
    `${ingested.searchable} of ${set.corpus.length} documents searchable after ${ingested.seconds.toFixed(1)} s; ${set.queries.length} queries, judgements of ${set.qrelsFile}\n`,
  );
  const columns = ['nDCG@10', 'recall@10', 'MRR@10', 'mean ms', 'p95 ms'];
  console.log(`${''.padEnd(18)}${columns.map((column) => column.padStart(11)).join('')}`);
  for (const { run, ndcg: gain, recall: share, mrr, meanMs, p95Ms } of scores) {
    const cells = [gain.toFixed(3), share.toFixed(3), mrr.toFixed(3), meanMs.toFixed(1), p95Ms.toFixed(1)];
    console.log(`${run.padEnd(18)}${cells.map((cell) => cell.padStart(11)).join('')}`);
  }
}

await main();
