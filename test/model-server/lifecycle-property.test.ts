import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, it, vi } from 'vitest';
import { addVersion, keepAsking, startLifecycle, target } from './lifecycle-harness.ts';
import { textEncoder, writeTextModel } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';

/** What may happen to a version folder; each is one step of somebody who works on the repository. */
const STEPS = ['write', 'rewrite', 'tear', 'spoil', 'delete', 'look'] as const;
const step = fc.record({ what: fc.constantFrom(...STEPS), version: fc.integer({ min: 2, max: 4 }) });

it('whatever happens to newer versions, no request fails, and in the end the newest one that works answers', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 15 }), async (steps) => {
      const { path, remove } = temporaryFolder();
      const folder = writeTextModel(path, 'm');
      await using server = await startLifecycle(path);
      const ask = async () =>
        (await server.lifecycle.serving.embed(target('m'), ['hello'], { truncate: 'end' })).ref.version;
      const traffic = keepAsking(server, 'm', 2);
      const sound = new Map([[1, true]]);
      const write = (version: number, bytes: Uint8Array) => {
        addVersion(folder, version);
        writeFileSync(join(folder, `${version}`, 'model.onnx'), bytes);
      };
      try {
        for (const [at, { what, version }] of steps.entries()) {
          if (what === 'look') await server.look();
          else if (what === 'delete') rmSync(join(folder, `${version}`), { recursive: true, force: true });
          else if (what === 'write') write(version, textEncoder({ seed: version }));
          else if (what === 'rewrite') write(version, textEncoder({ seed: version + at * 10 }));
          else if (what === 'tear') write(version, textEncoder().subarray(0, 3000));
          else write(version, textEncoder({ opset: 999 }));
          if (what === 'delete') sound.delete(version);
          else if (what !== 'look') sound.set(version, what === 'write' || what === 'rewrite');
          // A change between two looks and one between none: both must do.
          if (at % 2 === 0) await server.look();
        }
        await server.settle();
        await server.look();
        await traffic.oneMoreRound();
        const answering = await ask();
        expect(existsSync(join(folder, `${answering}`))).toBe(true);
        const newest = Math.max(...sound.keys());
        if (sound.get(newest)) expect(answering).toBe(newest);
        // Once all is mended, the newest answers and nothing of the others is left.
        for (const version of sound.keys()) write(version, textEncoder({ seed: version }));
        await server.settle();
        expect(await ask()).toBe(newest);
        await vi.waitFor(() => expect(server.states()).toEqual({ [`m/${newest}`]: 'ready' }));
        expect(server.admin.memory()[0]!.rows).toHaveLength(1);
        await traffic.oneMoreRound();
      } finally {
        await traffic.stop();
        remove();
      }
      expect(traffic.failures).toEqual([]);
    }),
    { numRuns: 8, endOnFailure: true },
  );
}, 60_000);
