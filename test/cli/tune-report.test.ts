import { PassThrough } from 'node:stream';
import fc from 'fast-check';
import { Parser } from 'htmlparser2';
import { describe, expect, test } from 'vitest';
import { lineChart } from '../../cli/chart/line-chart.ts';
import { linearScale, logScale } from '../../cli/chart/scale.ts';
import { closedLoop } from '../../cli/tune/closed-loop.ts';
import { disturbanceOf, type Finding } from '../../cli/tune/finding.ts';
import { FRAGMENT_START, fragment } from '../../cli/tune/fragment.ts';
import { plot } from '../../cli/tune/plot.ts';
import { showProgress } from '../../cli/tune/progress.ts';
import { report, reportJson } from '../../cli/tune/report.ts';
import { parseTextProto } from '../../model-server/models/repository/text-proto.ts';
import { tritonSchema } from '../../model-server/models/repository/triton-schema.ts';

const two = { instances: 2, threads: 1, batchTokens: 512, queueDelayUs: 0 };
const wide = { instances: 1, threads: 2, batchTokens: 1024, queueDelayUs: 500 };
const before = {
  candidate: two,
  concurrency: 8,
  textsPerSecond: 900.4,
  p50Ms: 8,
  p99Ms: 20.4,
  requests: 400,
  clientCores: 0.2,
};
const best = {
  candidate: wide,
  concurrency: 16,
  textsPerSecond: 1200,
  p50Ms: 12,
  p99Ms: 41,
  requests: 90,
  clientCores: 0.95,
};
const slow = {
  candidate: wide,
  concurrency: 32,
  textsPerSecond: 1300,
  p50Ms: 25,
  p99Ms: 70,
  requests: 800,
  clientCores: 0.5,
};
const [pBefore, pBest, pSlow] = [before, best, slow].map((point) => ({
  ...point,
  confirmed: point === best,
}));

const finding: Finding = {
  model: 'my <model>',
  targetP99Ms: 50,
  workload: 'mix "queries"',
  machine: 'A & B, 2 cores',
  disturbance: disturbanceOf(3.44, 2),
  date: '2026-01-31',
  choice: { point: pBest!, met: true },
  result: {
    points: [pBefore!, pBest!, pSlow!],
    failures: [{ candidate: two, why: 'no memory' }],
    ended: 'budget',
    measureMs: 400,
  },
};

describe('the report', () => {
  test('has a row for every point, marks the choice and what is too slow', () => {
    const rows = report(finding).split('\n');
    expect(rows[0]).toMatch(/INSTANCES +THREADS +TOKENS +DELAY +IN FLIGHT +TEXTS\/S +P50 +P99/);
    expect(rows[1]).toMatch(/^ +2 +1 +512 +0 us +8 +900 +8\.0 ms +20 ms$/);
    expect(rows[2]).toMatch(/^\* +1 +2 +1024 +500 us +16 +1200 +12 ms +41 ms$/);
    expect(rows[3]).toMatch(/^> +1 +2 +1024 +500 us +32 +1300/);
  });

  test('says what is best, what failed, how it ended, and what to doubt', () => {
    const text = report(finding);
    expect(text).toContain(
      '1 x 2 threads, 1024 tokens, 500 us gives 1200 texts/s at p99 41 ms with 16 in flight',
    );
    expect(text).toContain('could not be measured: 2 x 1 threads, 512 tokens, 0 us: no memory');
    expect(text).toContain('The time was over before the search was complete');
    expect(text).toContain('Its p99 is the slowest of only 90 requests');
    expect(text).toContain('the client took 0.95 of its one core');
    expect(text).toContain('In doubt: other programs took the processor');
    expect(text).toContain(fragment(finding).trimEnd());
  });

  test.each([
    [0, 2, undefined],
    [1, 2, undefined],
    [1.1, 2, /load average 1\.1 on 2 cores/],
    [0.6, 1, /load average 0\.6 on 1 core\)/],
  ])('a load average of %d on %i cores', (load, cores, said) => {
    if (said === undefined) expect(disturbanceOf(load, cores)).toBeUndefined();
    else expect(disturbanceOf(load, cores)).toMatch(said);
  });

  test('says that the target is out of reach, with the best p99', () => {
    const unmet = { ...finding, targetP99Ms: 10, choice: { point: pBefore!, met: false } };
    const text = report(unmet);
    expect(text).toContain('no configuration keeps p99 within 10 ms here. The best p99 is 20 ms');
    expect(fragment(unmet)).toContain('for p99 <= 10 ms, which was not reached.');
    expect(reportJson(unmet)).toMatchObject({ met: false, target_p99_ms: 10, chosen: { p99_ms: 20.4 } });
  });

  test('the fragment is a configuration the server takes, with its evidence', () => {
    const text = fragment(finding);
    expect(text.startsWith(FRAGMENT_START)).toBe(true);
    for (const evidence of [
      '2026-01-31',
      'A & B, 2 cores',
      'p99 41 ms',
      '90 requests, on two servers',
      '900 texts/s',
    ])
      expect(text).toContain(evidence);
    expect(text).toContain('#   max-batch-tokens: 1024');
    expect(tritonSchema.parse(parseTextProto(text))).toMatchObject({
      instance_group: [{ count: 1, kind: 'KIND_CPU' }],
      parameters: [{ key: 'intra_op_thread_count', value: { string_value: '2' } }],
      dynamic_batching: { max_queue_delay_microseconds: 500 },
    });
  });
});

