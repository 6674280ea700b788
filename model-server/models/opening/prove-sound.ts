import { ServingError } from '../../errors.ts';
import type { Pool } from '../../executor/pool.ts';
import { assemble } from '../../scheduler/assemble.ts';
import type { Scheduler } from '../../scheduler/scheduler.ts';
import { prepareTexts } from '../../tasks/embed.ts';
import { preparePairs } from '../../tasks/rerank.ts';
import type { EncodedText } from '../../tasks/tokenizer.ts';
import { elementBytes } from '../../tensor-bytes.ts';
import type { BackendInfo, Batch, BatchResult } from '../../types.ts';
import type { Description } from '../describe.ts';
import type { VersionHost } from '../host.ts';
import type { TextParts } from '../loaded.ts';
import type { SelfCheckReport } from '../reports.ts';
import { reshapeInputs } from '../repository/reshape.ts';
import type { CompleteVersion } from '../repository/version-files.ts';
import { readGolden } from './golden.ts';
import { reductionOf } from './reduction-of.ts';
import { sampleTexts } from './sample-texts.ts';
import { selfCheck } from './self-check.ts';
import { bucketsOf, type WarmUpOutcome, type WarmUpRun, warmUp } from './warm-up.ts';

/** Of the inputs, and of the outputs, that are kept in memory to prove an instance with. */
const MOST_CANARY_BYTES = 16 * 2 ** 20;

/** A version whose instances are open, before anybody uses it. */
export interface Unproved {
  owner: string;
  description: Description;
  files: CompleteVersion;
  pool: Pool;
  info: BackendInfo;
  text: TextParts | undefined;
}

export interface Proof {
  /** Absent for models that take raw tensors only. */
  selfCheck: SelfCheckReport | undefined;
  /**
   * The rest of the warm-up, for the background: as texts through the scheduler, which from now on owns the instances, and
   * only while no user waits. Never rejects.
   */
  warmRest: (scheduler: Scheduler) => Promise<WarmUpOutcome>;
}

/**
 * Runs a freshly opened version on known inputs: first passes, self-check, and the canary that a suspect instance must
 * pass later. It has the instances to itself, so batches are what this says they are.
 * @throws ServingError MODEL_LOAD_FAILED when it can't compute at all
 */
export async function proveSound(
  unproved: Unproved,
  { host, signal }: { host: VersionHost; signal: AbortSignal },
): Promise<Proof> {
  const { owner, description, files, text } = unproved;
  const { config } = description;
  const { defaults, nowMs } = host;
  let scheduler: Scheduler | undefined;
  const warmedUp = await warmUp(
    warmUpRun(unproved, { scheduler: () => scheduler, whenQuiet: () => host.tuning?.current }),
    {
      owner,
      samples: config.warmup,
      modelFolder: files.folder,
      hasBatchDimension: config.batched,
      buckets: bucketsOf({
        maxTokens: config.maxTokens,
        maxBatchTokens: defaults.maxBatchTokens,
        maxBatchItems: config.maxBatchItems ?? defaults.maxBatchItems,
      }),
      capMs: defaults.warmUpMs,
      nowMs,
      signal,
      shouldYield: () => (scheduler?.queuedItems ?? 0) > 0,
    },
  );
  const report = text && (await checkTexts({ ...unproved, text }));
  const canary = text ? await textCanary(config.task, text) : zeroTensors(unproved);
  if (canary !== undefined) await learnCanary(canary, unproved);
  return {
    selfCheck: report,
    warmRest: (owned) => {
      scheduler = owned;
      return warmedUp.goOn();
    },
  };
}

async function learnCanary(canary: Batch, { pool, text }: Unproved): Promise<void> {
  // Zeros are no valid input for every model; one that refuses them goes without a canary.
  const results = await runAll(pool, [structuredClone(canary)]).catch((error: unknown) => {
    if (text !== undefined) throw error;
  });
  const [expected] = results ?? [];
  if (expected === undefined) return;
  const bytes = expected.tensors.reduce((sum, { data }) => sum + data.byteLength, 0);
  if (bytes <= MOST_CANARY_BYTES) pool.setCanary(canary, expected);
}

