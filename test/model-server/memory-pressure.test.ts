import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { freemem, tmpdir, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { MemoryBudget } from '../../model-server/models/memory/budget.ts';
import { PressureWatch } from '../../model-server/models/memory/pressure.ts';
import { readMemory } from '../../model-server/models/memory/read-memory.ts';
import { FakeResident } from './memory-resident.ts';

const roots: string[] = [];
afterEach(() => {
  for (const root of roots.splice(0)) rmSync(root, { recursive: true });
});

function tree(files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), 'memory-'));
  roots.push(root);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return root;
}

const meminfo = 'MemTotal:           1000 kB\nMemFree:             100 kB\nMemAvailable:        600 kB\n';
const KIB = 1024;

describe('reading memory', () => {
  it('on a machine without control groups is what the kernel calls available', () => {
    expect(readMemory(tree({ 'proc/meminfo': meminfo }))).toEqual({
      totalBytes: 1000 * KIB,
      availableBytes: 600 * KIB,
    });
  });

  it('takes the tightest group of version 2, with file cache as free, half of it where it is active', () => {
    const group = 'sys/fs/cgroup/pod/box';
    const root = tree({
      'proc/meminfo': meminfo,
      'proc/self/cgroup': '0::/pod/box\n',
      [`${group}/memory.max`]: '409600\n',
      [`${group}/memory.current`]: '307200\n',
      [`${group}/memory.stat`]: 'anon 100\nfile 102400\ninactive_file 51200\nactive_file 51200\n',
      'sys/fs/cgroup/pod/memory.max': 'max\n',
      'sys/fs/cgroup/pod/memory.current': '999999\n',
    });
    expect(readMemory(root)).toEqual({ totalBytes: 400 * KIB, availableBytes: 175 * KIB });
  });

  it('sees a limit of a group above, too', () => {
    const root = tree({
      'proc/meminfo': meminfo,
      'proc/self/cgroup': '0::/pod/box\n',
      'sys/fs/cgroup/pod/box/memory.max': '409600',
      'sys/fs/cgroup/pod/box/memory.current': '102400',
      'sys/fs/cgroup/pod/memory.max': '512000',
      'sys/fs/cgroup/pod/memory.current': '501760',
    });
    expect(readMemory(root)).toEqual({ totalBytes: 400 * KIB, availableBytes: 10 * KIB });
  });

  it('reads groups of version 1, whose path is not there inside a container', () => {
    const root = tree({
      'proc/meminfo': meminfo,
      'proc/self/cgroup': '5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/\n',
      'sys/fs/cgroup/memory/memory.limit_in_bytes': '307200\n',
      'sys/fs/cgroup/memory/memory.usage_in_bytes': '204800\n',
      'sys/fs/cgroup/memory/memory.stat': 'inactive_file 1\ntotal_inactive_file 102400\n',
    });
    expect(readMemory(root)).toEqual({ totalBytes: 300 * KIB, availableBytes: 200 * KIB });
  });

  it('a group of version 1 without a limit does not count, and one over its limit leaves nothing', () => {
    const files = { 'proc/meminfo': meminfo, 'proc/self/cgroup': '4:memory:/\n' };
    const v1 = 'sys/fs/cgroup/memory/memory';
    const unlimited = { [`${v1}.limit_in_bytes`]: '9223372036854771712', [`${v1}.usage_in_bytes`]: '5' };
    expect(readMemory(tree({ ...files, ...unlimited })).availableBytes).toBe(600 * KIB);
    const over = { [`${v1}.limit_in_bytes`]: '1000', [`${v1}.usage_in_bytes`]: '1001' };
    expect(readMemory(tree({ ...files, ...over })).availableBytes).toBe(0);
  });

  it('elsewhere asks the system', () => {
    const { totalBytes, availableBytes } = readMemory(tree({}));
    expect(totalBytes).toBe(totalmem());
    expect(availableBytes).toBeGreaterThan(0);
    expect(Math.abs(availableBytes - freemem())).toBeLessThan(totalmem() / 2);
  });

  it('takes all for free on macOS, which calls its file cache used', () => {
    const figures = { totalmem: () => 1000, freemem: () => 10 };
    const on = (name: NodeJS.Platform) => readMemory(tree({}), { platform: () => name, ...figures });
    expect(on('darwin')).toEqual({ totalBytes: 1000, availableBytes: 1000 });
    expect(on('win32')).toEqual({ totalBytes: 1000, availableBytes: 10 });
  });
});

