import { parentPort, workerData } from 'node:worker_threads';
import { InferenceSession, Tensor } from 'onnxruntime-node';

// The limit: one session in one thread, fed with ideal batches, and nothing else. It shares no code with the server.

const { modelFile, batches } = workerData as { modelFile: string; batches: number[][][] };
const session = await InferenceSession.create(modelFile, { intraOpNumThreads: 1, interOpNumThreads: 1 });

async function run(rows: number[][]): Promise<void> {
  const length = Math.max(...rows.map((row) => row.length));
  const plane = () => new BigInt64Array(rows.length * length);
  const [ids, mask, types] = [plane(), plane(), plane()];
  rows.forEach((row, r) => {
    row.forEach((id, t) => {
      ids[r * length + t] = BigInt(id);
      mask[r * length + t] = 1n;
    });
  });
  const dims = [rows.length, length];
  await session.run({
    input_ids: new Tensor('int64', ids, dims),
    attention_mask: new Tensor('int64', mask, dims),
    token_type_ids: new Tensor('int64', types, dims),
  });
}

parentPort!.on('message', async ({ durationMs }: { durationMs: number }) => {
  const started = performance.now();
  let texts = 0;
  for (let i = 0; performance.now() - started < durationMs; i++) {
    const batch = batches[i % batches.length]!;
    await run(batch);
    texts += batch.length;
  }
  parentPort!.postMessage({ textsPerSecond: (texts / (performance.now() - started)) * 1000 });
});
await run(batches[0]!);
parentPort!.postMessage('ready');
