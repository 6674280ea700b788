import { Presets, SingleBar } from 'cli-progress';
import { msText, rateText } from './finding.ts';
import { nameOf, type Point } from './point.ts';

/** Tells how far a search is. */
export interface Progress {
  step(doing: string): void;
  point(point: Point): void;
  stop(): void;
}

const TICK_MS = 250;

/** A bar over the time budget on a terminal; elsewhere a line for each measurement. Nothing when quiet. */
export function showProgress(
  stream: NodeJS.WriteStream,
  { budgetMs, isQuiet }: { budgetMs: number; isQuiet: boolean },
): Progress {
  if (isQuiet) return { step: () => undefined, point: () => undefined, stop: () => undefined };
  if (stream.isTTY) return bar(stream, budgetMs);
  return {
    step: () => undefined,
    point: (point) => void stream.write(`${lineOf(point)}\n`),
    stop: () => undefined,
  };
}

function bar(stream: NodeJS.WriteStream, budgetMs: number): Progress {
  const single = new SingleBar(
    {
      format: '{bar} {value}/{total} s | best {best} | {doing}',
      stream,
      hideCursor: true,
      clearOnComplete: true,
    },
    Presets.shades_classic,
  );
  const startedMs = performance.now();
  const told = { doing: 'starting a server', best: '-' };
  let bestRate = 0;
  const totalSecs = Math.round(budgetMs / 1000);
  single.start(totalSecs, 0, told);
  const show = () =>
    single.update(Math.min(totalSecs, Math.round((performance.now() - startedMs) / 1000)), told);
  const timer = setInterval(show, TICK_MS);
  return {
    step: (doing) => {
      told.doing = doing;
      show();
    },
    point: ({ textsPerSecond }) => {
      bestRate = Math.max(bestRate, textsPerSecond);
      told.best = rateText(bestRate);
      show();
    },
    stop: () => {
      clearInterval(timer);
      single.stop();
    },
  };
}

function lineOf({ candidate, concurrency, textsPerSecond, p99Ms }: Point): string {
  return `${nameOf(candidate)}, ${concurrency} in flight: ${rateText(textsPerSecond)}, p99 ${msText(p99Ms)}`;
}