/** Elements and texts of a document, which must be closed in order. */
function elementsOf(svg: string): { names: string[]; texts: string[] } {
  const names: string[] = [];
  const texts: string[] = [];
  const open: string[] = [];
  const parser = new Parser(
    {
      onopentag: (name) => {
        names.push(name);
        open.push(name);
      },
      ontext: (text) => texts.push(text),
      onclosetag: (name) => expect(open.pop()).toBe(name),
    },
    { xmlMode: true, decodeEntities: true },
  );
  parser.end(svg);
  expect(open).toEqual([]);
  return { names, texts };
}

describe('the plot', () => {
  const { names, texts } = elementsOf(plot(finding));
  const whole = texts.join('');

  test('names model, machine, axes with units, target and choice, and escapes what it is given', () => {
    for (const text of [
      'my <model>: throughput and latency',
      'A & B, 2 cores',
      'throughput (texts per second)',
      'p99 latency (ms)',
      'target: p99 50 ms',
      'chosen: 16 in flight',
      '1200 texts/s, p99 41 ms',
      '1 × 2, 1024 tokens, 500 µs delay',
      '2 × 1, 512 tokens',
    ])
      expect(whole).toContain(text);
  });

  test('draws a line for each configuration and a dot for each point', () => {
    expect(names.filter((name) => name === 'polyline')).toHaveLength(2);
    // Three points, a dot for each line in the legend, and two rings.
    expect(names.filter((name) => name === 'circle')).toHaveLength(3 + 2 + 2);
  });

  test('keeps every point and label within its frame, whatever the figures are', () => {
    const value = fc.double({ min: 0.001, max: 1e6, noNaN: true });
    const series = fc.array(
      fc.record({ name: fc.string(), points: fc.array(fc.record({ x: value, y: value }), { minLength: 1 }) }),
      { minLength: 1, maxLength: 20 },
    );
    fc.assert(
      fc.property(series, fc.boolean(), value, (all, isLogarithmic, y) => {
        const svg = lineChart({
          title: 't',
          subtitle: 's',
          x: { title: 'x' },
          y: { title: 'y', isLogarithmic },
          legendTitle: 'l',
          series: all,
          limit: { y, label: 'limit' },
        });
        elementsOf(svg);
        for (const [, axis, at] of svg.matchAll(/ (cx|cy|x1|x2|y1|y2|x|y)="(-?[\d.]+)"/g)) {
          expect(Number(at)).toBeGreaterThanOrEqual(0);
          expect(Number(at)).toBeLessThanOrEqual(axis!.includes('x') ? 960 : 540);
        }
        expect(svg).not.toMatch(/NaN|Infinity|undefined/);
      }),
    );
  });
});

