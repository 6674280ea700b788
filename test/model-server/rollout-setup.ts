import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';
import { Rollout } from '../../model-server/models/rollout/rollout.ts';
import type { CanaryPlan, RolloutPlan, VersionFact } from '../../model-server/models/rollout/status.ts';
import { ManualClock } from './manual-clock.ts';

export const START_MS = 1_700_000_000_000;

/** A rollout.yaml in which version 1 serves everyone. */
export const stable = 'default: stable\naliases:\n  stable: { 1: 100 } # ours\n';

export const canary: CanaryPlan = {
  alias: 'stable',
  from: 1,
  to: 2,
  steps: [1, 10, 50, 100],
  minRequests: 30,
  guards: { maxErrorRate: 0.05 },
};

/** A rollout of model m with versions 1 to 3, a real folder and a manual clock. */
export class RolloutSetup {
  readonly folder = mkdtempSync(join(tmpdir(), 'rollout-'));
  readonly file = join(this.folder, 'rollout.yaml');
  readonly clock = new ManualClock();
  facts: VersionFact[] = [1, 2, 3].map((version) => ({ version, space: 's', makesVectors: true }));
  readonly logged: { level: string; fields: object; message: string }[] = [];
  readonly plans: (RolloutPlan | undefined)[] = [];
  readFact: ((version: number) => Promise<VersionFact>) | undefined;
  rollout = this.build();

  build(file = this.file): Rollout {
    const logAt = (level: string) => (fields: object, message: string) =>
      void this.logged.push({ level, fields, message });
    return new Rollout({
      model: 'm',
      file,
      nowMs: () => START_MS + this.clock.nowUs() / 1000,
      log: { info: logAt('info'), warn: logAt('warn'), error: logAt('error') },
      facts: () => this.facts,
      readFact: (version) =>
        this.readFact?.(version) ?? Promise.resolve(this.facts.find((fact) => fact.version === version)!),
      onPlan: (plan) => this.plans.push(plan),
    });
  }

  messages(level: string): string[] {
    return this.logged.filter((line) => line.level === level).map((line) => line.message);
  }

  text(): string {
    return readFileSync(this.file, 'utf8');
  }

  async write(yaml: string): Promise<void> {
    writeFileSync(this.file, yaml);
    await this.rollout.reload();
  }

  /** Sends keys until `count` of them went to `version`; returns how many were sent in all. */
  answer(version: number, count: number, outcome: { ms?: number; ok?: boolean } = {}): number {
    let sent = 0;
    for (let left = count; left > 0; sent++) {
      if (sent > 100_000) throw new Error(`version ${version} gets nothing`);
      const chosen = this.rollout.choose({ alias: '', key: `user ${sent}` })!;
      const mine = chosen === version ? outcome : {};
      this.rollout.record({ version: chosen, ms: mine.ms ?? 10, ok: mine.ok ?? true });
      if (chosen === version) left -= 1;
    }
    return sent;
  }

  percentNow(): number | undefined {
    return this.rollout.status().canary?.percent;
  }

  whatHappened(): string[] {
    return this.rollout.status().decisions.map(({ what, by }) => `${what} by ${by}`);
  }

  async remove(): Promise<void> {
    await this.rollout.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Gives each test of a file a rollout of its own. */
export function eachWithRollout(use: (setup: RolloutSetup) => void): void {
  let setup: RolloutSetup;
  beforeEach(() => {
    setup = new RolloutSetup();
    use(setup);
  });
  afterEach(() => setup.remove());
}
