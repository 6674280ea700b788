import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { canListChildren, childrenOf, isAlive } from './child-processes.ts';
import { tensorModel } from './onnx-writer.ts';
import { eventually, usePools } from './pool-setup.ts';
import { fp32, values } from './raw-tensors.ts';
import { temporaryFolder } from './repository.ts';

const folder = temporaryFolder();
afterAll(folder.remove);
const modelFile = join(folder.path, 'model.onnx');
writeFileSync(modelFile, tensorModel({ parts: ['FP32'] }));
const { makePool, fire } = usePools();

const ones = () => ({
  kind: 'tensors' as const,
  rows: 1,
  inputs: [fp32('x', [1, 4], [1, 1, 1, 1])],
  outputs: ['y'],
});
const open = async (isolation: 'thread' | 'process') => {
  const session = { modelFile, intraOpThreads: 1, pooling: 'mean' as const, normalize: true, text: false };
  const before = childrenOf(process.pid);
  const pool = makePool({ isolation, session, worker: undefined });
  await pool.open();
  const [child] = childrenOf(process.pid).filter((pid) => !before.includes(pid));
  const answer = async () => values((await pool.take()!.run(ones())).tensors[0]!);
  return { pool, child, answer };
};

describe.skipIf(!canListChildren)('real sessions in processes of their own', () => {
  it.each(['SIGKILL', 'SIGSEGV'] as const)('%s takes down one, and it comes back', async (signal) => {
    const [victim, other, thread] = [await open('process'), await open('process'), await open('thread')];
    process.kill(victim.child!, signal);
    await eventually(() => expect(victim.pool.healthy).toBe(false));
    expect(await other.answer()).toEqual([2, 2, 2, 2]);
    expect(await thread.answer()).toEqual([2, 2, 2, 2]);
    fire(100);
    await eventually(() => expect(victim.pool.healthy).toBe(true));
    expect(await victim.answer()).toEqual([2, 2, 2, 2]);
    expect(isAlive(other.child!)).toBe(true);
  });

  it('none is left after close, and none after destroy', async () => {
    const [closed, destroyed] = [await open('process'), await open('process')];
    await Promise.all([closed.pool.close(), destroyed.pool.destroy()]);
    expect([closed.child!, destroyed.child!].filter(isAlive)).toEqual([]);
  });
});
