import { availableParallelism } from 'node:os';
import { median } from '../cli/bench/figures.ts';
import type { LoadGenerator } from '../cli/bench/load-generator.ts';
import { type Measured, measure, type Round } from '../cli/bench/rounds.ts';
import { ratioOfCpu, ratioToLimit } from '../cli/bench/summary.ts';
import { type MixName, type Precision, planOf } from './speed-bed.ts';
import type { Measurement, RowResult, SpeedContext, SpeedRow } from './speed-row.ts';

/** Texts a second of text-embeddings-inference's ONNX router as a share of the fp32 limit. */
const TEI_SHARE = { queries: 0.63, passages: 0.57 };
const LENGTHS = { queries: '5-20 tokens', passages: '40-300 tokens' };
/** Long texts take long: with less, the stretch would begin before the server is full. */
const WARM_UP_MS = { queries: 1000, passages: 3000 };
/** Callers of 32 texts each: enough to keep all instances in full batches. */
const BATCH_CALLERS = 4;
const CALLERS = 32;
const LIMIT_WARM_UP_MS = 300;

type Saturated = Exclude<MixName, 'lone'>;

const ways = [
  { way: 'unary', what: 'one text a call', concurrency: CALLERS, shape: {} },
  { way: 'stream', what: 'one text a message', concurrency: CALLERS, shape: { mode: 'stream' } },
  { way: 'batch', what: '32 texts a call', concurrency: BATCH_CALLERS, shape: { textsPerCall: 32 } },
] as const;
type Way = (typeof ways)[number]['way'];

const LEAST: Record<Saturated, Record<Way, number>> = {
  queries: { unary: 0.92, stream: 0.92, batch: 0.95 },
  passages: { unary: 0.97, stream: 0.97, batch: 0.97 },
};

/** Rate at saturation against the runtime alone, padding, and the shipped model against another server's share. */
export function saturation(precision: Precision, mix: Saturated): Measurement {
  const row = (way: Way, what: string): SpeedRow => ({
    id: `${precision}-${mix}-${way}`,
    what: `saturated / limit, ${precision}, ${LENGTHS[mix]}, ${what}`,
    target: { atLeast: LEAST[mix][way] },
    digits: 3,
    unit: '',
  });
  const padding: SpeedRow = {
    id: `${precision}-${mix}-padding`,
    what: `padding at saturation, ${precision}, ${LENGTHS[mix]}`,
    target: { atMost: 5 },
    digits: 1,
    unit: ' %',
  };
  const tei: SpeedRow = {
    id: `tei-${mix}`,
    what: `int8 / (${TEI_SHARE[mix]} x fp32 limit), ${LENGTHS[mix]}`,
    target: { atLeast: 3 },
    digits: 2,
    unit: '',
  };
  const rows = [
    ...ways.map(({ way, what }) => row(way, what)),
    ...(precision === 'int8' ? [padding, tei] : []),
  ];
  return {
    rows,
    async measure(context) {
      if (precision === 'fp32' && !context.bed.hasFp32)
        return new Map(rows.map(({ id }) => [id, { skipped: 'no fp32 model' }]));
      return measureSaturation(precision, mix, context);
    },
  };
}

interface SaturatedRound {
  limit: Round['limit'] & object;
  ways: Record<Way, Measured>;
  fp32TextsPerSecond: number | undefined;
}

async function measureSaturation(
  precision: Precision,
  mix: Saturated,
  { bed, rounds, seconds, say }: SpeedContext,
): Promise<Map<string, RowResult>> {
  const { server, load, limit: openLimit } = await bed.open(precision);
  await using limit = await openLimit(mix);
  await using fp32 = precision === 'int8' && bed.hasFp32 ? await (await bed.open('fp32')).limit(mix) : null;
  const loads = new Map<Way, LoadGenerator>();
  for (const { way, shape } of ways) loads.set(way, await load(mix, shape));
  const done: SaturatedRound[] = [];
  for (let round = 0; round < rounds; round++) {
    await limit.run(LIMIT_WARM_UP_MS);
    const rate = await limit.run(seconds * 1000);
    const measured: Partial<Record<Way, Measured>> = {};
    for (const { way, concurrency } of ways) {
      const plan = planOf(seconds, concurrency, { warmUpMs: WARM_UP_MS[mix] });
      const contender = { generator: loads.get(way)!, metricsUrl: server.metricsUrl };
      measured[way] = await measure(contender, plan);
    }
    await fp32?.run(LIMIT_WARM_UP_MS);
    const fp32Rate = await fp32?.run(seconds * 1000);
    const all = measured as Record<Way, Measured>;
    done.push({ limit: rate, ways: all, fp32TextsPerSecond: fp32Rate?.textsPerSecond });
    const rates = ways.map(({ way }) => `${way} ${rateOf(all[way]).toFixed(0)}`);
    say(
      `${precision} ${mix}, round ${round + 1}: limit ${rate.textsPerSecond.toFixed(0)}, ${rates.join(', ')} texts/s`,
    );
  }
  for (const generator of loads.values()) generator[Symbol.dispose]();
  return results(precision, mix, done);
}

function results(precision: Precision, mix: Saturated, done: readonly SaturatedRound[]) {
  const cores = availableParallelism();
  const found = new Map<string, RowResult>();
  for (const { way } of ways) {
    const rounds = done.map(({ ways: all, limit }) => ({ served: all[way], against: undefined, limit }));
    const ratios = rounds.map((round) => ratioToLimit(round, cores));
    const cpu = rounds.map(ratioOfCpu).filter((ratio) => ratio !== undefined);
    const rest = median(ratios.map(({ rest }) => rest)).toFixed(3);
    const rate = median(rounds.map(({ served }) => rateOf(served))).toFixed(0);
    const byCpu = cpu.length === 0 ? '' : `, by CPU ${median(cpu).toFixed(3)}`;
    found.set(`${precision}-${mix}-${way}`, {
      values: ratios.map(({ whole }) => whole),
      note: `${rate} texts/s; of what the client leaves ${rest}${byCpu}`,
    });
  }
  const padding = done.map(({ ways: all }) => (all.unary.work?.paddingShare ?? Number.NaN) * 100);
  found.set(`${precision}-${mix}-padding`, { values: padding });
  const against = done.flatMap(({ ways: all, fp32TextsPerSecond: fp32 }) =>
    fp32 === undefined ? [] : [rateOf(all.unary) / (TEI_SHARE[mix] * fp32)],
  );
  found.set(`tei-${mix}`, against.length === 0 ? { skipped: 'no fp32 model' } : { values: against });
  return found;
}

const rateOf = ({ result }: Measured) => result.texts / result.seconds;
