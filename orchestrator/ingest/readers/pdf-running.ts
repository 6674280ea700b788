import type { PdfLine } from './pdf-lines.ts';
import { bodySize } from './pdf-paragraphs.ts';

/** Lines at the top and at the bottom of a page that may be running heads or page numbers. */
const EDGE_LINES = 2;
/** On how many pages a line must stand at the same height to be a running head. */
const REPEATS = 3;
/** Bound on the table of edge lines, so that a huge file costs no memory here. */
const MAX_KEYS = 100_000;

const PAGE_NUMBER =
  /^(?:page|seite|p\.)?\s*[-\u2013]?\s*(?:\d{1,4}|[ivxlc]{1,7})\s*(?:(?:of|von|\/)\s*\d{1,4})?\s*[-\u2013]?$/i;

/** Same words, same height, whatever the numbers. */
function key(line: PdfLine): string {
  return `${Math.round(line.y)} ${line.text.replace(/\d+/g, '#').slice(0, 200)}`;
}

function edgeLines(lines: readonly PdfLine[]): PdfLine[] {
  const limit = bodySize(lines) * 1.15;
  const byHeight = lines.toSorted((a, b) => b.y - a.y);
  const edges = new Set([...byHeight.slice(0, EDGE_LINES), ...byHeight.slice(-EDGE_LINES)]);
  return [...edges].filter((line) => line.size <= limit);
}

/**
 * Drops running heads, running feet and page numbers: they interrupt sentences that cross a page border and would
 * be found for every question. A line counts when it stands at the same height on three pages or more.
 */
export class RunningLines {
  readonly #pages = new Map<string, number>();

  /** Notes the edge lines of a page. */
  note(lines: readonly PdfLine[]): void {
    for (const line of edgeLines(lines)) {
      const name = key(line);
      const count = this.#pages.get(name);
      if (count !== undefined || this.#pages.size < MAX_KEYS) this.#pages.set(name, (count ?? 0) + 1);
    }
  }

  /** The page without its running lines; call it when every page is noted. */
  strip(lines: readonly PdfLine[]): PdfLine[] {
    const running = new Set(
      edgeLines(lines).filter(
        (line) => (this.#pages.get(key(line)) ?? 0) >= REPEATS || PAGE_NUMBER.test(line.text),
      ),
    );
    return lines.filter((line) => !running.has(line));
  }
}
