import { ServingError } from '../errors.ts';
import type { ModelFolder } from './repository/version-files.ts';
import { policyText } from './repository/version-policy.ts';
import type { ModelVersion } from './version.ts';
import type { PlacedVersion } from './versions.ts';

/** The error of a request that no version of a model can answer, or not the `chosen` one. */
export function notReady(
  folder: ModelFolder,
  placed: readonly PlacedVersion[],
  chosen?: ModelVersion,
): ServingError {
  const why =
    chosen === undefined ? whyNoneServes(folder, placed) : `${chosen.owner} has failed: ${chosen.reason}`;
  return new ServingError('MODEL_NOT_READY', why, { retryAfterMs: 1000 });
}

/** Why no version of a model can answer: what failed, what is incomplete, what its version policy leaves out. */
function whyNoneServes(
  { name, versions: inFolder, versionPolicy, problems }: ModelFolder,
  placed: readonly PlacedVersion[],
): string {
  const failed = placed.map(({ version: { owner, reason } }) =>
    reason === '' || reason.startsWith(owner) ? reason : `${owner}: ${reason}`,
  );
  const waiting = inFolder.map(
    (files) => !files.complete && `model ${name} version ${files.version}: ${files.why}`,
  );
  const whole = inFolder.filter(({ complete }) => complete).map(({ version }) => version);
  const isLeftOut = placed.length === 0 && whole.length > 0 && versionPolicy !== undefined;
  const leftOut = isLeftOut
    ? [`its version policy (${policyText(versionPolicy)}) serves none of its versions (${whole.join(', ')})`]
    : [];
  const reasons = new Set([...failed, ...waiting, ...leftOut, ...problems].filter(Boolean));
  const why = [...reasons].join('; ');
  return `no version of model ${name} can serve: ${why || 'its folder holds none that is complete'}`;
}
