import type { RolloutPlan } from '../../model-server/models/rollout/status.ts';

/** A rollout.yaml without its canary. */
export const example = `# Who gets what.
default: stable
aliases:
  stable: { 1: 90, 2: 10 } # careful
  next: { 2: 100 }
mixed_spaces: allowed
same_space: [ 1, 2 ] # checked by hand
shadow: { version: 2, percent: 10 }
`;

/** Its canary. */
export const canarySection = `canary:
  alias: stable
  from: 1
  to: 2
  steps: [ 1, 10, 50, 100 ]
  step: 1
  min_requests: 200
  guards: { max_error_rate: 0.01, max_p99_ratio: 1.5, min_cosine: 0.98, min_kendall_tau: 0.9 }
`;

/** What they say. */
export const examplePlan: RolloutPlan = {
  defaultAlias: 'stable',
  aliases: { stable: { 1: 90, 2: 10 }, next: { 2: 100 } },
  mixedSpaces: true,
  sameSpace: [1, 2],
  shadow: { version: 2, percent: 10 },
  canary: undefined,
};
export const canaryPlan: RolloutPlan = {
  ...examplePlan,
  canary: {
    alias: 'stable',
    from: 1,
    to: 2,
    steps: [1, 10, 50, 100],
    step: 1,
    minRequests: 200,
    guards: { maxErrorRate: 0.01, maxP99Ratio: 1.5, minCosine: 0.98, minKendallTau: 0.9 },
  },
};
