import { parentPort, workerData } from 'node:worker_threads';
import { OnnxBackend } from '../backend/onnx.ts';
import { reduce } from '../backend/reduce.ts';
import type { Batch } from '../types.ts';
import type { FromWorker, ToWorker, WorkerOptions } from './protocol.ts';

// The thread that owns one session. onnxruntime-node blocks the event loop it runs on, so it must not be the server's.

const options = workerData as WorkerOptions;
const port = parentPort;
if (port === null) throw new Error('worker.ts runs inside a worker thread');

const send = (message: FromWorker, transfer: ArrayBuffer[] = []) => port.postMessage(message, transfer);
const text = (thrown: unknown) => (thrown instanceof Error ? thrown.message : String(thrown));

async function run(backend: OnnxBackend, batch: Batch): Promise<void> {
  const started = performance.now();
  const forward = await backend.run(batch);
  const computed = performance.now();
  const { values, ends } = reduce(forward, batch, options);
  const post = performance.now();
  const [computeUs, postUs] = [(computed - started) * 1000, (post - computed) * 1000];
  send({ type: 'result', buffer: values.buffer, ends, computeUs, postUs }, [values.buffer]);
}

try {
  const backend = await OnnxBackend.open(options);
  const handle = async (message: ToWorker) => {
    if (message.type === 'close') {
      // Without release the session's memory stays with the process after the thread has ended.
      await backend.release();
      port.close();
      return;
    }
    try {
      await run(backend, message.batch);
    } catch (thrown) {
      send({ type: 'batchFailed', message: text(thrown) });
    }
  };
  // One after the other: a message that arrives while a batch runs must not overtake it, least of all a close.
  let last = Promise.resolve();
  port.on('message', (message: ToWorker) => {
    last = last.then(() => handle(message));
  });
  send({ type: 'ready', info: backend.info });
} catch (thrown) {
  send({ type: 'loadFailed', message: text(thrown) });
}
