import { styleText } from 'node:util';
import { table } from '../table.ts';
import { configFragment } from './config-text.ts';
import { endings, type Finding, msText, rateText } from './finding.ts';
import { fragment, serverSettings } from './fragment.ts';
import { nameOf, type Point } from './point.ts';

const HEADINGS = ['', 'INSTANCES', 'THREADS', 'TOKENS', 'DELAY', 'IN FLIGHT', 'TEXTS/S', 'P50', 'P99'];

/** Below this, one slow request is the p99. */
const FEW_REQUESTS = 100;
/** A client that takes this much of the one core it can use may be what was measured. */
const BUSY_CLIENT_CORES = 0.9;

/** Every point, what was chosen and why, and its configuration. */
export function report(finding: Finding): string {
  const { result, choice, targetP99Ms } = finding;
  const failures = result.failures.map(
    ({ candidate, why }) => `could not be measured: ${nameOf(candidate)}: ${why}`,
  );
  const rows = result.points.map((point) => row(point, finding));
  return [
    table(HEADINGS, rows),
    `* chosen, > above ${msText(targetP99Ms)}`,
    ...failures,
    '',
    styleText(choice.met ? 'green' : 'yellow', verdict(finding)),
    ...doubts(finding),
    endings[result.ended],
    '',
    fragment(finding).trimEnd(),
  ].join('\n');
}

/** One sentence: what to run, or that nothing keeps the target. */
export function verdict({ model, choice, targetP99Ms }: Finding): string {
  const { point, met } = choice;
  const figures = `${rateText(point.textsPerSecond)} at p99 ${msText(point.p99Ms)} with ${point.concurrency} in flight`;
  return met
    ? `${model}: ${nameOf(point.candidate)} gives ${figures}, within ${msText(targetP99Ms)}.`
    : `${model}: no configuration keeps p99 within ${msText(targetP99Ms)} here. The best p99 is ${msText(point.p99Ms)}: ${nameOf(point.candidate)}, ${figures}.`;
}

/** What makes the figures worth less. */
function doubts({ choice, disturbance }: Finding): string[] {
  const { requests, clientCores } = choice.point;
  return [
    ...(requests >= FEW_REQUESTS
      ? []
      : [
          `Its p99 is the slowest of only ${requests} requests; more time (--budget-secs) gives a better figure.`,
        ]),
    ...(clientCores < BUSY_CLIENT_CORES
      ? []
      : [`In doubt: the client took ${clientCores.toFixed(2)} of its one core, so the server may do more.`]),
    ...(disturbance === undefined ? [] : [`In doubt: ${disturbance}.`]),
  ];
}

/** The same as one JSON value. */
export function reportJson(finding: Finding): object {
  const { model, choice, targetP99Ms, workload, machine, disturbance, date, result } = finding;
  return {
    model,
    target_p99_ms: targetP99Ms,
    met: choice.met,
    chosen: wirePoint(choice.point),
    config_pbtxt: configFragment(choice.point.candidate),
    nereid_yaml: serverSettings(finding),
    workload,
    machine,
    disturbance: disturbance ?? null,
    date,
    ended: result.ended,
    measure_ms: result.measureMs,
    points: result.points.map(wirePoint),
    failures: result.failures.map(({ candidate, why }) => ({ ...wireCandidate(candidate), why })),
  };
}

function row(point: Point, { choice, targetP99Ms }: Finding): string[] {
  const { candidate, concurrency, textsPerSecond, p50Ms, p99Ms } = point;
  const mark = point === choice.point ? '*' : p99Ms > targetP99Ms ? '>' : '';
  return [
    mark,
    String(candidate.instances),
    String(candidate.threads),
    String(candidate.batchTokens),
    `${candidate.queueDelayUs} us`,
    String(concurrency),
    textsPerSecond.toFixed(textsPerSecond < 10 ? 1 : 0),
    msText(p50Ms),
    msText(p99Ms),
  ];
}

function wireCandidate({ instances, threads, batchTokens, queueDelayUs }: Point['candidate']) {
  return { instances, threads, max_batch_tokens: batchTokens, queue_delay_us: queueDelayUs };
}

function wirePoint({
  candidate,
  concurrency,
  textsPerSecond,
  p50Ms,
  p99Ms,
  requests,
  clientCores,
  confirmed,
}: Point) {
  const round = (value: number) => Number(value.toFixed(2));
  return {
    ...wireCandidate(candidate),
    concurrency,
    texts_per_second: round(textsPerSecond),
    p50_ms: round(p50Ms),
    p99_ms: round(p99Ms),
    requests,
    client_cores: round(clientCores),
    confirmed,
  };
}
