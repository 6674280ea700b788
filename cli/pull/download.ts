import { createHash, type Hash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { type FileHandle, lstat, rm } from 'node:fs/promises';
import { CommandFailure } from '../exit-codes.ts';
import { diskFailure } from './disk-space.ts';
import { askHub, causeOf, type HubAccess, Passing, retrying } from './hub-request.ts';
import type { PlaceOptions, SourceFile } from './source.ts';

interface DownloadOptions extends PlaceOptions {
  access: HubAccess;
  url: string;
}

/** What has arrived so far, and its hashes. */
interface Progress {
  bytes: number;
  /** The most that `bytes` ever was: a server without ranges starts again and again. */
  furthestBytes: number;
  sha256: Hash;
  gitSha1: Hash | undefined;
}

/**
 * Downloads one file to `target`, going on where an earlier attempt or an earlier run stopped, and checks its content
 * against the hash of the listing. It asks for ranges itself: the library's blob takes a whole answer for the rest of a
 * file, and can't be cancelled.
 * @returns the SHA-256 of the content, hexadecimal
 * @throws CommandFailure: a wrong hash (the file is deleted), a full disk or a hub out of reach (the file stays)
 */
export async function downloadFile(
  file: SourceFile,
  target: string,
  options: DownloadOptions,
): Promise<string> {
  const { access, onEvent } = options;
  const already = await lstat(target).catch(() => undefined);
  // Only a plain file that is shorter can be the beginning of this one.
  if (already !== undefined && (!already.isFile() || already.size > file.bytes))
    await rm(target, { recursive: true });
  const progress = await readSoFar(file, target, options.signal);
  onEvent({ event: 'file_started', file: file.path, bytes: file.bytes, resumedFrom: progress.bytes });
  if (progress.bytes < file.bytes || file.bytes === 0) {
    await retrying((progressed) => transfer(file, target, { ...options, progress, progressed }), access, {
      ...options,
      onRetry: (retry) => onEvent({ event: 'retry', file: file.path, ...retry }),
    });
  }
  const sha256 = progress.sha256.digest('hex');
  await checkHash(file, target, { sha256, gitSha1: progress.gitSha1?.digest('hex') });
  if (file.sha256 === undefined && file.gitSha1 === undefined)
    onEvent({
      event: 'note',
      message: `the hub gives no hash for ${file.path}; only its length was checked`,
    });
  onEvent({ event: 'file_done', file: file.path, bytes: file.bytes, sha256 });
  return sha256;
}

function emptyProgress(file: SourceFile): Progress {
  return {
    bytes: 0,
    furthestBytes: 0,
    sha256: createHash('sha256'),
    // Git hashes a file with its length before it.
    gitSha1: file.gitSha1 === undefined ? undefined : createHash('sha1').update(`blob ${file.bytes}\0`),
  };
}

function startAgain(file: SourceFile, progress: Progress): void {
  const { furthestBytes } = progress;
  Object.assign(progress, emptyProgress(file), { furthestBytes });
}

function take(progress: Progress, part: Uint8Array): void {
  progress.sha256.update(part);
  progress.gitSha1?.update(part);
  progress.bytes += part.length;
}

async function readSoFar(file: SourceFile, target: string, signal: AbortSignal): Promise<Progress> {
  const progress = emptyProgress(file);
  try {
    const stream = createReadStream(target, { highWaterMark: 1024 * 1024, signal });
    for await (const part of stream) take(progress, part as Buffer);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  progress.furthestBytes = progress.bytes;
  return progress;
}

interface TransferOptions extends DownloadOptions {
  progress: Progress;
  progressed: () => void;
}

/** One request for what is missing. */
async function transfer(file: SourceFile, target: string, options: TransferOptions): Promise<void> {
  const { access, url, surroundings, signal, progress } = options;
  const stalled = new AbortController();
  const why = `nothing arrived for ${surroundings.stallMs} ms`;
  const timer = setTimeout(() => stalled.abort(new Passing(why)), surroundings.stallMs);
  const init = {
    signal: AbortSignal.any([signal, stalled.signal]),
    headers: {
      'accept-encoding': 'identity',
      ...(progress.bytes > 0 ? { range: `bytes=${progress.bytes}-` } : {}),
    },
  };
  try {
    const response = await askHub(access, url, { surroundings, init });
    await write(file, target, { ...options, response, arrived: () => timer.refresh() });
  } catch (error) {
    if (stalled.signal.aborted) throw stalled.signal.reason;
    throw error;
  } finally {
    clearTimeout(timer);
  }
  if (progress.bytes < file.bytes)
    throw new Passing(`${file.path} ended after ${progress.bytes} of ${file.bytes} bytes`);
}

async function write(
  file: SourceFile,
  target: string,
  options: TransferOptions & { response: Response; arrived: () => void },
): Promise<void> {
  const { response, surroundings, progress } = options;
  const continues = response.status === 206 && startsAt(response) === progress.bytes;
  if (response.status === 416 || (response.status === 206 && !continues)) {
    await response.body?.cancel();
    await rm(target, { force: true });
    startAgain(file, progress);
    throw new Passing(`${file.path} can't be continued at that place`);
  }
  if (!continues) startAgain(file, progress);
  const flags = constants.O_WRONLY | constants.O_CREAT | (continues ? constants.O_APPEND : constants.O_TRUNC);
  const handle = await surroundings.open(target, flags);
  try {
    await receive(file, handle, options);
    await handle.sync();
  } catch (error) {
    const missingBytes = file.bytes - progress.bytes;
    throw await diskFailure(error, { what: file.path, target, missingBytes, surroundings });
  } finally {
    await handle.close();
  }
}

async function receive(
  file: SourceFile,
  handle: FileHandle,
  {
    response,
    progress,
    progressed,
    arrived,
    onEvent,
    signal,
  }: TransferOptions & { response: Response; arrived: () => void },
): Promise<void> {
  if (response.body === null) return;
  const reader = response.body[Symbol.asyncIterator]();
  for (;;) {
    const next = await reader.next().catch((error: unknown) => {
      signal.throwIfAborted();
      throw new Passing(`the connection for ${file.path} broke: ${causeOf(error)}`, { cause: error });
    });
    if (next.done === true) return;
    const part: Uint8Array = next.value;
    if (progress.bytes + part.length > file.bytes) {
      await reader.return?.();
      throw new CommandFailure(
        `${file.path} is longer than the ${file.bytes} bytes that the listing gives it`,
      );
    }
    await handle.appendFile(part);
    take(progress, part);
    if (progress.bytes > progress.furthestBytes) {
      progress.furthestBytes = progress.bytes;
      progressed();
    }
    arrived();
    onEvent({ event: 'file_progress', file: file.path, bytes: file.bytes, doneBytes: progress.bytes });
  }
}

function startsAt(response: Response): number | undefined {
  const match = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '');
  return match === null ? undefined : Number(match[1]);
}

async function checkHash(
  file: SourceFile,
  target: string,
  actual: { sha256: string; gitSha1: string | undefined },
): Promise<void> {
  const kind = file.sha256 !== undefined ? 'sha256' : 'gitSha1';
  const expected = file[kind];
  if (expected === undefined || expected === actual[kind]) return;
  await rm(target, { force: true });
  const name = kind === 'sha256' ? 'SHA-256' : "git's SHA-1";
  throw new CommandFailure(
    `${file.path} arrived damaged and was deleted: its ${name} is ${actual[kind]}, the hub says ${expected}. ` +
      'Run the same command again; the other files stay.',
  );
}
