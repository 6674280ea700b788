import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { addAbortSignal, Readable } from 'node:stream';
import { RagError } from '../errors.ts';
import type { Staged } from './staged-input.ts';

/** Names that `write` makes; anything else is no staged file, and no way out of the folder. */
const STAGED_NAME = /^[0-9a-f-]{36}$/;
const PART_NAME = /^[0-9a-f-]{36}\.part$/;

/** What a disk answers; other codes come from the source. */
const DISK_ERRORS: readonly unknown[] =
  'EACCES EDQUOT EFBIG EIO EMFILE ENFILE ENOENT ENOSPC EPERM EROFS'.split(' ');

type Source = Readable | Uint8Array | string;

async function* pieces(source: Source): AsyncGenerator<Uint8Array> {
  if (typeof source === 'string') yield Buffer.from(source);
  else if (source instanceof Uint8Array) yield source;
  else for await (const piece of source) yield typeof piece === 'string' ? Buffer.from(piece) : piece;
}

function storeError(thrown: unknown, what: string): RagError {
  if (!(thrown instanceof Error && 'code' in thrown && DISK_ERRORS.includes(thrown.code)))
    return RagError.from(thrown);
  return new RagError('STORE_UNAVAILABLE', `${what}: ${thrown.message}`, { cause: thrown });
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } catch {
    // Some systems (Windows) cannot sync a folder; the rename is then as durable as they make it.
  } finally {
    await handle.close();
  }
}

/** The folder where uploads wait for their ingest: `<dataDir>/staging`. A file in it is complete and durable. */
export class Staging {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** Opens the staging area of a data folder, making it when it is not there. */
  static async open(dataDir: string): Promise<Staging> {
    const folder = join(dataDir, 'staging');
    await mkdir(folder, { recursive: true });
    return new Staging(folder);
  }

  /**
   * Writes a source to a new staged file; on any failure nothing is left behind.
   * @throws RagError TOO_LARGE (more than `maxBytes`), CANCELLED, STORE_UNAVAILABLE (disk)
   */
  async write(
    source: Source,
    options: { maxBytes: number; signal?: AbortSignal | undefined },
  ): Promise<Staged> {
    const stagedFile = randomUUID();
    const part = join(this.folder, `${stagedFile}.part`);
    if (options.signal !== undefined && source instanceof Readable) addAbortSignal(options.signal, source);
    try {
      const { bytes, sha256 } = await writeDurably(part, source, options);
      await rename(part, join(this.folder, stagedFile));
      await syncFolder(this.folder);
      return { stagedFile, bytes, sha256 };
    } catch (thrown) {
      if (source instanceof Readable) source.destroy();
      await rm(part, { force: true });
      throw storeError(thrown, `Could not store the upload in ${this.folder}`);
    }
  }

  /** Where a staged file lies. */
  path(stagedFile: string): string {
    if (!STAGED_NAME.test(stagedFile)) {
      throw new RagError('INVALID_INPUT', `"${stagedFile}" is not the name of a staged file.`);
    }
    return join(this.folder, stagedFile);
  }

  /** Whether a staged file is (still) there. */
  async has(stagedFile: string): Promise<boolean> {
    if (!STAGED_NAME.test(stagedFile)) return false;
    return stat(this.path(stagedFile)).then(
      (entry) => entry.isFile(),
      () => false,
    );
  }

  /** SHA-256 (hex) of a staged file's bytes. */
  async sha256(stagedFile: string, signal?: AbortSignal): Promise<string> {
    const hash = createHash('sha256');
    try {
      for await (const piece of createReadStream(this.path(stagedFile), { signal })) hash.update(piece);
    } catch (thrown) {
      throw storeError(thrown, 'Could not read an upload again');
    }
    return hash.digest('hex');
  }

  /** Removes a staged file; one that is gone already is fine. */
  async discard(stagedFile: string): Promise<void> {
    await rm(this.path(stagedFile), { force: true });
  }

  /** Removes every file here that is not in `needed`, half-written ones too. */
  async keepOnly(needed: ReadonlySet<string>): Promise<void> {
    for (const name of await readdir(this.folder)) {
      const ours = STAGED_NAME.test(name) || PART_NAME.test(name);
      if (ours && !needed.has(name)) await rm(join(this.folder, name), { force: true });
    }
  }
}

async function writeDurably(
  file: string,
  source: Source,
  { maxBytes, signal }: { maxBytes: number; signal?: AbortSignal | undefined },
): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash('sha256');
  let bytes = 0;
  const handle = await open(file, 'wx');
  try {
    for await (const piece of pieces(source)) {
      signal?.throwIfAborted();
      bytes += piece.byteLength;
      if (bytes > maxBytes) {
        throw new RagError('TOO_LARGE', `The document has more than ${maxBytes} bytes, which is the limit.`);
      }
      hash.update(piece);
      await handle.writeFile(piece);
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  return { bytes, sha256: hash.digest('hex') };
}
