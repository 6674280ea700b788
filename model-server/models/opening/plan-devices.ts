import { type AvailableDevices, type InstancePlan, planInstances } from '../../executor/devices.ts';
import type { Description } from '../describe.ts';
import type { VersionHost } from '../host.ts';
import type { Layout } from '../layout/layout.ts';
import { arenaBytes, predictBytes } from '../memory/predict.ts';
import type { CompleteVersion } from '../repository/version-files.ts';
import { type LayoutPlan, planLayout } from './plan-layout.ts';
import { sessionSettings } from './session-settings.ts';

/** Where the instances of a version run, and what they will take. */
export interface DevicePlan {
  instances: InstancePlan[];
  /** By device, in the order in which the memory is to be reserved. */
  demands: { device: string; predictedBytes: number }[];
  /** Absent where instances run on GPUs, which are used one thread an instance. */
  onCpu: CpuPlan | undefined;
}

/** What more there is to a plan where all instances run on the CPU. */
export interface CpuPlan {
  plan: LayoutPlan;
  /** The instances of a layout. */
  instancesOf: (layout: Layout) => InstancePlan[];
  /** What a layout is predicted to take. */
  bytesOf: (layout: Layout) => number;
}

/**
 * Plans the instances of a version and predicts their memory, per device. An instance for lone requests that was found by
 * measuring is not among them: it must be affordable first.
 * @throws ServingError MODEL_LOAD_FAILED when an instance group needs a device that is not there
 */
export async function planDevices(
  description: Description,
  { owner, files, host }: { owner: string; files: CompleteVersion; host: VersionHost },
): Promise<DevicePlan> {
  const { config } = description;
  const { defaults } = host;
  // Asking what there is costs a moment, and a model that says KIND_CPU has no need to know.
  const onlyCpu =
    config.instanceGroups.length > 0 && config.instanceGroups.every(({ kind }) => kind === 'cpu');
  const available: AvailableDevices = onlyCpu ? CPU_ONLY : await host.devices();
  const instances = planInstances(config.instanceGroups, {
    owner,
    available,
    defaultInstances: defaults.instances,
    wanted: defaults.executionProvider,
  });
  const [first] = instances;
  if (first !== undefined && instances.every(({ device }) => device === 'cpu')) {
    const bytesOf = ({ instances: narrow, lone }: Layout) =>
      predict(description, { first, count: narrow + (lone === undefined ? 0 : 1), host });
    const plan = await planLayout(description, { files, host, instances: instances.length, bytesOf });
    const { intraOpThreads } = sessionSettings(description, files, defaults);
    const instancesOf = (layout: Layout) => cpuInstancesOf({ like: first, intraOpThreads }, layout);
    const begun = description.config.loneThreads === undefined ? withoutLone(plan.layout) : plan.layout;
    return {
      instances: instancesOf(begun),
      demands: [{ device: 'cpu', predictedBytes: bytesOf(begun) }],
      onCpu: { plan, instancesOf, bytesOf },
    };
  }
  const byDevice = Map.groupBy(instances, ({ device }) => device);
  const demands = [...byDevice].map(([device, [planned, ...others]]) => ({
    device,
    predictedBytes: predict(description, { first: planned!, count: others.length + 1, host }),
  }));
  demands.sort((a, b) => (a.device < b.device ? -1 : 1));
  return { instances, demands, onCpu: undefined };
}

const CPU_ONLY: AvailableDevices = { providers: ['cpu'], missing: [], gpus: 0 };

/** The part of a layout that shares the load. */
export function withoutLone({ instances, threads }: Layout): Layout {
  return { instances, threads };
}

function cpuInstancesOf(
  { like, intraOpThreads }: { like: InstancePlan; intraOpThreads: number },
  { instances, threads, lone, loneTokens }: Layout,
): InstancePlan[] {
  // Who names threads gets them as the runtime has them by itself, with threads that wait awake for the next run.
  const own = threads === intraOpThreads ? {} : { threads };
  const narrow = Array.from({ length: instances }, () => ({ ...like, ...own }));
  return lone === undefined ? narrow : [...narrow, { ...like, threads: lone, isLone: true, loneTokens }];
}

function predict(
  { config, onnx, dimension }: Description,
  { first, count, host }: { first: InstancePlan; count: number; host: VersionHost },
): number {
  const { maxBatchTokens } = host.defaults;
  const { hidden } = config;
  const needsArena = config.task !== 'tensors' && config.memArena;
  const largest = { maxBatchTokens, maxTokens: config.maxTokens, heads: hidden?.heads };
  return predictBytes({
    weightBytes: onnx.weightBytes,
    weightBytesByType: onnx.weightBytesByType,
    fileBytes: onnx.fileBytes,
    instances: count,
    // Without hub files a classifier's width is not known; most of them are as wide as the small BERTs.
    arena: needsArena ? arenaBytes({ ...largest, width: hidden?.size ?? (dimension || 384) }) : 0,
    isolation: first.isolation ?? config.isolation,
    device: first.device,
  });
}
