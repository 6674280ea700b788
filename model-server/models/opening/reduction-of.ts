import type { Reduction } from '../../types.ts';
import type { ModelConfig } from '../repository/model-config.ts';

/** What texts are run for when a model is tried: the cheapest output of its task. */
export function reductionOf(task: ModelConfig['task']): Reduction {
  return { kind: task === 'rerank' ? 'logits' : 'pooled' };
}
