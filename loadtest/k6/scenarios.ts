import type { Options, Scenario } from 'k6/options';

/** The loads there are, in the words of k6's own guide. */
export const scenarioNames = ['smoke', 'average', 'stress', 'spike', 'soak'] as const;
export type ScenarioName = (typeof scenarioNames)[number];

/** A part of a run; summary and thresholds tell them apart. */
export const phases = ['load', 'recovery'] as const;
export type Phase = (typeof phases)[number];

export interface Load {
  /** Names of the kinds of requests, for the figures of each. */
  kinds: readonly string[];
  /** Cores of the machine under test; the number of callers grows with them. */
  cores: number;
  /** Seconds of the main part; undefined: the scenario's own. */
  durationSecs: number | undefined;
}

/** What one scenario does, and what must hold. */
export interface Plan {
  /** For the summary. */
  description: string;
  /**
   * A caller pauses this many times the baseline's median after each answer; 0: it does not. With n callers and a pause of
   * p, about n / (1 + p) requests are in flight, whatever the machine.
   */
  pause: number;
  options: Options;
}

const RAMP_SECS = 5;
/** What a load has left behind is worked off by then, or given up by its callers. */
const SETTLE_SECS = 10;
const RECOVERY_SECS = 10;
const DEFAULT_SECS: Record<ScenarioName, number> = {
  smoke: 5,
  average: 60,
  stress: 90,
  spike: 15,
  soak: 1800,
};
const AVERAGE = { callersPerCore: 2, pause: 9 };

/** No answer but the right one. */
const faultless = { 'failed{phase:load}': ['rate==0'], 'refused{phase:load}': ['rate==0'] };
const underOnePercent = { unanswered: ['rate<0.01'] };
/** Being busy is allowed, anything else is a defect. */
const refusalsOnly = { failed: ['rate==0'] };
const withinThreeBaselines = { 'latency_ratio{phase:load}': ['p(95)<=3'] };
const recovers = { 'latency_ratio{phase:recovery}': ['med<=3'], 'unanswered{phase:recovery}': ['rate<0.01'] };

/** The plan of a scenario. All latencies in thresholds are ratios to the baseline's p95 of the same run. */
export function planOf(name: ScenarioName, load: Load): Plan {
  const { cores, kinds, durationSecs = DEFAULT_SECS[name] } = load;
  const options = (scenarios: Scenario[], rules: Options['thresholds']) => optionsOf(scenarios, rules, kinds);
  const callers = AVERAGE.callersPerCore * cores;
  switch (name) {
    case 'smoke':
      return {
        description: 'one caller, one request at a time',
        pause: 0,
        // With one caller as in the baseline, only what is broken is far from it.
        options: options([constant(1, durationSecs)], {
          ...faultless,
          'latency_ratio{phase:load}': ['med<=5'],
        }),
      };
    case 'average':
    case 'soak':
      return {
        description: `${callers} callers that pause, so that about ${callers / (1 + AVERAGE.pause)} requests are in flight`,
        pause: AVERAGE.pause,
        options: options([ramped(callers, durationSecs)], { ...underOnePercent, ...withinThreeBaselines }),
      };
    case 'stress':
      return {
        description: `up to ${64 * cores} callers without a pause, in steps, then one`,
        pause: 0,
        options: options([climbing(cores, durationSecs), after(durationSecs)], {
          ...refusalsOnly,
          ...recovers,
        }),
      };
    case 'spike':
      return {
        description: `${32 * cores} callers at once, out of the blue, then one`,
        pause: 0,
        options: options([constant(32 * cores, durationSecs), after(durationSecs)], {
          ...refusalsOnly,
          ...recovers,
        }),
      };
  }
}

function optionsOf(
  [load, recovery]: Scenario[],
  rules: Options['thresholds'],
  kinds: readonly string[],
): Options {
  const scenarios = { load: load!, ...(recovery === undefined ? {} : { recovery }) };
  const ofKinds = kinds.flatMap((kind) => [`latency_ms{phase:load,kind:${kind}}`]);
  const ofPhases = Object.keys(scenarios).flatMap((phase) =>
    ['latency_ms', 'latency_ratio', 'answered', 'refused', 'failed'].map(
      (metric) => `${metric}{phase:${phase}}`,
    ),
  );
  // A threshold that always holds makes k6 keep the figures for the summary.
  const kept = [...ofKinds, ...ofPhases].map((metric) => [metric, [ALWAYS_HOLDS[metric.split('{')[0]!]!]]);
  // Whoever answered nothing has kept no promise.
  const thresholds = { ...Object.fromEntries(kept), 'answered{phase:load}': ['count>0'], ...rules };
  return {
    scenarios,
    thresholds,
    summaryTrendStats: ['med', 'p(90)', 'p(95)', 'p(99)', 'max', 'count'],
    setupTimeout: '120s',
  };
}

/** By metric; the summary leaves them out. */
export const ALWAYS_HOLDS: Readonly<Record<string, string>> = {
  latency_ms: 'max>=0',
  latency_ratio: 'max>=0',
  answered: 'count>=0',
  refused: 'rate>=0',
  failed: 'rate>=0',
};

const tagged = (phase: Phase) => ({ tags: { phase }, gracefulStop: '15s' });

function constant(vus: number, secs: number): Scenario {
  return { executor: 'constant-vus', vus, duration: `${secs}s`, ...tagged('load') };
}

function ramped(target: number, secs: number): Scenario {
  const stages = [
    { duration: `${RAMP_SECS}s`, target },
    { duration: `${secs}s`, target },
    { duration: `${RAMP_SECS}s`, target: 0 },
  ];
  return { executor: 'ramping-vus', startVUs: 0, stages, gracefulRampDown: '15s', ...tagged('load') };
}

/** A third of the time each for 4, 16 and 64 callers a core. */
function climbing(cores: number, secs: number): Scenario {
  const stages = [4, 16, 64].flatMap((callers) => [
    { duration: '1s', target: callers * cores },
    { duration: `${Math.max(1, Math.round(secs / 3) - 1)}s`, target: callers * cores },
  ]);
  return { executor: 'ramping-vus', startVUs: 1, stages, gracefulRampDown: '15s', ...tagged('load') };
}

/** One caller, once what the load has left behind is worked off. */
function after(secs: number): Scenario {
  const startSecs = secs + SETTLE_SECS;
  return {
    executor: 'constant-vus',
    vus: 1,
    duration: `${RECOVERY_SECS}s`,
    startTime: `${startSecs}s`,
    ...tagged('recovery'),
  };
}