function warmUpRun(
  { owner, description, pool, info, text }: Unproved,
  {
    scheduler,
    whenQuiet,
  }: { scheduler: () => Scheduler | undefined; whenQuiet: () => Promise<unknown> | undefined },
): WarmUpRun {
  const runTexts = async (parts: TextParts, length: number, rows: number) => {
    const texts = await sampleTexts(parts, description.config.task);
    const owned = scheduler();
    if (owned === undefined) {
      await runOnEach(owner, pool, () => assemble(texts(length, rows)));
      return;
    }
    // It is in no hurry, and would disturb who measures.
    await whenQuiet();
    await Promise.all(owned.submit(texts(length, rows * pool.states.length)));
    // By itself, for an instance that is there for lone requests only.
    if (rows === 1) await Promise.all(owned.submit(texts(length, 1)));
  };
  return {
    runRow: text && ((length, rows) => runTexts(text, length, rows)),
    runTensors: (inputs) =>
      runOnEach(owner, pool, () => ({
        kind: 'tensors',
        rows: inputs[0]?.shape[0] ?? 1,
        inputs: reshapeInputs(inputs, description.config.reshapes).map((input) => ({
          ...input,
          data: input.data.slice(),
        })),
        outputs: info.outputs.map(({ name }) => name),
      })),
  };
}

async function checkTexts({ owner, description, files, pool, text }: Unproved & { text: TextParts }) {
  const { tokenizer } = text;
  const { maxTokens, task } = description.config;
  const prepare = { owner, maxTokens, truncate: 'end' as const };
  const reduction = reductionOf(task);
  const run = async (encoded: EncodedText[], together: boolean) => {
    const rows = encoded.map(({ row }) => ({ row, reduction }));
    const batches = together ? [assemble(rows)] : rows.map((row) => assemble([row]));
    return (await runAll(pool, batches)).flatMap(({ outputs }) => outputs);
  };
  if (task === 'rerank') {
    return selfCheck({
      score: async (pairs, together) => {
        const encoded = await Promise.all(
          pairs.map(([query, document]) =>
            preparePairs(tokenizer, { query, documents: [document] }, prepare),
          ),
        );
        return (await run(encoded.flat(), together)).map((logits) => logits[0]!);
      },
    });
  }
  return selfCheck({
    embed: async (texts, together) => run(await prepareTexts(tokenizer, texts, prepare), together),
    golden: readGolden([files.versionFolder, files.folder]),
  });
}

async function textCanary(task: Description['config']['task'], { tokenizer }: TextParts): Promise<Batch> {
  const [ids] = await tokenizer.idsOf(['a canary']);
  const { row } = tokenizer.wrap(ids!, ids!.length + tokenizer.specialTokens);
  return assemble([{ row, reduction: reductionOf(task) }]);
}

/** A batch of one row of zeros, every dimension that may be any length being 1; undefined for one too large to keep. */
function zeroTensors({ info }: Unproved): Batch | undefined {
  const zeros = info.inputs.map(({ name, dataType, shape }) => {
    const fixed = shape.map((length) => Math.max(1, length));
    const elements = fixed.reduce((product, length) => product * length, 1);
    // An empty string is its length alone, 4 bytes.
    const bytes = elements * (dataType === 'BYTES' ? 4 : elementBytes[dataType]);
    return { name, dataType, shape: fixed, bytes };
  });
  if (zeros.reduce((sum, { bytes }) => sum + bytes, 0) > MOST_CANARY_BYTES) return undefined;
  const inputs = zeros.map(({ bytes, ...tensor }) => ({ ...tensor, data: new Uint8Array(bytes) }));
  return { kind: 'tensors', rows: 1, inputs, outputs: info.outputs.map(({ name }) => name) };
}

/** The same batch on every instance that is free, since each has a session of its own. */
async function runOnEach(owner: string, pool: Pool, batch: () => Batch): Promise<void> {
  const runs = pool.idle().map((executor) => executor.run(batch()));
  if (runs.length === 0 && !pool.healthy) {
    throw new ServingError('MODEL_LOAD_FAILED', `${owner} has no instance left that works.`);
  }
  await Promise.all(runs);
}

/** Each batch once, spread over the free instances. @returns the results in order */
async function runAll(pool: Pool, batches: readonly Batch[]): Promise<BatchResult[]> {
  const results: BatchResult[] = [];
  let next = 0;
  const lane = async () => {
    while (next < batches.length) {
      const index = next++;
      const executor = pool.take();
      if (executor === undefined)
        throw new ServingError('MODEL_LOAD_FAILED', 'an instance died while it was checked.');
      results[index] = await executor.run(batches[index]!);
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, pool.free) }, lane));
  return results;
}
