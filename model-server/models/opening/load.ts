import type { InstancePlan } from '../../executor/devices.ts';
import { Pool } from '../../executor/pool.ts';
import { systemClock } from '../../scheduler/clock.ts';
import { Scheduler } from '../../scheduler/scheduler.ts';
import { TextTokenizer } from '../../tasks/tokenizer.ts';
import type { VersionHost } from '../host.ts';
import { layoutText } from '../layout/layout.ts';
import type { Loaded } from '../loaded.ts';
import type { MemoryBudget, Reservation } from '../memory/budget.ts';
import type { Resident } from '../memory/ledger.ts';
import { type CpuPlan, planDevices, withoutLone } from './plan-devices.ts';
import { type LayoutPlan, withLayout } from './plan-layout.ts';
import { proveSound } from './prove-sound.ts';
import { type AsRead, refuseStale } from './refuse-stale.ts';
import { sessionSettings } from './session-settings.ts';
import { tuneVersion, type Untuned } from './tune-version.ts';

/** What is to be opened, and who pays for it. */
export interface Opening extends Omit<AsRead, 'owner'> {
  resident: Resident;
  /** Takes over a promise of memory, to be given back when the version has gone or its load has failed. */
  hold: (reservation: Reservation) => void;
}

/**
 * Opens a model version: room in memory, its instances (one session each, which serve all its tasks), tokenizer and
 * scheduler; checked and warmed up.
 * @throws ServingError MODEL_LOAD_FAILED, MODEL_NOT_READY, MEMORY_BUDGET_EXCEEDED; then nothing is left running
 */
export async function openVersion(opening: Opening, host: VersionHost): Promise<Loaded> {
  const { description, resident } = opening;
  const asRead = { ...opening, owner: resident.owner };
  await refuseStale(asRead);
  const devices = await planDevices(description, { owner: resident.owner, files: opening.files, host });
  const reservations = new Map<string, Reservation>();
  // In one order for all, so that two loads can't hold what the other waits for.
  for (const { device, predictedBytes } of devices.demands) {
    const reservation = await host.budgetOf(device).reserve(resident, predictedBytes);
    opening.hold(reservation);
    reservations.set(device, reservation);
  }
  const reservation = reservations.get('cpu');
  const onCpu = devices.onCpu && reservation && { ...devices.onCpu, reservation };
  if (onCpu === undefined && description.config.loneThreads !== undefined)
    host.log.warn({ owner: resident.owner }, 'lone_threads is not used: not all instances run on the CPU');
  const affordable = onCpu && affordLone(onCpu, { resident, budget: host.budgetOf('cpu') });
  const parts = { ...asRead, instances: devices.instances, ...affordable };
  const { value: loaded, grownBytes } = await host.gate.measured(
    () => openParts(parts, host),
    ({ pool }) =>
      description.onnx.weightBytes *
      pool.states.filter(({ executionProvider }) => executionProvider === 'cpu').length,
    ({ pool }) => pool.residentBytes,
  );
  for (const [device, reservation] of reservations) {
    // What a GPU holds is known to its driver alone, so there the prediction counts.
    const measuredBytes = device === 'cpu' ? grownBytes : reservation.predictedBytes;
    reservation.settle(measuredBytes);
  }
  return loaded;
}

/** The plan for the CPU, with the hold on its memory. */
type HeldCpuPlan = CpuPlan & { reservation: Reservation };

interface Parts extends AsRead {
  instances: InstancePlan[];
  onCpu?: HeldCpuPlan | undefined;
}

