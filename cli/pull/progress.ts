import { Presets, SingleBar } from 'cli-progress';
import { amount } from './disk-space.ts';
import type { PullEvent } from './source.ts';

/** Tells how far a pull is. */
export interface Progress {
  on(event: PullEvent): void;
  stop(): void;
}

/** JSON lines on `out`; or on `stream` a bar for people, and a line for each file elsewhere. */
export function showProgress(
  json: boolean,
  { stream, out }: { stream: NodeJS.WriteStream; out: (line: string) => void },
): Progress {
  if (json) return jsonLines(out);
  return stream.isTTY ? bar(stream) : lines(stream);
}

/** Files are large: a share of a hundredth is news enough. */
function jsonLines(out: (line: string) => void): Progress {
  let lastShare = -1;
  return {
    on: (event) => {
      if (event.event === 'file_started') lastShare = -1;
      if (event.event === 'file_progress') {
        const share = Math.floor((100 * event.doneBytes) / Math.max(1, event.bytes));
        if (share === lastShare) return;
        lastShare = share;
      }
      out(JSON.stringify(event));
    },
    stop: () => undefined,
  };
}

function lines(stream: NodeJS.WriteStream): Progress {
  return {
    on: (event) => {
      const text = textOf(event);
      if (text !== undefined) stream.write(`${text}\n`);
    },
    stop: () => undefined,
  };
}

function bar(stream: NodeJS.WriteStream): Progress {
  const single = new SingleBar(
    {
      format: '{bar} {percentage}% | {done} of {all} | {doing}',
      stream,
      hideCursor: true,
      clearOnComplete: true,
    },
    Presets.shades_classic,
  );
  let totalBytes = 0;
  let settledBytes = 0;
  const notes: string[] = [];
  const show = (bytes: number, doing: string) =>
    single.update(bytes, { done: amount(bytes), all: amount(totalBytes), doing });
  return {
    on: (event) => {
      if (event.event === 'planned') {
        if (totalBytes === 0)
          single.start(event.bytes, 0, { done: amount(0), all: amount(event.bytes), doing: '' });
        totalBytes = event.bytes;
        single.setTotal(totalBytes);
      } else if (event.event === 'file_started') show(settledBytes + event.resumedFrom, event.file);
      else if (event.event === 'file_progress') show(settledBytes + event.doneBytes, event.file);
      else if (event.event === 'file_done') {
        settledBytes += event.bytes;
        show(settledBytes, event.file);
      } else if (event.event === 'retry')
        show(settledBytes, `${event.file}: again in ${event.inMs} ms, ${event.why}`);
      else if (event.event === 'note') notes.push(`${textOf(event)}\n`);
      else stream.write(`${textOf(event)}\n`);
    },
    // Beside a running bar they would be overwritten.
    stop: () => {
      if (totalBytes > 0) single.stop();
      for (const note of notes.splice(0)) stream.write(note);
    },
  };
}

function textOf(event: PullEvent): string | undefined {
  if (event.event === 'chosen') {
    const others = event.alternatives.length === 0 ? '' : `; there are also ${event.alternatives.join(', ')}`;
    return `${event.file}: ${event.why}${others}`;
  }
  if (event.event === 'file_started' && event.resumedFrom > 0)
    return `going on with ${event.file} after ${amount(event.resumedFrom)} of ${amount(event.bytes)}`;
  if (event.event === 'file_done') return `got ${event.file} (${amount(event.bytes)})`;
  if (event.event === 'retry')
    return `${event.file}: ${event.why}; attempt ${event.attempt} in ${event.inMs} ms`;
  return event.event === 'note' ? `note: ${event.message}` : undefined;
}
