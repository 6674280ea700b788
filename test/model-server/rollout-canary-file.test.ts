import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { canary, eachWithRollout, type RolloutSetup, stable } from './rollout-setup.ts';

let here: RolloutSetup;
eachWithRollout((setup) => {
  here = setup;
});

describe('a canary and its file', () => {
  it('goes on where it was after a restart', async () => {
    await here.write(stable);
    await here.rollout.startCanary(canary);
    here.answer(2, 30);
    await here.rollout.idle();
    await here.rollout.close();
    here.rollout = here.build();
    await here.rollout.reload();
    expect(here.percentNow()).toBe(10);
    expect(here.whatHappened()).toEqual(['started by file']);
  });

  it('is steered by an edit of the file too', async () => {
    const at = (step: number) =>
      `${stable}canary: { alias: stable, from: 1, to: 2, steps: [1, 50, 100], step: ${step}, min_requests: 50 }`;
    await here.write(at(0));
    here.answer(2, 10);
    await here.write(at(1));
    expect(here.rollout.status()).toMatchObject({ canary: { percent: 50, requests: 0 } });
    await here.write(stable);
    expect(here.whatHappened()).toEqual(['rolled back by file', 'advanced by file', 'started by file']);
  });

  it('that must go back while its file was edited by hand leaves the edit, and sends nothing more', async () => {
    await here.write(stable);
    await here.rollout.startCanary({ ...canary, steps: [50, 100] });
    const edited = `${here.text()}shadow: { version: 3, percent: 1 }\n`;
    writeFileSync(here.file, edited);
    here.answer(2, 20, { ok: false });
    await here.rollout.idle();
    expect(here.text()).toBe(edited);
    expect(here.rollout.status()).toMatchObject({ canary: { percent: 0 }, plan: { shadow: { version: 3 } } });
    expect(here.messages('error')).toEqual([expect.stringContaining('was edited meanwhile')]);
    here.answer(1, 100);
    await here.rollout.idle();
    expect(here.percentNow()).toBe(0);
    // What is decided stays so, even when later requests that name the version go well.
    for (let at = 0; at < 1000; at++) here.rollout.record({ version: 2, ms: 10, ok: true });
    here.clock.advance(10_000_000);
    here.answer(1, 1);
    await here.rollout.idle();
    expect(here.whatHappened()).toEqual(['rolled back by guard', 'started by command']);
    expect(here.text()).toBe(`${stable}shadow: { version: 3, percent: 1 }\n`);
  });

  it('that can not be written forward stays at its step, is told, and tries again later', async () => {
    await here.write(stable);
    await here.rollout.startCanary({ ...canary, steps: [50, 100], minRequests: 20 });
    const before = here.text();
    // A folder in the file's place: it can neither be read nor replaced.
    rmSync(here.file);
    mkdirSync(here.file);
    here.answer(2, 60);
    await here.rollout.idle();
    expect(here.percentNow()).toBe(50);
    expect(
      here.messages('error').filter((message) => message.includes("canary of model m can't advance")),
    ).toHaveLength(1);
    rmSync(here.file, { recursive: true });
    writeFileSync(here.file, before);
    here.clock.advance(10_000_000);
    await here.rollout.reload();
    await here.rollout.idle();
    expect(here.percentNow()).toBe(100);
  });

  it('is judged at once although the one before could not be written', async () => {
    await here.write(stable);
    await here.rollout.startCanary({ ...canary, steps: [50, 100], minRequests: 20 });
    writeFileSync(here.file, `${here.text()}# edited`);
    here.answer(2, 20);
    await here.rollout.idle();
    expect(here.messages('error')).toHaveLength(1);
    await here.rollout.rollBack();
    await here.rollout.startCanary({ ...canary, steps: [50, 100], minRequests: 20 });
    here.answer(2, 20);
    await here.rollout.idle();
    expect(here.percentNow()).toBe(100);
  });

  it('that an edit changes just as it is advanced is judged as edited, at once', async () => {
    await here.write(stable);
    await here.rollout.startCanary({ ...canary, steps: [50, 100], minRequests: 20 });
    writeFileSync(here.file, here.text().replace('min_requests: 20', 'min_requests: 5'));
    here.answer(2, 20);
    await here.rollout.idle();
    expect(here.rollout.status()).toMatchObject({ canary: { percent: 50, requests: 0 } });
    here.answer(2, 5);
    await here.rollout.idle();
    expect(here.percentNow()).toBe(100);
  });

  it('that a command ends while it is being advanced is ended, and not advanced', async () => {
    await here.write(stable);
    await here.rollout.startCanary({ ...canary, steps: [50, 100], minRequests: 20 });
    here.answer(2, 19);
    const ended = here.rollout.rollBack();
    here.answer(2, 1);
    await ended;
    await here.rollout.idle();
    expect(here.whatHappened()).toEqual(['rolled back by command', 'started by command']);
    expect(here.messages('error')).toEqual([]);
  });

  it('is left as it is after close', async () => {
    await here.write(stable);
    await here.rollout.startCanary({ ...canary, minRequests: 1 });
    await here.rollout.close();
    here.answer(2, 1);
    await here.rollout.idle();
    expect(here.percentNow()).toBe(1);
  });

  it('is not held back by a problem elsewhere in the plan when it must go back', async () => {
    await here.write(stable);
    await here.rollout.startCanary({ ...canary, steps: [50, 100] });
    await here.rollout.setTraffic({ alias: 'other', weights: { 3: 1 }, makeDefault: false });
    here.facts = here.facts.slice(0, 2);
    await here.rollout.reload();
    here.answer(2, 20, { ok: false });
    await here.rollout.idle();
    expect(here.rollout.status()).toMatchObject({
      canary: undefined,
      problem: expect.stringContaining('version 3'),
    });
  });
});
