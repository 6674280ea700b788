import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { takeBaseline } from '../../loadtest/k6/baseline.ts';
import { grpcCode, type Outcome, outcomeOf } from '../../loadtest/k6/outcome.ts';
import { type Plan, planOf, scenarioNames } from '../../loadtest/k6/scenarios.ts';
import { latencyPlot, type SummaryData, summaryFiles, summaryMarkdown } from '../../loadtest/k6/summary.ts';
import { findK6 } from '../../loadtest/k6.ts';
import { inCheckout, spawnNode } from '../cli/spawned.ts';

const load = { cores: 2, kinds: ['embed', 'rerank'], durationSecs: undefined };
const rulesOf = ({ options }: Plan) => options.thresholds as Record<string, string[]>;

describe('outcomes', () => {
  test.each<[string, string | undefined, string | undefined, Outcome['kind']]>([
    ['the right answer', undefined, undefined, 'answered'],
    ["gRPC's busy", 'x', grpcCode(8), 'refused'],
    ["gRPC's too late", 'x', grpcCode(4), 'refused'],
    ["Connect's busy", 'x', 'resource_exhausted', 'refused'],
    ["the orchestrator's busy", 'x', 'QUEUE_FULL', 'refused'],
    ['unavailable', 'x', grpcCode(14), 'failed'],
    ['internal', 'x', 'internal', 'failed'],
    ['a wrong answer', '2 results came back for 8', undefined, 'failed'],
  ])('%s', (_what, problem, reason, kind) => expect(outcomeOf(problem, reason).kind).toBe(kind));

  test('a failure without a reason tells what was wrong', () => {
    expect(outcomeOf('2 results came back for 8').reason).toBe('2 results came back for 8');
  });
});

describe('the baseline', () => {
  const options = { warmUpRounds: 2, rounds: 10, longestMs: 1e9 };

  /** Kinds that take so many milliseconds of a clock by hand. */
  function onClock(tookMs: Record<string, number>) {
    let nowMs = 0;
    const sent: string[] = [];
    const kind = (name: string, share: number) => ({
      share,
      send: (): Outcome => {
        sent.push(name);
        nowMs += tookMs[name]!;
        return { kind: 'answered', reason: 'OK' };
      },
    });
    return { kinds: { fast: kind('fast', 3), slow: kind('slow', 1) }, nowMs: () => nowMs, sent };
  }

  test('sends each kind as often as its share, and leaves the warm-up out', () => {
    const { kinds, nowMs, sent } = onClock({ fast: 4, slow: 40 });
    const { all, kinds: each } = takeBaseline(kinds, { ...options, nowMs });
    expect(sent).toHaveLength(4 * 12);
    expect(each).toEqual({
      fast: { p50Ms: 4, p95Ms: 4, requests: 30 },
      slow: { p50Ms: 40, p95Ms: 40, requests: 10 },
    });
    expect(all).toEqual({ p50Ms: 4, p95Ms: 40, requests: 40 });
  });

  test('ends when its time is over, but never without a figure for each kind', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1000 }), (longestMs) => {
        const { kinds, nowMs, sent } = onClock({ fast: 10, slow: 10 });
        const { kinds: each } = takeBaseline(kinds, { ...options, rounds: 1000, longestMs, nowMs });
        expect(Object.values(each).every(({ requests }) => requests > 0)).toBe(true);
        expect(sent.length - 8).toBe(4 * Math.ceil(longestMs / 40));
      }),
    );
  });

  test('is none when a request is not answered', () => {
    const send = (): Outcome => ({ kind: 'refused', reason: 'QUEUE_FULL' });
    const taking = () => takeBaseline({ embed: { share: 1, send } }, { ...options, nowMs: () => 0 });
    expect(taking).toThrow('without any load, a request of kind embed ended with QUEUE_FULL');
  });
});

