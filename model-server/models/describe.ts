import type { TensorSpec } from '../types.ts';
import { type EffectiveConfig, readModelConfig } from './repository/model-config.ts';
import { hashSpace } from './repository/space.ts';
import type { VersionFiles } from './repository/version-files.ts';
import type { Task } from './target.ts';

/** What is known of a version without loading it. */
export interface Description extends EffectiveConfig {
  /** Empty for models that make no vectors. */
  space: string;
  tasks: Task[];
  /** Width of its vectors; 0 for models that make none. */
  dimension: number;
}

/**
 * Reads the configuration, the header of the model file and, for embedders, the hash that names the vector space.
 * @throws ServingError MODEL_CONFIG_INVALID
 */
export async function describe(files: VersionFiles, override?: string): Promise<Description> {
  const effective = await readModelConfig(files, override);
  const { task, outputs, outputName } = effective.config;
  const output = outputs.find(({ name }) => name === outputName);
  const isEmbedder = task === 'embed';
  return {
    ...effective,
    space: isEmbedder ? await hashSpace(files, effective.config) : '',
    tasks: tasksOf(task, output),
    dimension: isEmbedder ? Math.max(0, output?.shape.at(-1) ?? 0) : 0,
  };
}

function tasksOf(task: EffectiveConfig['config']['task'], output: TensorSpec | undefined): Task[] {
  if (task === 'tensors') return ['infer'];
  if (task === 'rerank') return ['rerank', 'infer'];
  // Late interaction needs a state for every token: [batch, tokens, width].
  return output?.shape.length === 3 ? ['embed', 'rerank', 'infer'] : ['embed', 'infer'];
}
