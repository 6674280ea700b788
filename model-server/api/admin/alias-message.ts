import type { MessageInitShape } from '@bufbuild/protobuf';
import type { AliasInfoSchema } from '../../../proto/gen/serving_pb.js';
import type { RolloutStatus } from '../../models/rollout/status.ts';
import type { AdminPort } from '../ports.ts';

/** What each alias of each model stands for right now, in percent. */
export function aliasInfos(
  admin: Pick<AdminPort, 'list' | 'rolloutStatus'>,
): MessageInitShape<typeof AliasInfoSchema>[] {
  const models = new Set(admin.list().map(({ name }) => name));
  return [...models].flatMap((model) => aliasesOf(admin.rolloutStatus(model)));
}

function aliasesOf({ model, plan, canary }: RolloutStatus): MessageInitShape<typeof AliasInfoSchema>[] {
  return Object.entries(plan.aliases).map(([alias, weights]) => {
    const to = plan.canary?.alias === alias ? plan.canary.to : undefined;
    // A canary takes its percent of all requests; the others divide what is left.
    const taken = to === undefined ? 0 : (canary?.percent ?? 0);
    const others = Object.entries(weights).filter(([version]) => Number(version) !== to);
    const sum = others.reduce((total, [, weight]) => total + weight, 0);
    const shares = others.map(([version, weight]) => [version, ((100 - taken) * weight) / sum] as const);
    const all = to === undefined ? shares : [...shares, [String(to), taken] as const];
    const percents = Object.fromEntries(all.filter(([, percent]) => percent > 0));
    return { model, alias, isDefault: alias === plan.defaultAlias, percents };
  });
}
