import { rmSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { canary, eachWithRollout, type RolloutSetup, stable } from './rollout-setup.ts';

let here: RolloutSetup;
eachWithRollout((setup) => {
  here = setup;
});

describe('without rollout.yaml', () => {
  it('says nothing, counts nothing, and knows no alias', async () => {
    await here.rollout.reload();
    expect(here.rollout.choose({ alias: '', key: 'a' })).toBeUndefined();
    here.rollout.record({ version: 1, ms: 1, ok: true });
    expect(here.rollout.shadowOf(1, 'a')).toBeUndefined();
    expect(here.rollout.claimedSpace(2, 'own')).toBe('own');
    expect(here.rollout.status()).toMatchObject({
      model: 'm',
      problem: '',
      traffic: [],
      canary: undefined,
      decisions: [],
    });
    expect(() => here.rollout.choose({ alias: 'stable', key: 'a' })).toThrow(
      expect.objectContaining({
        reason: 'VERSION_NOT_FOUND',
        message: expect.stringContaining('declares none'),
      }),
    );
    expect([here.logged, here.plans]).toEqual([[], []]);
  });
});

describe('aliases', () => {
  it('share by weight and stick to the key', async () => {
    await here.write('default: a\naliases: { a: { 1: 50, 2: 50 }, next: { 3: 1 } }');
    const first = Array.from({ length: 100 }, (_, at) => here.rollout.choose({ alias: '', key: `k${at}` }));
    expect(new Set(first)).toEqual(new Set([1, 2]));
    expect(
      Array.from({ length: 100 }, (_, at) => here.rollout.choose({ alias: 'a', key: `k${at}` })),
    ).toEqual(first);
    expect(here.rollout.choose({ alias: 'next', key: 'k1' })).toBe(3);
  });

  it('deal out requests that have no key', async () => {
    await here.write('default: a\naliases: { a: { 1: 50, 2: 50 } }');
    const chosen = Array.from({ length: 1000 }, () => here.rollout.choose({ alias: '', key: '' }));
    const share = chosen.filter((version) => version === 1).length / chosen.length;
    expect(share).toBeGreaterThan(0.42);
    expect(share).toBeLessThan(0.58);
  });

  it('that are unknown are refused, with the known ones; so are names of other objects', async () => {
    await here.write('aliases: { a: { 1: 50 }, next: { 3: 1 } }');
    for (const alias of ['b', 'constructor', '__proto__']) {
      expect(() => here.rollout.choose({ alias, key: '' })).toThrow(
        `model m has no alias "${alias}"; it has a, next.`,
      );
    }
    expect(here.rollout.choose({ alias: '', key: '' })).toBeUndefined();
  });

  it('leave the share of what is only being got ready to the others, and take it when there are none', async () => {
    await here.write('default: a\naliases: { a: { 1: 50, 2: 50 }, next: { 2: 1 } }');
    const later = (version: number) => (version === 2 ? 'later' : true);
    for (let at = 0; at < 20; at++) {
      expect(here.rollout.choose({ alias: '', key: `k${at}` }, later)).toBe(1);
      expect(here.rollout.choose({ alias: 'next', key: `k${at}` }, later)).toBe(2);
      expect(here.rollout.choose({ alias: '', key: `k${at}` }, (one) => one === 2 && 'later')).toBe(2);
    }
  });

  it('do not hold it against a canary that it is only being got ready', async () => {
    await here.write(stable);
    await here.rollout.startCanary({ ...canary, steps: [50, 100], minRequests: 5 });
    for (let at = 0; at < 100; at++) {
      const chosen = here.rollout.choose({ alias: '', key: `k${at}` }, (one) => one === 1 || 'later');
      expect(chosen).toBe(1);
    }
    await here.rollout.idle();
    expect(here.whatHappened()).toEqual(['started by command']);
    for (let at = 0; at < 100; at++) here.rollout.choose({ alias: '', key: `k${at}` }, (one) => one === 1);
    await here.rollout.idle();
    expect(here.whatHappened()).toEqual(['rolled back by guard', 'started by command']);
  });

  it('pass over versions that are not usable, and say so when none is', async () => {
    await here.write('aliases: { a: { 1: 50, 2: 50 } }');
    for (let at = 0; at < 50; at++) {
      expect(here.rollout.choose({ alias: 'a', key: `k${at}` }, (version) => version !== 1)).toBe(2);
    }
    expect(() => here.rollout.choose({ alias: 'a', key: 'k' }, () => false)).toThrow(
      expect.objectContaining({
        reason: 'MODEL_NOT_READY',
        retryAfterMs: 1000,
        message: expect.stringContaining('{"1":50,"2":50}'),
      }),
    );
  });
});

describe('the file', () => {
  it('is taken over when it changes, appears and goes', async () => {
    await here.write(stable);
    await here.write(stable);
    await here.write(stable.replace('1: 100', '2: 100'));
    expect(here.rollout.choose({ alias: '', key: '' })).toBe(2);
    rmSync(here.file);
    await here.rollout.reload();
    expect(here.rollout.choose({ alias: '', key: '' })).toBeUndefined();
    expect(here.plans.map((plan) => plan?.aliases.stable)).toEqual([{ 1: 100 }, { 2: 100 }, undefined]);
  });

  it('that is wrong leaves the plan in force, and is told once', async () => {
    await here.write(stable);
    for (const bad of ['aliases: {', 'x: 1', 'x: 1', stable.replace('1: 100', '1: 1, 9: 1')])
      await here.write(bad);
    expect(here.rollout.choose({ alias: '', key: '' })).toBe(1);
    expect(here.rollout.status().problem).toBe(
      'alias "stable" names version 9, which does not exist; there are 1, 2, 3',
    );
    here.facts[2]!.space = 't';
    await here.rollout.reload();
    expect(here.messages('error')).toHaveLength(3);
    expect(here.messages('error')[1]).toMatch(
      /rollout\.yaml of model m is not fully in force: rollout\.yaml:1: x is no setting/,
    );
    await here.write(stable);
    expect(here.rollout.status().problem).toBe('');
  });

  it('that asks for a mix of spaces is not put in force', async () => {
    here.facts[1]!.space = 't';
    await here.write(stable);
    await here.write('default: stable\naliases: { stable: { 1: 1, 2: 1 } }');
    expect(here.rollout.status()).toMatchObject({
      problem: expect.stringContaining('different vector spaces'),
      plan: { aliases: { stable: { 1: 100 } } },
    });
  });

  it('comes into force when its version appears', async () => {
    here.facts = here.facts.slice(0, 1);
    await here.write(stable);
    await here.write(stable.replace('1: 100', '2: 100'));
    expect(here.rollout.choose({ alias: '', key: '' })).toBe(1);
    here.facts = [...here.facts, { version: 2, space: 's', makesVectors: true }];
    await here.rollout.reload();
    expect(here.rollout.choose({ alias: '', key: '' })).toBe(2);
    expect(here.rollout.status().problem).toBe('');
  });

  it('serves what is left of it when a version has been lost before a restart', async () => {
    await here.write('default: stable\naliases: { stable: { 1: 1, 9: 99 } }');
    expect(here.rollout.choose({ alias: '', key: 'k' })).toBe(1);
    expect(here.rollout.status().problem).toContain('version 9');
  });

  it('claims a space for versions', async () => {
    here.facts = [1, 2].map((version) => ({ version, space: `s${version}`, makesVectors: true }));
    await here.write('same_space: [1, 2]\naliases: { stable: { 1: 1, 2: 1 } }');
    expect(here.rollout.status().problem).toBe('');
    expect([here.rollout.claimedSpace(2, 's2'), here.rollout.claimedSpace(3, 's3')]).toEqual(['s1', 's3']);
  });
});

describe('figures', () => {
  it('tell requests, errors and latency by version', async () => {
    await here.write(stable);
    for (let at = 1; at <= 100; at++) here.rollout.record({ version: 1, ms: at, ok: true });
    here.rollout.record({ version: 2, ms: 5, ok: false });
    expect(here.rollout.status().traffic).toEqual([
      { version: 1, requests: 100, errors: 0, p50Ms: 50, p99Ms: 99 },
      { version: 2, requests: 1, errors: 1, p50Ms: 0, p99Ms: 0 },
    ]);
    here.facts = here.facts.slice(0, 1);
    await here.rollout.reload();
    expect(here.rollout.status().traffic.map(({ version }) => version)).toEqual([1]);
  });
});
