import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { startLifecycle, target } from './lifecycle-harness.ts';
import { writeTextModel } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const undo of cleanUp.splice(0).reverse()) await undo();
});

function repository(...models: string[]) {
  const folder = temporaryFolder();
  cleanUp.push(folder.remove);
  for (const name of models) writeTextModel(folder.path, name);
  return folder.path;
}

const end = { truncate: 'end' } as const;

describe('a lazy model', () => {
  it('is loaded once by a hundred first requests at the same time', async () => {
    await using server = await startLifecycle(repository('m'), { preload: new Set() });
    expect(server.states()).toEqual({ 'm/1': 'unloaded' });
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, i) => server.lifecycle.serving.embed(target('m'), [`text ${i}`], end)),
    );
    expect(answers).toHaveLength(100);
    expect(server.loads).toEqual(['m/1']);
  });
});
