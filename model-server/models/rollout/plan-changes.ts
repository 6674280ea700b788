import { ServingError } from '../../errors.ts';
import { fileValues, parsePlan, versionsOf } from './rollout-schema.ts';
import type { CanaryPlan, RolloutPlan, Weights } from './status.ts';

/** What a model without rollout.yaml has. */
export const NO_PLAN: RolloutPlan = {
  defaultAlias: undefined,
  aliases: {},
  mixedSpaces: false,
  sameSpace: [],
  shadow: undefined,
  canary: undefined,
};

/** Alias that a change makes when it names none and none is the default. */
const FIRST_ALIAS = 'stable';

export interface TrafficChange {
  /** Empty: the default alias. */
  alias: string;
  weights: Weights;
  /** Whether requests that name neither version nor alias take this alias from now on. */
  makeDefault: boolean;
  /** Whether aliases may mix vector spaces; undefined: as before. */
  mixedSpaces?: boolean | undefined;
}

/**
 * A plan with other weights for one alias, which is made if it doesn't exist.
 * @throws ServingError INVALID_INPUT while a canary of the alias is under way
 */
export function withTraffic(plan: RolloutPlan, change: TrafficChange): RolloutPlan {
  const alias = aliasOr(plan, change.alias);
  if (plan.canary?.alias === alias) {
    throw new ServingError(
      'INVALID_INPUT',
      `a canary of alias "${alias}" is under way; promote it or roll it back before you set its weights.`,
    );
  }
  // Values are read past this name, so that it would be lost without a word.
  if (alias === '__proto__')
    throw new ServingError('INVALID_INPUT', 'an alias can\'t be called "__proto__".');
  return checked({
    ...plan,
    defaultAlias: change.makeDefault ? alias : plan.defaultAlias,
    aliases: { ...plan.aliases, [alias]: change.weights },
    mixedSpaces: change.mixedSpaces ?? plan.mixedSpaces,
  });
}

/** A plan with another shadow, or none. */
export function withShadow(plan: RolloutPlan, shadow: RolloutPlan['shadow']): RolloutPlan {
  return checked({ ...plan, shadow: shadow && { version: shadow.version, percent: shadow.percent } });
}

/**
 * A plan with a canary at its first step. An empty alias means the default one; `from` 0 means the version that the
 * alias stands for. In a plan without aliases the alias is made, for `from`, and becomes the default.
 * @throws ServingError INVALID_INPUT when a canary is under way already, or the two don't fit each other
 */
export function withCanary(plan: RolloutPlan, canary: CanaryPlan): RolloutPlan {
  if (plan.canary !== undefined) {
    const { alias, from, to } = plan.canary;
    throw new ServingError(
      'INVALID_INPUT',
      `a canary of alias "${alias}" from version ${from} to ${to} is under way; promote it or roll it back first.`,
    );
  }
  const alias = aliasOr(plan, canary.alias);
  const shared = Object.hasOwn(plan.aliases, alias) ? versionsOf(plan.aliases[alias]!) : [];
  if (shared.length === 1 && shared[0] === canary.to) {
    throw new ServingError(
      'INVALID_INPUT',
      `alias "${alias}" stands for version ${canary.to} already; a canary goes to another one.`,
    );
  }
  const from = canary.from === 0 && shared.length === 1 ? shared[0]! : canary.from;
  const first = Object.keys(plan.aliases).length === 0;
  return checked({
    ...plan,
    defaultAlias: first ? alias : plan.defaultAlias,
    aliases: first ? { [alias]: { [from]: 100 } } : plan.aliases,
    canary: { ...canary, alias, from, step: 0 },
  });
}

/** A plan whose canary is at another step. */
export function atStep(plan: RolloutPlan, step: number): RolloutPlan {
  return checked({ ...plan, canary: plan.canary && { ...plan.canary, step } });
}

/**
 * A plan whose canary is over: its alias stands for one version only.
 * @param outcome promoted: the new version; rolled back: the old one
 * @throws ServingError INVALID_INPUT when no canary is under way
 */
export function withoutCanary(plan: RolloutPlan, outcome: 'promoted' | 'rolled back'): RolloutPlan {
  const { canary } = plan;
  if (canary === undefined) throw new ServingError('INVALID_INPUT', 'no canary is under way.');
  const winner = outcome === 'promoted' ? canary.to : canary.from;
  return checked({
    ...plan,
    aliases: { ...plan.aliases, [canary.alias]: { [winner]: 100 } },
    canary: undefined,
  });
}

const aliasOr = (plan: RolloutPlan, alias: string) => alias || (plan.defaultAlias ?? FIRST_ALIAS);

/** Holds what commands ask for to the same bounds as the file. */
function checked(plan: RolloutPlan): RolloutPlan {
  const parsed = parsePlan(plain(fileValues(plan)));
  if ('plan' in parsed) return parsed.plan;
  const told = parsed.problems.map(({ path, message }) => `${path.join('.')} ${message}`);
  throw new ServingError('INVALID_INPUT', `the rollout can't be changed like that: ${told.join('; ')}.`);
}

const plain = (value: unknown): unknown =>
  value instanceof Map
    ? Object.fromEntries([...value].map(([name, part]): [string, unknown] => [String(name), plain(part)]))
    : value;
