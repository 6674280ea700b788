import { getPriority } from 'node:os';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';

const module = new URL('../../model-server/executor/yield-to-server.ts', import.meta.url).href;
const program = `
  const { parentPort } = require('node:worker_threads');
  const { readlinkSync } = require('node:fs');
  const { getPriority } = require('node:os');
  import(${JSON.stringify(module)}).then(({ yieldToServer }) => {
    const thread = Number(readlinkSync('/proc/thread-self').split('/').at(-1));
    const before = getPriority(thread);
    yieldToServer();
    parentPort.postMessage({ before, after: getPriority(thread) });
  });
`;

describe.skipIf(process.platform !== 'linux')('a worker', () => {
  it('gives way to the thread that feeds it, which stays as it is', async () => {
    const own = getPriority();
    const worker = new Worker(program, { eval: true });
    const told = await new Promise<{ before: number; after: number }>((resolve, reject) => {
      worker.once('message', resolve).once('error', reject);
    });
    await worker.terminate();
    expect(told.before).toBe(own);
    expect(told.after).toBe(own + 5 > 19 ? 19 : Math.max(own, 5));
    expect(getPriority()).toBe(own);
  });
});
