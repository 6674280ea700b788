import { type AvailableDevices, type InstancePlan, planInstances } from '../../executor/devices.ts';
import type { Description } from '../describe.ts';
import type { VersionHost } from '../host.ts';
import { arenaBytes, predictBytes } from '../memory/predict.ts';

/** Where the instances of a version run, and what they will take. */
export interface DevicePlan {
  instances: InstancePlan[];
  /** By device, in the order in which the memory is to be reserved. */
  demands: { device: string; predictedBytes: number }[];
}

/**
 * Plans the instances of a version and predicts their memory, per device.
 * @throws ServingError MODEL_LOAD_FAILED when an instance group needs a device that is not there
 */
export async function planDevices(
  description: Description,
  { owner, host }: { owner: string; host: VersionHost },
): Promise<DevicePlan> {
  const { config } = description;
  const { defaults } = host;
  // Asking what there is costs a moment, and a model that says KIND_CPU has no need to know.
  const onCpu = config.instanceGroups.length > 0 && config.instanceGroups.every(({ kind }) => kind === 'cpu');
  const available: AvailableDevices = onCpu ? CPU_ONLY : await host.devices();
  const instances = planInstances(config.instanceGroups, {
    owner,
    available,
    defaultInstances: defaults.instances,
    wanted: defaults.executionProvider,
  });
  const byDevice = Map.groupBy(instances, ({ device }) => device);
  const demands = [...byDevice].map(([device, planned]) => ({
    device,
    predictedBytes: predict(description, { device, planned, host }),
  }));
  demands.sort((a, b) => (a.device < b.device ? -1 : 1));
  return { instances, demands };
}

const CPU_ONLY: AvailableDevices = { providers: ['cpu'], missing: [], gpus: 0 };

function predict(
  { config, onnx, dimension }: Description,
  { device, planned, host }: { device: string; planned: readonly InstancePlan[]; host: VersionHost },
): number {
  const { maxBatchTokens } = host.defaults;
  const { hidden } = config;
  const needsArena = config.task !== 'tensors' && config.memArena;
  const largest = { maxBatchTokens, maxTokens: config.maxTokens, heads: hidden?.heads };
  return predictBytes({
    weightBytes: onnx.weightBytes,
    weightBytesByType: onnx.weightBytesByType,
    fileBytes: onnx.fileBytes,
    instances: planned.length,
    // Without hub files a classifier's width is not known; most of them are as wide as the small BERTs.
    arena: needsArena ? arenaBytes({ ...largest, width: hidden?.size ?? (dimension || 384) }) : 0,
    isolation: planned[0]?.isolation ?? config.isolation,
    device,
  });
}
