import { linearScale, logScale, namedScale, type Scale, type ScaleOptions } from './scale.ts';
import { element, escapeText } from './svg.ts';

/** One line of a chart, drawn in the order of its points. */
export interface Series {
  name: string;
  points: readonly { x: number; y: number }[];
}

export interface Axis {
  /** With its unit. */
  title: string;
  isLogarithmic?: boolean;
  /** Names of the places 0, 1, 2 and so on, where values are no amounts. */
  names?: readonly string[];
}

export interface LineChart {
  title: string;
  /** Under the title. */
  subtitle: string;
  x: Axis;
  y: Axis;
  /** The first one stands out; those for which there is no colour left are grey. */
  series: readonly Series[];
  /** Above the names of the series, to say what they are. */
  legendTitle: string;
  /** A horizontal line, such as a target. */
  limit?: { y: number; label: string } | undefined;
  /** The point that it is all about: its label stands beside it, its name in the legend. */
  mark?: { x: number; y: number; label: string; name: string } | undefined;
}

const WIDTH = 960;
const HEIGHT = 540;
const PLOT = { left: 84, right: 680, top: 92, bottom: 462 } as const;
const FONT = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', 'DejaVu Sans', sans-serif";
/** Okabe and Ito's, which those who see few colours can tell apart too. */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#56b4e9', '#e69f00'];
const INK = '#1f2933';
const PALE_INK = '#616e7c';
const GRID = '#e4e7eb';
const GREY = '#9aa5b1';
const LIMIT = '#b42318';
const LEGEND = { left: 712, top: 104, lineHeight: 24, most: 11 } as const;

/** The chart as an SVG document of 960 by 540 pixels, with axes, units and a legend; it needs nothing from elsewhere. */
export function lineChart(chart: LineChart): string {
  const points = chart.series.flatMap((series) => series.points);
  const [xs, ys] = [points.map(({ x }) => x), points.map(({ y }) => y)];
  if (chart.limit !== undefined) ys.push(chart.limit.y);
  const x = scaleOf(chart.x, xs, { from: PLOT.left, to: PLOT.right });
  const y = scaleOf(chart.y, ys, { from: PLOT.bottom, to: PLOT.top });
  const body = [
    element('title', {}, [escapeText(`${chart.title}. ${chart.subtitle}`)]),
    element('rect', { width: WIDTH, height: HEIGHT, fill: '#ffffff' }),
    text(chart.title, { x: 28, y: 38, 'font-size': 20, 'font-weight': 600 }),
    text(chart.subtitle, { x: 28, y: 62, 'font-size': 13, fill: PALE_INK }),
    ...axes(chart, x, y),
    ...limitLine(chart, y),
    ...chart.series.toReversed().map((series, back) => {
      const index = chart.series.length - 1 - back;
      return line(series, { x, y, colour: colourOf(index), isFirst: index === 0 });
    }),
    ...marked(chart, x, y),
    ...legend(chart),
  ];
  const box = { width: WIDTH, height: HEIGHT, viewBox: `0 0 ${WIDTH} ${HEIGHT}` };
  const root = { xmlns: 'http://www.w3.org/2000/svg', role: 'img', 'font-family': FONT, fill: INK };
  return `${element('svg', { ...root, ...box }, body)}\n`;
}

function scaleOf({ isLogarithmic = false, names }: Axis, values: readonly number[], to: ScaleOptions): Scale {
  if (names !== undefined) return namedScale(names, to);
  return (isLogarithmic ? logScale : linearScale)(values, to);
}

function axes(chart: LineChart, x: Scale, y: Scale): string[] {
  const { left, right, top, bottom } = PLOT;
  const middleY = (top + bottom) / 2;
  const rows = y.ticks.flatMap((value) => [
    element('line', { x1: left, x2: right, y1: y.at(value), y2: y.at(value), stroke: GRID }),
    text(numberText(value), { x: left - 10, y: y.at(value) + 4, ...tick, 'text-anchor': 'end' }),
  ]);
  const columns = x.ticks.flatMap((value) => [
    element('line', { x1: x.at(value), x2: x.at(value), y1: bottom, y2: bottom + 5, stroke: GREY }),
    text(chart.x.names?.[value] ?? numberText(value), {
      x: x.at(value),
      y: bottom + 21,
      ...tick,
      'text-anchor': 'middle',
    }),
  ]);
  return [
    ...rows,
    ...columns,
    element('line', { x1: left, x2: right, y1: bottom, y2: bottom, stroke: GREY }),
    text(chart.x.title, { x: (left + right) / 2, y: bottom + 50, ...axisTitle }),
    text(chart.y.title, { ...axisTitle, transform: `translate(28 ${middleY}) rotate(-90)` }),
  ];
}

