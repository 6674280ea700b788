import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { settingOf } from '../config/settings.ts';
import { CommandFailure } from '../exit-codes.ts';
import { mallocVariables, missingV8Flags } from '../launch/memory-tuning.ts';
import type { ReadyMessage } from '../launch/run-program.ts';
import { packageRoot, runsFromSource } from '../package-root.ts';

/** A model server that runs for a measurement. */
export interface OwnServer {
  grpcAddress: string;
  stop(): Promise<void>;
}

export interface ServerSettings {
  modelRepository: string;
  maxBatchTokens: number;
  /** Ends the attempt to start. */
  signal: AbortSignal;
}

const KILL_AFTER_MS = 5000;
const KEPT_LINES = 50;

/**
 * Starts `nereid serve` on free ports of this machine, with the caller's other settings (environment, nereid.yaml).
 * @throws CommandFailure with its last words when it ends before it is ready; the signal's reason when that comes first
 */
export async function startServer(settings: ServerSettings): Promise<OwnServer> {
  const { signal } = settings;
  signal.throwIfAborted();
  const entry = join(packageRoot, runsFromSource ? 'cli/nereid.ts' : 'dist/cli/nereid.js');
  const flags = ['--disable-warning=ExperimentalWarning', ...missingV8Flags([], process.env.NODE_OPTIONS)];
  // The channel tells when it is ready, and ends with this process however that ends: the server then stops too.
  const child = spawn(process.execPath, [...flags, entry, 'serve', ...serveFlags(settings)], {
    env: { ...mallocVariables.serve, ...process.env },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const last: string[] = [];
  for (const stream of [child.stdout, child.stderr].filter((one) => one !== null))
    createInterface({ input: stream }).on('line', (line) => {
      last.push(line);
      if (last.length > KEPT_LINES) last.shift();
    });
  const stop = async () => {
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), KILL_AFTER_MS);
    await ended;
    clearTimeout(timer);
  };
  const ready = Promise.withResolvers<number>();
  child.on('message', (message: ReadyMessage) => ready.resolve(message.ports.grpcPort!));
  void ended.then(() =>
    ready.reject(new CommandFailure(`the model server ended before it was ready: ${reasonIn(last)}`)),
  );
  const abort = () => ready.reject(signal.reason);
  signal.addEventListener('abort', abort);
  try {
    return { grpcAddress: `127.0.0.1:${await ready.promise}`, stop };
  } catch (error) {
    await stop();
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/** The line that names the error; what comes after it is its stack. */
function reasonIn(lines: readonly string[]): string {
  return (lines.find((line) => /error/i.test(line)) ?? lines.at(-1))?.trim() ?? 'it gave no reason';
}

/** As flags, which win over environment and nereid.yaml. */
function serveFlags({ modelRepository, maxBatchTokens }: ServerSettings): string[] {
  const own = {
    host: '127.0.0.1',
    grpcPort: 0,
    httpPort: 0,
    metricsPort: 0,
    modelRepository,
    maxBatchTokens,
    // A model that can't be loaded ends the server instead of keeping it waiting.
    modelControlMode: 'none',
    preload: 'all',
    // The candidate says all of its layout; the server is not to look for a better one.
    tuneMs: 0,
    // Texts that come again are to be computed again, and nobody's cache on disk is to be touched.
    embeddingCacheMb: 0,
    embeddingCacheDir: '',
    logLevel: 'warn',
  } as const;
  return Object.entries(own).map(([key, value]) => `--${settingOf(key as keyof typeof own).name}=${value}`);
}
