import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, freemem, totalmem } from 'node:os';
import { cpuFlags } from '../cpu-flags.ts';
import { mallocVariables } from '../launch/memory-tuning.ts';
import { cgroupLimits } from './cgroup.ts';
import { type Check, size } from './check.ts';

/** Instruction sets that matter to int8 and fp32 models, as /proc/cpuinfo names them. */
const instructionSets = ['avx2', 'avx512f', 'avx512_vnni', 'avx_vnni', 'amx_int8', 'asimddp', 'i8mm'];
const OLDEST_NODE = [22, 18] as const;
const MIB = 1024 ** 2;

/** Processor, limits of the container, memory, Node and the allocator. */
export function machineChecks(): Check[] {
  return [cpu(), container(), memory(), node(), allocator()];
}

function cpu(): Check {
  const model = cpus()[0]?.model ?? 'unknown';
  const cores = availableParallelism();
  const flags = cpuFlags();
  const sets = instructionSets.filter((set) => flags?.has(set));
  const data = { model, cores, arch: process.arch, instruction_sets: sets };
  const found = `${model}, ${cores} core${cores === 1 ? '' : 's'}${sets.length > 0 ? `, ${sets.join(' ')}` : ''}`;
  if (process.arch === 'x64' && flags !== undefined && !flags.has('avx2')) {
    const advice =
      'without AVX2 models run several times slower; use a newer machine, or pass the CPU through to the VM';
    return { name: 'cpu', status: 'warn', found, advice, data };
  }
  return { name: 'cpu', status: 'ok', found, data };
}

function container(): Check {
  const { version, cpus: quota, memoryBytes } = cgroupLimits();
  const data = { cgroup: version, cpus: quota, memory_bytes: memoryBytes };
  const limits = [
    ...(quota === undefined ? [] : [`${quota} CPUs`]),
    ...(memoryBytes === undefined ? [] : [`${size(memoryBytes)} of memory`]),
  ];
  const found = limits.length === 0 ? 'no limits' : `${limits.join(', ')} (cgroup v${version})`;
  if (quota !== undefined && quota < availableParallelism()) {
    const advice = `start with --instances ${Math.max(1, Math.floor(quota))}: more threads than the quota are throttled`;
    return { name: 'container', status: 'warn', found, advice, data };
  }
  return { name: 'container', status: 'ok', found, data };
}

function memory(): Check {
  const limit = cgroupLimits().memoryBytes ?? Number.POSITIVE_INFINITY;
  const free = Math.min(process.availableMemory(), freeMemory(), limit);
  const total = Math.min(totalmem(), limit);
  const found = `${size(free)} free of ${size(total)}`;
  const data = { free_bytes: free, total_bytes: total };
  if (free >= 1024 * MIB) return { name: 'memory', status: 'ok', found, data };
  const advice = 'both programs together take about 700 MiB with the shipped model; give them more memory';
  return { name: 'memory', status: free < 400 * MIB ? 'fail' : 'warn', found, advice, data };
}

/** What the page cache holds counts as free on Linux; `os.freemem` leaves it out on some systems. */
function freeMemory(): number {
  try {
    const available = /^MemAvailable:\s+(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'utf8'));
    return available === null ? freemem() : Number(available[1]) * 1024;
  } catch {
    return freemem();
  }
}

function node(): Check {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const [oldestMajor, oldestMinor] = OLDEST_NODE;
  const supported = major > oldestMajor || (major === oldestMajor && minor >= oldestMinor);
  const found = `${process.version} (${process.platform} ${process.arch}), ${process.execPath}`;
  const data = { version: process.version, platform: process.platform, arch: process.arch };
  if (supported) return { name: 'node', status: 'ok', found, data };
  const advice = `Nereid needs Node ${OLDEST_NODE.join('.')} or newer; npm scripts in the checkout bring their own`;
  return { name: 'node', status: 'fail', found, advice, data };
}

function allocator(): Check {
  const name = 'allocator';
  if (process.platform !== 'linux') return { name, status: 'ok', found: `not needed on ${process.platform}` };
  const header = (process.report.getReport() as { header: { glibcVersionRuntime?: string } }).header;
  const glibc = header.glibcVersionRuntime;
  if (glibc === undefined)
    return { name, status: 'ok', found: 'not glibc; the MALLOC_* settings have no effect' };
  const foreign = Object.entries(mallocVariables.serve).filter(
    ([variable, value]) => process.env[variable] !== undefined && process.env[variable] !== value,
  );
  const data = {
    glibc,
    ...Object.fromEntries(Object.keys(mallocVariables.serve).map((key) => [key, process.env[key]])),
  };
  if (foreign.length === 0) {
    return {
      name,
      status: 'ok',
      found: `glibc ${glibc}; up, serve and rag set the MALLOC_* variables themselves`,
      data,
    };
  }
  const found = foreign.map(([variable]) => `${variable}=${process.env[variable]}`).join(' ');
  const advice = `memory of unloaded models may stay with the process; ${foreign.map(([variable, value]) => `${variable}=${value}`).join(' ')} gives it back`;
  return { name, status: 'warn', found, advice, data };
}
