import http from 'k6/http';
import type { Baseline } from './baseline.ts';
import { handleSummary as files, iterate, setup as measure, plan, type Script } from './drive.ts';
import { type Outcome, outcomeOf } from './outcome.ts';
import type { SummaryData } from './summary.ts';
import { newQuestion } from './texts.ts';

/** The orchestrator, filled: `k6 run -e SCENARIO=smoke -e URL=http://127.0.0.1:8080 loadtest/k6/orchestrator.ts`. */
const url = __ENV.URL ?? 'http://127.0.0.1:8080';
/** Above the orchestrator's own --request-timeout-ms, so that it is the one to say that time is over. */
const TIMEOUT_MS = 35_000;
/** k6's code for a request that had no answer in time. */
const TIMED_OUT = 1050;

const script: Script = {
  name: 'Orchestrator',
  kinds: {
    search: { share: 4, send: () => call('/v1/search', { query: newQuestion(), top_k: 5 }, 'hits') },
    query: { share: 1, send: () => call('/v1/query', { query: newQuestion(), top_k: 5 }, 'sources') },
  },
};
const planned = plan(script);

export const options = planned.options;

export function setup(): Baseline {
  return measure(script);
}

export default function run(baseline: Baseline): void {
  iterate(script, baseline, planned);
}

export function handleSummary(data: SummaryData): Record<string, string> {
  return files(script, data);
}

interface Reply {
  error?: { reason: string };
  hits?: unknown[];
  sources?: unknown[];
}

/** One request, whose answer must hold passages. */
function call(path: string, request: object, list: 'hits' | 'sources'): Outcome {
  const params = { headers: { 'content-type': 'application/json' }, timeout: TIMEOUT_MS };
  const {
    status,
    body,
    error,
    error_code: code,
  } = http.post(`${url}${path}`, JSON.stringify(request), params);
  const reply = parsed(body);
  if (status !== 200)
    return outcomeOf(
      `ended with ${status} ${error}`,
      code === TIMED_OUT ? 'DEADLINE_EXCEEDED' : reply.error?.reason,
    );
  return outcomeOf(reply[list]?.length ? undefined : `no ${list} came back`);
}

function parsed(body: unknown): Reply {
  try {
    return JSON.parse(String(body));
  } catch {
    return {};
  }
}
