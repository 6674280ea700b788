import { describe, expect, it } from 'vitest';
import { LoadGate } from '../../model-server/models/memory/measure.ts';

/** No least that is believed. */
const none = () => 0;

function setUp(runtimeBytes = 0) {
  const memory = { bytes: 1_000 };
  const gate = new LoadGate({ residentBytes: () => memory.bytes, runtimeBytes });
  return { memory, gate };
}

describe('measured loads', () => {
  it('run one at a time, so that what grows belongs to one', async () => {
    const { memory, gate } = setUp();
    const first = Promise.withResolvers<void>();
    const log: string[] = [];
    const load = (name: string, bytes: number, until?: Promise<void>) => async () => {
      log.push(`${name} begins`);
      await until;
      memory.bytes += bytes;
      log.push(`${name} ends`);
      return name;
    };
    const all = [gate.measured(load('a', 70, first.promise), none), gate.measured(load('b', 30), none)];
    await new Promise((resolve) => setImmediate(resolve));
    expect(log).toEqual(['a begins']);
    first.resolve();
    expect(await Promise.all(all)).toEqual([
      { value: 'a', grownBytes: 70 },
      { value: 'b', grownBytes: 30 },
    ]);
    expect(log).toEqual(['a begins', 'a ends', 'b begins', 'b ends']);
  });

  it('never believes less than the floor, nor less than nothing', async () => {
    const { memory, gate } = setUp();
    const shrink = async () => {
      memory.bytes -= 100;
    };
    expect((await gate.measured(shrink, () => 25)).grownBytes).toBe(25);
    expect((await gate.measured(shrink, none)).grownBytes).toBe(0);
  });

  it('takes the runtime off the first load that works', async () => {
    const { memory, gate } = setUp(48);
    const grow = async () => {
      memory.bytes += 60;
    };
    const fail = async () => {
      throw new Error('torn file');
    };
    await expect(gate.measured(fail, none)).rejects.toThrow('torn file');
    expect((await gate.measured(grow, none)).grownBytes).toBe(12);
    expect((await gate.measured(grow, none)).grownBytes).toBe(60);
  });

  it('a load that fails late may have brought the runtime already', async () => {
    const { memory, gate } = setUp(48);
    const failLate = async () => {
      memory.bytes += 50;
      throw new Error('no such output');
    };
    const grow = async () => {
      memory.bytes += 20;
    };
    await expect(gate.measured(failLate, none)).rejects.toThrow('no such output');
    expect((await gate.measured(grow, none)).grownBytes).toBe(20);
  });

  it('takes the word of processes of its own, and keeps the runtime for the first thread', async () => {
    const { memory, gate } = setUp(48);
    const load = async () => {
      memory.bytes += 60;
      return { processBytes: 500 };
    };
    const own = await gate.measured(load, none, ({ processBytes }) => processBytes);
    expect(own.grownBytes).toBe(500);
    expect((await gate.measured(load, none, () => undefined)).grownBytes).toBe(12);
  });
});