const tick = { 'font-size': 12, fill: PALE_INK };
const axisTitle = { 'font-size': 13, 'text-anchor': 'middle' };

function limitLine({ limit }: LineChart, y: Scale): string[] {
  if (limit === undefined) return [];
  const at = y.at(limit.y);
  return [element('line', { x1: PLOT.left, x2: PLOT.right, y1: at, y2: at, ...dashed })];
}

const dashed = { stroke: LIMIT, 'stroke-width': 1.5, 'stroke-dasharray': '6 4' };
const ring = { fill: 'none', stroke: INK, 'stroke-width': 2.5 };

function line(
  { name, points }: Series,
  { x, y, colour, isFirst }: { x: Scale; y: Scale; colour: string; isFirst: boolean },
): string {
  const places = points.map((point) => ({ cx: x.at(point.x), cy: y.at(point.y) }));
  const path = places.map(({ cx, cy }) => `${cx.toFixed(1)},${cy.toFixed(1)}`).join(' ');
  return element('g', { fill: colour, opacity: isFirst ? undefined : 0.85 }, [
    element('title', {}, [escapeText(name)]),
    element('polyline', {
      points: path,
      fill: 'none',
      stroke: colour,
      'stroke-width': isFirst ? 3 : 1.8,
      'stroke-linejoin': 'round',
    }),
    ...places.map((place) => element('circle', { ...place, r: isFirst ? 4 : 3 })),
  ]);
}

/** A ring around the point, and its label beside it where there is room. */
function marked({ mark }: LineChart, x: Scale, y: Scale): string[] {
  if (mark === undefined) return [];
  const [cx, cy] = [x.at(mark.x), y.at(mark.y)];
  const isRight = cx > (PLOT.left + PLOT.right) / 2;
  // Above it, or below where the top is near.
  const labelY = cy < PLOT.top + 40 ? cy + 26 : cy - 14;
  return [
    element('circle', { cx, cy, r: 9, ...ring }),
    haloed(mark.label, {
      x: isRight ? cx - 10 : cx + 10,
      y: labelY,
      'font-size': 13,
      'font-weight': 600,
      'text-anchor': isRight ? 'end' : 'start',
    }),
  ];
}

/** A row for each series, then what the dashed line and the ring are. */
function legend({ series, legendTitle, limit, mark }: LineChart): string[] {
  const { left, top, lineHeight, most } = LEGEND;
  const keys = { x1: left, x2: left + 22 };
  let at = top;
  const row = (key: (y: number) => string[], label: string, isBold = false) => {
    const weight = isBold ? 600 : undefined;
    const drawn = [
      ...key(at),
      text(label, { x: left + 30, y: at + 4, 'font-size': 12, 'font-weight': weight }),
    ];
    at += lineHeight;
    return drawn;
  };
  const heading = text(legendTitle, { x: left, y: top + 4, 'font-size': 12, fill: PALE_INK });
  at += lineHeight;
  const rows = series.slice(0, most).flatMap(({ name }, index) => {
    const isFirst = index === 0;
    const stroke = { stroke: colourOf(index), 'stroke-width': isFirst ? 3 : 1.8 };
    const dot = { cx: left + 11, r: isFirst ? 4 : 3, fill: colourOf(index) };
    return row(
      (y) => [element('line', { ...keys, y1: y, y2: y, ...stroke }), element('circle', { ...dot, cy: y })],
      name,
      isFirst,
    );
  });
  if (series.length > most) rows.push(...row(() => [], `and ${series.length - most} more`));
  if (limit !== undefined)
    rows.push(...row((y) => [element('line', { ...keys, y1: y, y2: y, ...dashed })], limit.label));
  if (mark !== undefined)
    rows.push(...row((y) => [element('circle', { cx: left + 11, cy: y, r: 7, ...ring })], mark.name));
  return [heading, ...rows];
}

/** Text that stays legible on top of lines. */
function haloed(content: string, attributes: Readonly<Record<string, string | number>>): string {
  const halo = { stroke: '#ffffff', 'stroke-width': 4, 'stroke-linejoin': 'round' };
  return text(content, { ...attributes, ...halo, 'aria-hidden': 'true' }) + text(content, attributes);
}

function text(content: string, attributes: Readonly<Record<string, string | number | undefined>>): string {
  return element('text', attributes, [escapeText(content)]);
}

function colourOf(index: number): string {
  return COLOURS[index] ?? GREY;
}

/** With commas between thousands; by hand, for k6's JavaScript has no locales. */
function numberText(value: number): string {
  const [whole, fraction] = String(value).split('.');
  const grouped = whole!.replace(/\B(?=(\d{3})+$)/g, ',');
  return fraction === undefined ? grouped : `${grouped}.${fraction}`;
}
