import { describe, expect, it } from 'vitest';
import { canary, eachWithRollout, type RolloutSetup, START_MS, stable } from './rollout-setup.ts';

let here: RolloutSetup;
eachWithRollout((setup) => {
  here = setup;
});

describe('a canary', () => {
  it('goes from 1 % to everyone by itself, each step with its own figures', async () => {
    await here.write(stable);
    await here.rollout.startCanary(canary);
    const percents: (number | undefined)[] = [];
    while (here.percentNow() !== undefined) {
      percents.push(here.percentNow());
      here.answer(2, 29);
      await here.rollout.idle();
      expect(here.percentNow()).toBe(percents.at(-1));
      expect(here.rollout.status().canary!.requests).toBe(29);
      here.answer(2, 1);
      await here.rollout.idle();
      here.clock.advance(1000);
    }
    expect(percents).toEqual([1, 10, 50, 100]);
    expect(here.text()).toBe(stable.replace('1: 100', '2: 100'));
    expect(here.rollout.choose({ alias: '', key: 'anyone' })).toBe(2);
    expect(here.whatHappened()).toEqual([
      'promoted by schedule',
      'advanced by schedule',
      'advanced by schedule',
      'advanced by schedule',
      'started by command',
    ]);
    const decisions = here.rollout.status().decisions;
    expect(decisions[3]).toMatchObject({
      atMs: START_MS,
      why: expect.stringMatching(/^to 10 %: 30 requests at 1 %, maxErrorRate 0 \(limit 0\.05\)$/),
    });
    expect(decisions[0]!.atMs).toBe(START_MS + 3);
    expect(here.messages('info').filter((message) => message.startsWith('canary of model m'))).toHaveLength(
      5,
    );
  });

  it('sends each step its percent of the requests', async () => {
    await here.write(stable);
    await here.rollout.startCanary({ ...canary, steps: [10, 100], minRequests: 500 });
    const sent = here.answer(2, 400);
    expect(400 / sent).toBeGreaterThan(0.08);
    expect(400 / sent).toBeLessThan(0.12);
  });

  it('goes back at once when too many requests fail', async () => {
    await here.write(stable);
    await here.rollout.startCanary({ ...canary, steps: [50, 100] });
    here.answer(2, 19, { ok: false });
    await here.rollout.idle();
    expect(here.percentNow()).toBe(50);
    here.answer(2, 1, { ok: false });
    // Not one request more, even before the file says so.
    expect(
      Array.from({ length: 100 }, (_, at) => here.rollout.choose({ alias: '', key: `k${at}` })),
    ).not.toContain(2);
    await here.rollout.idle();
    expect(here.percentNow()).toBeUndefined();
    expect(here.text()).toBe(stable);
    expect(here.rollout.status().decisions[0]).toMatchObject({
      what: 'rolled back',
      by: 'guard',
      why: expect.stringContaining('20 of 20 requests of version 2 failed'),
    });
    expect(here.messages('warn')).toHaveLength(1);
  });

  it('goes back when the new version can take no requests, which then hurts nobody', async () => {
    await here.write(stable);
    await here.rollout.startCanary({ ...canary, steps: [50, 100] });
    for (let at = 0; here.percentNow() === 50 && at < 100; at++) {
      expect(here.rollout.choose({ alias: '', key: `k${at}` }, (version) => version === 1)).toBe(1);
    }
    await here.rollout.idle();
    expect(here.whatHappened()).toEqual(['rolled back by guard', 'started by command']);
  });

  it('goes back when it is slow, compared with the old version', async () => {
    await here.write(stable);
    await here.rollout.startCanary({ ...canary, steps: [50, 100], guards: { maxP99Ratio: 1.5 } });
    for (let at = 0; at < 40; at++) here.rollout.record({ version: 1, ms: 10, ok: true });
    here.answer(2, 30, { ms: 16 });
    await here.rollout.idle();
    expect(here.rollout.status().decisions[0]).toMatchObject({
      what: 'rolled back',
      why: expect.stringContaining('1.6 times the 10 ms of version 1'),
    });
  });

  it('compares with the old version of the step before when that gets no requests any more', async () => {
    await here.write(stable);
    await here.rollout.startCanary({ ...canary, steps: [50, 100], guards: { maxP99Ratio: 1.5 } });
    here.answer(1, 60);
    here.answer(2, 30, { ms: 11 });
    await here.rollout.idle();
    expect(here.percentNow()).toBe(100);
    here.answer(2, 30, { ms: 40 });
    await here.rollout.idle();
    expect(here.rollout.status().decisions[0]).toMatchObject({
      what: 'rolled back',
      why: expect.stringContaining('4 times the 10 ms'),
    });
  });

  it('compares with mirrored requests when nothing else is known, as after a restart at 100 %', async () => {
    await here.write(
      `${stable}canary: { alias: stable, from: 1, to: 2, steps: [100], min_requests: 20, guards: { max_p99_ratio: 2 } }`,
    );
    here.answer(2, 30);
    await here.rollout.idle();
    expect(here.percentNow()).toBe(100);
    const vectors = [Float32Array.of(1)];
    for (let at = 0; at < 20; at++) {
      here.rollout.recordShadow({
        version: 1,
        against: 2,
        kind: 'embed',
        ms: 9,
        againstMs: 10,
        vectors,
        againstVectors: vectors,
      });
    }
    await here.rollout.idle();
    expect(here.whatHappened()).toEqual(['promoted by schedule', 'started by file']);
  });

  it('waits for mirrored requests, and goes back when the vectors differ', async () => {
    await here.write(stable);
    await here.rollout.startCanary({ ...canary, steps: [50, 100], guards: { minCosine: 0.98 } });
    here.answer(2, 100);
    await here.rollout.idle();
    expect(here.percentNow()).toBe(50);
    // Of a step of 30 requests all are evidence, for 20 are wanted.
    const mirrored = Array.from({ length: 200 }, (_, at) => here.rollout.shadowOf(2, `k${at}`));
    expect(mirrored.filter((version) => version === 1)).toHaveLength(200);
    expect(here.rollout.status().canary).toMatchObject({
      requests: 100,
      why: 'waits for 20 more mirrored values of cosine, which Embed requests bring',
    });
    expect(here.rollout.shadowOf(1, 'k')).toBeUndefined();
    for (let at = 0; at < 20; at++) {
      expect(here.percentNow()).toBe(50);
      here.rollout.recordShadow({
        version: 1,
        against: 2,
        kind: 'embed',
        ms: 10,
        againstMs: 10,
        vectors: [Float32Array.of(1, 0)],
        againstVectors: [Float32Array.of(0.6, 0.8)],
      });
    }
    await here.rollout.idle();
    expect(here.rollout.status().decisions[0]).toMatchObject({
      what: 'rolled back',
      why: 'to version 1 at 50 %: mean cosine of versions 1 and 2 is 0.6 over 20 mirrored values; the limit is 0.98',
    });
  });

  it.each([
    [30, 200],
    [60, 67],
    [200, 20],
    [5000, 20],
    [1, 200],
  ])('of steps of %d requests, mirrors %d of 200', async (minRequests, expected) => {
    await here.write(stable);
    await here.rollout.startCanary({ ...canary, minRequests });
    const mirrored = Array.from({ length: 200 }, (_, at) => here.rollout.shadowOf(2, `k${at}`));
    expect(mirrored.filter((version) => version === 1)).toHaveLength(expected);
  });

  it('never gives its alias to a version that is gone, by itself or by command', async () => {
    await here.write(stable);
    await here.rollout.startCanary({ ...canary, steps: [50, 100] });
    here.facts = here.facts.filter(({ version }) => version !== 1);
    await here.rollout.reload();
    here.answer(2, 40, { ok: false });
    await here.rollout.idle();
    expect(here.rollout.choose({ alias: '', key: 'a' })).toBe(2);
    expect(here.rollout.status().canary!.why).toMatch(/^stays as it is, for version 1 is gone: .* failed/);
    await expect(here.rollout.rollBack()).rejects.toMatchObject({ reason: 'VERSION_NOT_FOUND' });
    expect((await here.rollout.promote()).plan.aliases).toEqual({ stable: { 2: 100 } });
  });

  it('is ended by command, either way', async () => {
    await here.write(stable);
    await expect(here.rollout.promote()).rejects.toMatchObject({ reason: 'INVALID_INPUT' });
    await here.rollout.startCanary(canary);
    await expect(here.rollout.startCanary(canary)).rejects.toMatchObject({ reason: 'INVALID_INPUT' });
    here.answer(2, 7);
    const back = await here.rollout.rollBack();
    expect(back).toMatchObject({ canary: undefined, plan: { aliases: { stable: { 1: 100 } } } });
    expect(back.decisions[0]).toMatchObject({
      what: 'rolled back',
      by: 'command',
      why: 'alias "stable" from version 1 to 2, at 1 % after 7 requests',
    });
    await here.rollout.startCanary(canary);
    expect((await here.rollout.promote()).plan.aliases).toEqual({ stable: { 2: 100 } });
    expect(here.text()).toBe(stable.replace('1: 100', '2: 100'));
  });
});
