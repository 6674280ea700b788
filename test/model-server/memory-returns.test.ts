import { describe, expect, it } from 'vitest';
import { mallocVariables } from '../../cli/launch/memory-tuning.ts';
import { inCheckout, spawnNode } from '../cli/spawned.ts';

const CYCLES = 20;
const modelFile = inCheckout('model-repository/all-minilm-l6-v2/1/model.onnx');

// The variables are glibc's.
describe.skipIf(process.platform !== 'linux')('memory of a model that is loaded, used and unloaded', () => {
  it('comes back every time, and is about what was predicted', async () => {
    const script = inCheckout('test/fixtures/load-and-unload.ts');
    const { stdout, stderr, ended } = spawnNode(script, [modelFile, String(CYCLES)], {
      env: mallocVariables.serve,
    });
    expect(await ended, stderr.join('\n')).toEqual({ code: 0, signal: null });
    const { predictedBytes, measuredBytes, afterUnloadBytes } = JSON.parse(stdout.join('')) as {
      predictedBytes: number;
      measuredBytes: number[];
      afterUnloadBytes: number[];
    };
    expect(afterUnloadBytes).toHaveLength(CYCLES);
    const growth = afterUnloadBytes.at(-1)! / afterUnloadBytes[1]!;
    expect(growth).toBeGreaterThan(0.85);
    expect(growth).toBeLessThan(1.15);
    for (const measured of measuredBytes) {
      expect(measured / predictedBytes).toBeGreaterThan(0.75);
      expect(measured / predictedBytes).toBeLessThan(1.25);
    }
  });
});
