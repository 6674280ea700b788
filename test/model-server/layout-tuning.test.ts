import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Layout, layoutsFor, layoutText, shortText } from '../../model-server/models/layout/layout.ts';
import { type TuneOptions, tuneLayout } from '../../model-server/models/layout/tune-layout.ts';
import type { Shape, Workbench } from '../../model-server/models/layout/workbench.ts';

const shapes = [
  { rows: 32, length: 16 },
  { rows: 4, length: 128 },
] as const;

/** How a made-up machine does with instances of some threads. */
interface Speed {
  /** Texts in a second of all of them, short ones; long ones take eight times as long. */
  rate: number;
  /** Milliseconds of a lone short text; a long one takes eight times as long. */
  loneMs: number;
  /** Milliseconds that each lone text takes besides. */
  wakeMs?: number;
}

interface Machine {
  speeds: Record<number, Speed>;
  /** It does not have room for instances of these threads. */
  noRoom?: number[];
  openMs?: number;
  /** Times all that is measured, one after the other. */
  noise?: (at: number) => number;
}

/** A workbench on a clock of its own, which knows what is open. */
class MadeUpBench implements Workbench {
  nowMs = 0;
  measured = 0;
  readonly openWidths = new Set<number>();
  mostOpen = 1;
  readonly #machine: Machine;

  constructor(machine: Machine, base: Layout) {
    this.#machine = machine;
    this.openWidths.add(base.threads);
  }

  async open({ threads }: Layout): Promise<boolean> {
    if (this.#machine.noRoom?.includes(threads)) return false;
    this.nowMs += this.#machine.openMs ?? 10;
    this.openWidths.add(threads);
    this.mostOpen = Math.max(this.mostOpen, this.openWidths.size);
    return true;
  }

  async keep(layouts: readonly Layout[]): Promise<void> {
    const wanted = layouts.flatMap(({ threads, lone }) => [threads, lone]);
    for (const threads of this.openWidths) if (!wanted.includes(threads)) this.openWidths.delete(threads);
  }

  async saturate(layout: Layout, { rows, length }: Shape): Promise<number> {
    const { rate } = this.#speedOf(layout);
    const seconds = (rows * layout.instances * (length / 16)) / rate;
    return (layout.instances * rows) / this.#spend(seconds * 1000) / 0.001;
  }

  async alone(layout: Layout, { length }: Shape): Promise<number> {
    const { loneMs, wakeMs = 0 } = this.#speedOf(layout);
    return this.#spend(loneMs * (length / 16) + wakeMs);
  }

  #speedOf({ threads }: Layout): Speed {
    if (!this.openWidths.has(threads)) throw new Error(`instances of ${threads} threads are not open`);
    return this.#machine.speeds[threads]!;
  }

  #spend(ms: number): number {
    const spentMs = ms * (this.#machine.noise?.(this.measured) ?? 1);
    this.measured++;
    this.nowMs += spentMs;
    return spentMs;
  }
}

function tune(cores: number, machine: Machine, more: Partial<TuneOptions> = {}) {
  const [base, ...others] = layoutsFor(cores);
  const bench = new MadeUpBench(machine, base!);
  const tuned = tuneLayout({
    workbench: bench,
    candidates: [base!, ...others],
    shapes,
    tuneMs: 1500,
    openMs: 10,
    nowMs: () => bench.nowMs,
    bytesOf: ({ instances, lone }) => instances + (lone === undefined ? 0 : 1),
    shouldYield: () => false,
    ...more,
  });
  return { bench, tuned };
}

/** The shipped model on two cores. */
const twoCores: Machine['speeds'] = { 1: { rate: 1900, loneMs: 1.6 }, 2: { rate: 1600, loneMs: 1.1 } };

