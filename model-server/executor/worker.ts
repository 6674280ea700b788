import { OnnxBackend } from '../backend/onnx.ts';
import { reduce } from '../backend/reduce.ts';
import type { TensorBatch, TokenBatch } from '../types.ts';
import type { ToWorker, WorkerOptions } from './protocol.ts';
import { openWorkerPort } from './worker-port.ts';
import { yieldToServer } from './yield-to-server.ts';

// The thread or process that owns one session. onnxruntime-node blocks the event loop it runs on, so it must not be the
// server's.

interface Opened {
  backend: OnnxBackend;
  options: WorkerOptions;
}

yieldToServer();
const port = openWorkerPort();
const text = (thrown: unknown) => (thrown instanceof Error ? thrown.message : String(thrown));
let opened: Opened | undefined;

async function open(options: WorkerOptions, provenFiles: readonly string[]): Promise<void> {
  try {
    const backend = await OnnxBackend.open(options, provenFiles);
    opened = { backend, options };
    const { info, note, provenFile } = backend;
    port.send({ type: 'ready', info, note, residentBytes: port.residentBytes(), provenFile });
  } catch (thrown) {
    port.send({ type: 'loadFailed', message: text(thrown) });
    port.close();
  }
}

async function runTexts({ backend, options }: Opened, batch: TokenBatch): Promise<void> {
  const started = performance.now();
  const forward = await backend.runTexts(batch);
  const computed = performance.now();
  const { values, ends } = reduce(forward, batch, options);
  const post = performance.now();
  const [computeUs, postUs] = [(computed - started) * 1000, (post - computed) * 1000];
  const residentBytes = port.residentBytes();
  port.send({ type: 'result', buffer: values.buffer, ends, tensors: [], computeUs, postUs, residentBytes }, [
    values.buffer,
  ]);
}

async function runTensors({ backend }: Opened, batch: TensorBatch): Promise<void> {
  const started = performance.now();
  const tensors = await backend.runTensors(batch);
  const computeUs = (performance.now() - started) * 1000;
  const residentBytes = port.residentBytes();
  const buffers = new Set(tensors.map((tensor) => tensor.data.buffer as ArrayBuffer));
  port.send(
    { type: 'result', buffer: new ArrayBuffer(0), ends: [], tensors, computeUs, postUs: 0, residentBytes },
    [...buffers],
  );
}

async function handle(message: ToWorker): Promise<void> {
  if (message.type === 'open') return open(message.options, message.provenFiles);
  if (message.type === 'close') {
    // Without release the session's memory stays with the process after the thread has ended.
    const last = opened;
    opened = undefined;
    await last?.backend.release();
    port.close();
    return;
  }
  const { batch } = message;
  try {
    if (opened === undefined) throw new Error('the model is not open');
    await (batch.kind === 'tokens' ? runTexts(opened, batch) : runTensors(opened, batch));
  } catch (thrown) {
    port.send({ type: 'batchFailed', message: text(thrown) });
  }
}

// One after the other: a message that arrives while a batch runs must not overtake it, least of all a close.
let queue = Promise.resolve();
port.onMessage((message) => {
  queue = queue.then(() => handle(message));
});