describe('scales', () => {
  const values = fc.array(fc.double({ min: 1e-6, max: 1e9, noNaN: true }), { minLength: 1 });
  test.each([
    ['linear', linearScale],
    ['logarithmic', logScale],
  ] as const)('%s: rising ticks that hold all values, and a place for each in order', (_name, scaleOf) => {
    fc.assert(
      fc.property(values, (all) => {
        const { at, ticks } = scaleOf(all, { from: 0, to: 100 });
        expect(ticks.length).toBeGreaterThan(1);
        expect(ticks).toEqual(ticks.toSorted((a, b) => a - b));
        expect(at(ticks[0]!)).toBeCloseTo(0, 6);
        expect(at(ticks.at(-1)!)).toBeCloseTo(100, 6);
        const places = all.toSorted((a, b) => a - b).map(at);
        expect(places).toEqual(places.toSorted((a, b) => a - b));
        expect(places[0]).toBeGreaterThanOrEqual(-1e-6);
        expect(places.at(-1)).toBeLessThanOrEqual(100 + 1e-6);
      }),
    );
  });

  test('ticks are round', () => {
    expect(linearScale([1668], { from: 0, to: 1 }).ticks).toEqual([0, 500, 1000, 1500, 2000]);
    expect(logScale([4.9, 173], { from: 0, to: 1 }).ticks).toEqual([2, 5, 10, 20, 50, 100, 200]);
  });
});

describe('the closed loop', () => {
  const signal = new AbortController().signal;

  test('keeps so many requests in flight, and times them by its clock', async () => {
    let [nowMs, inFlight, most] = [0, 0, 0];
    // Each request takes 10 ms, and all those in flight take them together.
    const waiting: (() => void)[] = [];
    const send = () => {
      most = Math.max(most, ++inFlight);
      return new Promise<void>((resolve) => {
        waiting.push(resolve);
        if (waiting.length < 4) return;
        nowMs += 10;
        for (const answer of waiting.splice(0)) {
          inFlight--;
          answer();
        }
      });
    };
    const loop = { concurrency: 4, durationMs: 1000, signal, send, nowMs: () => nowMs };
    const { textsPerSecond, p50Ms, p99Ms, requests } = await closedLoop(loop);
    expect(most).toBe(4);
    expect([p50Ms, p99Ms]).toEqual([10, 10]);
    // The first fifth is left out: 80 rounds, and the one that ends with the warm-up.
    expect(requests).toBe(4 * 81);
    expect(textsPerSecond).toBeCloseTo(405, 6);
  });

  test('a model that answers after the end is timed to its last answer', async () => {
    let nowMs = 0;
    const send = async () => {
      nowMs += 500;
    };
    const measured = await closedLoop({ concurrency: 1, durationMs: 400, signal, send, nowMs: () => nowMs });
    expect(measured).toEqual({ textsPerSecond: 2, p50Ms: 500, p99Ms: 500, requests: 1 });
  });

  test('the first failure ends it', async () => {
    let sent = 0;
    const send = async () => {
      if (++sent === 3) throw new Error('QUEUE_FULL');
    };
    const loop = { concurrency: 2, durationMs: 1e9, signal, send, nowMs: () => sent };
    await expect(closedLoop(loop)).rejects.toThrow('QUEUE_FULL');
    expect(sent).toBeLessThan(6);
  });
});

test('elsewhere than on a terminal progress is a line for each point; nothing when quiet', () => {
  for (const isQuiet of [false, true]) {
    const stream = Object.assign(new PassThrough(), { isTTY: false });
    const progress = showProgress(stream as unknown as NodeJS.WriteStream, { budgetMs: 1000, isQuiet });
    progress.step('starting');
    progress.point(pBest!);
    progress.stop();
    expect(stream.read()?.toString() ?? '').toBe(
      isQuiet ? '' : '1 x 2 threads, 1024 tokens, 500 us, 16 in flight: 1200 texts/s, p99 41 ms\n',
    );
  }
});
