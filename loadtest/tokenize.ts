import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import { Tokenizer } from '@huggingface/tokenizers';
import { knownWords } from '../model-server/tasks/known-words.ts';
import { TextTokenizer } from '../model-server/tasks/tokenizer.ts';
import { wordPipelineOf } from '../model-server/tasks/word-pipeline.ts';
import { readJsonLines } from './beir.ts';

const HELP = `Usage: npm run bench -- tokenize [options]

Microseconds per text that tokenising takes on the server's main thread and on all threads, in calls of 32 texts: by the
JavaScript library alone, by the server's tokenizer when all words are new to it and when it knows them, by the same in a
worker thread, and by native packages that you have installed. All must give the same ids.

  --model DIR         folder with tokenizer.json (default: the shipped model)
  --collection DIR    queries.jsonl and corpus.jsonl in the layout of BEIR (default: lines and paragraphs of this README)
  --against NAMES     native packages with the interface of npm's "tokenizers", with commas between them; before:
                      npm install --no-save NAME
  --rounds N          rounds; the median counts (default 7)`;

const { values } = parseArgs({
  options: {
    model: {
      type: 'string',
      default: fileURLToPath(new URL('../model-repository/all-minilm-l6-v2', import.meta.url)),
    },
    collection: { type: 'string' },
    against: { type: 'string', default: '' },
    rounds: { type: 'string', default: '7' },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
if (values.help) {
  console.log(HELP);
  process.exit(0);
}
/** Texts of one call. */
const CALL_TEXTS = 32;
/** Texts of one run. */
const LEAST_TEXTS = 4000;

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

type IdsOf = (texts: string[]) => Promise<ArrayLike<number>[]>;
interface Contestant {
  name: string;
  /** Asked before each pass over the texts. */
  open(): IdsOf;
}

/** What the native packages have in common. */
interface NativeTokenizer {
  disableTruncation?(): void;
  disablePadding?(): void;
  encodeBatch(texts: string[], options: object): Promise<{ getIds(): number[] }[]>;
}

async function readTexts(): Promise<Record<string, string[]>> {
  const { collection } = values;
  if (collection === undefined) {
    const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
    const nonEmpty = (parts: string[]) => parts.map((part) => part.trim()).filter((part) => part !== '');
    return { lines: nonEmpty(readme.split('\n')), paragraphs: nonEmpty(readme.split('\n\n')) };
  }
  const [queries, corpus] = await Promise.all(
    ['queries.jsonl', 'corpus.jsonl'].map((name) => readJsonLines(join(collection, name))),
  );
  return {
    queries: queries!.map(({ text }) => text),
    passages: corpus!.map(({ title, text }) => `${title} ${text}`),
  };
}

const readJson = (name: string) => JSON.parse(readFileSync(join(values.model, name), 'utf8')) as object;

const tokenizerJson = readJson('tokenizer.json');
const tokenizerConfig = readJson('tokenizer_config.json');
const library = new Tokenizer(tokenizerJson, tokenizerConfig);
const encode = (text: string) => library.encode(text, { add_special_tokens: false }).ids;

/** The server's way with an empty memory; none for tokenizers whose words it can't remember. */
function newToAllWords(): Contestant[] {
  const pipeline = wordPipelineOf(tokenizerJson, tokenizerConfig);
  if (pipeline === undefined) return [];
  const open = (): IdsOf => {
    const known = knownWords(encode, pipeline);
    return async (texts) => texts.map(known);
  };
  return [{ name: 'server, new words', open }];
}

function native(name: string): Contestant {
  const { Tokenizer: Native } = createRequire(import.meta.url)(name) as {
    Tokenizer: { fromFile(file: string): NativeTokenizer };
  };
  const tokenizer = Native.fromFile(join(values.model, 'tokenizer.json'));
  tokenizer.disableTruncation?.();
  tokenizer.disablePadding?.();
  const idsOf: IdsOf = async (texts) => {
    const encodings = await tokenizer.encodeBatch(texts, { addSpecialTokens: false });
    return encodings.map((encoding) => encoding.getIds());
  };
  return { name, open: () => idsOf };
}

const worker = new Worker(new URL('./tokenize-worker.ts', import.meta.url), { workerData: values.model });
const answer = async () => (await once(worker, 'message'))[0] as number[][];
await answer();
const inWorker: IdsOf = (texts) => {
  worker.postMessage(texts);
  return answer();
};

const tokenizer = TextTokenizer.load([values.model]);
const contestants: Contestant[] = [
  { name: '@huggingface/tokenizers', open: () => async (texts) => texts.map(encode) },
  ...newToAllWords(),
  { name: 'server', open: () => (texts) => tokenizer.idsOf(texts) },
  { name: 'server, in a worker', open: () => inWorker },
  ...values.against
    .split(',')
    .filter((name) => name !== '')
    .map(native),
];

interface Figures {
  wallUs: number;
  mainThreadUs: number;
  cpuUs: number;
}
const usOf = ({ user, system }: NodeJS.CpuUsage) => user + system;

async function measure({ open }: Contestant, texts: string[]): Promise<Figures> {
  // The system counts the time of a thread in steps that a short run would drown in.
  const passes = Math.ceil(LEAST_TEXTS / texts.length);
  // What the one before left behind is not this one's to clean up.
  collectGarbage();
  const [started, main, all] = [performance.now(), process.threadCpuUsage(), process.cpuUsage()];
  for (let pass = 0; pass < passes; pass++) {
    const idsOf = open();
    for (let at = 0; at < texts.length; at += CALL_TEXTS) await idsOf(texts.slice(at, at + CALL_TEXTS));
  }
  const measured = passes * texts.length;
  return {
    wallUs: ((performance.now() - started) * 1000) / measured,
    mainThreadUs: usOf(process.threadCpuUsage(main)) / measured,
    cpuUs: usOf(process.cpuUsage(all)) / measured,
  };
}

async function unlike({ open }: Contestant, texts: string[]): Promise<number> {
  const all = await open()(texts);
  return texts.filter((text, index) => Array.from(all[index]!).join() !== encode(text).join()).length;
}

const median = (numbers: number[]) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]!;

for (const [kind, texts] of Object.entries(await readTexts())) {
  const tokens = texts.reduce((sum, text) => sum + encode(text).length, 0) / texts.length;
  console.log(`\n${texts.length} ${kind} of ${tokens.toFixed(0)} tokens on average; microseconds per text`);
  const runs = contestants.map((): Figures[] => []);
  for (const contestant of contestants) await measure(contestant, texts);
  // In turns, so that a noisy machine is noisy for all.
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const [index, contestant] of contestants.entries())
      runs[index]!.push(await measure(contestant, texts));
  }
  for (const [index, contestant] of contestants.entries()) {
    const figure = (key: keyof Figures) => median(runs[index]!.map((run) => run[key])).toFixed(1);
    const differing = await unlike(contestant, texts);
    console.log(
      `${contestant.name.padEnd(24)} wall ${figure('wallUs').padStart(7)}, main thread ${figure('mainThreadUs').padStart(7)}, all threads ${figure('cpuUs').padStart(7)}; ${differing} texts differ`,
    );
  }
}
await worker.terminate();
