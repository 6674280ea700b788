import { existsSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { CommandFailure, exitCodes } from '../exit-codes.ts';

/** What the person at the terminal asks for. */
export type Reference = { kind: 'hub'; id: string; revision: string } | { kind: 'folder'; folder: string };

const hubId = /^(?:[A-Za-z0-9][\w.-]{0,95}\/)?[A-Za-z0-9][\w.-]{0,95}$/;
const gitRevision = /^[A-Za-z0-9][\w./-]{0,199}$/;
/** The server takes folders with these endings for unfinished ones. */
const modelName = /^(?!.*\.(?:tmp|partial)$)[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/**
 * Reads `owner/name`, `owner/name@revision`, or a path. A path starts with a dot or a slash, so that it can't be taken
 * for an id.
 * @throws CommandFailure (wrong usage)
 */
export function readReference(text: string, cwd: string): Reference {
  if (/^(\.|\/|[A-Za-z]:[\\/])/.test(text)) return { kind: 'folder', folder: resolve(cwd, text) };
  const at = text.indexOf('@');
  const id = at < 0 ? text : text.slice(0, at);
  const revision = at < 0 ? 'main' : text.slice(at + 1);
  if (!hubId.test(id) || id.includes('..')) {
    const hint = existsSync(resolve(cwd, text)) ? ` A folder is named by its path: ./${text}` : '';
    throw usage(
      `${JSON.stringify(text)} is neither a hub id (owner/name@revision) nor a path (./folder).${hint}`,
    );
  }
  if (!gitRevision.test(revision) || revision.includes('..'))
    throw usage(
      `${JSON.stringify(revision)} can't be a revision: give a branch, a tag or a commit after the @`,
    );
  return { kind: 'hub', id, revision };
}

/**
 * The model's name in the repository: the one given, or the last part of the id or the folder in lower case.
 * @throws CommandFailure (wrong usage) when the given name can't be a folder's name
 */
export function nameOf(reference: Reference, given: string | undefined): string {
  if (given !== undefined) {
    if (modelName.test(given)) return given;
    throw usage(
      `--name ${JSON.stringify(given)} can't name a model: up to 128 letters, digits, dots, dashes and underscores, a letter or digit first, not ending in .tmp or .partial`,
    );
  }
  const last = reference.kind === 'hub' ? reference.id.split('/').at(-1)! : folderName(reference.folder);
  // Letters lose their accents rather than become dashes.
  const plain = last
    .normalize('NFKD')
    .replace(/\p{Mark}/gu, '')
    .toLowerCase();
  const safe = plain
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[^a-z0-9]+/, '')
    .slice(0, 128)
    .replace(/-+$/, '');
  if (modelName.test(safe)) return safe;
  throw usage(`no model name can be made from ${JSON.stringify(last)}: give one with --name`);
}

/** Snapshot and model of a Hugging Face cache folder (`models--owner--name/snapshots/<commit>`); undefined: another folder. */
export function cacheSnapshot(folder: string): { id: string; commit: string } | undefined {
  const commit = basename(folder);
  const model = basename(dirname(dirname(folder)));
  if (basename(dirname(folder)) !== 'snapshots' || !/^[0-9a-f]{40}$/.test(commit)) return undefined;
  return model.startsWith('models--') ? { id: model.slice(8).replace('--', '/'), commit } : undefined;
}

function folderName(folder: string): string {
  return cacheSnapshot(folder)?.id.split('/').at(-1) ?? basename(folder);
}

function usage(message: string): CommandFailure {
  return new CommandFailure(message, { exitCode: exitCodes.usage });
}
