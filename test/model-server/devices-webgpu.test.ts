import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { type InstancePlan, planInstances } from '../../model-server/executor/devices.ts';
import { Pool } from '../../model-server/executor/pool.ts';
import { probeDevices } from '../../model-server/executor/probe-devices.ts';
import { assemble } from '../../model-server/scheduler/assemble.ts';
import { textEncoder } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';

const folder = temporaryFolder();
const modelFile = join(folder.path, 'model.onnx');
writeFileSync(modelFile, textEncoder({ width: 16, labels: 4 }));
const owner = 'model m version 1';
const pools: Pool[] = [];
afterEach(() => Promise.all(pools.splice(0).map((pool) => pool.destroy())));
afterAll(folder.remove);

function makePool(instances: InstancePlan[]): Pool {
  const session = { modelFile, intraOpThreads: 1, pooling: 'mean' as const, normalize: true, text: true };
  const pool = new Pool({ owner, session, instances, maxRespawns: 0, watchdogMs: 0 });
  pools.push(pool);
  return pool;
}

const available = await probeDevices();
const plan = (kind: 'auto' | 'gpu', count = 1) =>
  planInstances([{ kind, count, gpus: [] }], {
    available: { ...available, providers: available.providers.filter((name) => name !== 'cuda') },
    wanted: 'webgpu',
    defaultInstances: 1,
    owner,
  });
const knowsWebGpu = available.providers.includes('webgpu');

/** Whether a GPU, or a driver in software that is good enough, is there. */
const note = await (async () => {
  if (!knowsWebGpu) return 'onnxruntime-node has no webgpu here';
  const pool = makePool(plan('auto'));
  await pool.open();
  const [state] = pool.states;
  await pools.pop()!.close();
  return state!.note;
})();
const hasAdapter = note === '';
if (!hasAdapter) console.log(`skipped aloud: webgpu sessions are not tested: ${note}`);

const rows = [
  [5, 6, 7, 8],
  [9, 10],
];
const batch = () =>
  assemble(rows.map((ids) => ({ row: { ids: Int32Array.from(ids) }, reduction: { kind: 'logits' } })));

describe.skipIf(!hasAdapter)('webgpu', () => {
  it('gives what the CPU gives, on two instances at once', async () => {
    const [gpu, cpu] = [
      makePool(plan('gpu', 2)),
      makePool(
        planInstances([{ kind: 'cpu', count: 1, gpus: [] }], {
          available,
          wanted: 'auto',
          defaultInstances: 1,
          owner,
        }),
      ),
    ];
    await Promise.all([gpu.open(), cpu.open()]);
    for (const state of gpu.states) {
      expect(state).toMatchObject({
        device: 'gpu:0',
        executionProvider: 'webgpu',
        isolation: 'process',
        note: '',
      });
    }
    const wanted = await cpu.take()!.run(batch());
    const [first, second] = [gpu.take()!.run(batch()), gpu.take()!.run(batch())];
    for (const got of [await first, await second])
      got.outputs.forEach((output, row) => {
        output.forEach((value, at) => {
          expect(value).toBeCloseTo(wanted.outputs[row]![at]!, 4);
        });
      });
  });
});

describe.skipIf(!knowsWebGpu || hasAdapter)('webgpu without an adapter', () => {
  it('KIND_AUTO runs on the CPU and says why', async () => {
    const pool = makePool(plan('auto'));
    const info = await pool.open();
    expect(info.executionProvider).toBe('cpu');
    expect(pool.states).toMatchObject([{ device: 'cpu', executionProvider: 'cpu' }]);
    expect(pool.states[0]!.note).toMatch(/^wanted webgpu, got cpu: .*adapter/);
    expect((await pool.take()!.run(batch())).outputs).toHaveLength(2);
  });

  it('KIND_GPU fails and says what there is', async () => {
    await expect(makePool(plan('gpu')).open()).rejects.toMatchObject({
      reason: 'MODEL_LOAD_FAILED',
      message: expect.stringMatching(/webgpu can't be started: .*adapter.*onnxruntime-node has cpu, webgpu/),
    });
  });
});
