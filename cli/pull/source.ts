import type { FileHandle } from 'node:fs/promises';
import { CommandFailure } from '../exit-codes.ts';

/** One file of a snapshot. */
export interface SourceFile {
  /** Path in the snapshot, with slashes. */
  path: string;
  bytes: number;
  /** Hash of the content, hexadecimal, for files that the source keeps outside of git. */
  sha256?: string | undefined;
  /** Git's hash of the content, for the others. */
  gitSha1?: string | undefined;
}

/** The files of one model as they were at one moment. */
export interface Snapshot {
  /** For messages, and for `pulled.json`: an address or a path. */
  source: string;
  /** As asked for. */
  revision?: string | undefined;
  /** Commit that the revision is; undefined for a folder that is no snapshot of a known one. */
  commit?: string | undefined;
  files: readonly SourceFile[];
}

/** What a pull needs from outside, so that tests can put faults there. */
export interface Surroundings {
  fetch: typeof fetch;
  /** Opens a file to write. */
  open(path: string, flags: number): Promise<FileHandle>;
  /** Bytes that may still be written beside this path. */
  freeBytes(path: string): Promise<number>;
  /** Waits between attempts, in milliseconds. */
  pause(ms: number, signal: AbortSignal): Promise<void>;
  /** A transfer that brings nothing for this long has failed, in milliseconds. */
  stallMs: number;
  now(): Date;
  pid: number;
}

/** What a pull tells while it runs. */
export type PullEvent =
  | { event: 'chosen'; file: string; precision: string; why: string; alternatives: string[] }
  | { event: 'planned'; files: number; bytes: number }
  | { event: 'file_started'; file: string; bytes: number; resumedFrom: number }
  | { event: 'file_progress'; file: string; bytes: number; doneBytes: number }
  | { event: 'file_done'; file: string; bytes: number; sha256: string }
  | { event: 'retry'; file: string; attempt: number; inMs: number; why: string }
  | { event: 'note'; message: string };

export interface PlaceOptions {
  signal: AbortSignal;
  surroundings: Surroundings;
  onEvent(event: PullEvent): void;
}

/** Where a snapshot comes from. */
export interface Source {
  snapshot: Snapshot;
  /** Whether files that an interrupted pull left behind may be continued. */
  resumable: boolean;
  /**
   * Brings one file to `target`, checked and on the disk.
   * @returns the SHA-256 of the content, hexadecimal
   * @throws CommandFailure
   */
  place(file: SourceFile, target: string, options: PlaceOptions): Promise<string>;
}

/** More files than any model has: a wrong folder, or a hostile listing. */
export const MOST_FILES = 20_000;

/**
 * Checks a path that came from outside before a file is written there.
 * @throws CommandFailure for anything that could leave the folder or confuse a manifest
 */
export function checkedPath(path: string, source: string): string {
  const parts = path.split('/');
  const bad =
    path === '' ||
    path.length > 1024 ||
    /[\\\u0000-\u001f\u007f]|^[A-Za-z]:/.test(path) ||
    parts.some((part) => part === '' || part === '.' || part === '..' || Buffer.byteLength(part) > 255);
  if (bad)
    throw new CommandFailure(
      `${source} names a file ${JSON.stringify(path.slice(0, 200))}, which could leave its folder; nothing of it is taken`,
    );
  return path;
}
