import { readFileSync } from 'node:fs';
import os from 'node:os';
import { dirname, join } from 'node:path';

/** Memory as this process may use it: the machine's, or its control group's where that leaves less. */
export interface MemoryReading {
  totalBytes: number;
  availableBytes: number;
}

/** What an operating system says of itself. */
export type System = Pick<typeof os, 'platform' | 'totalmem' | 'freemem'>;

/** Version 1 tells "no limit" as a number near 2^63. */
const UNLIMITED_BYTES = 2 ** 60;

/**
 * Reads what is left on Linux: the least of the machine's MemAvailable and of limit minus usage of this process's
 * control group and all above it (versions 1 and 2). File cache counts as free, half of it where it is in use, since the
 * kernel drops it when memory is wanted. Elsewhere it is what the system calls free; macOS calls the file
 * cache used, which is most of the memory, so all counts as free there.
 *
 * @param root folder that stands for `/`
 */
export function readMemory(root = '/', system: System = os): MemoryReading {
  const machine = readMachine(root, system);
  const groups = readGroups(root);
  return {
    totalBytes: Math.min(machine.totalBytes, ...groups.map((group) => group.totalBytes)),
    availableBytes: Math.max(
      0,
      Math.min(machine.availableBytes, ...groups.map((group) => group.availableBytes)),
    ),
  };
}

function readMachine(root: string, { platform, totalmem, freemem }: System): MemoryReading {
  const text = read(join(root, 'proc/meminfo')) ?? '';
  const field = (name: string) => {
    const kib = Number(text.match(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm'))?.[1]);
    return Number.isFinite(kib) ? kib * 1024 : undefined;
  };
  return {
    totalBytes: field('MemTotal') ?? totalmem(),
    availableBytes: field('MemAvailable') ?? (platform() === 'darwin' ? totalmem() : freemem()),
  };
}

/** What each limited control group above this process leaves. */
function readGroups(root: string): MemoryReading[] {
  const lines = read(join(root, 'proc/self/cgroup'))?.split('\n') ?? [];
  const mount = join(root, 'sys/fs/cgroup');
  const unified = lines.find((line) => line.startsWith('0::'))?.slice('0::'.length);
  const v1 = lines.find((line) => line.split(':')[1]?.split(',').includes('memory'))?.split(':')[2];
  return [
    ...upwards(mount, unified ?? '/').map((folder) =>
      readGroup(folder, { limit: 'memory.max', usage: 'memory.current', prefix: '' }),
    ),
    ...upwards(join(mount, 'memory'), v1 ?? '/').map((folder) =>
      readGroup(folder, {
        limit: 'memory.limit_in_bytes',
        usage: 'memory.usage_in_bytes',
        prefix: 'total_',
      }),
    ),
  ].filter((group) => group !== undefined);
}

function readGroup(
  folder: string,
  names: { limit: string; usage: string; prefix: string },
): MemoryReading | undefined {
  const limitBytes = Number(read(join(folder, names.limit))?.trim() || Number.NaN);
  const usedBytes = Number(read(join(folder, names.usage))?.trim() || Number.NaN);
  if (!(limitBytes < UNLIMITED_BYTES) || !Number.isFinite(usedBytes)) return undefined;
  const stat = read(join(folder, 'memory.stat')) ?? '';
  const field = (name: string) =>
    Number(stat.match(new RegExp(`^${names.prefix}${name} (\\d+)$`, 'm'))?.[1] ?? 0);
  // Files that were read twice (hashed, then loaded) are active and can go all the same; programs and libraries can't.
  const cacheBytes = field('inactive_file') + field('active_file') / 2;
  return {
    totalBytes: limitBytes,
    availableBytes: limitBytes - Math.max(0, usedBytes - cacheBytes),
  };
}

/** The group's folder and all above it up to the mount; inside a container the path may not exist, and the mount is it. */
function upwards(mount: string, group: string): string[] {
  const folders = [];
  for (let folder = join(mount, group); folder.length > mount.length; folder = dirname(folder))
    folders.push(folder);
  return [...folders, mount];
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
