import { claimedSpace } from './plan-problems.ts';
import { versionsOf } from './rollout-schema.ts';
import type { RolloutPlan, VersionFact } from './status.ts';
import { chooseVersion, pickShare, type Share } from './traffic.ts';

/** What an alias means, made ready for one request after another. */
export interface Route {
  alias: string;
  salt: string;
  /** Versions that exist and belong together, with weights above 0. */
  shares: readonly Share[];
  canary: { from: number; to: number; percent: number; salt: string } | undefined;
}

/**
 * The routes of a plan, by alias. Versions that don't exist are left out; of versions whose spaces must not be mixed
 * those stay that share the space of the heaviest (a canary's: of the one it starts from). So a plan that was right
 * when it was written stays safe when versions come and go.
 * @param model salts the draws, so that the same key does not draw alike in every model
 */
export function compileRoutes(
  plan: RolloutPlan,
  facts: readonly VersionFact[],
  model: string,
): ReadonlyMap<string, Route> {
  return new Map(
    Object.keys(plan.aliases).map((alias) => [alias, routeOf(alias, { plan, facts, model })] as const),
  );
}

function routeOf(
  alias: string,
  { plan, facts, model }: { plan: RolloutPlan; facts: readonly VersionFact[]; model: string },
): Route {
  const weights = plan.aliases[alias]!;
  const shares = versionsOf(weights)
    .filter((version) => facts.some((fact) => fact.version === version))
    .map((version) => ({ version, weight: weights[version]! }));
  const heaviest = shares.reduce<Share | undefined>(
    (found, share) => (found === undefined || share.weight > found.weight ? share : found),
    undefined,
  );
  const spaceOf = (version: number) => {
    const fact = facts.find((candidate) => candidate.version === version);
    if (fact === undefined || !fact.makesVectors) return '';
    return claimedSpace(plan, facts, { version, ownSpace: fact.space });
  };
  const fits = (version: number, other: number | undefined) => {
    const spaces = [spaceOf(version), other === undefined ? '' : spaceOf(other)];
    return plan.mixedSpaces || spaces.includes('') || spaces[0] === spaces[1];
  };
  const canary = plan.canary?.alias === alias ? plan.canary : undefined;
  const anchor = canary?.from ?? heaviest?.version;
  const exists = (version: number) => facts.some((fact) => fact.version === version);
  return {
    alias,
    salt: `${model}/${alias}`,
    shares: shares.filter(({ version }) => fits(version, anchor)),
    canary:
      canary !== undefined && exists(canary.to) && fits(canary.to, canary.from)
        ? {
            from: canary.from,
            to: canary.to,
            percent: canary.steps[canary.step]!,
            // Another version's canary begins with other keys.
            salt: `${model}/${alias}/canary/${canary.to}`,
          }
        : undefined,
  };
}

/**
 * The version that a key takes on a route: the canary's share first, the rest by weight. Versions that are not usable
 * leave their share to the others.
 * @returns undefined when none is usable
 */
export function followRoute(
  { salt, shares, canary }: Route,
  key: string,
  usable?: (version: number) => boolean,
): number | undefined {
  if (canary === undefined) return chooseVersion(shares, key, { salt, usable });
  const { to, percent } = canary;
  const toUsable = usable === undefined || usable(to);
  if (toUsable && pickShare(key, percent, canary.salt)) return to;
  const rest = (version: number) => version !== to && (usable === undefined || usable(version));
  return chooseVersion(shares, key, { salt, usable: rest }) ?? (toUsable ? to : undefined);
}

/** Whether a key would take the canary's new version, were it usable. */
export function missesCanary(
  { canary }: Route,
  key: string,
  usable: ((version: number) => boolean) | undefined,
): boolean {
  if (canary === undefined || usable === undefined || usable(canary.to)) return false;
  return pickShare(key, canary.percent, canary.salt);
}
