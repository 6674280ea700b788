import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { readGolden } from '../../model-server/models/opening/golden.ts';
import { TextTokenizer } from '../../model-server/tasks/tokenizer.ts';
import { writeTinyTokenizer } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';

const cleanUp: (() => unknown)[] = [];
afterEach(() => {
  for (const undo of cleanUp.splice(0)) undo();
});

function folderWithPipe(name: string): string {
  const folder = temporaryFolder();
  cleanUp.push(folder.remove);
  writeTinyTokenizer(folder.path);
  rmSync(join(folder.path, name), { force: true });
  execFileSync('mkfifo', [join(folder.path, name)]);
  return folder.path;
}

describe.skipIf(process.platform === 'win32')(
  'a named pipe in place of a file is refused, not waited for',
  () => {
    it('golden.json', () => {
      const folder = folderWithPipe('golden.json');
      expect(() => readGolden([folder])).toThrow(/golden\.json: it is no regular file/);
    });

    it('tokenizer.json', () => {
      const folder = folderWithPipe('tokenizer.json');
      expect(() => TextTokenizer.load([folder])).toThrow(/tokenizer\.json must be a regular file/);
    });
  },
);
