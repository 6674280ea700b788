import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

/** A running orchestrator with its model server. */
export interface Product {
  url: string;
  /** gRPC of the model server, as host and port. */
  serverGrpcAddress: string;
  /** HTTP of the model server. */
  serverHttpUrl: string;
  /** Prometheus metrics of the model server. */
  serverMetricsUrl: string;
  /** Milliseconds from the start until both programs were ready. */
  readyMs: number;
  /** What it was started with; undefined when it ran already. */
  command: string | undefined;
  stop(): Promise<void>;
}

const ready = z.object({
  type: z.literal('ready'),
  ready_ms: z.number(),
  port: z.number().int(),
  grpcPort: z.number().int(),
  httpPort: z.number().int(),
  metricsPort: z.number().int(),
});
const cli = fileURLToPath(new URL('../cli/nereid.ts', import.meta.url));
const keptLines = 20;

/**
 * Starts both programs with `nereid up` on free ports over an empty data folder, which is removed on stop.
 * @throws Error with the last lines of its output when it ends before it is ready
 */
export async function startProduct(extraArgs: readonly string[]): Promise<Product> {
  const dataDir = await mkdtemp(join(tmpdir(), 'nereid-eval-'));
  const ports = ['--port', '--grpc-port', '--http-port', '--metrics-port'].flatMap((flag) => [flag, '0']);
  const args = ['up', '--no-samples', ...ports, '--data-dir', dataDir, ...extraArgs];
  const child = spawn(process.execPath, [cli, ...args, '--json'], { stdio: ['ignore', 'pipe', 'pipe'] });
  const exited = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const stop = async () => {
    child.kill('SIGTERM');
    await exited;
    await rm(dataDir, { recursive: true, force: true });
  };
  const last: string[] = [];
  const keep = (line: string) => {
    last.push(line);
    if (last.length > keptLines) last.shift();
  };
  createInterface({ input: child.stderr }).on('line', keep);
  const message = new Promise<z.infer<typeof ready>>((resolve) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      keep(line);
      const parse = ready.safeParse(parsed(line));
      if (parse.success) resolve(parse.data);
    });
  });
  const found = await Promise.race([message, exited]);
  if (found === undefined) {
    await stop();
    throw new Error(`nereid ended before it was ready:\n${last.join('\n')}`);
  }
  const local = (at: number) => `http://127.0.0.1:${at}`;
  return {
    url: local(found.port),
    serverGrpcAddress: `127.0.0.1:${found.grpcPort}`,
    serverHttpUrl: local(found.httpPort),
    serverMetricsUrl: `${local(found.metricsPort)}/metrics`,
    readyMs: found.ready_ms,
    command: `nereid ${args.join(' ')}`,
    stop,
  };
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
