import type { InstancePlan } from '../../executor/devices.ts';
import { Pool } from '../../executor/pool.ts';
import { systemClock } from '../../scheduler/clock.ts';
import { Scheduler } from '../../scheduler/scheduler.ts';
import { TextTokenizer } from '../../tasks/tokenizer.ts';
import type { VersionHost } from '../host.ts';
import type { Loaded } from '../loaded.ts';
import type { Reservation } from '../memory/budget.ts';
import type { Resident } from '../memory/ledger.ts';
import { planDevices } from './plan-devices.ts';
import { proveSound } from './prove-sound.ts';
import { type AsRead, refuseStale } from './refuse-stale.ts';

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
  const devices = await planDevices(description, { owner: resident.owner, host });
  const reservations = new Map<string, Reservation>();
  // In one order for all, so that two loads can't hold what the other waits for.
  for (const { device, predictedBytes } of devices.demands) {
    const reservation = await host.budgetOf(device).reserve(resident, predictedBytes);
    opening.hold(reservation);
    reservations.set(device, reservation);
  }
  const floorBytes =
    description.onnx.weightBytes * devices.instances.filter(({ device }) => device === 'cpu').length;
  const open = () => openParts({ ...asRead, instances: devices.instances }, host);
  const { value: loaded, grownBytes } = await host.gate.measured(
    open,
    floorBytes,
    ({ pool }) => pool.residentBytes,
  );
  for (const [device, reservation] of reservations) {
    // What a GPU holds is known to its driver alone, so there the prediction counts.
    const measuredBytes = device === 'cpu' ? grownBytes : reservation.predictedBytes;
    reservation.settle(measuredBytes);
  }
  return loaded;
}

interface Parts extends AsRead {
  instances: InstancePlan[];
}

async function openParts(parts: Parts, host: VersionHost): Promise<Loaded> {
  const { owner, description, files } = parts;
  // It may have waited for others while the server was told to end.
  host.signal.throwIfAborted();
  const pool = makePool(parts, host);
  const abort = () => void pool.destroy();
  host.signal.addEventListener('abort', abort, { once: true });
  // The threads open the model while this one reads the tokenizer.
  const opening = pool.open();
  opening.catch(() => undefined);
  try {
    const isText = description.config.task !== 'tensors';
    const tokenizer = isText ? TextTokenizer.load([files.versionFolder, files.folder]) : undefined;
    const info = await opening;
    const text = tokenizer && info.text && { tokenizer, head: info.text };
    if (text && !text.head.packed) host.log.debug({ owner, why: text.head.whyPadded }, 'texts are padded');
    const warming = new AbortController();
    const sound = await proveSound({ ...parts, pool, info, text }, { host, signal: warming.signal });
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
    return { ...description, owner, info, text, pool, scheduler, maxBatchItems, selfCheck, warming };
  } catch (error) {
    await pool.destroy();
    host.signal.throwIfAborted();
    throw error;
  } finally {
    host.signal.removeEventListener('abort', abort);
  }
}

function makePool({ owner, description: { config }, files, instances }: Parts, host: VersionHost): Pool {
  const { defaults, observe, childEnv } = host;
  return new Pool({
    owner,
    session: {
      modelFile: files.modelFile,
      pooling: config.pooling,
      normalize: config.normalize,
      text: config.task !== 'tensors',
      outputName: config.outputName,
      intraOpThreads: config.intraOpThreads ?? defaults.intraOpThreads,
      interOpThreads: config.interOpThreads,
      executionMode: config.executionMode,
      memArena: config.memArena,
      graphLevel: config.graphLevel,
      packing: config.packing ?? defaults.packing,
    },
    instances,
    isolation: config.isolation,
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
