import { expect, test } from 'vitest';
import { rowCells, type SpeedRow } from '../../loadtest/speed-row.ts';

const row = (target: SpeedRow['target']): SpeedRow => ({
  id: 'x',
  what: 'what',
  target,
  digits: 2,
  unit: ' ms',
});

test('the median decides, and the range is shown', () => {
  const values = [1.4, 9, 1.2];
  expect(rowCells(row({ atMost: 1.5 }), { values })).toEqual([
    'what',
    '<= 1.50 ms',
    '1.40 ms (1.20..9.00)',
    'yes',
  ]);
  expect(rowCells(row({ atMost: 1.3 }), { values })[3]).toBe('NO');
  expect(rowCells(row({ atLeast: 1.4 }), { values, note: 'more' }).slice(1)).toEqual([
    '>= 1.40 ms',
    '1.40 ms (1.20..9.00); more',
    'yes',
  ]);
});

test('what is there to compare with has nothing to reach', () => {
  expect(rowCells(row(undefined), { values: [1] }).slice(1)).toEqual([
    'to compare',
    '1.00 ms (1.00..1.00)',
    '-',
  ]);
});

test('what was not measured is never met', () => {
  expect(rowCells(row({ atLeast: 1 }), { skipped: 'no fp32 model' }).slice(2)).toEqual([
    'skipped: no fp32 model',
    '-',
  ]);
  expect(rowCells(row({ atLeast: 1 }), { values: [Number.NaN] }).slice(2)).toEqual([
    'nothing was measured',
    'NO',
  ]);
});
