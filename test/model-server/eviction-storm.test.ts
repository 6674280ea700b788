import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, expect, it, vi } from 'vitest';
import { ServingError } from '../../model-server/errors.ts';
import { RUNTIME_BYTES } from '../../model-server/models/memory/predict.ts';
import { expectConsistent } from './expect-consistent.ts';
import { type Harness, startLifecycle, target } from './lifecycle-harness.ts';
import { writeTextModel } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';
import { liveWorkers } from './watched-workers.ts';

vi.mock('../../model-server/executor/thread-channel.ts', async (original) =>
  (await import('./watched-workers.ts')).watched(await original()),
);

const MIB = 2 ** 20;
const WEIGHTS = 16 * MIB;
/** What is predicted above that, for the thread and its arena, is at most this. */
const BESIDES = 15 * MIB;
const MODELS = 10;
const ROOM_FOR = 3;
const REQUESTS = 10_000;
const CALLERS = 64;
/** For this many requests the same few models are in demand. */
const PHASE = 1000;

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const undo of cleanUp.splice(0).reverse()) await undo();
});

/** The same numbers in every run, from 0 to below `below`. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Which model each request wants: two to four are in demand for a while, now and then it is any other. */
function demand(): string[] {
  const random = randomFrom(7);
  let wanted: number[] = [];
  return Array.from({ length: REQUESTS }, (_, request) => {
    if (request % PHASE === 0) wanted = Array.from({ length: 2 + random(3) }, () => random(MODELS));
    return `m${random(400) === 0 ? random(MODELS) : wanted[random(wanted.length)]}`;
  });
}

/** Where callers wait after a refusal, until it may be worth asking again. */
class Bell {
  #rings = Promise.withResolvers<void>();
  #waiting = 0;
  callers = CALLERS;

  ring(): void {
    this.#rings.resolve();
    this.#rings = Promise.withResolvers<void>();
  }

  async wait(): Promise<void> {
    // With nobody else left to ring, all ask again.
    if (++this.#waiting === this.callers) void turn().then(() => this.ring());
    await this.#rings.promise;
    this.#waiting--;
  }

  leave(): void {
    this.callers--;
    this.ring();
  }
}

interface Tally {
  answered: number;
  refused: number;
  mostUsedBytes: number;
}

/** Asks until there is room; whatever else goes wrong is thrown. */
async function insist(
  server: Harness,
  model: string,
  { tally, bell }: { tally: Tally; bell: Bell },
): Promise<void> {
  for (;;) {
    try {
      const text = [`text ${tally.answered}`];
      const { ref, vectors } = await server.lifecycle.serving.embed(target(model), text, { truncate: 'end' });
      expect([ref.name, vectors.length]).toEqual([model, 1]);
      tally.answered++;
      if (tally.answered % CALLERS === 0) bell.ring();
      return;
    } catch (thrown) {
      if (!(thrown instanceof ServingError) || thrown.reason !== 'MEMORY_BUDGET_EXCEEDED') throw thrown;
      expect(thrown.retryAfterMs).toBeGreaterThan(0);
      tally.refused++;
      await bell.wait();
    } finally {
      tally.mostUsedBytes = Math.max(tally.mostUsedBytes, server.admin.memory()[0]!.usedBytes);
    }
  }
}

it('ten models with room for three, ten thousand requests: none is lost, and the ledger is right at the end', async () => {
  const folder = temporaryFolder();
  cleanUp.push(folder.remove);
  for (let i = 0; i < MODELS; i++)
    writeTextModel(folder.path, `m${i}`, { seed: i + 1, weightBytes: WEIGHTS });
  const limitBytes = RUNTIME_BYTES + ROOM_FOR * WEIGHTS + BESIDES;
  const bell = new Bell();
  await using server = await startLifecycle(folder.path, {
    preload: new Set(),
    residentBytes: () => 0,
    readMemory: () => ({ totalBytes: 1000 * MIB, availableBytes: 1000 * MIB }),
    budgetBytes: limitBytes,
  });
  const models = demand();
  const tally: Tally = { answered: 0, refused: 0, mostUsedBytes: 0 };
  let next = 0;
  const caller = async () => {
    while (next < models.length) await insist(server, models[next++]!, { tally, bell });
    bell.leave();
  };
  await Promise.all(Array.from({ length: CALLERS }, caller));

  expect(tally.answered).toBe(REQUESTS);
  expect(tally.refused).toBeGreaterThan(0);
  expect(server.evictions.length).toBeGreaterThan(MODELS);
  expect(server.loads.length).toBe(server.evictions.length + liveWorkers.size);
  expect(new Set(server.loads).size).toBe(MODELS);
  // Every load was predicted to be larger than it turned out, so the limit holds at every moment.
  expect(tally.mostUsedBytes).toBeLessThanOrEqual(limitBytes);
  expect(liveWorkers.size).toBeLessThanOrEqual(ROOM_FOR);
  expectConsistent(server);
  expect(server.admin.memory()[0]!.usedBytes).toBe(RUNTIME_BYTES + liveWorkers.size * WEIGHTS);
}, 180_000);