const MB = 1e6;

/** A machine of 200 MB on which strangers take some, with a timer that the test drives. */
function setUp({ floorMb = 50, limitMb = 1000 } = {}) {
  const clock = { nowMs: 0 };
  const budget = (device: string) =>
    new MemoryBudget({ device, limitBytes: limitMb * MB, baseBytes: 0, nowMs: () => clock.nowMs });
  const cpu = budget('cpu');
  const gpu = budget('gpu:0');
  const machine = { strangersMb: 0, grownMb: 0 };
  const timers: { delayMs: number; task: () => void }[] = [];
  const log = { info: vi.fn(), warn: vi.fn() };
  const read = vi.fn(() => ({
    totalBytes: 200 * MB,
    availableBytes: 200 * MB - cpu.usedBytes - machine.strangersMb * MB,
  }));
  const watch = new PressureWatch({
    read,
    residentOverBytes: () => cpu.usedBytes + (machine.grownMb - limitMb) * MB,
    budgets: [cpu, gpu],
    floorBytes: floorMb * MB,
    intervalMs: 5_000,
    after(delayMs, task) {
      const timer = { delayMs, task };
      timers.push(timer);
      return () => void timers.splice(timers.indexOf(timer), 1);
    },
    log,
  });
  const add = async (
    name: string,
    mb: number,
    options: ConstructorParameters<typeof FakeResident>[1] & { on?: MemoryBudget } = {},
  ) => {
    const { on = cpu, ...rest } = options;
    const resident = new FakeResident(name, { lastUsedMs: clock.nowMs, ...rest });
    (await on.reserve(resident, mb * MB)).settle(mb * MB);
    return resident;
  };
  const warnings = () => log.warn.mock.calls.map(([message]) => message as string);
  return { clock, cpu, gpu, machine, timers, log, read, watch, add, warnings };
}

