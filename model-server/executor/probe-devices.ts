import { Worker } from 'node:worker_threads';
import type { AvailableDevices } from './devices.ts';

/** The source runs as .ts; a build makes .js of it. */
const probeUrl = new URL(
  import.meta.url.endsWith('.ts') ? './probe-worker.ts' : './probe-worker.js',
  import.meta.url,
);

let asked: Promise<AvailableDevices> | undefined;

/**
 * What this machine and this installation of onnxruntime-node can run on. Asked once; it does not change while the
 * server runs. Never fails: where nothing can be found out, there is the CPU, and `missing` says why nothing else.
 */
export function probeDevices(): Promise<AvailableDevices> {
  asked ??= new Promise((resolve) => {
    const onlyCpu = (why: string) => resolve({ providers: ['cpu'], missing: [why], gpus: 0 });
    const worker = new Worker(probeUrl);
    worker.once('message', resolve);
    worker.once('error', (error) => onlyCpu(`onnxruntime-node could not be asked: ${error.message}`));
    worker.once('exit', (code) => onlyCpu(`onnxruntime-node could not be asked: exit code ${code}`));
  });
  return asked;
}
