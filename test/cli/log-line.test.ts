import { expect, test } from 'vitest';
import { readableLine } from '../../cli/supervisor/log-line.ts';

const time = new Date(2026, 0, 2, 3, 4, 5).getTime();

test.each([
  ['time, level and message lead', { level: 30, time, msg: 'ready' }, '03:04:05 info ready'],
  ['fields follow', { level: 40, msg: 'slow', model: 'a', ms: 12 }, 'WARN slow model=a ms=12'],
  ['text with blanks is quoted', { level: 30, msg: 'm', file: 'a b.pdf' }, 'info m file="a b.pdf"'],
  [
    'an error shows its message',
    { level: 50, msg: 'm', err: { message: 'no disk', stack: 'x' } },
    'ERROR m err="no disk"',
  ],
  [
    'who wrote it is said by the prefix',
    { level: 30, name: 'server', pid: 1, hostname: 'h', msg: 'm' },
    'info m',
  ],
  ['levels may be words', { level: 'warn', msg: 'm' }, 'warn m'],
])('%s', (_what, line, expected) => {
  expect(readableLine(JSON.stringify(line))).toBe(expected);
});

test('what is not a log line stays as it is', () => {
  expect(readableLine('error: no luck')).toBe('error: no luck');
  expect(readableLine('{ broken')).toBe('{ broken');
});
