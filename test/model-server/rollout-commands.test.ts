import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readRollout } from '../../model-server/models/rollout/rollout-file.ts';
import { canary, eachWithRollout, type RolloutSetup, stable } from './rollout-setup.ts';

let here: RolloutSetup;
eachWithRollout((setup) => {
  here = setup;
});

describe('a change by command', () => {
  it('is written with the comments kept, and is in force', async () => {
    await here.write(stable);
    const status = await here.rollout.setTraffic({
      alias: '',
      weights: { 1: 80, 2: 20 },
      makeDefault: false,
    });
    expect(status.plan.aliases).toEqual({ stable: { 1: 80, 2: 20 } });
    expect(here.text()).toBe(stable.replace('1: 100', '1: 80, 2: 20'));
    await here.rollout.setShadow({ version: 3, percent: 5 });
    expect(await readRollout(here.file)).toMatchObject({ shadow: { version: 3, percent: 5 } });
    await here.rollout.setShadow(undefined);
    expect(await readRollout(here.file)).toMatchObject({ shadow: undefined });
    await here.rollout.reload();
    expect(here.plans).toHaveLength(4);
    expect(here.messages('info')[0]).toBe('rollout of model m changed: weights {"1":80,"2":20}');
  });

  it('makes the file where there is none', async () => {
    await here.rollout.setTraffic({ alias: 'blue', weights: { 2: 1 }, makeDefault: true });
    expect(here.rollout.choose({ alias: '', key: '' })).toBe(2);
    expect(here.text()).toBe('default: blue\naliases:\n  blue: { 2: 1 }\n');
  });

  it('that does not fit the versions changes nothing', async () => {
    here.facts[1]!.space = 't';
    await here.write(stable);
    const set = (weights: Record<number, number>) =>
      here.rollout.setTraffic({ alias: 'stable', weights, makeDefault: false });
    await expect(set({ 1: 1, 7: 1 })).rejects.toMatchObject({
      reason: 'VERSION_NOT_FOUND',
      message: expect.stringContaining('model m: alias "stable" names version 7'),
    });
    await expect(set({ 1: 1, 2: 1 })).rejects.toMatchObject({ reason: 'SPACE_MISMATCH' });
    await expect(set({ 1: -1 })).rejects.toMatchObject({ reason: 'INVALID_INPUT' });
    await expect(here.rollout.startCanary(canary)).rejects.toMatchObject({ reason: 'SPACE_MISMATCH' });
    expect(here.text()).toBe(stable);
    expect(here.rollout.status().plan.aliases).toEqual({ stable: { 1: 100 } });
    await here.rollout.setTraffic({
      alias: 'stable',
      weights: { 1: 1, 2: 1 },
      makeDefault: false,
      mixedSpaces: true,
    });
    expect(here.rollout.status().plan.mixedSpaces).toBe(true);
  });

  it('that would mix spaces which are not known yet is refused, not found out when the versions are loaded', async () => {
    const unknown = (version: number) => ({ version, space: '', makesVectors: false });
    here.facts = [here.facts[0]!, unknown(2), unknown(3)];
    const asked: number[] = [];
    here.readFact = async (version) => {
      asked.push(version);
      if (version === 3) throw new Error('its config is broken');
      return { version, space: 't', makesVectors: true };
    };
    await here.write(stable);
    const set = (weights: Record<number, number>) =>
      here.rollout.setTraffic({ alias: 'stable', weights, makeDefault: false });
    await expect(set({ 1: 1, 2: 1 })).rejects.toMatchObject({ reason: 'SPACE_MISMATCH' });
    await expect(here.rollout.startCanary(canary)).rejects.toMatchObject({ reason: 'SPACE_MISMATCH' });
    expect(here.text()).toBe(stable);
    await set({ 2: 1 });
    await set({ 1: 1, 3: 1 });
    expect(asked).toEqual([2, 2, 2, 3]);
  });

  it('does not overwrite an edit by hand, but takes it over', async () => {
    await here.write(stable);
    const edited = stable.replace('1: 100', '3: 100');
    writeFileSync(here.file, edited);
    const change = () => here.rollout.setTraffic({ alias: 'stable', weights: { 2: 1 }, makeDefault: false });
    await expect(change()).rejects.toMatchObject({
      reason: 'MODEL_CONFIG_INVALID',
      message: expect.stringContaining('was edited meanwhile'),
    });
    expect(here.text()).toBe(edited);
    expect(here.rollout.choose({ alias: '', key: '' })).toBe(3);
    await change();
    expect(here.rollout.choose({ alias: '', key: '' })).toBe(2);
  });

  it('does not overwrite a file that is not understood', async () => {
    await here.write(stable);
    await here.write('aliases: {');
    await expect(here.rollout.setShadow({ version: 2, percent: 1 })).rejects.toThrow(
      /not overwritten.*correct or remove it/,
    );
    expect(here.text()).toBe('aliases: {');
  });

  it('does not stumble over what was wrong before it', async () => {
    await here.write('default: stable\naliases: { stable: { 1: 1 }, old: { 9: 1 } }');
    await here.rollout.setTraffic({ alias: 'stable', weights: { 2: 1 }, makeDefault: false });
    expect(here.rollout.choose({ alias: '', key: '' })).toBe(2);
    expect(here.rollout.status().problem).toContain('version 9');
  });

  it('that can not be written changes nothing and says why', async () => {
    await here.write(stable);
    rmSync(here.folder, { recursive: true });
    await here.rollout.reload();
    expect(here.rollout.choose({ alias: '', key: '' })).toBeUndefined();
    await expect(here.rollout.setShadow({ version: 2, percent: 1 })).rejects.toMatchObject({
      reason: 'INTERNAL',
      message: expect.stringContaining("can't be written"),
    });
    expect(here.rollout.status().plan.shadow).toBeUndefined();
    mkdirSync(here.folder);
    await here.rollout.setShadow({ version: 2, percent: 1 });
    expect(readdirSync(here.folder)).toEqual(['rollout.yaml']);
  });

  it.runIf(process.platform === 'linux')('leaves plan and file when the new file has no place', async () => {
    // A path so long that rollout.yaml fits into it, but the longer name of the new file does not.
    let deep = here.folder;
    while (deep.length < 4060) deep += `/${'d'.repeat(Math.min(200, Math.max(1, 4060 - deep.length - 1)))}`;
    mkdirSync(deep, { recursive: true });
    writeFileSync(join(deep, 'rollout.yaml'), stable);
    here.rollout = here.build(join(deep, 'rollout.yaml'));
    await here.rollout.reload();
    const change = here.rollout.setTraffic({ alias: 'stable', weights: { 2: 1 }, makeDefault: false });
    await expect(change).rejects.toMatchObject({
      reason: 'INTERNAL',
      message: expect.stringContaining('the rollout stays as it was'),
    });
    expect(here.rollout.choose({ alias: '', key: '' })).toBe(1);
    expect(readFileSync(join(deep, 'rollout.yaml'), 'utf8')).toBe(stable);

    await expect(here.rollout.startCanary(canary)).rejects.toMatchObject({ reason: 'INTERNAL' });
    expect(here.rollout.status()).toMatchObject({ canary: undefined, decisions: [] });
  });

  it('waits for the one before it', async () => {
    await here.write(stable);
    await Promise.all(
      [1, 2, 3].map((version) =>
        here.rollout.setTraffic({ alias: `a${version}`, weights: { [version]: 1 }, makeDefault: false }),
      ),
    );
    expect(Object.keys((await readRollout(here.file))!.aliases)).toEqual(['stable', 'a1', 'a2', 'a3']);
  });

  it('keeps the 50 newest decisions', async () => {
    await here.write(stable);
    for (let at = 0; at < 26; at++) {
      await here.rollout.startCanary(canary);
      await here.rollout.rollBack();
    }
    expect(here.whatHappened()).toHaveLength(50);
    expect(here.whatHappened()[0]).toBe('rolled back by command');
  });
});
