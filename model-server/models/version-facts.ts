import type { ModelFolder } from './repository/version-files.ts';
import type { VersionFact } from './rollout/status.ts';
import type { ModelVersion } from './version.ts';

/**
 * What a rollout may count on: every version that is whole, or is served while its files change. The space of one that has
 * not been read yet is unknown.
 */
export function versionFacts(
  folder: ModelFolder,
  placed: (version: number) => ModelVersion | undefined,
): VersionFact[] {
  return folder.versions.flatMap(({ version, complete }) => {
    const known = placed(version);
    if (!complete && known === undefined) return [];
    const description = known?.description;
    const makesVectors = description?.config.task === 'embed';
    return [{ version, space: description?.space ?? '', makesVectors }];
  });
}
