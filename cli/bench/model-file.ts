import { existsSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { CommandFailure, exitCodes } from '../exit-codes.ts';
import type { ServedModel } from './served-model.ts';

/** The file that the limit is measured with, or why there is none. */
export type ModelFile = { file: string } | { why: string };

export interface ModelFileOptions {
  /** Given by hand. */
  given: string | undefined;
  modelRepository: string;
  served: ServedModel;
  /** Where the server is. */
  host: string;
}

/**
 * Finds the served model's file. The limit of another machine can't be measured here.
 * @throws CommandFailure when the file that was given is not there
 */
export function findModelFile({ given, modelRepository, served, host }: ModelFileOptions): ModelFile {
  if (given !== undefined && !existsSync(given))
    throw new CommandFailure(`--model-file ${given} is not there.`, { exitCode: exitCodes.usage });
  if (!isThisMachine(host)) return { why: `not measured: ${host} is not this machine` };
  if (given !== undefined) return { file: given };
  const file = join(modelRepository, served.name, String(served.version), 'model.onnx');
  return existsSync(file)
    ? { file }
    : { why: `not measured: there is no ${file}; name it with --model-file` };
}

/** Whether an address or name is one of this machine. */
export function isThisMachine(host: string): boolean {
  const plain = host.replace(/^\[|\]$/g, '');
  if (plain === 'localhost' || plain.startsWith('127.') || plain === '::1') return true;
  const own = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return own.some(({ address }) => address === plain);
}
