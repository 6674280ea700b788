import { lineChart } from '../chart/line-chart.ts';
import { choose } from './choose.ts';
import { type Finding, msText, rateText } from './finding.ts';
import type { Candidate, Point } from './point.ts';

/** Latencies that lie further apart than this are legible on a logarithmic axis only. */
const WIDE = 20;

/** Throughput against p99, a line for each configuration with the chosen one first, as an SVG document. */
export function plot({ model, workload, machine, targetP99Ms, choice, result }: Finding): string {
  const curves = [...Map.groupBy(result.points, ({ candidate }) => candidate)]
    .map(([candidate, points]) => ({ candidate, points, best: choose(points, targetP99Ms)! }))
    .sort((a, b) => rank(b, choice.point) - rank(a, choice.point));
  const latencies = [...result.points.map(({ p99Ms }) => p99Ms), targetP99Ms];
  const { point } = choice;
  return lineChart({
    title: `${model}: throughput and latency`,
    subtitle: `${workload} · ${machine} · one line per configuration, more requests in flight along it`,
    x: { title: 'throughput (texts per second)' },
    y: {
      title: 'p99 latency (ms)',
      isLogarithmic: Math.max(...latencies) > WIDE * Math.min(...latencies),
    },
    legendTitle: 'instances × threads, tokens of a batch',
    series: curves.map(({ candidate, points }) => ({
      name: label(candidate),
      points: points
        .toSorted((a, b) => a.concurrency - b.concurrency)
        .map(({ textsPerSecond, p99Ms }) => ({ x: textsPerSecond, y: p99Ms })),
    })),
    limit: { y: targetP99Ms, label: `target: p99 ${msText(targetP99Ms)}` },
    mark: {
      x: point.textsPerSecond,
      y: point.p99Ms,
      label: `${rateText(point.textsPerSecond)}, p99 ${msText(point.p99Ms)}`,
      name: `chosen: ${point.concurrency} in flight`,
    },
  });
}

/** The chosen one first, then those that keep the target by throughput, then the others. */
function rank(
  { points, best }: { points: Point[]; best: { point: Point; met: boolean } },
  chosen: Point,
): number {
  if (points.includes(chosen)) return Number.POSITIVE_INFINITY;
  return best.met ? best.point.textsPerSecond : -best.point.p99Ms;
}

function label({ instances, threads, batchTokens, queueDelayUs }: Candidate): string {
  const delay = queueDelayUs === 0 ? '' : `, ${queueDelayUs} µs delay`;
  return `${instances} × ${threads}, ${batchTokens} tokens${delay}`;
}
