import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { readModelConfig } from '../../model-server/models/repository/model-config.ts';
import { scanModel } from '../../model-server/models/repository/scan.ts';
import { hashSpace } from '../../model-server/models/repository/space.ts';
import {
  policyText,
  servedVersions,
  type VersionPolicy,
} from '../../model-server/models/repository/version-policy.ts';
import { writeTextModel } from './onnx-writer.ts';
import { shippedRepository, temporaryFolder } from './repository.ts';

const cleanUp: (() => unknown)[] = [];
afterEach(() => {
  for (const undo of cleanUp.splice(0).reverse()) undo();
});

function temporary(): string {
  const { path, remove } = temporaryFolder();
  cleanUp.push(remove);
  return path;
}

async function space(path: string, name: string): Promise<string> {
  const files = (await scanModel(path, name))!.versions[0]!;
  return hashSpace(files, (await readModelConfig(files)).config);
}

describe('the space of a version', () => {
  it('of the shipped model never changes, for collections hold it', async () => {
    expect(await space(shippedRepository, 'all-minilm-l6-v2')).toBe('24f280829e30421c35429d4bdaf45636');
  });

  const changes: [string, boolean, (folder: string) => void][] = [
    ['weights', true, (folder) => writeTextModel(join(folder, '..'), 'm', { external: 'w.bin', seed: 2 })],
    ['weights in another file alone', true, (folder) => appendFileSync(join(folder, '1', 'w.bin'), 'x')],
    ['tokenizer', true, (folder) => appendFileSync(join(folder, 'tokenizer.json'), ' ')],
    [
      'length',
      true,
      (folder) => writeFileSync(join(folder, 'sentence_bert_config.json'), '{"max_seq_length": 9}'),
    ],
    [
      'pooling',
      true,
      (folder) => {
        mkdirSync(join(folder, '1_Pooling'));
        writeFileSync(join(folder, '1_Pooling', 'config.json'), '{"pooling_mode_cls_token": true}');
      },
    ],
    ['batching', false, (folder) => writeFileSync(join(folder, 'config.pbtxt'), 'max_batch_size: 2')],
    ['golden vectors', false, (folder) => writeFileSync(join(folder, '1', 'golden.json'), '{}')],
    ['provenance', false, (folder) => writeFileSync(join(folder, '1', 'pulled.json'), '{"revision": "a"}')],
    [
      'hub files that say the same',
      false,
      (folder) => {
        writeFileSync(join(folder, '1', 'config.json'), '{"model_type": "bert"}');
        mkdirSync(join(folder, '1', '1_Pooling'));
        writeFileSync(join(folder, '1', '1_Pooling', 'config.json'), '{"pooling_mode_mean_tokens": true}');
      },
    ],
    [
      'files that hold none of its weights',
      false,
      (folder) => {
        for (const name of ['vocab.txt', 'LICENSE', 'model_int8.onnx'])
          writeFileSync(join(folder, '1', name), 'words');
        symlinkSync('/', join(folder, '1', 'out'));
      },
    ],
    ['half a download', false, (folder) => writeFileSync(join(folder, '1', 'x.partial'), '{}')],
    [
      'a tokenizer of its own, the same',
      false,
      (folder) => copyFileSync(join(folder, 'tokenizer.json'), join(folder, '1', 'tokenizer.json')),
    ],
    [
      'links in place of files',
      false,
      (folder) => {
        renameSync(join(folder, '1', 'model.onnx'), join(folder, 'blob'));
        symlinkSync('../blob', join(folder, '1', 'model.onnx'));
      },
    ],
  ];
  it.each(changes)('with other %s is another: %s', async (_, isOther, change) => {
    const path = temporary();
    const folder = writeTextModel(path, 'm', { external: 'w.bin' });
    const before = await space(path, 'm');
    change(folder);
    expect((await space(path, 'm')) !== before).toBe(isOther);
    renameSync(folder, join(path, 'renamed'));
    expect((await space(path, 'renamed')) !== before).toBe(isOther);
  });
});

it('a version that goes away before it is read fails to load, by name', async () => {
  const path = temporary();
  const folder = writeTextModel(path, 'm');
  const files = (await scanModel(path, 'm'))!.versions[0]!;
  const { config } = await readModelConfig(files);
  rmSync(join(folder, '1'), { recursive: true });
  const gone = {
    reason: 'MODEL_LOAD_FAILED',
    message: expect.stringMatching(/model m version 1: .* went away/),
  };
  await expect(readModelConfig(files)).rejects.toMatchObject(gone);
  await expect(hashSpace(files, config)).rejects.toMatchObject(gone);
  rmSync(folder, { recursive: true });
  await expect(readModelConfig(files)).rejects.toMatchObject(gone);
});

describe('a version policy', () => {
  const table: [VersionPolicy, number[], number[], string][] = [
    [{ kind: 'latest', count: 1 }, [3, 1, 10], [10], 'latest 1'],
    [{ kind: 'latest', count: 2 }, [3, 1, 10], [3, 10], 'latest 2'],
    [{ kind: 'latest', count: 9 }, [3, 1], [1, 3], 'latest 9'],
    [{ kind: 'latest', count: 1 }, [], [], 'latest 1'],
    [{ kind: 'all' }, [10, 2, 2], [2, 10], 'all'],
    [{ kind: 'specific', versions: [1, 4] }, [4, 2, 1], [1, 4], 'specific 1, 4'],
    [{ kind: 'specific', versions: [] }, [1], [], 'specific '],
  ];
  it.each(table)('%o of %j serves %j', (policy, versions, served, text) => {
    expect(servedVersions(policy, versions)).toEqual(served);
    expect(policyText(policy)).toBe(text);
  });
});
