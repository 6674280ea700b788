/** What pdf.js says about a run of glyphs; lengths in points. */
export interface TextRun {
  str: string;
  dir: string;
  transform: readonly number[];
  width: number;
  hasEOL: boolean;
}

/** One line of a page, in reading order. */
export interface PdfLine {
  text: string;
  /** Left and right edge and base line, in points from the page's lower left corner. */
  left: number;
  right: number;
  y: number;
  /** Size of the biggest font on the line, in points. */
  size: number;
  /** False for text that runs up or down the page. */
  upright: boolean;
}

/** A page's lines, and how many of them were dropped because their font does not say which letters its glyphs are. */
export interface PdfPage {
  lines: PdfLine[];
  garbled: number;
}

interface OpenLine {
  runs: { str: string; rtl: boolean; x: number }[];
  upright: boolean;
  left: number;
  right: number;
  y: number;
  size: number;
}

/** Ligatures and Arabic presentation forms: shapes of letters, which nobody types into a query. */
const PRESENTATION_FORMS = /[\ufb00-\ufb4f\ufb50-\ufdff\ufe70-\ufefc]+/g;

/** Characters that no font shows, except tab: glyph numbers without a letter come as these. */
const UNPRINTABLE = /[\x00-\x08\x0a-\x1f\x7f\u200b\u2060\ufeff\ufffe\uffff]/g;
/** Share of such characters from which a line is no text. */
const GARBLED_SHARE = 0.2;

/** TeX's older fonts set an accent as a letter of its own, before the letter that wears it. */
const LOOSE_ACCENT = /([\u00a8\u00b4\u02c6\u02dc\u00b8\u02c7\u02da])([a-z\u0131])/gi;
const COMBINING: Readonly<Record<string, string>> = {
  '\u00a8': '\u0308',
  '\u00b4': '\u0301',
  '\u02c6': '\u0302',
  '\u02dc': '\u0303',
  '\u00b8': '\u0327',
  '\u02c7': '\u030c',
  '\u02da': '\u030a',
};

function compose(both: string, accent: string, letter: string): string {
  const composed = ((letter === '\u0131' ? 'i' : letter) + (COMBINING[accent] ?? '')).normalize('NFC');
  return composed.length === 1 ? composed : both;
}

/** A right-to-left line comes in the order of its places on paper: read it from the right. */
function rawText(line: OpenLine): string {
  const letters = { rtl: 0, ltr: 0 };
  for (const run of line.runs) if (run.str.trim() !== '') letters[run.rtl ? 'rtl' : 'ltr'] += run.str.length;
  const runs = letters.rtl > letters.ltr ? line.runs.toSorted((a, b) => b.x - a.x) : line.runs;
  return runs.map((run) => run.str).join('');
}

function closeLine(line: OpenLine | undefined, page: PdfPage): void {
  if (line === undefined) return;
  const raw = rawText(line);
  const printable = raw.replace(UNPRINTABLE, '');
  if (raw.length - printable.length > raw.length * GARBLED_SHARE) {
    page.garbled++;
    return;
  }
  const text = printable
    .replace(PRESENTATION_FORMS, (shapes) => shapes.normalize('NFKC'))
    .replace(LOOSE_ACCENT, compose)
    .replace(/[ \t\u00a0]+/g, ' ')
    .trim();
  const { left, right, y, size, upright } = line;
  if (text !== '') page.lines.push({ text, left, right, y, size, upright });
}

function addRun(line: OpenLine, run: TextRun, size: number): void {
  const [, , , , x = 0, y = 0] = run.transform;
  line.runs.push({ str: run.str, rtl: run.dir === 'rtl', x });
  if (run.str.trim() === '') return;
  if (size > line.size) line.y = y;
  line.size = Math.max(line.size, size);
  line.left = Math.min(line.left, x);
  line.right = Math.max(line.right, x + run.width);
}

/** Lines from runs in content order; a run far above or below the line's base begins a new one. */
export function pdfLines(runs: Iterable<TextRun>): PdfPage {
  const page: PdfPage = { lines: [], garbled: 0 };
  let line: OpenLine | undefined;
  for (const run of runs) {
    const [a = 1, b = 0, , , x = 0, y = 0] = run.transform;
    const size = Math.hypot(a, b);
    if (
      line !== undefined &&
      run.str.trim() !== '' &&
      Math.abs(y - line.y) > Math.max(size, line.size) * 0.6
    ) {
      closeLine(line, page);
      line = undefined;
    }
    if (run.str !== '') {
      line ??= { runs: [], upright: Math.abs(a) > Math.abs(b), left: x, right: x, y, size: 0 };
      addRun(line, run, size);
    }
    if (run.hasEOL) {
      closeLine(line, page);
      line = undefined;
    }
  }
  closeLine(line, page);
  return page;
}
