import type { RolloutPlan } from './rollout/status.ts';

/** Versions that a plan sends requests to. They are served whatever the version policy says. */
export function namedVersions({ aliases, shadow, canary }: RolloutPlan): number[] {
  const weighted = Object.values(aliases).flatMap((weights) =>
    Object.entries(weights).flatMap(([version, weight]) => (weight > 0 ? [Number(version)] : [])),
  );
  return [...weighted, ...(shadow ? [shadow.version] : []), ...(canary ? [canary.from, canary.to] : [])];
}
