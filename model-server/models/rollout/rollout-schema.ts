import { z } from 'zod';
import type { CanaryGuards, RolloutPlan, Weights } from './status.ts';

const MOST_ALIASES = 64;
const MOST_VERSIONS = 64;
const MOST_STEPS = 32;

const version = z.int('must be a version, a whole number above 0').min(1, 'must be a version above 0');
const percent = z.number().min(0).max(100);
const aliasName = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/,
    'must be an alias name: letters, digits, ".", "_" and "-", 64 at most, beginning with a letter or digit',
  );

const weights = z
  .record(
    z.string().regex(/^[1-9]\d{0,8}$/, 'must be a version, a whole number above 0'),
    z.number('must be a weight, a number of 0 or more').min(0, 'must be a weight of 0 or more'),
  )
  .refine((value) => Object.keys(value).length <= MOST_VERSIONS, `may name ${MOST_VERSIONS} versions at most`)
  .refine((value) => {
    const sum = Object.values(value).reduce((total, weight) => total + weight, 0);
    return sum > 0 && Number.isFinite(sum);
  }, 'must give at least one version a weight above 0, such as { 1: 100 }');

const guards = z.strictObject({
  max_error_rate: z.number().min(0).max(1).optional(),
  max_p99_ratio: z.number().positive().optional(),
  min_cosine: z.number().min(-1).max(1).optional(),
  min_kendall_tau: z.number().min(-1).max(1).optional(),
});

const canary = z
  .strictObject({
    alias: aliasName,
    from: version,
    to: version,
    steps: z
      .array(z.number().positive().max(100))
      .min(1)
      .max(MOST_STEPS)
      .refine((steps) => steps.every((step, at) => at === 0 || step > steps[at - 1]!), 'must rise')
      .refine((steps) => steps.at(-1) === 100, 'must end with 100'),
    step: z.int().min(0).default(0),
    min_requests: z.int().min(1).max(1_000_000_000),
    guards: guards.default({}),
  })
  .refine(({ from, to }) => from !== to, { path: ['to'], message: 'must be another version than "from"' })
  .refine(({ step, steps }) => step < steps.length, {
    path: ['step'],
    message: 'must be the place of one of the steps, counted from 0',
  });

/** rollout.yaml, read as plain values. */
const fileSchema = z
  .strictObject({
    default: aliasName.optional(),
    aliases: z
      .record(aliasName, weights)
      .refine(
        (value) => Object.keys(value).length <= MOST_ALIASES,
        `may hold ${MOST_ALIASES} aliases at most`,
      )
      .default({}),
    mixed_spaces: z.literal('allowed', 'can only be "allowed"; leave it out to refuse them').optional(),
    same_space: z.array(version).max(MOST_VERSIONS).default([]),
    shadow: z.strictObject({ version, percent }).optional(),
    canary: canary.optional(),
  })
  .superRefine((file, context) => {
    const tell = (path: string[], message: string) => context.addIssue({ code: 'custom', path, message });
    if (file.default !== undefined && !Object.hasOwn(file.aliases, file.default)) {
      tell(['default'], `names "${file.default}", which is none of the aliases`);
    }
    if (file.canary === undefined) return;
    const { alias, from, to } = file.canary;
    if (!Object.hasOwn(file.aliases, alias)) {
      tell(['canary', 'alias'], `names "${alias}", which is none of the aliases`);
      return;
    }
    const shared = versionsOf(file.aliases[alias]!);
    // At its end the canary gives the alias one version: a third one would silently lose its share.
    const others = shared.filter((other) => other !== from && other !== to);
    if (!shared.includes(from) || others.length > 0) {
      tell(
        ['canary', 'from'],
        `must be the version that alias "${alias}" stands for, but that is ${shared.length > 1 ? 'shared by ' : ''}${shared.join(', ')}`,
      );
    }
  });

type FileShape = z.output<typeof fileSchema>;

export interface PlanProblem {
  /** Where in the file: `['canary', 'steps', 0]`. */
  path: (string | number)[];
  message: string;
}

/** Versions with a weight above 0, rising. */
export function versionsOf(weights: Weights): number[] {
  return Object.entries(weights)
    .filter(([, weight]) => weight > 0)
    .map(([name]) => Number(name));
}

/** Checks the plain values of a rollout.yaml: their types, bounds, and that its parts fit each other. */
export function parsePlan(value: unknown): { plan: RolloutPlan } | { problems: PlanProblem[] } {
  const parsed = fileSchema.safeParse(value ?? {});
  if (parsed.success) return { plan: planOf(parsed.data) };
  return { problems: parsed.error.issues.flatMap(problemsOfIssue) };
}

/** A plan as the plain values of its file: maps in the file's order and words, what is not set left out. */
export function fileValues(plan: RolloutPlan): Map<string, unknown> {
  const { canary } = plan;
  const aliases = Object.entries(plan.aliases).map(([name, shares]): [string, unknown] => [
    name,
    new Map(Object.entries(shares).map(([key, weight]) => [Number(key), weight])),
  ]);
  return presentEntries({
    default: plan.defaultAlias,
    aliases: aliases.length > 0 ? new Map(aliases) : undefined,
    mixed_spaces: plan.mixedSpaces ? 'allowed' : undefined,
    same_space: plan.sameSpace.length > 0 ? [...plan.sameSpace] : undefined,
    shadow: plan.shadow && presentEntries({ ...plan.shadow }),
    canary:
      canary &&
      presentEntries({
        alias: canary.alias,
        from: canary.from,
        to: canary.to,
        steps: [...canary.steps],
        step: canary.step,
        min_requests: canary.minRequests,
        guards: presentEntries({
          max_error_rate: canary.guards.maxErrorRate,
          max_p99_ratio: canary.guards.maxP99Ratio,
          min_cosine: canary.guards.minCosine,
          min_kendall_tau: canary.guards.minKendallTau,
        }),
      }),
  });
}

function planOf(file: FileShape): RolloutPlan {
  return {
    defaultAlias: file.default,
    aliases: file.aliases,
    mixedSpaces: file.mixed_spaces === 'allowed',
    sameSpace: file.same_space,
    shadow: file.shadow,
    canary: file.canary && {
      alias: file.canary.alias,
      from: file.canary.from,
      to: file.canary.to,
      steps: file.canary.steps,
      step: file.canary.step,
      minRequests: file.canary.min_requests,
      guards: guardsOf(file.canary.guards),
    },
  };
}

function guardsOf(file: z.output<typeof guards>): CanaryGuards {
  return {
    maxErrorRate: file.max_error_rate,
    maxP99Ratio: file.max_p99_ratio,
    minCosine: file.min_cosine,
    minKendallTau: file.min_kendall_tau,
  };
}

function problemsOfIssue(issue: z.core.$ZodIssue): PlanProblem[] {
  const path = issue.path.map((part) => (typeof part === 'number' ? part : String(part)));
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({ path: [...path, key], message: 'is no setting of a rollout' }));
  }
  if (issue.code === 'invalid_key') return [{ path, message: issue.issues[0]?.message ?? issue.message }];
  return [{ path, message: issue.message }];
}

const presentEntries = (values: Record<string, unknown>) =>
  new Map(Object.entries(values).filter(([, value]) => value !== undefined));
