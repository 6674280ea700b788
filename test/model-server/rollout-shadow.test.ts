import { describe, expect, it } from 'vitest';
import { ServingError } from '../../model-server/errors.ts';
import { eachWithRollout, type RolloutSetup, stable } from './rollout-setup.ts';

let here: RolloutSetup;
eachWithRollout((setup) => {
  here = setup;
});

describe('a shadow', () => {
  const pair = { version: 2, against: 1 };

  it('takes its percent of the keys, and nothing of its own answers', async () => {
    await here.write(`${stable}shadow: { version: 2, percent: 10 }`);
    const mirrored = Array.from({ length: 5000 }, (_, at) => here.rollout.shadowOf(1, `text ${at}`));
    const share = mirrored.filter((version) => version === 2).length / mirrored.length;
    expect(share).toBeGreaterThan(0.08);
    expect(share).toBeLessThan(0.12);
    expect(here.rollout.shadowOf(2, 'text 1')).toBeUndefined();
    await here.rollout.setShadow({ version: 2, percent: 100 });
    expect(here.rollout.shadowOf(1, 'any')).toBe(2);
    expect(here.rollout.shadowOf(2, 'any')).toBeUndefined();
    here.facts = here.facts.slice(0, 1);
    await here.rollout.reload();
    expect(here.rollout.shadowOf(1, 'any')).toBeUndefined();
  });

  it('runs two at a time, leaves out more, and counts what fails', async () => {
    await here.write(stable);
    const gates = Array.from({ length: 2 }, () => Promise.withResolvers<void>());
    for (const { promise } of gates) expect(here.rollout.mirror(pair, () => promise)).toBe(true);
    expect(here.rollout.mirror(pair, async () => expect.unreachable())).toBe(false);
    gates[0]!.reject(new Error('out of memory'));
    for (const { resolve } of gates) resolve();
    await here.rollout.idle();
    expect(
      here.rollout.mirror(pair, () => {
        throw new Error('at once');
      }),
    ).toBe(true);
    await here.rollout.idle();
    expect(here.rollout.status().shadows).toMatchObject([{ ...pair, requests: 2, errors: 2, dropped: 1 }]);
  });

  it('counts as left out what the version could not take yet', async () => {
    await here.write(stable);
    for (const reason of ['VERSION_NOT_FOUND', 'QUEUE_FULL', 'BATCH_FAILED'] as const) {
      here.rollout.mirror(pair, () => Promise.reject(new ServingError(reason, 'no')));
      await here.rollout.idle();
    }
    expect(here.rollout.status().shadows).toMatchObject([{ requests: 1, errors: 1, dropped: 2 }]);
  });

  it('is stopped on close without being counted as failed', async () => {
    await here.write(stable);
    const started = Promise.withResolvers<void>();
    here.rollout.mirror(pair, (signal) => {
      started.resolve();
      return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    });
    await started.promise;
    await here.rollout.close();
    await here.rollout.close();
    expect(here.rollout.status().shadows).toEqual([]);
    expect(here.rollout.mirror(pair, async () => expect.unreachable())).toBe(false);
  });

  it('shows how the versions agree', async () => {
    await here.write(stable);
    here.rollout.recordShadow({
      ...pair,
      kind: 'rerank',
      ms: 20,
      againstMs: 10,
      scores: [3, 2, 1],
      againstScores: [3, 1, 2],
    });
    expect(here.rollout.status().shadows).toMatchObject([
      {
        ...pair,
        requests: 1,
        kendallTau: { count: 1, mean: expect.closeTo(1 / 3) },
        topOverlap: { mean: 1 },
        latencyRatio: { mean: 2 },
      },
    ]);
  });
});
