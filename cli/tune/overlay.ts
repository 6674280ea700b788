import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { nearest } from '../config/nearest.ts';
import { CommandFailure } from '../exit-codes.ts';
import { configJson, configText, wantsGpu } from './config-text.ts';
import type { Candidate } from './point.ts';

/** Repositories of one model each, with a candidate's configuration and links to all other files of the real one. */
export interface Overlay {
  /** @returns the folder of the repository */
  make(candidate: Candidate): Promise<string>;
  remove(): Promise<void>;
}

/** Keys that tell Hugging Face's config.json from Triton's. */
const HUB_KEYS = ['model_type', 'architectures', '_name_or_path', 'transformers_version', 'vocab_size'];
/** Who gets which version is no matter here: the newest one is measured. */
const LEFT_OUT = ['rollout.yaml'];

/**
 * Prepares overlays of a model.
 * @throws CommandFailure when the repository has no such model (with the nearest name), or it runs on GPUs
 */
export async function openOverlay(repository: string, model: string): Promise<Overlay> {
  const folder = resolve(repository, model);
  const entries = await entriesOf(repository, model);
  const config = await tunedConfig(folder, entries);
  const root = await mkdtemp(join(tmpdir(), 'nereid-tune-'));
  let made = 0;
  return {
    async make(candidate) {
      const overlay = join(root, String(++made));
      const target = join(overlay, model);
      await mkdir(target, { recursive: true });
      for (const entry of entries) {
        if (entry !== config.name && !LEFT_OUT.includes(entry))
          await symlink(join(folder, entry), join(target, entry));
      }
      await writeFile(join(target, config.name), config.with(candidate));
      return overlay;
    },
    remove: () => rm(root, { recursive: true, force: true }),
  };
}

async function entriesOf(repository: string, model: string): Promise<string[]> {
  const isName = !/[/\\]/.test(model) && !model.startsWith('.');
  const entries = isName ? await listed(join(repository, model)) : undefined;
  if (entries !== undefined) return entries;
  const models = (await listed(repository))?.filter((name) => !name.startsWith('.'));
  if (models === undefined)
    throw new CommandFailure(
      `the model repository ${repository} is not a folder. Give the right one with --model-repository.`,
    );
  const meant = nearest(model, models);
  const advice = meant === undefined ? `It has ${models.join(', ') || 'none'}.` : `Did you mean ${meant}?`;
  throw new CommandFailure(`there is no model ${model} in ${repository}. ${advice}`);
}

async function tunedConfig(folder: string, entries: readonly string[]) {
  const read = async (name: string) =>
    entries.includes(name) ? readFile(join(folder, name), 'utf8') : undefined;
  const [text, json] = [await read('config.pbtxt'), await read('config.json')];
  const message = json === undefined ? undefined : tritonMessage(json);
  if (wantsGpu(text ?? (message && json) ?? ''))
    throw new CommandFailure(
      `${folder} asks for GPUs (KIND_GPU in instance_group), and nereid tune measures layouts of CPU cores only. Remove that line, or choose its count by hand.`,
    );
  if (text === undefined && message !== undefined)
    return { name: 'config.json', with: (candidate: Candidate) => configJson(message, candidate) };
  return { name: 'config.pbtxt', with: (candidate: Candidate) => configText(text ?? '', candidate) };
}

/** A config.json as Triton's message; undefined when it is Hugging Face's, or none that the server would take. */
function tritonMessage(json: string): Record<string, unknown> | undefined {
  try {
    const message = JSON.parse(json) as Record<string, unknown>;
    return HUB_KEYS.some((key) => key in message) ? undefined : message;
  } catch {
    return undefined;
  }
}

async function listed(folder: string): Promise<string[] | undefined> {
  try {
    return (await readdir(folder)).sort();
  } catch {
    return undefined;
  }
}
