import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { ServingError } from '../../model-server/errors.ts';
import { RUNTIME_BYTES } from '../../model-server/models/memory/predict.ts';
import { expectConsistent } from './expect-consistent.ts';
import { type Harness, type HarnessOptions, startLifecycle, target } from './lifecycle-harness.ts';
import { writeTextModel } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';
import { liveWorkers, resetWorkers } from './watched-workers.ts';

vi.mock('../../model-server/executor/thread-channel.ts', async (original) =>
  (await import('./watched-workers.ts')).watched(await original()),
);

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  resetWorkers();
  for (const undo of cleanUp.splice(0).reverse()) await undo();
});

function repository(...models: string[]) {
  const folder = temporaryFolder();
  cleanUp.push(folder.remove);
  for (const name of models) writeTextModel(folder.path, name);
  return folder.path;
}

const ask = (server: Harness, model: string) =>
  server.lifecycle.serving.embed(target(model), ['a text'], { truncate: 'end' });
const caught = (promise: Promise<unknown>) => promise.catch((error: unknown) => error);

describe('any order of commands, requests and looks', () => {
  const model = fc.constantFrom('a', 'b');
  const asking = fc.record({ do: fc.constant('ask' as const), model, times: fc.integer({ min: 1, max: 8 }) });
  const commanding = fc.record({ do: fc.constantFrom('load' as const, 'unload' as const), model });
  const looking = fc.record({
    do: fc.constantFrom('cleanUp' as const, 'look' as const, 'checkMemory' as const),
  });
  // Until something has happened, or until all that was begun is done.
  const waiting = fc.constantFrom({ do: 'turns' as const }, { do: 'rest' as const });
  const step = fc.oneof(
    { weight: 4, arbitrary: asking },
    { weight: 3, arbitrary: commanding },
    { weight: 2, arbitrary: looking },
    { weight: 3, arbitrary: waiting },
  );
  const MIB = 2 ** 20;
  /** What a caller may hear when commands and evictions cross its request. */
  const ALLOWED = ['MODEL_NOT_READY', 'MEMORY_BUDGET_EXCEEDED'];
  const options: HarnessOptions = {
    preload: new Set(),
    residentBytes: () => 0,
    readMemory: () => ({ totalBytes: 1000 * MIB, availableBytes: 1000 * MIB }),
    defaults: { keepAliveMs: 0 },
  };

  function begin(
    server: Harness,
    taken: { do: 'load' | 'unload'; model: string } | { do: 'cleanUp' | 'look' | 'checkMemory' },
  ) {
    if ('model' in taken) return server.admin[taken.do](taken.model);
    return taken.do === 'cleanUp' ? server.admin.cleanUp() : server[taken.do]();
  }

  it('settles each request with an answer or a reason that is allowed, and ends consistent', async () => {
    const folder = repository('a', 'b');
    const seen = { answers: 0, refusals: 0, evictions: 0 };
    const steps = fc.array(step, { minLength: 8, maxLength: 16 });
    // For one that is being loaded, or for both.
    const budgetMib = fc.constantFrom(20, 100);
    await fc.assert(
      fc.asyncProperty(steps, budgetMib, async (taken, mib) => {
        await using server = await startLifecycle(folder, {
          ...options,
          budgetBytes: RUNTIME_BYTES + mib * MIB,
        });
        const requests: Promise<unknown>[] = [];
        const commands: Promise<unknown>[] = [];
        const last = new Map<string, 'load' | 'unload'>();
        for (const one of taken) {
          if (one.do === 'ask') {
            for (let i = 0; i < one.times; i++) requests.push(caught(ask(server, one.model)));
          } else if (one.do === 'turns') {
            for (let i = 0; i < 20; i++) await new Promise((turn) => setImmediate(turn));
          } else if (one.do === 'rest') await Promise.all([...requests, ...commands]);
          else {
            if ('model' in one) last.set(one.model, one.do);
            commands.push(caught(begin(server, one)));
          }
        }
        for (const outcome of await Promise.all(requests)) {
          if (outcome instanceof Error) {
            expect(outcome).toBeInstanceOf(ServingError);
            expect(ALLOWED).toContain((outcome as ServingError).reason);
            seen.refusals++;
          } else {
            expect(outcome).toMatchObject({ vectors: [expect.any(Float32Array)] });
            seen.answers++;
          }
        }
        for (const outcome of await Promise.all(commands)) {
          if (outcome instanceof Error) expect(outcome).toMatchObject({ reason: 'MEMORY_BUDGET_EXCEEDED' });
        }
        seen.evictions += server.evictions.length;
        expectConsistent(server);
        for (const name of ['a', 'b']) {
          if (last.get(name) === 'unload') {
            expect(server.states()[`${name}/1`]).toBe('unloaded');
            await expect(ask(server, name)).rejects.toMatchObject({ reason: 'MODEL_NOT_READY' });
          } else expect((await ask(server, name)).ref.name).toBe(name);
        }
      }),
      { numRuns: 15 },
    );
    expect(liveWorkers.size).toBe(0);
    expect(seen.answers).toBeGreaterThan(0);
  });
});
