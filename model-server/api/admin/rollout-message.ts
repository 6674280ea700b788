import type { MessageInitShape } from '@bufbuild/protobuf';
import type {
  DistributionSchema,
  RolloutPlanSchema,
  RolloutStatusSchema,
  ShadowFiguresSchema,
} from '../../../proto/gen/admin_pb.js';
import type { Distribution, RolloutPlan, RolloutStatus, ShadowFigures } from '../../models/rollout/status.ts';
import { whole } from './report-message.ts';

/** How a model's requests are divided, and what has come of it. */
export function rolloutStatus(status: RolloutStatus): MessageInitShape<typeof RolloutStatusSchema> {
  const { model, problem, canary } = status;
  return {
    model,
    problem,
    plan: rolloutPlan(status.plan),
    traffic: status.traffic.map(({ version, requests, errors, p50Ms, p99Ms }) => ({
      version,
      requests: whole(requests),
      errors: whole(errors),
      p50Ms,
      p99Ms,
    })),
    shadows: status.shadows.map(shadowFigures),
    ...(canary === undefined ? {} : { canary: { ...canary, requests: whole(canary.requests) } }),
    decisions: status.decisions.map((decision) => ({ ...decision, atMs: whole(decision.atMs) })),
  };
}

function rolloutPlan(plan: RolloutPlan): MessageInitShape<typeof RolloutPlanSchema> {
  const { defaultAlias = '', aliases, mixedSpaces, sameSpace, shadow, canary } = plan;
  return {
    defaultAlias,
    aliases: Object.fromEntries(
      Object.entries(aliases).map(([alias, weights]) => [alias, { weights: { ...weights } }]),
    ),
    mixedSpaces,
    sameSpace: [...sameSpace],
    ...(shadow === undefined ? {} : { shadow }),
    ...(canary === undefined
      ? {}
      : { canary: { ...canary, steps: [...canary.steps] }, canaryStep: canary.step }),
  };
}

function shadowFigures(figures: ShadowFigures): MessageInitShape<typeof ShadowFiguresSchema> {
  const { version, against, requests, errors, dropped } = figures;
  const { cosine, kendallTau, topOverlap, latencyRatio } = figures;
  return {
    version,
    against,
    requests: whole(requests),
    errors: whole(errors),
    dropped: whole(dropped),
    ...(cosine === undefined ? {} : { cosine: distribution(cosine) }),
    ...(kendallTau === undefined ? {} : { kendallTau: distribution(kendallTau) }),
    ...(topOverlap === undefined ? {} : { topOverlap: distribution(topOverlap) }),
    ...(latencyRatio === undefined ? {} : { latencyRatio: distribution(latencyRatio) }),
  };
}

function distribution({
  count,
  mean,
  min,
  p01,
  p50,
}: Distribution): MessageInitShape<typeof DistributionSchema> {
  return { count: whole(count), mean, min, p01, p50 };
}
