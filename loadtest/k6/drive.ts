import { check, sleep } from 'k6';
import exec from 'k6/execution';
import { Counter, Rate, Trend } from 'k6/metrics';
import { type Baseline, type Kinds, takeBaseline } from './baseline.ts';
import { type Plan, planOf, type ScenarioName, scenarioNames } from './scenarios.ts';
import { type SummaryData, summaryFiles } from './summary.ts';

const latency = new Trend('latency_ms');
/** Latency divided by the p95 of all requests without load. */
const ratio = new Trend('latency_ratio');
const answered = new Counter('answered');
const refused = new Rate('refused');
const failed = new Rate('failed');
const unanswered = new Rate('unanswered');

const BASELINE = { warmUpRounds: 3, rounds: 40, longestMs: 10_000 };
const REASONS_TOLD = 5;

/** One script: what it drives, and its requests. */
export interface Script {
  name: string;
  kinds: Kinds;
}

/** k6's clock; finer than Date, which counts milliseconds only. */
const nowMs = () => exec.instance.currentTestRunDuration;

let told = 0;

/** The plan that `-e SCENARIO`, `CORES` and `DURATION_SECS` ask for. */
export function plan({ kinds }: Script): Plan {
  return planOf(scenario(), {
    kinds: Object.keys(kinds),
    cores: Number(__ENV.CORES ?? 2),
    durationSecs: __ENV.DURATION_SECS === undefined ? undefined : Number(__ENV.DURATION_SECS),
  });
}

/** k6's setup: the latencies without load. */
export function setup({ kinds }: Script): Baseline {
  return takeBaseline(kinds, { ...BASELINE, nowMs });
}

/** One iteration: a request, its figures, and the pause of the plan. */
export function iterate({ kinds }: Script, baseline: Baseline, { pause }: Plan): void {
  const name = pick(kinds);
  const { send } = kinds[name]!;
  const { p50Ms } = baseline.kinds[name]!;
  const sentMs = nowMs();
  const { kind, reason } = send();
  const tookMs = nowMs() - sentMs;
  const tags = { kind: name };
  refused.add(kind === 'refused', tags);
  failed.add(kind === 'failed', tags);
  unanswered.add(kind !== 'answered', tags);
  check(kind, { 'answered, or refused in order': (ended) => ended !== 'failed' });
  if (kind === 'answered') {
    answered.add(1, tags);
    latency.add(tookMs, tags);
    ratio.add(tookMs / baseline.all.p95Ms, tags);
  } else if (kind === 'failed' && told++ < REASONS_TOLD) console.error(`${name}: ${reason}`);
  // Between half and one and a half, so that callers do not march in step.
  if (pause > 0) sleep((pause * p50Ms * (0.5 + Math.random())) / 1000);
  // One that is told to come later does not come at once.
  else if (kind === 'refused') sleep(p50Ms / 1000);
}

/** k6's handleSummary: files in the folder `-e OUT`, and the summary on the terminal. */
export function handleSummary(script: Script, data: SummaryData): Record<string, string> {
  return summaryFiles(data, {
    script: script.name,
    scenario: scenario(),
    description: plan(script).description,
    folder: __ENV.OUT ?? '.',
  });
}

function scenario(): ScenarioName {
  const name = __ENV.SCENARIO ?? 'smoke';
  const known = scenarioNames.find((one) => one === name);
  if (known === undefined) throw new Error(`SCENARIO is "${name}"; there are ${scenarioNames.join(', ')}`);
  return known;
}

/** A kind, as often as its share. */
function pick(kinds: Kinds): string {
  const entries = Object.entries(kinds);
  let left = Math.random() * entries.reduce((sum, [, { share }]) => sum + share, 0);
  const found = entries.find(([, { share }]) => {
    left -= share;
    return left < 0;
  });
  return (found ?? entries[0]!)[0];
}
