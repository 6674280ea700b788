import { Presets, SingleBar } from 'cli-progress';
import type { Found } from './collect.ts';
import type { Outcome } from './upload.ts';

/** Tells how far an ingest is while it runs, on standard error so that standard output stays the result. */
export interface Progress {
  doing(file: Found, what: string): void;
  settled(outcome: Outcome): void;
  stop(): void;
}

/** One bar on a terminal, a line for each file elsewhere. */
export function showProgress(total: number, stream: NodeJS.WriteStream): Progress {
  return stream.isTTY ? bar(total, stream) : lines(total, stream);
}

function bar(total: number, stream: NodeJS.WriteStream): Progress {
  const single = new SingleBar(
    { format: '{bar} {value}/{total} files | {doing}', stream, hideCursor: true, clearOnComplete: true },
    Presets.shades_classic,
  );
  single.start(total, 0, { doing: '' });
  return {
    doing: ({ name }, what) => single.update({ doing: `${name}: ${what}` }),
    settled: ({ file, status }) => single.increment(1, { doing: `${file.name}: ${status}` }),
    stop: () => single.stop(),
  };
}

function lines(total: number, stream: NodeJS.WriteStream): Progress {
  let count = 0;
  return {
    doing: () => undefined,
    settled: ({ file, status, error }) => {
      count += 1;
      stream.write(
        `${count}/${total} ${status} ${file.name}${error === undefined ? '' : `: ${error.message}`}\n`,
      );
    },
    stop: () => undefined,
  };
}
