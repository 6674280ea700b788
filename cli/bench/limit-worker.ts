import { parentPort, workerData } from 'node:worker_threads';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { median } from './figures.ts';
import type { LimitDone, LimitReady, LimitWork } from './limit-messages.ts';

// The limit: one session in one thread, fed with ideal batches whose tensors stand ready, and nothing else. It shares no
// code with the server.

interface Batch {
  feeds: Record<string, Tensor>;
  texts: number;
  tokens: number;
}

const { modelFile, threads, batches } = workerData as LimitWork;
const session = await InferenceSession.create(modelFile, {
  intraOpNumThreads: threads,
  interOpNumThreads: 1,
});
const known = ['input_ids', 'attention_mask', 'token_type_ids'];
const unknown = session.inputNames.filter((name) => !known.includes(name));
if (unknown.length > 0) throw new Error(`the model takes ${unknown.join(', ')}, which only the server knows`);
/** The first output: one that nobody asks for need not be computed. */
const outputs = [session.outputNames[0]!];
const ready = batches.map(toBatch);
let next = 0;

function toBatch(rows: readonly (readonly number[])[]): Batch {
  const length = Math.max(...rows.map((row) => row.length));
  const plane = (value: (row: readonly number[], at: number) => bigint) => {
    const data = new BigInt64Array(rows.length * length);
    for (const [r, row] of rows.entries())
      for (let at = 0; at < row.length; at++) data[r * length + at] = value(row, at);
    return new Tensor('int64', data, [rows.length, length]);
  };
  const planes: Record<string, Tensor> = {
    input_ids: plane((row, at) => BigInt(row[at]!)),
    attention_mask: plane(() => 1n),
    token_type_ids: plane(() => 0n),
  };
  return {
    feeds: Object.fromEntries(session.inputNames.map((name) => [name, planes[name]!])),
    texts: rows.length,
    tokens: rows.reduce((sum, row) => sum + row.length, 0),
  };
}

/** Goes on where it stopped, so that rounds together see all lengths. */
async function run(durationMs: number): Promise<LimitDone> {
  const done = { texts: 0, tokens: 0 };
  const tookMs: number[] = [];
  const started = performance.now();
  let now = started;
  while (now - started < durationMs) {
    const batch = ready[next]!;
    next = (next + 1) % ready.length;
    await session.run(batch.feeds, outputs);
    const ended = performance.now();
    tookMs.push(ended - now);
    now = ended;
    done.texts += batch.texts;
    done.tokens += batch.tokens;
  }
  return { ...done, elapsedMs: now - started, medianMs: median(tookMs) };
}

parentPort!.on('message', async ({ durationMs }: { durationMs: number }) => {
  parentPort!.postMessage((await run(durationMs)) satisfies LimitDone);
});
await session.run(ready[0]!.feeds, outputs);
parentPort!.postMessage({ inputs: session.inputNames } satisfies LimitReady);
