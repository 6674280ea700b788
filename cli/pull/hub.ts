import { type ListFileEntry, listFiles, modelInfo } from '@huggingface/hub';
import { CommandFailure } from '../exit-codes.ts';
import { downloadFile } from './download.ts';
import { askHub, type HubAccess, Passing, type RequestOptions, retrying } from './hub-request.ts';
import { checkedPath, MOST_FILES, type Snapshot, type Source, type SourceFile } from './source.ts';

/**
 * A model of the Hugging Face hub, its revision pinned to the commit that it is now.
 * @throws CommandFailure: no such model or revision, gated, not reachable, a listing that can't be trusted
 */
export async function openHub(access: HubAccess, options: RequestOptions): Promise<Source> {
  const snapshot = await retrying(() => snapshotOf(access, options), access, options);
  return {
    snapshot,
    resumable: true,
    place: (file, target, { onEvent, ...rest }) =>
      downloadFile(file, target, {
        ...rest,
        access,
        url: addressOf(access, snapshot.commit!, file.path),
        onEvent,
      }),
  };
}

async function snapshotOf(access: HubAccess, { signal, surroundings }: RequestOptions): Promise<Snapshot> {
  const { endpoint, id, revision } = access;
  // The token is added here and not by the library, which would send it to wherever a listing continues.
  const request: typeof fetch = (input, init) =>
    askHub(access, input instanceof Request ? input.url : input, {
      surroundings,
      init: { ...init, signal: AbortSignal.any([signal, AbortSignal.timeout(surroundings.stallMs)]) },
    });
  try {
    const common = { hubUrl: endpoint, fetch: request };
    const { sha: commit } = await modelInfo({ name: id, revision, additionalFields: ['sha'], ...common });
    if (typeof commit !== 'string' || !/^[0-9a-f]{40}$/.test(commit))
      throw new CommandFailure(`${endpoint} does not say which commit ${id}@${revision} is`);
    const files: SourceFile[] = [];
    const repo = { type: 'model', name: id } as const;
    for await (const entry of listFiles({ repo, recursive: true, revision: commit, ...common })) {
      if (entry.type !== 'file') continue;
      files.push(fileOf(entry, id));
      if (files.length > MOST_FILES) throw new CommandFailure(`${id} lists more than ${MOST_FILES} files`);
    }
    return { source: `${endpoint}/${id}`, revision, commit, files };
  } catch (error) {
    if (error instanceof CommandFailure || error instanceof Passing) throw error;
    signal.throwIfAborted();
    throw new Passing(`${endpoint} gives no usable answer about ${id}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

function fileOf(entry: ListFileEntry, id: string): SourceFile {
  const bytes = entry.lfs?.size ?? entry.size;
  if (!Number.isSafeInteger(bytes) || bytes < 0)
    throw new CommandFailure(`${id} lists ${JSON.stringify(entry.path)} with a size of ${bytes}`);
  const sha256 = hash(entry.lfs?.oid, 64);
  const gitSha1 = entry.lfs === undefined ? hash(entry.oid, 40) : undefined;
  return { path: checkedPath(entry.path, id), bytes, sha256, gitSha1 };
}

function hash(text: string | undefined, digits: number): string | undefined {
  const lower = text?.toLowerCase().replace(/^sha256:/, '');
  return lower !== undefined && lower.length === digits && /^[0-9a-f]+$/.test(lower) ? lower : undefined;
}

function addressOf({ endpoint, id }: HubAccess, commit: string, path: string): string {
  return `${endpoint}/${id}/resolve/${commit}/${path.split('/').map(encodeURIComponent).join('/')}`;
}
