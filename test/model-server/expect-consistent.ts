import { expect } from 'vitest';
import type { Harness } from './lifecycle-harness.ts';
import { liveWorkers } from './watched-workers.ts';

/** What has been reserved is what is loaded, nobody holds anything, and there is a worker for each that is loaded. */
export function expectConsistent(server: Harness): void {
  const ready = server.admin.list().filter(({ state }) => state === 'ready');
  const { rows, usedBytes, baseBytes } = server.admin.memory()[0]!;
  expect(rows.map(({ owner }) => owner).sort()).toEqual(
    ready.map(({ name, version }) => `model ${name} version ${version}`).sort(),
  );
  expect(rows.every(({ leases, measuredBytes }) => leases === 0 && measuredBytes > 0)).toBe(true);
  expect(usedBytes).toBe(rows.reduce((sum, { measuredBytes }) => sum + measuredBytes, baseBytes));
  expect(liveWorkers.size).toBe(ready.length);
}
