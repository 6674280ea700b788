import { z } from 'zod';
import { logScale, type Scale } from '../cli/chart/scale.ts';
import { element, escapeText } from '../cli/chart/svg.ts';

const batch = z.object({
  rows: z.number(),
  tokens: z.number(),
  length: z.number(),
  predictedUs: z.number(),
  measuredUs: z.number(),
});
export type BatchTime = z.infer<typeof batch>;

const answer = z.object({ models: z.array(z.object({ batches: z.array(batch) })) });

/** The latest batches of a server, from its metrics port. */
export async function latestBatches(metricsUrl: string): Promise<BatchTime[]> {
  const response = await fetch(new URL('/debug/batches', metricsUrl));
  return answer.parse(await response.json()).models.flatMap(({ batches }) => batches);
}

/** How well batches were predicted: quantiles of measured to predicted. */
export function predictionQuality(batches: readonly BatchTime[]) {
  const ratios = batches.map(({ measuredUs, predictedUs }) => measuredUs / predictedUs).sort((a, b) => a - b);
  const at = (q: number) => ratios[Math.min(ratios.length - 1, Math.floor(q * ratios.length))] ?? Number.NaN;
  return { batches: ratios.length, p10: at(0.1), p50: at(0.5), p90: at(0.9) };
}

const SIZE = 560;
const PLOT = { left: 76, right: 540, top: 64, bottom: 490 } as const;
const INK = '#1f2933';
const FONT = "system-ui, 'Helvetica Neue', 'DejaVu Sans', sans-serif";

/** Predicted against measured times of batches as an SVG; on the diagonal they agree. */
export function predictionPlot(batches: readonly BatchTime[], title: string): string {
  const ms = batches.map(({ predictedUs, measuredUs }) => ({ x: predictedUs / 1000, y: measuredUs / 1000 }));
  const all = ms.flatMap(({ x, y }) => [x, y]);
  const x = logScale(all, { from: PLOT.left, to: PLOT.right });
  const y = logScale(all, { from: PLOT.bottom, to: PLOT.top });
  const ends = [x.ticks[0] ?? 1, x.ticks.at(-1) ?? 1] as const;
  const { p10, p50, p90 } = predictionQuality(batches);
  const subtitle = `${batches.length} batches; measured / predicted: median ${p50.toFixed(2)}, from ${p10.toFixed(2)} (p10) to ${p90.toFixed(2)} (p90)`;
  return element(
    'svg',
    { xmlns: 'http://www.w3.org/2000/svg', viewBox: `0 0 ${SIZE} ${SIZE}`, 'font-family': FONT, fill: INK },
    [
      element('rect', { width: SIZE, height: SIZE, fill: '#ffffff' }),
      label(title, { x: 20, y: 28, 'font-size': 17, 'font-weight': 600 }),
      label(subtitle, { x: 20, y: 48, 'font-size': 11.5 }),
      ...grid(x, y),
      element('line', {
        ...{ x1: x.at(ends[0]), y1: y.at(ends[0]), x2: x.at(ends[1]), y2: y.at(ends[1]) },
        ...{ stroke: INK, 'stroke-width': 1, 'stroke-dasharray': '4 3' },
      }),
      ...ms.map((point) =>
        element('circle', {
          cx: x.at(point.x),
          cy: y.at(point.y),
          r: 3,
          fill: '#0072b2',
          'fill-opacity': 0.35,
        }),
      ),
      label('predicted, ms', {
        x: (PLOT.left + PLOT.right) / 2,
        y: 534,
        'font-size': 13,
        'text-anchor': 'middle',
      }),
      label('measured, ms', {
        transform: 'translate(22 290) rotate(-90)',
        'font-size': 13,
        'text-anchor': 'middle',
      }),
    ],
  );
}

function grid(x: Scale, y: Scale): string[] {
  const line = (ends: Record<string, number>) =>
    element('line', { ...ends, stroke: '#d9dee3', 'stroke-width': 1 });
  return [
    ...x.ticks.flatMap((tick) => [
      line({ x1: x.at(tick), x2: x.at(tick), y1: PLOT.top, y2: PLOT.bottom }),
      label(String(tick), { x: x.at(tick), y: PLOT.bottom + 18, 'font-size': 12, 'text-anchor': 'middle' }),
    ]),
    ...y.ticks.flatMap((tick) => [
      line({ x1: PLOT.left, x2: PLOT.right, y1: y.at(tick), y2: y.at(tick) }),
      label(String(tick), { x: PLOT.left - 8, y: y.at(tick) + 4, 'font-size': 12, 'text-anchor': 'end' }),
    ]),
  ];
}

function label(text: string, attributes: Record<string, string | number>): string {
  return element('text', attributes, [escapeText(text)]);
}
