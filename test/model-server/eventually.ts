import { vi } from 'vitest';

/** Waits until a check passes; how long that takes on a busy machine is no matter of the test. */
export function eventually<T>(check: () => T): Promise<Awaited<T>> {
  return vi.waitFor(check, { timeout: 50_000, interval: 5 }) as Promise<Awaited<T>>;
}
