import { afterAll, afterEach, expect, it, vi } from 'vitest';
import { Pool } from '../../model-server/executor/pool.ts';
import { startLifecycle } from './lifecycle-harness.ts';
import { writeTensorModel } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';

const repository = temporaryFolder();
afterAll(repository.remove);
afterEach(() => vi.restoreAllMocks());

it('keeps a known batch of raw tensors in memory, but not one that takes a model of its own', async () => {
  writeTensorModel(repository.path, 'small', { parts: ['FP32'], dims: [1, 1000] });
  writeTensorModel(repository.path, 'large', { parts: ['FP32'], dims: [1, 5 * 2 ** 20] });
  const kept = vi.spyOn(Pool.prototype, 'setCanary');
  await using server = await startLifecycle(repository.path);
  expect(server.states()).toEqual({ 'large/1': 'ready', 'small/1': 'ready' });
  expect(kept.mock.calls.map(([batch]) => batch)).toMatchObject([{ inputs: [{ shape: [1, 1000] }] }]);
});
