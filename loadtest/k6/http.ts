import http from 'k6/http';
import type { Baseline } from './baseline.ts';
import { handleSummary as files, iterate, setup as measure, plan, type Script } from './drive.ts';
import { type Outcome, outcomeOf } from './outcome.ts';
import type { SummaryData } from './summary.ts';
import { newPassages, newQuestion } from './texts.ts';

/** The model server's HTTP: `k6 run -e SCENARIO=smoke -e HTTP_URL=http://127.0.0.1:8000 loadtest/k6/http.ts`. */
const url = `${__ENV.HTTP_URL ?? 'http://127.0.0.1:8000'}/nereid.serving.v1.EmbedService/Embed`;
const DEADLINE_MS = 10_000;
/** k6's code for a request that had no answer in time. */
const TIMED_OUT = 1050;
const PASSAGES = 8;

const script: Script = {
  name: 'Model server over HTTP',
  kinds: {
    embed: { share: 8, send: () => embed([newQuestion()]) },
    embed_passages: { share: 1, send: () => embed(newPassages(PASSAGES)) },
  },
};
const planned = plan(script);

export const options = planned.options;

export function setup(): Baseline {
  if (http.post(url, '{}', { headers: headers() }).status === 404)
    throw new Error(`${url} is not there: this server does not embed over HTTP`);
  return measure(script);
}

export default function run(baseline: Baseline): void {
  iterate(script, baseline, planned);
}

export function handleSummary(data: SummaryData): Record<string, string> {
  return files(script, data);
}

function headers(): Record<string, string> {
  return { 'content-type': 'application/json', 'connect-timeout-ms': String(DEADLINE_MS) };
}

/** One call in the Connect protocol, with JSON both ways. */
function embed(inputs: string[]): Outcome {
  const params = { headers: headers(), timeout: DEADLINE_MS + 1000 };
  const { status, body, error, error_code: code } = http.post(url, JSON.stringify({ inputs }), params);
  const reply = parsed(body);
  if (status !== 200)
    return outcomeOf(`ended with ${status} ${error}`, code === TIMED_OUT ? 'DEADLINE_EXCEEDED' : reply.code);
  const found = reply.embeddings?.length;
  return outcomeOf(
    found === inputs.length ? undefined : `${found} embeddings came back for ${inputs.length}`,
  );
}

function parsed(body: unknown): { code?: string; embeddings?: unknown[] } {
  try {
    return JSON.parse(String(body));
  } catch {
    return {};
  }
}