describe('the watch over memory', () => {
  it('evicts nothing while the floor is free', async () => {
    const { watch, add, log } = setUp();
    const idle = await add('idle', 150);
    await watch.check();
    expect(idle.evictedWhy).toBeUndefined();
    expect(log.warn).not.toHaveBeenCalled();
  });

  it('evicts the largest and idlest until the floor is free again, and tells the figures', async () => {
    const { clock, machine, watch, add, warnings, cpu } = setUp();
    await add('busy', 20, { leases: 1 });
    const large = await add('large', 60);
    const small = await add('small', 20);
    clock.nowMs = 1_000;
    machine.strangersMb = 80;
    await watch.check();
    expect(large.evictedWhy).toBe('free memory was 20 MB, below the floor of 50 MB');
    expect(small.evictedWhy).toBeUndefined();
    expect(cpu.usedBytes).toBe(40 * MB);
    expect(warnings()).toEqual([
      'Emergency clean-up: free memory 20 MB -> 80 MB, floor 50 MB; unloaded large.',
    ]);
  });

  it('goes on in rounds when less came free than the ledger says', async () => {
    const { machine, read, watch, add, warnings } = setUp();
    await add('a', 30);
    await add('b', 30);
    machine.strangersMb = 110;
    // Half of what the first gives back is taken by others at once.
    read.mockImplementationOnce(() => ({ totalBytes: 200 * MB, availableBytes: 30 * MB }));
    read.mockImplementationOnce(() => ({ totalBytes: 200 * MB, availableBytes: 45 * MB }));
    await watch.check();
    expect(warnings()).toEqual([
      'Emergency clean-up: free memory 30 MB -> 90 MB, floor 50 MB; unloaded a, b.',
    ]);
  });

  it('says once when nothing is left to unload, and again when it happens anew', async () => {
    const { machine, watch, add, warnings } = setUp();
    await add('busy', 20, { leases: 1 });
    machine.strangersMb = 170;
    await watch.check();
    await watch.check();
    const told =
      'Memory is short and nothing idle is left to unload: free memory 10 MB -> 10 MB, floor 50 MB.';
    expect(warnings()).toEqual([told]);
    machine.strangersMb = 0;
    await watch.check();
    machine.strangersMb = 170;
    await watch.check();
    expect(warnings()).toEqual([told, told]);
  });

  it('leaves a GPU alone when main memory is short', async () => {
    const { machine, watch, add, gpu } = setUp();
    const onGpu = await add('on the GPU', 50, { on: gpu });
    machine.strangersMb = 190;
    await watch.check();
    expect(onGpu.evictedWhy).toBeUndefined();
  });

  it('keeps a budget to its limit when models turned out larger', async () => {
    const { clock, cpu, watch, add, warnings } = setUp({ limitMb: 100 });
    await add('old', 30);
    clock.nowMs = 10;
    const grown = new FakeResident('grown', { lastUsedMs: 10, leases: 1 });
    (await cpu.reserve(grown, 60 * MB)).settle(80 * MB);
    clock.nowMs = 60_000;
    await watch.check();
    expect(cpu.usedBytes).toBe(80 * MB);
    expect(warnings()).toEqual(['cpu is 10 MB over its budget of 100 MB: unloaded old.']);
  });

  it('keeps resident memory to the budget, but does not unload what is wanted again and again', async () => {
    const { clock, cpu, machine, watch, add, warnings } = setUp({ limitMb: 100 });
    // Whatever is unloaded, this does not come back.
    machine.grownMb = 110;
    const wanted = await add('wanted', 20);
    const rare = await add('rare', 20);
    for (let asked = 0; asked < 10; asked++) {
      clock.nowMs += 30_000;
      wanted.lastUsedMs = clock.nowMs;
      await watch.check();
    }
    expect(rare.evictedWhy).toBe('cpu is 50 MB over its budget of 100 MB');
    expect(wanted.evictedWhy).toBeUndefined();
    expect(cpu.usedBytes).toBe(20 * MB);
    const told = 'cpu is 50 MB over its budget of 100 MB';
    expect(warnings()).toEqual([
      `${told}, and no model has been idle for 60 s; raise the budget if this stays.`,
      `${told}: unloaded rare.`,
    ]);
  });

  it('unloads at once what has just been used when the machine runs short', async () => {
    const { machine, watch, add } = setUp();
    const fresh = await add('fresh', 20);
    machine.strangersMb = 150;
    await watch.check();
    expect(fresh.evictedWhy).toBe('free memory was 30 MB, below the floor of 50 MB');
  });

  it('looks at every interval for what has outlived its keep-alive, one look at a time, until closed', async () => {
    const { clock, timers, watch, add, log } = setUp();
    const idle = await add('idle', 10, { keepAliveMs: 5_000, gated: true });
    watch.start();
    expect(timers.map(({ delayMs }) => delayMs)).toEqual([5_000]);
    clock.nowMs = 5_000;
    timers.shift()!.task();
    expect(idle.evictedWhy).toBe('it was idle for its keep-alive of 5000 ms');
    expect(timers).toEqual([]);
    expect(watch.check()).toBe(watch.check());
    idle.finishEviction();
    await vi.waitFor(() => expect(timers).toHaveLength(1));
    expect(log.info).toHaveBeenCalledWith('Idle for longer than their keep-alive: idle.');
    await watch.close();
    expect(timers).toEqual([]);
  });

  it('a look that fails is told and does not end the watch', async () => {
    const { timers, read, watch, warnings } = setUp();
    read.mockImplementationOnce(() => {
      throw new Error('no /proc');
    });
    watch.start();
    timers.shift()!.task();
    await vi.waitFor(() => expect(timers).toHaveLength(1));
    expect(warnings()).toEqual(['The look at free memory failed: Error: no /proc']);
    await watch.close();
  });

  it('a clean-up by command unloads everything idle on every device', async () => {
    const { watch, add, gpu } = setUp();
    await add('a', 10);
    await add('pinned', 10, { pinned: true });
    await add('b', 20, { on: gpu });
    expect(await watch.cleanUp('an operator asked for it')).toEqual({
      evicted: ['a', 'b'],
      freedBytes: 30 * MB,
    });
  });
});