describe('the scenarios', () => {
  test.each(scenarioNames)('%s: somebody must be answered, and every latency is a ratio', (name) => {
    const rules = rulesOf(planOf(name, load));
    expect(rules['answered{phase:load}']).toEqual(['count>0']);
    const held = Object.entries(rules).filter(([, [rule]]) => !rule!.endsWith('>=0'));
    expect(held.some(([metric]) => metric.startsWith('latency_ratio'))).toBe(true);
    expect(held.some(([metric]) => metric.startsWith('latency_ms'))).toBe(false);
    for (const kind of load.kinds) expect(rules).toHaveProperty([`latency_ms{phase:load,kind:${kind}}`]);
  });

  test('average load stays within three baselines with less than one per cent unanswered', () => {
    expect(rulesOf(planOf('average', load))).toMatchObject({
      'latency_ratio{phase:load}': ['p(95)<=3'],
      unanswered: ['rate<0.01'],
    });
    expect(planOf('average', load).pause).toBeGreaterThan(0);
  });

  test.each(['stress', 'spike'] as const)(
    '%s: refusals are allowed, failures are not, and it recovers',
    (name) => {
      const plan = planOf(name, load);
      const rules = rulesOf(plan);
      expect(rules.failed).toEqual(['rate==0']);
      expect(rules['refused{phase:load}']).toEqual(['rate>=0']);
      expect(rules['latency_ratio{phase:recovery}']).toEqual(['med<=3']);
      expect(plan.pause).toBe(0);
    },
  );

  test('callers grow with the cores, and the main part takes as long as it is told', () => {
    const peak = (name: (typeof scenarioNames)[number], cores: number) => {
      const scenario = JSON.stringify(planOf(name, { ...load, cores }).options.scenarios?.load);
      return Math.max(...[...scenario.matchAll(/"(?:target|vus)":(\d+)/g)].map(([, count]) => Number(count)));
    };
    expect(scenarioNames.map((name) => peak(name, 2))).toEqual([1, 4, 128, 64, 4]);
    expect(scenarioNames.map((name) => peak(name, 4))).toEqual([1, 8, 256, 128, 8]);
    for (const name of scenarioNames) {
      const { scenarios } = planOf(name, { ...load, durationSecs: 30 }).options;
      const seconds = [...JSON.stringify(scenarios?.load).matchAll(/"duration":"(\d+)s"/g)].map(([, s]) =>
        Number(s),
      );
      // Ramps come on top.
      expect(seconds.reduce((sum, one) => sum + one)).toBeLessThanOrEqual(40);
      expect(seconds.reduce((sum, one) => sum + one)).toBeGreaterThanOrEqual(30);
    }
  });
});

