import { readFile, stat } from 'node:fs/promises';
import { InvalidArgumentError } from 'commander';
import { size } from '../doctor/check.ts';
import { CommandFailure, exitCodes } from '../exit-codes.ts';

/** Bytes of files in one load: the server takes messages of 64 MiB, and names and configuration are in there too. */
const MAX_LOAD_BYTES = 63 * 1024 * 1024;

/** A version number. @throws InvalidArgumentError, which commander tells together with the argument */
export function version(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= 1 && value < 2 ** 32) return value;
  throw new InvalidArgumentError('It must be a version: a whole number, at least 1.');
}

/** A number of any kind. @throws InvalidArgumentError */
export function number(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value)) return value;
  throw new InvalidArgumentError('It must be a number.');
}

/** `1,10,50,100`. @throws InvalidArgumentError */
export function percents(text: string): number[] {
  return text.split(',').map(number);
}

/** Adds `2=10` to what the arguments before it gave. @throws InvalidArgumentError */
export function weight(text: string, before: Record<number, number> = {}): Record<number, number> {
  const [, of, value] = /^([^=]+)=([^=]+)$/.exec(text) ?? [];
  if (of === undefined || value === undefined)
    throw new InvalidArgumentError('It must be a version and its weight, such as 1=90.');
  return { ...before, [version(of)]: number(value) };
}

/** Adds `1/model.onnx=path` to what the options before it gave. @throws InvalidArgumentError */
export function fileOverride(text: string, before: Record<string, string> = {}): Record<string, string> {
  const at = text.indexOf('=');
  if (at < 1 || at === text.length - 1)
    throw new InvalidArgumentError('It must be <version>/<file>=<path>, such as 1/model.onnx=./model.onnx.');
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
}

/** What a load brings along, read from the files that its options name. @throws CommandFailure */
export async function readOverride(
  configPath: string | undefined,
  paths: Readonly<Record<string, string>>,
): Promise<{ config: string; files: Record<string, Uint8Array> }> {
  const config = configPath === undefined ? '' : (await read(configPath)).toString('utf8');
  const files: Record<string, Uint8Array> = {};
  let bytes = 0;
  for (const [name, path] of Object.entries(paths)) {
    bytes += await lengthOf(path);
    if (bytes > MAX_LOAD_BYTES)
      throw usage(
        `${path}: a load can carry ${size(MAX_LOAD_BYTES)}, the files have more; put them into the model repository instead`,
      );
    files[name] = await read(path);
  }
  return { config, files };
}

async function lengthOf(path: string): Promise<number> {
  return (await stat(path).catch((cause: Error) => Promise.reject(unreadable(path, cause)))).size;
}

function read(path: string): Promise<Buffer> {
  return readFile(path).catch((cause: Error) => Promise.reject(unreadable(path, cause)));
}

function unreadable(path: string, cause: Error): CommandFailure {
  return usage(`${path} can't be read: ${cause.message}`);
}

function usage(message: string): CommandFailure {
  return new CommandFailure(message, { exitCode: exitCodes.usage });
}
