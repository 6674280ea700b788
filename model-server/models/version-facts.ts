import { describe } from './describe.ts';
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

/**
 * What the files of a version say of it, whether it is served or not.
 * @param override a config in JSON that stands in for the one of the folder
 * @throws ServingError MODEL_CONFIG_INVALID
 */
export async function readFact(
  folder: ModelFolder,
  version: number,
  override: string | undefined,
): Promise<VersionFact> {
  const files = folder.versions.find((known) => known.version === version);
  if (files === undefined || !files.complete) return { version, space: '', makesVectors: false };
  const { space, config } = await describe(files, override);
  return { version, space, makesVectors: config.task === 'embed' };
}

/** Whether a rollout may send requests to a version that it names; later: it is only being put in place or warmed. */
export function usability(version: ModelVersion | undefined): boolean | 'later' {
  if (version === undefined) return 'later';
  if (version.isPutOff || (version.state === 'loading' && !version.everReady)) return 'later';
  return version.state !== 'failed';
}
