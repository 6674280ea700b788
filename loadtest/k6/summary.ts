import { lineChart } from '../../cli/chart/line-chart.ts';
import type { Baseline } from './baseline.ts';
import { ALWAYS_HOLDS, type Phase, phases } from './scenarios.ts';

/** What k6 hands to handleSummary, as far as it is read here. */
export interface SummaryData {
  metrics: Readonly<Record<string, Metric>>;
  /** Absent when the setup failed. */
  setup_data?: Baseline;
}

interface Metric {
  values: Readonly<Record<string, number>>;
  thresholds?: Readonly<Record<string, { ok: boolean }>>;
}

export interface SummaryOf {
  script: string;
  scenario: string;
  description: string;
  /** Where the files go. */
  folder: string;
}

const QUANTILES = [
  { name: 'p50', key: 'med' },
  { name: 'p90', key: 'p(90)' },
  { name: 'p95', key: 'p(95)' },
  { name: 'p99', key: 'p(99)' },
  { name: 'max', key: 'max' },
] as const;
const BAR_WIDTH = 40;
const SAYS_NOTHING = new Set(Object.values(ALWAYS_HOLDS));

/** Files by path: summary.md, latency.svg, and the same summary on standard output. */
export function summaryFiles(data: SummaryData, of: SummaryOf): Record<string, string> {
  const markdown = summaryMarkdown(data, of);
  return {
    [`${of.folder}/summary.md`]: markdown,
    [`${of.folder}/latency.svg`]: latencyPlot(data, of),
    stdout: `${markdown}\n`,
  };
}

/** The run in markdown: what it was, each threshold, each phase and kind of request, and latencies as bars. */
export function summaryMarkdown(data: SummaryData, { script, scenario, description }: SummaryOf): string {
  const heading = [`# ${script}: ${scenario}`, ''];
  const { setup_data: baseline } = data;
  if (baseline === undefined)
    return [...heading, 'It did not run: without any load its requests were not answered.', ''].join('\n');
  const rules = thresholdsOf(data);
  const isMet = rules.every(({ ok }) => ok);
  return [
    ...heading,
    `${sentence(description)} ${isMet ? 'Every threshold holds.' : 'A threshold is broken.'}`,
    '',
    '| threshold | measured | holds |',
    '| --- | --- | --- |',
    ...rules.map(
      ({ metric, rule, actual, ok }) => `| \`${metric}\` ${rule} | ${actual} | ${ok ? 'yes' : '**no**'} |`,
    ),
    '',
    '`latency_ratio` is the latency divided by the p95 of all requests without load, taken at the start of this run.',
    '',
    '| phase | answered | refused | failed | p50 | p95 | p99 | p95 / baseline |',
    '| --- | --- | --- | --- | --- | --- | --- | --- |',
    `| without load | ${baseline.all.requests} | | | ${ms(baseline.all.p50Ms)} | ${ms(baseline.all.p95Ms)} | | 1.00 |`,
    ...phases.flatMap((phase) => phaseRow(data, phase) ?? []),
    '',
    '| request | without load p50 | p95 | under load p50 | p95 |',
    '| --- | --- | --- | --- | --- |',
    ...Object.entries(baseline.kinds).map(([kind, { p50Ms, p95Ms }]) => {
      const { med = 0, 'p(95)': p95 = 0 } = data.metrics[`latency_ms{phase:load,kind:${kind}}`]?.values ?? {};
      return `| ${kind} | ${ms(p50Ms)} | ${ms(p95Ms)} | ${ms(med)} | ${ms(p95)} |`;
    }),
    '',
    '```',
    ...bars(data),
    '```',
    '',
  ].join('\n');
}

/** Latency by percentile, a line for each phase. */
export function latencyPlot(data: SummaryData, { script, scenario, description }: SummaryOf): string {
  const ofPhases = phases.flatMap((phase) => {
    const values = valuesOf(data, 'latency_ms', phase);
    if (values === undefined) return [];
    return [{ name: phase, points: QUANTILES.map(({ key }, x) => ({ x, y: values[key] ?? 0 })) }];
  });
  const baseline = data.setup_data?.all;
  const withoutLoad = [
    { x: QUANTILES.findIndex(({ name }) => name === 'p50'), y: baseline?.p50Ms ?? 0 },
    { x: QUANTILES.findIndex(({ name }) => name === 'p95'), y: baseline?.p95Ms ?? 0 },
  ];
  return lineChart({
    title: `${script}: ${scenario}`,
    subtitle: sentence(description),
    x: { title: 'percentile of the answered requests', names: QUANTILES.map(({ name }) => name) },
    y: { title: 'latency (ms)', isLogarithmic: true },
    legendTitle: 'phase',
    series: baseline === undefined ? ofPhases : [...ofPhases, { name: 'without load', points: withoutLoad }],
  });
}

function thresholdsOf({ metrics }: SummaryData) {
  return Object.entries(metrics).flatMap(([metric, { values, thresholds = {} }]) =>
    Object.entries(thresholds)
      .filter(([rule]) => !SAYS_NOTHING.has(rule))
      .map(([rule, { ok }]) => ({ metric, rule, ok, actual: actualOf(rule, values) })),
  );
}

/** The value that a rule such as `p(95)<=3` speaks of. */
function actualOf(rule: string, values: Metric['values']): string {
  const value = values[/^[^<>=!]+/.exec(rule)?.[0] ?? ''];
  return value === undefined ? 'nothing' : String(Number(value.toFixed(3)));
}

function phaseRow(data: SummaryData, phase: Phase): string | undefined {
  const latency = valuesOf(data, 'latency_ms', phase);
  if (latency === undefined) return undefined;
  const share = (metric: string) => `${(100 * (valuesOf(data, metric, phase)?.rate ?? 0)).toFixed(2)} %`;
  const cells = [
    phase,
    String(valuesOf(data, 'answered', phase)?.count ?? 0),
    share('refused'),
    share('failed'),
    ms(latency.med ?? 0),
    ms(latency['p(95)'] ?? 0),
    ms(latency['p(99)'] ?? 0),
    (valuesOf(data, 'latency_ratio', phase)?.['p(95)'] ?? 0).toFixed(2),
  ];
  return `| ${cells.join(' | ')} |`;
}

function bars(data: SummaryData): string[] {
  const all = phases.flatMap((phase) => {
    const values = valuesOf(data, 'latency_ms', phase);
    if (values === undefined) return [];
    return QUANTILES.map(({ name, key }) => ({
      label: `${phase.padEnd(9)}${name}`,
      value: values[key] ?? 0,
    }));
  });
  const most = Math.max(...all.map(({ value }) => value), Number.MIN_VALUE);
  return all.map(({ label, value }) => {
    const bar = '█'.repeat(Math.max(1, Math.round((BAR_WIDTH * value) / most)));
    return `${label}  ${bar} ${ms(value)}`;
  });
}

function valuesOf({ metrics }: SummaryData, metric: string, phase: Phase): Metric['values'] | undefined {
  return metrics[`${metric}{phase:${phase}}`]?.values;
}

function ms(value: number): string {
  return `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}
