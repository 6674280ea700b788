import type { MessageInitShape } from '@bufbuild/protobuf';
import type { DeviceMemorySchema, ModelDetailsSchema } from '../../../proto/gen/admin_pb.js';
import type { MemoryInfoSchema, ModelInfoSchema, SelfCheckSchema } from '../../../proto/gen/serving_pb.js';
import type {
  DeviceMemory,
  MemoryReport,
  SelfCheckReport,
  VersionDetails,
  VersionReport,
} from '../../models/reports.ts';

/** One version of a model as messages tell it. */
export function modelInfo(report: VersionReport): MessageInitShape<typeof ModelInfoSchema> {
  const { name, version, state, reason, served, tasks, space, dimension, maxTokens, warnings } = report;
  const { memory, selfCheck } = report;
  return {
    name,
    version,
    state,
    reason,
    served,
    tasks,
    space,
    dimension,
    maxTokens,
    warnings,
    loadMs: Math.round(report.loadMs),
    instances: report.instances,
    ...(memory === undefined ? {} : { memory: memoryInfo(memory) }),
    ...(selfCheck === undefined ? {} : { selfCheck: selfCheckMessage(selfCheck) }),
  };
}

/** Everything about one version. */
export function modelDetails(details: VersionDetails): MessageInitShape<typeof ModelDetailsSchema> {
  const { folder, effectiveConfig, inputs, outputs } = details;
  return { info: modelInfo(details), folder, effectiveConfig, inputs, outputs };
}

/** One device's memory and who holds it. */
export function deviceMemory(memory: DeviceMemory): MessageInitShape<typeof DeviceMemorySchema> {
  return {
    device: memory.device,
    limitBytes: whole(memory.limitBytes),
    baseBytes: whole(memory.baseBytes),
    usedBytes: whole(memory.usedBytes),
    residentBytes: whole(memory.residentBytes),
    holders: memory.rows.map((row) => ({ owner: row.owner, memory: memoryInfo(row) })),
  };
}

/** A number as a 64-bit field takes it; what is not finite (nothing is known) is 0. */
export function whole(value: number): bigint {
  return Number.isFinite(value) ? BigInt(Math.round(value)) : 0n;
}

function memoryInfo(memory: MemoryReport): MessageInitShape<typeof MemoryInfoSchema> {
  return {
    device: memory.device,
    predictedBytes: whole(memory.predictedBytes),
    measuredBytes: whole(memory.measuredBytes),
    leases: memory.leases,
    idleMs: whole(memory.idleMs),
    keepAliveMs: whole(memory.keepAliveMs),
  };
}

function selfCheckMessage(check: SelfCheckReport): MessageInitShape<typeof SelfCheckSchema> {
  const { goldenTexts, goldenMinCosine, batchMinCosine, batchIdentical, warnings } = check;
  return { goldenTexts, goldenMinCosine, batchMinCosine, batchIdentical, warnings };
}