describe('the summary', () => {
  const of = { script: 'Server', scenario: 'spike', description: 'many callers', folder: 'out' };
  const times = (p95: number) => ({ med: 4, 'p(90)': 20, 'p(95)': p95, 'p(99)': 60, max: 99.6 });
  const latency = { p50Ms: 4, p95Ms: 16, requests: 100 };
  const data: SummaryData = {
    setup_data: { all: latency, kinds: { embed: latency } },
    metrics: {
      'latency_ms{phase:load}': { values: times(32), thresholds: { 'max>=0': { ok: true } } },
      'latency_ms{phase:load,kind:embed}': { values: times(31) },
      'latency_ratio{phase:load}': { values: { 'p(95)': 2 }, thresholds: { 'p(95)<=3': { ok: true } } },
      'answered{phase:load}': { values: { count: 990 }, thresholds: { 'count>0': { ok: true } } },
      'refused{phase:load}': { values: { rate: 0.01 } },
      'failed{phase:load}': { values: { rate: 0 }, thresholds: { 'rate==0': { ok: true } } },
    },
  };

  test('tells thresholds with what was measured, phases, kinds, and bars', () => {
    const lines = summaryMarkdown(data, of).split('\n');
    expect(lines).toContain('Many callers. Every threshold holds.');
    expect(lines).toContain('| `latency_ratio{phase:load}` p(95)<=3 | 2 | yes |');
    expect(lines).toContain('| without load | 100 | | | 4.0 ms | 16 ms | | 1.00 |');
    expect(lines).toContain('| load | 990 | 1.00 % | 0.00 % | 4.0 ms | 32 ms | 60 ms | 2.00 |');
    expect(lines).toContain('| embed | 4.0 ms | 16 ms | 4.0 ms | 31 ms |');
    expect(lines).toContain(`load     max  ${'█'.repeat(40)} 100 ms`);
    // What only keeps figures is no rule.
    expect(lines.join('\n')).not.toContain('max>=0');
  });

  test('says when a threshold is broken', () => {
    const failed = { values: { rate: 0.5 }, thresholds: { 'rate==0': { ok: false } } };
    const broken = { ...data, metrics: { ...data.metrics, 'failed{phase:load}': failed } };
    const markdown = summaryMarkdown(broken, of);
    expect(markdown).toContain('A threshold is broken.');
    expect(markdown).toContain('| `failed{phase:load}` rate==0 | 0.5 | **no** |');
  });

  test('says when nothing ran, although no threshold was broken', () => {
    expect(summaryMarkdown({ metrics: data.metrics }, of)).toBe(
      '# Server: spike\n\nIt did not run: without any load its requests were not answered.\n',
    );
  });

  test('writes markdown and plot into the folder, and the markdown to the terminal', () => {
    const files = summaryFiles(data, of);
    expect(Object.keys(files)).toEqual(['out/summary.md', 'out/latency.svg', 'stdout']);
    expect(files.stdout).toBe(`${files['out/summary.md']}\n`);
    const plot = latencyPlot(data, of);
    expect(files['out/latency.svg']).toBe(plot);
    for (const text of ['Server: spike', 'latency (ms)', '>p99<', '>without load<'])
      expect(plot).toContain(text);
  });
});

describe('the runner', () => {
  async function folderWith(path: string, mode: number): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), 'k6-test-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    await mkdir(join(folder, path, '..'), { recursive: true });
    await writeFile(join(folder, path), '');
    await chmod(join(folder, path), mode);
    return folder;
  }

  test('finds k6 by K6, then in PATH, then in ~/go/bin, where it can be run', async () => {
    const home = await folderWith('go/bin/k6', 0o755);
    const inPath = await folderWith('k6', 0o755);
    const notRunnable = await folderWith('k6', 0o644);
    const own = join(home, 'go/bin/k6');
    expect(findK6({ K6: join(inPath, 'k6'), PATH: '' }, home)).toBe(join(inPath, 'k6'));
    expect(findK6({ PATH: `${notRunnable}:${inPath}` }, home)).toBe(join(inPath, 'k6'));
    expect(findK6({ PATH: notRunnable }, home)).toBe(own);
    expect(findK6({}, '/nowhere')).toBeUndefined();
    expect(findK6({ K6: '/nowhere/k6', PATH: inPath }, home)).toBeUndefined();
  });

  test.each([
    [
      ['smoke'],
      { K6: '/nowhere/k6' },
      3,
      'there is no k6 at K6=/nowhere/k6; get it with: go install go.k6.io/k6@latest',
    ],
    [['smoke', '--duration', 'long'], {}, 2, '--duration is a number of seconds above zero, not "long"'],
  ])('%j with %j ends with %i and one sentence', async (args, env, code, message) => {
    const run = spawnNode(inCheckout('loadtest/k6.ts'), args, { env });
    expect([(await run.ended).code, run.stderr]).toEqual([code, [message]]);
  });

  test('an unknown scenario is answered with the help', async () => {
    const run = spawnNode(inCheckout('loadtest/k6.ts'), ['smok']);
    expect((await run.ended).code).toBe(2);
    expect(run.stdout[0]).toBe(
      'Usage: npm run k6 -- smoke|average|stress|spike|soak [--grpc] [--http] [--orchestrator] [options]',
    );
  });
});
