import { choose } from './choose.ts';
import { configFragment } from './config-text.ts';
import { type Finding, msText, rateText } from './finding.ts';
import { nameOf } from './point.ts';

/** The first words of every file that this writes, so that it may be written again. */
export const FRAGMENT_START = '# Found by nereid tune';

/** What belongs into nereid.yaml. */
export function serverSettings({ choice }: Finding): string {
  return `max-batch-tokens: ${choice.point.candidate.batchTokens}`;
}

/** The configuration of the chosen point as a fragment of config.pbtxt, with its evidence as comments. */
export function fragment(finding: Finding): string {
  const { model, choice, targetP99Ms, workload, machine, disturbance, date, result } = finding;
  const { point, met } = choice;
  const isMet = met ? '' : `, which was not reached`;
  const confirmed = point.confirmed ? ', on two servers' : '';
  return [
    `${FRAGMENT_START} on ${date}, for p99 <= ${msText(targetP99Ms)}${isMet}.`,
    `# Model:    ${model}`,
    `# Machine:  ${machine}`,
    ...(disturbance === undefined ? [] : [`# Doubt:    ${disturbance}`]),
    `# Texts:    ${workload}`,
    `# Measured: ${rateText(point.textsPerSecond)}, p50 ${msText(point.p50Ms)}, p99 ${msText(point.p99Ms)}, ${point.concurrency} requests in flight (${point.requests} requests${confirmed}; one text each, from a client on this machine)`,
    `# Compare:  ${simplest(finding)}`,
    `# It is the best of ${result.points.length} measurements of ${candidates(finding)} configurations.`,
    configFragment(point.candidate),
    '',
    '# This one is a setting of the server. In nereid.yaml, for all models:',
    `#   ${serverSettings(finding)}`,
    '',
  ].join('\n');
}

/** One instance for each core: the first configuration of every search. */
function simplest({ result, targetP99Ms }: Finding): string {
  const first = result.points[0]!.candidate;
  const { point } = choose(
    result.points.filter(({ candidate }) => candidate === first),
    targetP99Ms,
  )!;
  return `${rateText(point.textsPerSecond)}, p99 ${msText(point.p99Ms)}, ${point.concurrency} requests in flight, with one instance for each core (${nameOf(first)})`;
}

function candidates({ result }: Finding): number {
  return new Set(result.points.map(({ candidate }) => candidate)).size;
}
