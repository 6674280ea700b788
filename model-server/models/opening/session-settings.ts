import type { PoolOptions } from '../../executor/pool.ts';
import type { Description } from '../describe.ts';
import type { ModelDefaults } from '../host.ts';
import type { CompleteVersion } from '../repository/version-files.ts';

/** What every instance of a version opens, and how; threads may be another matter for each. */
export function sessionSettings(
  { config }: Description,
  { modelFile }: CompleteVersion,
  defaults: ModelDefaults,
): PoolOptions['session'] {
  return {
    modelFile,
    pooling: config.pooling,
    normalize: config.normalize,
    text: config.task !== 'tensors',
    outputName: config.outputName,
    intraOpThreads: config.intraOpThreads ?? defaults.intraOpThreads,
    interOpThreads: config.interOpThreads,
    executionMode: config.executionMode,
    memArena: config.memArena,
    graphLevel: config.graphLevel,
    packing: config.packing ?? defaults.packing,
  };
}
