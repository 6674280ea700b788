import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ModelDefaults } from '../../model-server/models/host.ts';

/** The shipped repository. */
export const shippedRepository = fileURLToPath(new URL('../../model-repository', import.meta.url));

export const defaults: ModelDefaults = {
  instances: 2,
  intraOpThreads: 1,
  packing: 'auto',
  maxBatchItems: 32,
  maxBatchTokens: 1024,
  batchOverheadTokens: 8,
  admission: 'deadline' as const,
  maxQueueItems: 20_000,
  maxQueueTokens: 2_000_000,
  maxRespawns: 5,
  executionProvider: 'auto',
  warmUpMs: 0,
  watchdogMs: 60_000,
  keepAliveMs: -1,
};

/** A folder that goes away with the test. */
export function temporaryFolder(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'nereid-test-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** A copy of the shipped model that a test may damage. */
export function copyShippedModel(repository: string, name = 'all-minilm-l6-v2'): string {
  const folder = join(repository, name);
  cpSync(join(shippedRepository, 'all-minilm-l6-v2'), folder, { recursive: true });
  return folder;
}
