import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { mallocVariables, missingV8Flags } from '../cli/launch/memory-tuning.ts';
import { type ServerConfig, serverConfigSchema } from '../model-server/config.ts';
import { type RunningServer, run } from '../model-server/main.ts';

const file = fileURLToPath(import.meta.url);

export interface BenchServer {
  grpcAddress: string;
  httpUrl: string;
  metricsUrl: string;
  /** CPU that the server has used so far, in microseconds. */
  cpuUs(): Promise<number>;
  /** Resident memory of the server, in bytes. */
  residentBytes(): Promise<number>;
  stop(): Promise<void>;
}

interface Usage {
  cpuUs: number;
  residentBytes: number;
}

/**
 * Starts a model server on free ports in a process of its own.
 * @param settings of model-server/config.ts; the shipped repository unless told
 */
export async function startServer(settings: Partial<ServerConfig> = {}): Promise<BenchServer> {
  // As the product starts it.
  const env = { ...process.env, ...mallocVariables.serve };
  const execArgv = [...process.execArgv, ...missingV8Flags(process.execArgv, process.env.NODE_OPTIONS)];
  const child = fork(file, ['child', JSON.stringify(settings)], { env, execArgv });
  const ports = await new Promise<Pick<RunningServer, 'grpcPort' | 'httpPort' | 'metricsPort'>>(
    (resolve, reject) => {
      child.once('message', (message) => resolve(message as RunningServer));
      child.once('exit', (code) =>
        reject(new Error(`the model server ended with code ${code} before it was ready`)),
      );
    },
  );
  const usage = () =>
    new Promise<Usage>((resolve) => {
      child.once('message', (message) => resolve(message as Usage));
      child.send('usage');
    });
  const local = (port: number) => `127.0.0.1:${port}`;
  return {
    grpcAddress: local(ports.grpcPort),
    httpUrl: `http://${local(ports.httpPort)}`,
    metricsUrl: `http://${local(ports.metricsPort)}/metrics`,
    cpuUs: async () => (await usage()).cpuUs,
    residentBytes: async () => (await usage()).residentBytes,
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
  const settings = JSON.parse(process.argv[3] ?? '{}') as object;
  const server = await run(serverConfigSchema.parse({ ...free, modelRepository, ...settings }));
  const { grpcPort, httpPort, metricsPort } = server;
  process.send!({ grpcPort, httpPort, metricsPort });
  process.on('message', () => {
    const { user, system } = process.cpuUsage();
    process.send!({ cpuUs: user + system, residentBytes: process.memoryUsage.rss() } satisfies Usage);
  });
  process.once('disconnect', () => void server.close());
}
