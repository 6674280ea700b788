import type { CanaryPlan as CanaryPlanMessage } from '../../../proto/gen/admin_pb.js';
import { ServingError } from '../../errors.ts';
import type { VersionReport } from '../../models/reports.ts';
import type { CanaryPlan, RolloutPlan } from '../../models/rollout/status.ts';
import type { Task } from '../../models/target.ts';

const STEPS = [1, 10, 50, 100];
const MIN_REQUESTS = 200;

/**
 * The canary that a request means. When it names no old version, that is the one which has most of the alias, else the
 * newest other one that is ready.
 * @throws ServingError INVALID_INPUT when there is no plan, no old version can be found, or a guard could never be judged
 */
export function canaryPlan(
  asked: CanaryPlanMessage | undefined,
  inForce: RolloutPlan,
  versions: readonly VersionReport[],
): CanaryPlan {
  if (asked === undefined || asked.to === 0)
    throw new ServingError('INVALID_INPUT', 'a canary needs the version that it goes to ("to").');
  const weights = inForce.aliases[asked.alias || (inForce.defaultAlias ?? '')] ?? {};
  const from = asked.from || oldVersion(asked.to, weights, versions);
  if (from === undefined)
    throw new ServingError(
      'INVALID_INPUT',
      `no version but ${asked.to} has any traffic, and no other one is ready: say which version the canary starts from ("from").`,
    );
  const { maxErrorRate, maxP99Ratio, minCosine, minKendallTau } = asked.guards ?? {};
  const concerned = versions.filter(({ version }) => version === from || version === asked.to);
  if (minCosine !== undefined) refuseBlindGuard('min_cosine', 'embed', concerned);
  if (minKendallTau !== undefined) refuseBlindGuard('min_kendall_tau', 'rerank', concerned);
  return {
    alias: asked.alias,
    from,
    to: asked.to,
    steps: asked.steps.length > 0 ? asked.steps : STEPS,
    minRequests: asked.minRequests || MIN_REQUESTS,
    guards: { maxErrorRate, maxP99Ratio, minCosine, minKendallTau },
  };
}

/** A guard that never gets evidence would hold the canary for ever. Of a version that is not known yet nothing is held. */
function refuseBlindGuard(guard: string, task: Task, versions: readonly VersionReport[]): void {
  const unable = versions.find(({ tasks }) => tasks.length > 0 && !tasks.includes(task));
  if (unable === undefined) return;
  const { name, version } = unable;
  throw new ServingError(
    'INVALID_INPUT',
    `the guard ${guard} can't be judged: model ${name} version ${version} can't ${task}, so that no mirrored request would ever be compared. Leave it out.`,
  );
}

function oldVersion(
  to: number,
  weights: Readonly<Record<number, number>>,
  versions: readonly VersionReport[],
): number | undefined {
  const [heaviest] = Object.entries(weights)
    .filter(([version, weight]) => Number(version) !== to && weight > 0)
    .sort(([, a], [, b]) => b - a);
  if (heaviest !== undefined) return Number(heaviest[0]);
  const ready = versions.filter(({ version, state }) => version !== to && state === 'ready');
  return ready.map(({ version }) => version).sort((a, b) => b - a)[0];
}