async function openParts(parts: Parts, host: VersionHost): Promise<Loaded> {
  const { owner, description, files } = parts;
  // It may have waited for others while the server was told to end.
  host.signal.throwIfAborted();
  const pool = makePool(parts, host);
  const abort = () => void pool.destroy();
  host.signal.addEventListener('abort', abort, { once: true });
  // The threads open the model while this one reads the tokenizer.
  const startMs = host.nowMs();
  const opening = pool.open();
  opening.catch(() => undefined);
  try {
    const isText = description.config.task !== 'tensors';
    const tokenizer = isText ? TextTokenizer.load([files.versionFolder, files.folder]) : undefined;
    const info = await opening;
    const openMs = host.nowMs() - startMs;
    const text = tokenizer && info.text && { tokenizer, head: info.text };
    if (text && !text.head.packed) host.log.debug({ owner, why: text.head.whyPadded }, 'texts are padded');
    const warming = new AbortController();
    const sound = await proveSound({ ...parts, pool, info, text }, { host, signal: warming.signal });
    const { onCpu } = parts;
    const inForce =
      onCpu && (await layoutInForce({ ...parts, ...onCpu, onCpu, pool, info, text, openMs }, host));
    // Once more: it may have waited for room, and then have read what was just being written.
    await refuseStale(parts);
    const maxBatchItems = description.config.maxBatchItems ?? host.defaults.maxBatchItems;
    const scheduler = makeScheduler(pool, { ...parts, maxBatchItems, packed: info.text?.packed }, host);
    void sound.warmRest(scheduler).then(({ failure, ...how }) => {
      if (failure !== '') host.log.warn({ owner, failure, ...how }, 'warming up failed');
      else host.log.debug({ owner, ...how }, 'warmed up');
    });
    pool.onChange(host.onInstance);
    const { selfCheck } = sound;
    const origins = inForce ? withLayout(description.origins, inForce) : description.origins;
    return { ...description, origins, owner, info, text, pool, scheduler, maxBatchItems, selfCheck, warming };
  } catch (error) {
    await pool.destroy();
    host.signal.throwIfAborted();
    throw error;
  } finally {
    host.signal.removeEventListener('abort', abort);
  }
}

/**
 * Adds the instance for lone requests that was measured to be of use before, if its memory is free: others must not go for
 * what only makes something faster that works without it.
 */
function affordLone(
  onCpu: HeldCpuPlan,
  { resident, budget }: { resident: Resident; budget: MemoryBudget },
): Pick<Parts, 'instances' | 'onCpu'> {
  const { plan, reservation, bytesOf, instancesOf } = onCpu;
  const moreBytes = bytesOf(plan.layout) - reservation.predictedBytes;
  const room = moreBytes > 0 ? budget.reserveIfFree(resident, moreBytes) : undefined;
  const isAffordable = moreBytes <= 0 || room !== undefined;
  room?.release();
  const layout = isAffordable ? plan.layout : withoutLone(plan.layout);
  reservation.resize(bytesOf(layout));
  return { instances: instancesOf(layout), onCpu: { ...onCpu, plan: { ...plan, layout } } };
}

/** Tunes what is open to that, and says what came of it. */
async function layoutInForce(untuned: Untuned, host: VersionHost): Promise<LayoutPlan> {
  const { owner } = untuned;
  const { layout, sources, evidence } = await tuneVersion(untuned, host);
  if (evidence !== '') {
    const from = sources.instances === 'measured' ? 'measured' : `from the ${sources.instances}`;
    host.log.info({ owner }, `layout: ${layoutText(layout)}; ${from}: ${evidence}`);
  }
  return { layout, sources, evidence };
}

function makePool({ owner, description, files, instances }: Parts, host: VersionHost): Pool {
  const { defaults, observe, childEnv } = host;
  return new Pool({
    owner,
    session: sessionSettings(description, files, defaults),
    instances,
    isolation: description.config.isolation,
    env: childEnv,
    watchdogMs: defaults.watchdogMs,
    maxRespawns: defaults.maxRespawns,
    onCrash: ({ why, respawnInMs }) => observe(files)?.crashed(why, respawnInMs),
  });
}

function makeScheduler(
  pool: Pool,
  {
    owner,
    description: { config },
    files,
    maxBatchItems,
    packed,
  }: Parts & { maxBatchItems: number; packed: boolean | undefined },
  host: VersionHost,
): Scheduler {
  const { defaults, observe } = host;
  return new Scheduler(pool, {
    owner,
    batch: {
      maxItems: maxBatchItems,
      maxTokens: defaults.maxBatchTokens,
    },
    overheadTokens: defaults.batchOverheadTokens,
    packed,
    admission: defaults.admission,
    queue: { maxItems: config.maxQueueItems ?? defaults.maxQueueItems, maxTokens: defaults.maxQueueTokens },
    queueDelayUs: config.queueDelayUs,
    preferredSizes: config.preferredBatchSizes,
    clock: systemClock,
    observer: observe(files),
  });
}
