import { ServingError } from '../errors.ts';
import type { Isolation } from './channel.ts';
import type { WorkerOptions } from './protocol.ts';

/** Where one instance runs. */
export interface InstancePlan {
  /** cpu, or gpu:<index>. */
  device: string;
  provider: string;
  /** Whether it must not run on the CPU when its provider can't be started. */
  providerRequired: boolean;
  /** What there is to run on, for the message when a required provider can't be started; else empty. */
  inventory: string;
  /** Set where the provider can't do with the isolation that the model asks for. */
  isolation?: Isolation;
  /** What was wanted and what was got, when that differs; else empty. */
  note: string;
  /** Threads inside the instance; those of the pool's session when absent. */
  threads?: number;
  /** Whether it is for lone requests only: it has more threads, and a use for them only while nothing else runs. */
  isLone?: boolean;
  /** Tokens that a lone text must have to be faster there; any has enough when absent. */
  loneTokens?: number | undefined;
}

/** An instance group of a model's configuration. */
export interface InstanceGroup {
  kind: 'auto' | 'cpu' | 'gpu';
  /** Instances in all on a CPU, for each GPU on GPUs; undefined: the default. */
  count?: number | undefined;
  /** Indexes of the GPUs; empty for all of them. */
  gpus: readonly number[];
}

/** What this machine and this installation of onnxruntime-node can run on. */
export interface AvailableDevices {
  /** Execution providers whose libraries are there, in the runtime's order. */
  providers: readonly string[];
  /** Why others that the runtime knows are not among them, one sentence each. */
  missing: readonly string[];
  /** GPUs in this machine. */
  gpus: number;
}

export interface PlanOptions {
  available: AvailableDevices;
  /** Instances on the CPU where the configuration names no count. */
  defaultInstances: number;
  /** The execution provider that the operator wants; `auto` leaves it to the machine. */
  wanted: string;
  /** Model and version, for messages. */
  owner: string;
}

/** In order of preference; webgpu is none that is taken unasked, for it can be slower than the CPU. */
const GPU_PROVIDERS = ['cuda', 'coreml', 'dml', 'webgpu'];
const TAKEN_UNASKED = ['cuda', 'coreml', 'dml'];

/**
 * Where the instances of a model run, by the rules of Triton: KIND_GPU makes `count` instances on each of its GPUs,
 * KIND_CPU `count` in all, KIND_AUTO is KIND_GPU where there is one and KIND_CPU elsewhere. No group is one KIND_AUTO.
 * @throws ServingError MODEL_LOAD_FAILED when a group needs a GPU that is not there
 */
export function planInstances(groups: readonly InstanceGroup[], options: PlanOptions): InstancePlan[] {
  const all: readonly InstanceGroup[] = groups.length > 0 ? groups : [{ kind: 'auto', gpus: [] }];
  return all.flatMap((group) => planGroup(group, options));
}

/**
 * WebGPU sessions that run at the same time in two threads of one process abort it (onnxruntime 1.30; its issue 32561),
 * so each gets a process.
 */
const NEED_PROCESS = ['webgpu'];

/** Instances on the CPU. */
export function cpuInstances(count: number, note = ''): InstancePlan[] {
  return Array.from({ length: count }, () => ({
    device: 'cpu',
    provider: 'cpu',
    providerRequired: false,
    inventory: '',
    note,
  }));
}

/** What a worker is told of its place. */
export type PlaceOption = 'provider' | 'deviceId' | 'providerRequired';

/** What the worker of an instance has to know of its place. */
export function workerOptionsOf(
  plan: InstancePlan,
): Pick<WorkerOptions, PlaceOption> & Partial<Pick<WorkerOptions, 'intraOpThreads' | 'spinsBetweenRuns'>> {
  const { provider, providerRequired, device, threads } = plan;
  const deviceId = device.startsWith('gpu:') ? Number(device.slice('gpu:'.length)) : undefined;
  const place = { provider, providerRequired, deviceId };
  // Others run beside it, or will when it is done: it must not hold on to cores that it does not use.
  return threads === undefined ? place : { ...place, intraOpThreads: threads, spinsBetweenRuns: false };
}

function planGroup(group: InstanceGroup, options: PlanOptions): InstancePlan[] {
  const { available, defaultInstances, wanted } = options;
  const onCpu = (note?: string) => cpuInstances(group.count ?? defaultInstances, note);
  if (group.kind === 'cpu') return onCpu();
  const provider = gpuProvider(group, options);
  if (provider !== undefined) return onGpus(group, provider, options);
  if (group.kind === 'gpu') throw noGpu(options);
  return onCpu(
    wanted === 'auto' || wanted === 'cpu' ? '' : `wanted ${wanted}, got cpu: ${inventory(available)}`,
  );
}

function gpuProvider(group: InstanceGroup, { available, wanted }: PlanOptions): string | undefined {
  const usable = (name: string) =>
    available.providers.includes(name) && (name !== 'cuda' || available.gpus > 0);
  if (wanted === 'cpu') return undefined;
  if (wanted !== 'auto') return usable(wanted) ? wanted : undefined;
  return (group.kind === 'gpu' ? GPU_PROVIDERS : TAKEN_UNASKED).find(usable);
}

function onGpus(group: InstanceGroup, provider: string, options: PlanOptions): InstancePlan[] {
  // A provider that works has a device, whether or not it can be counted.
  const gpus = Math.max(1, options.available.gpus);
  const indexes = group.gpus.length > 0 ? group.gpus : Array.from({ length: gpus }, (_, index) => index);
  const absent = indexes.filter((index) => index >= gpus);
  if (absent.length > 0) {
    throw new ServingError(
      'MODEL_LOAD_FAILED',
      `${options.owner}: its instance group names gpus ${absent.join(', ')}, but this machine has ${gpus} (0 to ${gpus - 1}). Change instance_group.`,
    );
  }
  const providerRequired = group.kind === 'gpu';
  return indexes.flatMap((index) =>
    Array.from({ length: group.count ?? 1 }, () => ({
      device: `gpu:${index}`,
      provider,
      providerRequired,
      inventory: providerRequired ? inventory(options.available) : '',
      ...(NEED_PROCESS.includes(provider) ? { isolation: 'process' as const } : {}),
      note: '',
    })),
  );
}

function noGpu({ owner, available, wanted }: PlanOptions): ServingError {
  const asked = wanted === 'auto' ? '' : ` with execution provider ${wanted}`;
  return new ServingError(
    'MODEL_LOAD_FAILED',
    `${owner}: its instance group is KIND_GPU, but there is no GPU to run on${asked}: ${inventory(available)}. Install the GPU's driver and the libraries of its provider, or use KIND_AUTO or KIND_CPU.`,
  );
}

function inventory({ providers, missing, gpus }: AvailableDevices): string {
  return [`onnxruntime-node has ${providers.join(', ')}`, `GPUs found: ${gpus}`, ...missing].join('; ');
}
