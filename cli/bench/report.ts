import { table } from '../table.ts';
import type { Spread } from './figures.ts';
import type { ServerSummary, Summary } from './summary.ts';

/** What was measured, in words. */
export interface Heading {
  load: string;
  machine: string;
  served: string;
  against: string | undefined;
  /** The layout of the limit, or why there is none. */
  limit: string;
  deadlineMs: number;
}

type Row = [what: string, figure: string];

/** The report as a table for the terminal. */
export function asText(heading: Heading, summary: Summary): string {
  const { headings, rows } = figureTable(heading, summary);
  const facts = headingRows(heading).map(([what, value]) => `${what.padEnd(8)}${value}`);
  return [...facts, '', table(headings, rows), ...failureLines(summary)].join('\n');
}

/** The same as markdown. */
export function asMarkdown(heading: Heading, summary: Summary): string {
  const { headings, rows } = figureTable(heading, summary);
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [
    '# nereid bench',
    '',
    ...headingRows(heading).map(([what, value]) => `- ${what}: ${value}`),
    '',
    line(headings),
    line(headings.map(() => '---')),
    ...rows.map(line),
    ...failureLines(summary),
    '',
  ].join('\n');
}

/** `1,170 (1,150..1,180)`: the median, and the range when there were several rounds. */
export function spreadText(of: Spread | undefined, digits = 0): string {
  if (of === undefined) return '-';
  const text = (value: number) =>
    value.toLocaleString('en', { maximumFractionDigits: digits, minimumFractionDigits: digits });
  return of.min === of.max ? text(of.median) : `${text(of.median)} (${text(of.min)}..${text(of.max)})`;
}

function headingRows(heading: Heading): Row[] {
  return [
    ['server', heading.served],
    ...(heading.against === undefined ? [] : [['against', heading.against] as Row]),
    ['load', heading.load],
    ['limit', heading.limit],
    ['machine', heading.machine],
  ];
}

function figureTable(heading: Heading, { served, against, limit, comparison, rounds }: Summary) {
  const columns = [served, ...(against === undefined ? [] : [against])];
  const figures = serverRows(served, heading.deadlineMs).map(([what], index) => [
    what,
    ...columns.map((column) => serverRows(column, heading.deadlineMs)[index]![1]),
  ]);
  const pad = columns.slice(1).map(() => '');
  const extra: Row[] = [];
  if (limit !== undefined)
    extra.push(
      ['limit, texts/s', spreadText(limit.textsPerSecond)],
      ['ratio to the limit of the machine', spreadText(limit.ratio, 3)],
      ['ratio to the limit of what the client leaves', spreadText(limit.ratioToRest, 3)],
      ['CPU of the limit for a token / of the server', spreadText(limit.ratioOfCpu, 3)],
    );
  if (comparison !== undefined)
    extra.push(
      ['texts/s, ratio to the other', spreadText(comparison.rate, 2)],
      ['p99, ratio to the other', spreadText(comparison.p99, 2)],
    );
  return {
    headings: [`MEDIAN OF ${rounds} (MIN..MAX)`, 'SERVER', ...pad.map(() => 'AGAINST')],
    rows: [...figures, ...extra.map((row) => [...row, ...pad])],
  };
}

function serverRows(of: ServerSummary, deadlineMs: number): Row[] {
  const ms = (value: number) => (Number.isNaN(value) ? '-' : `${value.toFixed(1)} ms`);
  const failed = Object.values(of.failures).reduce((sum, { calls }) => sum + calls, 0);
  const goodput: Row[] =
    deadlineMs === 0 ? [] : [[`goodput, texts/s within ${deadlineMs} ms`, spreadText(of.goodTextsPerSecond)]];
  const padding =
    of.paddingShare === undefined
      ? '-'
      : `${spreadText(
          {
            median: of.paddingShare.median * 100,
            min: of.paddingShare.min * 100,
            max: of.paddingShare.max * 100,
          },
          1,
        )} %`;
  return [
    ['texts/s', spreadText(of.textsPerSecond)],
    ['tokens/s', spreadText(of.tokensPerSecond)],
    ...goodput,
    ['p50', ms(of.p50Ms)],
    ['p95', ms(of.p95Ms)],
    ['p99', ms(of.p99Ms)],
    ['max', ms(of.maxMs)],
    ['calls, failed', `${of.calls.toLocaleString('en')}, ${failed.toLocaleString('en')}`],
    ['padding', padding],
    ['texts in a batch', spreadText(of.meanBatch, 1)],
    ['server, cores', spreadText(of.serverCores, 2)],
    ['client, cores', spreadText(of.clientCores, 2)],
    ['sent late, p99', ms(of.lateMs)],
  ];
}

function failureLines({ served, against }: Summary): string[] {
  const of = (name: string, { failures }: ServerSummary) =>
    Object.entries(failures)
      .sort(([, a], [, b]) => b.calls - a.calls)
      .map(([reason, { calls, message }]) => {
        const said = message === '' ? '' : `: ${message}`;
        return `${name}: ${calls.toLocaleString('en')} calls failed with ${reason}${said}`;
      });
  const lines = [...of('server', served), ...(against === undefined ? [] : of('against', against))];
  return lines.length === 0 ? [] : ['', ...lines];
}
