import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { serverConfigSchema } from '../model-server/config.ts';
import { run } from '../model-server/main.ts';

const file = fileURLToPath(import.meta.url);

export interface BenchServer {
  grpcAddress: string;
  /** CPU that the server has used so far, in microseconds. */
  cpuUs(): Promise<number>;
  stop(): Promise<void>;
}

/** Starts a model server with the shipped repository on free ports in a process of its own. */
export async function startServer(): Promise<BenchServer> {
  const env = {
    ...process.env,
    MALLOC_ARENA_MAX: '2',
    MALLOC_TRIM_THRESHOLD_: '131072',
    MALLOC_MMAP_THRESHOLD_: '131072',
  };
  const child = fork(file, ['child'], { env });
  const { grpcPort } = await new Promise<{ grpcPort: number }>((resolve, reject) => {
    child.once('message', (message) => resolve(message as { grpcPort: number }));
    child.once('exit', (code) =>
      reject(new Error(`the model server ended with code ${code} before it was ready`)),
    );
  });
  return {
    grpcAddress: `127.0.0.1:${grpcPort}`,
    cpuUs: () =>
      new Promise((resolve) => {
        child.once('message', (message) => resolve((message as { cpuUs: number }).cpuUs));
        child.send('cpu');
      }),
    stop: () =>
      new Promise((resolve) => {
        child.removeAllListeners('exit');
        child.once('exit', () => resolve());
        child.disconnect();
      }),
  };
}

if (process.argv[1] === file && process.argv[2] === 'child') {
  const modelRepository = fileURLToPath(new URL('../model-repository', import.meta.url));
  const free = { grpcPort: 0, httpPort: 0, metricsPort: 0, logLevel: 'warn' };
  const server = await run(serverConfigSchema.parse({ ...free, modelRepository }));
  process.send!({ grpcPort: server.grpcPort });
  process.on('message', () => {
    const { user, system } = process.cpuUsage();
    process.send!({ cpuUs: user + system });
  });
  process.once('disconnect', () => void server.close());
}
