import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import type { SessionSettings } from '../../types.ts';

/** What the best layout depends on, besides the machine. */
export interface KeyParts {
  cores: number;
  session: SessionSettings;
  /** What was timed: rows and tokens of each. */
  shapes: readonly { rows: number; length: number }[];
}

/** The name under which a measured layout is remembered: another processor, runtime, model file or way to run it has another. */
export function layoutKey({ cores, session: { modelFile, ...how }, shapes }: KeyParts): string {
  // Who opens a file that has gone is told so; here it is just another one.
  const status = statSync(modelFile, { throwIfNoEntry: false });
  const machine = [cpus()[0]?.model ?? '', cores, runtimeVersion()];
  return createHash('sha256')
    .update(JSON.stringify([machine, status?.size, status?.mtimeMs, how, shapes]))
    .digest('hex');
}

/** Read from its package, for to import the runtime costs this thread time and memory. */
function runtimeVersion(): string {
  const root = dirname(dirname(createRequire(import.meta.url).resolve('onnxruntime-node')));
  return (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }).version;
}
