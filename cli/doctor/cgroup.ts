import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** What a container may use; undefined where there is no limit. */
export interface CgroupLimits {
  version: 1 | 2 | undefined;
  cpus: number | undefined;
  memoryBytes: number | undefined;
}

/** Linux reports "no limit" of version 1 as a number near 2^63. */
const UNLIMITED_BYTES = 2 ** 60;

/** Reads the limits of this process's control group and of all groups above it. `root` is `/` but in tests. */
export function cgroupLimits(root = '/'): CgroupLimits {
  const groups = read(join(root, 'proc/self/cgroup'))?.split('\n') ?? [];
  const mount = join(root, 'sys/fs/cgroup');
  const unified = groups.find((line) => line.startsWith('0::'))?.slice('0::'.length);
  if (read(join(mount, 'cgroup.controllers')) !== undefined) {
    const folders = upwards(mount, unified ?? '/');
    return {
      version: 2,
      cpus: least(folders.map((folder) => cpuMax(read(join(folder, 'cpu.max'))))),
      memoryBytes: least(folders.map((folder) => bytes(read(join(folder, 'memory.max'))))),
    };
  }
  const path = (controller: string) =>
    groups.find((line) => line.split(':')[1]?.split(',').includes(controller))?.split(':')[2] ?? '/';
  const cpu = upwards(join(mount, 'cpu'), path('cpu'));
  const memory = upwards(join(mount, 'memory'), path('memory'));
  const limits = {
    cpus: least(
      cpu.map((folder) =>
        quota(read(join(folder, 'cpu.cfs_quota_us')), read(join(folder, 'cpu.cfs_period_us'))),
      ),
    ),
    memoryBytes: least(memory.map((folder) => bytes(read(join(folder, 'memory.limit_in_bytes'))))),
  };
  const mounted = read(join(mount, 'memory/memory.limit_in_bytes')) !== undefined;
  return { version: mounted ? 1 : undefined, ...limits };
}

/** The group's folder and all above it up to the mount; inside a container the path may not exist, and the mount is it. */
function upwards(mount: string, group: string): string[] {
  const folders = [];
  for (let folder = join(mount, group); folder.length > mount.length; folder = dirname(folder))
    folders.push(folder);
  return [...folders, mount];
}

function cpuMax(text: string | undefined): number | undefined {
  const [allowed, period] = text?.trim().split(' ') ?? [];
  return quota(allowed, period);
}

function quota(allowed: string | undefined, period: string | undefined): number | undefined {
  const cpus = Number(allowed) / Number(period);
  return Number.isFinite(cpus) && cpus > 0 ? cpus : undefined;
}

function bytes(text: string | undefined): number | undefined {
  const value = Number(text?.trim());
  return Number.isFinite(value) && value > 0 && value < UNLIMITED_BYTES ? value : undefined;
}

function least(values: readonly (number | undefined)[]): number | undefined {
  const given = values.filter((value) => value !== undefined);
  return given.length === 0 ? undefined : Math.min(...given);
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
