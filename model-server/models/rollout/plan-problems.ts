import type { Reason } from '../../errors.ts';
import { versionsOf } from './rollout-schema.ts';
import type { RolloutPlan, VersionFact } from './status.ts';

/** Why a plan does not fit the versions that there are. */
export interface FactProblem {
  reason: Extract<Reason, 'VERSION_NOT_FOUND' | 'SPACE_MISMATCH'>;
  message: string;
}

/**
 * The space that a version is told as: for versions that the operator claims to share one, the space of the lowest
 * of them that is known.
 * @param ownSpace what the version itself says; empty when it isn't known
 */
export function claimedSpace(
  plan: Pick<RolloutPlan, 'sameSpace'> | undefined,
  facts: readonly VersionFact[],
  { version, ownSpace }: { version: number; ownSpace: string },
): string {
  if (plan === undefined || !plan.sameSpace.includes(version)) return ownSpace;
  const claimed = facts.filter((fact) => plan.sameSpace.includes(fact.version) && fact.space !== '');
  const lowest = claimed.reduce<VersionFact | undefined>(
    (found, fact) => (found === undefined || fact.version < found.version ? fact : found),
    undefined,
  );
  // A version that isn't listed yet may itself be the lowest.
  return lowest === undefined || (version < lowest.version && ownSpace !== '') ? ownSpace : lowest.space;
}

/**
 * What is wrong with a plan, given the versions of its model: versions that don't exist, and vector spaces that would
 * be mixed. A space that isn't known yet (never loaded) clashes with nothing.
 */
export function problemsOf(plan: RolloutPlan, facts: readonly VersionFact[]): FactProblem[] {
  const problems: FactProblem[] = [];
  const missing = (version: number, where: string) => {
    if (facts.some((fact) => fact.version === version)) return;
    const known = facts.map((fact) => fact.version).join(', ') || 'none';
    problems.push({
      reason: 'VERSION_NOT_FOUND',
      message: `${where} names version ${version}, which does not exist; there are ${known}`,
    });
  };
  for (const [name, weights] of Object.entries(plan.aliases)) {
    for (const version of versionsOf(weights)) missing(version, `alias "${name}"`);
    const { canary } = plan;
    const versions = new Set(versionsOf(weights));
    if (canary?.alias === name) versions.add(canary.from).add(canary.to);
    const clash = plan.mixedSpaces ? undefined : clashAmong([...versions], plan, facts);
    if (clash !== undefined) problems.push({ reason: 'SPACE_MISMATCH', message: `alias "${name}" ${clash}` });
  }
  if (plan.shadow !== undefined) missing(plan.shadow.version, 'the shadow');
  if (plan.canary !== undefined) {
    missing(plan.canary.from, 'the canary');
    missing(plan.canary.to, 'the canary');
  }
  return problems;
}

function clashAmong(
  versions: readonly number[],
  plan: RolloutPlan,
  facts: readonly VersionFact[],
): string | undefined {
  const bySpace = new Map<string, number[]>();
  for (const fact of facts) {
    if (!versions.includes(fact.version) || !fact.makesVectors) continue;
    const space = claimedSpace(plan, facts, { version: fact.version, ownSpace: fact.space });
    if (space !== '') bySpace.set(space, [...(bySpace.get(space) ?? []), fact.version]);
  }
  if (bySpace.size < 2) return undefined;
  const told = [...bySpace].map(([space, members]) => `${members.join(', ')} in ${space}`).join('; ');
  return `would mix versions of different vector spaces (${told}); their vectors can't be compared. If you know better, say same_space: [${versions.join(', ')}], or mixed_spaces: allowed`;
}
