import type {
  CompareResponse,
  DeviceMemory,
  ModelDetails,
  ShowModelResponse,
} from '../../proto/gen/admin_pb.js';
import type {
  AliasInfo,
  InstanceInfo,
  MemoryInfo,
  ModelInfo,
  SelfCheck,
} from '../../proto/gen/serving_pb.js';
import { size } from '../doctor/check.ts';
import { table } from '../table.ts';

const HEADINGS = [
  'NAME',
  'VERSION',
  'STATE',
  'TASKS',
  'DIM',
  'TOKENS',
  'INSTANCES',
  'MEMORY',
  'LEASES',
  'IDLE',
  'SPACE',
];

/** Versions in a table; below it why some are not ready, and what is wrong with others. */
export function modelTable(models: readonly ModelInfo[]): string {
  const rows = models.map((model) => [
    model.name,
    String(model.version),
    model.served ? model.state : `${model.state} (not served)`,
    model.tasks.join(',') || '-',
    model.dimension === 0 ? '-' : String(model.dimension),
    model.maxTokens === 0 ? '-' : String(model.maxTokens),
    instancesText(model.instances),
    memoryText(model.memory),
    String(model.memory?.leases ?? 0),
    model.memory === undefined ? '-' : span(model.memory.idleMs),
    model.space || '-',
  ]);
  const remarks = models.flatMap(remarksOf);
  return [table(HEADINGS, rows), ...(remarks.length === 0 ? [] : ['', ...remarks])].join('\n');
}

/** One paragraph with a line for each alias: what requests that name it, or nothing, get; none without aliases. */
export function aliasLines(aliases: readonly AliasInfo[]): string[] {
  const lines = aliases.map(({ model, alias, isDefault, percents }) => {
    const shares = Object.entries(percents).map(
      ([version, share]) => `${version}: ${Number(share.toFixed(2))} %`,
    );
    return `${model} ${alias}${isDefault ? ' (default)' : ''} -> ${shares.join(', ')}`;
  });
  return lines.length === 0 ? [] : [lines.join('\n')];
}

/** Everything about versions, one after the other. */
export function detailsText({ versions }: ShowModelResponse): string {
  return versions.map(oneInDetail).join('\n\n');
}

/** What each device holds, predicted beside measured. */
export function memoryTable(devices: readonly DeviceMemory[]): string {
  return devices.map(deviceText).join('\n\n');
}

/** What a comparison says, the verdict first. */
export function comparisonText(reply: CompareResponse): string {
  const { a, b, verdict, why, texts, minCosine, meanCosine, neighbourOverlap } = reply;
  const figures =
    texts === 0
      ? []
      : [
          `${texts} texts: cosine mean ${meanCosine.toFixed(4)}, least ${minCosine.toFixed(4)}; neighbours in common ${percent(neighbourOverlap)}`,
        ];
  return [`${a} and ${b}: ${verdict}`, why, ...figures].join('\n');
}

function oneInDetail({ info, folder, effectiveConfig, inputs, outputs }: ModelDetails): string {
  const config = effectiveConfig.map(({ field, value, source }) => [field, value, source]);
  const { name = '', version = 0, selfCheck } = info ?? {};
  return [
    `${name} version ${version}   ${folder}`,
    ...(info === undefined ? [] : [modelTable([info])]),
    '',
    table(['SETTING', 'VALUE', 'FROM'], config),
    '',
    ...listed('Inputs', inputs),
    ...listed('Outputs', outputs),
    `Self-check: ${selfCheck === undefined ? 'not done yet' : selfCheckText(selfCheck)}`,
  ].join('\n');
}

function listed(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : [`${title}:`, ...lines.map((line) => `  ${line}`)];
}

function selfCheckText({ goldenTexts, goldenMinCosine, batchMinCosine, batchIdentical }: SelfCheck): string {
  const golden =
    goldenTexts === 0
      ? 'no golden.json'
      : `least cosine with ${goldenTexts} golden texts ${goldenMinCosine.toFixed(4)}`;
  const batch = batchIdentical
    ? 'alone and batched are equal to the bit'
    : `least cosine of alone with batched ${batchMinCosine.toFixed(4)}`;
  return `${golden}; ${batch}`;
}

function deviceText({
  device,
  limitBytes,
  baseBytes,
  usedBytes,
  residentBytes,
  holders,
}: DeviceMemory): string {
  const resident = residentBytes === 0n ? '' : `, resident now ${size(Number(residentBytes))}`;
  const head = `${device}: ${size(Number(usedBytes))} of ${size(Number(limitBytes))} used, ${size(Number(baseBytes))} without any model${resident}`;
  const rows = holders.map(({ owner, memory }) => [
    owner,
    bytesText(memory?.predictedBytes),
    bytesText(memory?.measuredBytes),
    String(memory?.leases ?? 0),
    memory === undefined ? '-' : span(memory.idleMs),
    memory === undefined || memory.keepAliveMs < 0n ? 'for ever' : span(memory.keepAliveMs),
  ]);
  const headings = ['HELD BY', 'PREDICTED', 'MEASURED', 'LEASES', 'IDLE', 'KEPT'];
  return rows.length === 0 ? head : `${head}\n${table(headings, rows)}`;
}

function remarksOf({ name, version, reason, warnings, selfCheck, instances }: ModelInfo): string[] {
  const notes = instances.map(({ note }) => note).filter(Boolean);
  const remarks = [reason, ...warnings, ...(selfCheck?.warnings ?? []), ...notes].filter(Boolean);
  return [...new Set(remarks)].map((remark) => `${name} ${version}: ${remark}`);
}

/** Equal instances are told once, with their number. */
function instancesText(instances: readonly InstanceInfo[]): string {
  const counts = new Map<string, number>();
  for (const { device, executionProvider, threads, state, isolation } of instances) {
    const where = device === executionProvider ? device : `${device}/${executionProvider}`;
    const own = isolation === 'process' ? ' process' : '';
    const text = `${where}x${threads}${own}:${state}`;
    counts.set(text, (counts.get(text) ?? 0) + 1);
  }
  return [...counts].map(([text, count]) => (count === 1 ? text : `${count} ${text}`)).join(', ') || '-';
}

function memoryText(memory: MemoryInfo | undefined): string {
  if (memory === undefined) return '-';
  return `${bytesText(memory.measuredBytes)}/${bytesText(memory.predictedBytes)}`;
}

/** 0 stands for what is not known. */
function bytesText(bytes = 0n): string {
  return bytes === 0n ? '-' : size(Number(bytes));
}

function span(ms: bigint): string {
  const seconds = Number(ms) / 1000;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}