describe('tuning', () => {
  it('finds what is best for load and for lone requests, and says why', async () => {
    const { bench, tuned } = tune(2, { speeds: twoCores });
    expect(await tuned).toEqual({
      layout: { instances: 2, threads: 1, lone: 2 },
      evidence:
        'texts/s of 16 and 128 tokens: 1900 and 238 with 2 x 1, 1600 and 200 with 1 x 2; a lone text: 1.6 and 13 ms on 1, 1.1 and 8.8 ms on 2 threads',
      stoppedBy: 'done',
    });
    expect([...bench.openWidths]).toEqual([1, 2]);
    expect(bench.nowMs).toBeLessThan(1500);
  });

  it('finds from how many tokens on a lone text gains', async () => {
    // What it takes to wake threads is lost with a short text.
    const { tuned } = tune(2, { speeds: { ...twoCores, 2: { rate: 1600, loneMs: 1, wakeMs: 1 } } });
    const { layout } = await tuned;
    // 1.6 ms for each 16 tokens against 1 ms, and 1 ms before.
    expect(layout).toEqual({ instances: 2, threads: 1, lone: 2, loneTokens: 27 });
  });

  it('is not misled by rounds that something else has disturbed', async () => {
    // Each round is eight measurements; a neighbour takes the cores in every other one, for the wide layout alone.
    const noise = (at: number) => (Math.floor(at / 8) % 2 === 0 && at % 2 === 1 ? 10 : 1);
    const better = { 1: { rate: 1900, loneMs: 2 }, 2: { rate: 1900, loneMs: 2 } };
    const { tuned } = tune(2, { speeds: better, noise }, { tuneMs: 60_000 });
    expect((await tuned).layout).toEqual({ instances: 2, threads: 1 });
  });

  it('tries all widths, and holds three layouts at once at most', async () => {
    const speeds = Object.fromEntries(
      [1, 2, 3, 4, 6, 12].map((threads) => [threads, { rate: 1000 + threads, loneMs: 10 / threads }]),
    );
    const { bench, tuned } = tune(12, { speeds }, { tuneMs: 60_000 });
    const { layout, stoppedBy, evidence } = await tuned;
    expect(layoutText(layout)).toBe('1 instance x 12 threads');
    expect(stoppedBy).toBe('done');
    for (const tried of layoutsFor(12)) expect(evidence).toContain(`with ${shortText(tried)}`);
    expect(bench.mostOpen).toBeLessThanOrEqual(3);
  });

  it('leaves out what there is no room for', async () => {
    const speeds = {
      1: { rate: 4, loneMs: 1 },
      2: { rate: 8000, loneMs: 0.5 },
      4: { rate: 9000, loneMs: 0.1 },
    };
    const fast = { 1: { rate: 1000, loneMs: 1 }, 2: speeds[2], 4: speeds[4] };
    expect((await tune(4, { speeds: fast, noRoom: [4] }).tuned).layout).toEqual({ instances: 2, threads: 2 });
    const { tuned } = tune(4, { speeds: fast, noRoom: [2, 4] });
    expect(await tuned).toEqual({ layout: { instances: 4, threads: 1 }, evidence: '', stoppedBy: 'done' });
  });

  it.each([
    ['opening takes as long as there is time', { openMs: 1500 }, 0],
    ['one round takes longer than there is time', { openMs: 10 }, 4],
  ])('ends with the first layout when %s', async (_what, more, mostMeasured) => {
    const slow = { 1: { rate: 10, loneMs: 500 }, 2: { rate: 8, loneMs: 300 } };
    const { bench, tuned } = tune(2, { speeds: slow }, more);
    expect(await tuned).toEqual({ layout: { instances: 2, threads: 1 }, evidence: '', stoppedBy: 'time' });
    expect(bench.measured).toBeLessThanOrEqual(mostMeasured);
  });

  it('goes on with what is known when time is up', async () => {
    const speeds = { 1: { rate: 6000, loneMs: 4 }, 4: { rate: 5000, loneMs: 1 }, 2: { rate: 1, loneMs: 9 } };
    const { bench, tuned } = tune(4, { speeds });
    expect(await tuned).toMatchObject({ layout: { instances: 4, threads: 1, lone: 4 }, stoppedBy: 'time' });
    expect([...bench.openWidths]).toEqual([1, 4]);
  });

  it('gives way to others at once, and counts nothing that was timed beside them', async () => {
    let asked = 0;
    const { bench, tuned } = tune(2, { speeds: twoCores }, { shouldYield: () => ++asked > 50 });
    expect(await tuned).toEqual({ layout: { instances: 2, threads: 1 }, evidence: '', stoppedBy: 'yield' });
    expect(bench.measured).toBeGreaterThan(8);
    expect(bench.measured).toBeLessThan(50);
  });

  it('tells a failure on', async () => {
    const { tuned } = tune(2, { speeds: {} });
    await expect(tuned).rejects.toThrow();
  });

  it('whatever the timings, ends in time with a layout that is open and fits the cores', async () => {
    const speed = fc.record({
      rate: fc.double({ min: 1, max: 1e5, noNaN: true }),
      loneMs: fc.double({ min: 0.01, max: 1e4, noNaN: true }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(1, 2, 3, 4, 6, 8, 12, 16),
        fc.array(speed, { minLength: 17, maxLength: 17 }),
        fc.integer({ min: 0, max: 3000 }),
        fc.subarray([2, 4, 8]),
        async (cores, speeds, tuneMs, noRoom) => {
          const { bench, tuned } = tune(cores, { speeds: { ...speeds }, noRoom }, { tuneMs });
          const { layout } = await tuned;
          expect(layout.instances * layout.threads).toBe(cores);
          for (const threads of [layout.threads, layout.lone ?? layout.threads]) {
            expect(bench.openWidths).toContain(threads);
            expect(threads).toBeLessThanOrEqual(cores);
          }
          // What was begun is finished: a start of instances, or one run of the slowest shape.
          const slowestMs = Math.max(
            ...speeds.map(({ rate, loneMs }) => Math.max(4096e3 / rate, loneMs * 8)),
          );
          expect(bench.nowMs).toBeLessThanOrEqual(tuneMs + slowestMs + 20);
        },
      ),
    );
  });
});
