import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { showProgress } from '../../cli/pull/progress.ts';
import type { PullEvent } from '../../cli/pull/source.ts';

const events: PullEvent[] = [
  {
    event: 'chosen',
    file: 'model.onnx',
    precision: 'fp32',
    why: 'full precision',
    alternatives: ['model_int8.onnx'],
  },
  { event: 'planned', files: 2, bytes: 2048 },
  { event: 'file_started', file: 'model.onnx', bytes: 2000, resumedFrom: 1024 },
  { event: 'file_progress', file: 'model.onnx', bytes: 2000, doneBytes: 1501 },
  { event: 'retry', file: 'model.onnx', attempt: 2, inMs: 500, why: 'the connection broke' },
  { event: 'file_progress', file: 'model.onnx', bytes: 2000, doneBytes: 1502 },
  { event: 'file_progress', file: 'model.onnx', bytes: 2000, doneBytes: 2000 },
  { event: 'file_done', file: 'model.onnx', bytes: 2000, sha256: 'ab' },
  { event: 'note', message: 'no tokenizer' },
];

/** What a stream gets, as a terminal of 200 columns or as none. */
function written(isTTY: boolean, json = false): { text: string; lines: string[] } {
  const stream = Object.assign(new PassThrough(), {
    isTTY,
    columns: 200,
    cursorTo: () => true,
    clearLine: () => true,
    moveCursor: () => true,
  });
  const lines: string[] = [];
  const out = (line: string) => lines.push(line);
  const progress = showProgress(json, { stream: stream as unknown as NodeJS.WriteStream, out });
  for (const event of events) progress.on(event);
  progress.stop();
  return { text: (stream.read() as Buffer | null)?.toString() ?? '', lines };
}

test('elsewhere than on a terminal: one line for what matters', () => {
  expect(written(false).text.split('\n')).toEqual([
    'model.onnx: full precision; there are also model_int8.onnx',
    'going on with model.onnx after 1.0 KiB of 2.0 KiB',
    'model.onnx: the connection broke; attempt 2 in 500 ms',
    'got model.onnx (2.0 KiB)',
    'note: no tokenizer',
    '',
  ]);
});

test('on a terminal: a bar over all bytes, and notes after it', () => {
  const { text } = written(true);
  expect(text).toContain('model.onnx: full precision');
  expect(text).toMatch(/\d+% \| .* of 2\.0 KiB \| /);
  expect(text.trimEnd().endsWith('note: no tokenizer')).toBe(true);
});

test('JSON lines, with progress by the hundredth', () => {
  const { text, lines } = written(true, true);
  expect(text).toBe('');
  const told = lines.map((line) => JSON.parse(line));
  expect(told).toEqual(events.filter((event) => !('doneBytes' in event) || event.doneBytes !== 1502));
});

test('stopping before anything began is fine', () => {
  const stream = Object.assign(new PassThrough(), {
    isTTY: true,
    columns: 80,
  }) as unknown as NodeJS.WriteStream;
  expect(() => showProgress(false, { stream, out: () => undefined }).stop()).not.toThrow();
});
