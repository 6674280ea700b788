import type {
  CanaryGuards,
  Distribution,
  RolloutPlan,
  RolloutStatus,
  ShadowFigures,
} from '../../proto/gen/admin_pb.js';
import { table } from '../table.ts';

/** How a model's requests are divided, and what has come of it, for a person. */
export function rolloutText(status: RolloutStatus | undefined): string {
  if (status === undefined) return 'the server has told nothing';
  const parts = [
    [`${status.model}${status.problem === '' ? '' : `   rollout.yaml is not in force: ${status.problem}`}`],
    status.plan === undefined ? [] : planLines(status.plan),
    canaryLines(status),
    trafficLines(status),
    shadowLines(status.shadows),
    decisionLines(status),
  ];
  return parts
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join('\n'))
    .join('\n\n');
}

function planLines({ defaultAlias, aliases, mixedSpaces, sameSpace, shadow }: RolloutPlan): string[] {
  const names = Object.keys(aliases).sort();
  const rows = names.map((name) => [
    name === defaultAlias ? `${name} (default)` : name,
    shares(aliases[name]?.weights ?? {}),
  ]);
  return [
    rows.length === 0 ? 'no aliases: the newest ready version answers' : table(['ALIAS', 'VERSIONS'], rows),
    ...(mixedSpaces ? ['an alias may mix vector spaces'] : []),
    ...(sameSpace.length === 0 ? [] : [`versions ${sameSpace.join(', ')} are claimed to share one space`]),
    ...(shadow === undefined
      ? []
      : [`shadow: ${shadow.percent} % are mirrored to version ${shadow.version}`]),
  ];
}

/** Weights as percent of their sum. */
function shares(weights: Readonly<Record<number, number>>): string {
  const sum = Object.values(weights).reduce((total, weight) => total + weight, 0);
  return Object.entries(weights)
    .map(([version, weight]) => `${version}: ${Number(((100 * weight) / (sum || 1)).toFixed(2))} %`)
    .join(', ');
}

function canaryLines({ plan, canary }: RolloutStatus): string[] {
  if (plan?.canary === undefined) return [];
  const { alias, from, to, steps, minRequests, guards } = plan.canary;
  const at = canary?.percent ?? steps[plan.canaryStep] ?? 0;
  const head = `canary of ${alias}: ${from} -> ${to}, at ${at} % (step ${plan.canaryStep + 1} of ${steps.join(', ')})`;
  const progress =
    canary === undefined
      ? []
      : [`${canary.requests} of ${minRequests} requests answered at this step; ${canary.why}`];
  const rows = (canary?.readings ?? []).map(({ name, limit, actual, ok }) => [
    name,
    String(limit),
    figure(actual),
    ok ? 'ok' : 'BROKEN',
  ]);
  const readings = rows.length === 0 ? guardLines(guards) : [table(['GUARD', 'LIMIT', 'NOW', ''], rows)];
  return [head, ...progress, ...readings];
}

function guardLines(guards: CanaryGuards | undefined): string[] {
  const { maxErrorRate, maxP99Ratio, minCosine, minKendallTau } = guards ?? {};
  const set = Object.entries({ maxErrorRate, maxP99Ratio, minCosine, minKendallTau })
    .filter(([, limit]) => limit !== undefined)
    .map(([name, limit]) => `${name} ${limit}`);
  return [set.length === 0 ? 'no guards' : `guards: ${set.join(', ')}`];
}

function trafficLines({ traffic }: RolloutStatus): string[] {
  const rows = traffic.map(({ version, requests, errors, p50Ms, p99Ms }) => [
    String(version),
    String(requests),
    String(errors),
    `${figure(p50Ms)} ms`,
    `${figure(p99Ms)} ms`,
  ]);
  return rows.length === 0 ? [] : [table(['VERSION', 'REQUESTS', 'ERRORS', 'P50', 'P99'], rows)];
}

function shadowLines(shadows: readonly ShadowFigures[]): string[] {
  if (shadows.length === 0) return [];
  const rows = shadows.map((shadow) => [
    `${shadow.version} against ${shadow.against}`,
    String(shadow.requests),
    String(shadow.errors),
    String(shadow.dropped),
    ...[shadow.cosine, shadow.kendallTau, shadow.topOverlap, shadow.latencyRatio].map(distributionText),
  ]);
  const headings = [
    'MIRRORED',
    'REQUESTS',
    'ERRORS',
    'DROPPED',
    'COSINE',
    'KENDALL TAU',
    'TOP 10',
    'LATENCY RATIO',
  ];
  return [table(headings, rows), 'Agreement as mean (least; 1 % are below), latency ratio as median.'];
}

function distributionText(of: Distribution | undefined, column: number): string {
  if (of === undefined || of.count === 0n) return '-';
  const isLatency = column === 3;
  return isLatency ? figure(of.p50) : `${figure(of.mean)} (${figure(of.min)}; ${figure(of.p01)})`;
}

function decisionLines({ decisions }: RolloutStatus): string[] {
  const rows = decisions.map(({ atMs, what, by, why }) => [
    new Date(Number(atMs)).toISOString().slice(0, 19),
    what,
    by,
    why,
  ]);
  return rows.length === 0 ? [] : [table(['WHEN (UTC)', 'WHAT', 'BY', 'WHY'], rows)];
}

/** Four digits say enough. */
function figure(value: number): string {
  return String(Number(value.toPrecision(4)));
}
