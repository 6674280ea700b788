import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { Orchestrator } from '../../cli/client/orchestrator.ts';
import { ingestBatch, type Outcome } from '../../cli/ingest/upload.ts';
import { fakeOrchestrator } from './fake-orchestrator.ts';

function filesOf(...names: string[]) {
  const folder = mkdtempSync(join(tmpdir(), 'nereid-upload-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return names.map((name) => {
    writeFileSync(join(folder, name), name);
    return { path: join(folder, name), name, bytes: name.length };
  });
}

async function outcomesOf(url: string, files: ReturnType<typeof filesOf>): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  await ingestBatch(new Orchestrator(url), files, {
    onProgress: () => undefined,
    onOutcome: (outcome) => outcomes.push(outcome),
  });
  return outcomes;
}

test('a file that is gone when its turn comes fails alone, and the others keep their own outcomes', async () => {
  const files = filesOf('a.md', 'gone.md', 'b.md');
  rmSync(files[1]!.path);
  const fake = await fakeOrchestrator({ settle: (id) => (id === 'b.md' ? { pages: 7 } : {}) });
  const outcomes = await outcomesOf(fake.url, files);
  expect(outcomes.map(({ file, status, pages }) => [file.name, status, pages])).toEqual([
    ['gone.md', 'failed', undefined],
    ['a.md', 'ready', undefined],
    ['b.md', 'ready', 7],
  ]);
  expect(outcomes[0]!.error).toMatchObject({
    reason: 'UNREADABLE',
    message: expect.stringContaining('ENOENT'),
  });
});

test('nothing is sent when no file can be read', async () => {
  const files = filesOf('gone.md');
  rmSync(files[0]!.path);
  const fake = await fakeOrchestrator();
  expect((await outcomesOf(fake.url, files)).map(({ status }) => status)).toEqual(['failed']);
  expect(fake.uploads).toEqual([]);
});

test.each([
  ['grows', (path: string) => appendFileSync(path, ' and more')],
  ['vanishes', (path: string) => rmSync(path, { force: true })],
])('a file that %s between two attempts is sent as it was read', async (_what, change) => {
  const files = filesOf('a.md', 'b.md');
  const fake = await fakeOrchestrator({
    fullFor: 1,
    handle: () => {
      change(files[0]!.path);
      return false;
    },
  });
  expect((await outcomesOf(fake.url, files)).map(({ status }) => status)).toEqual(['ready', 'ready']);
  expect(fake.uploads[0]!.documents.map(({ text }) => text)).toEqual(['a.md', 'b.md']);
});
