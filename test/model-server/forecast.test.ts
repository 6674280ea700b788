import { expect, it } from 'vitest';
import { CostModel } from '../../model-server/scheduler/cost-model.ts';
import { Forecast } from '../../model-server/scheduler/forecast.ts';

const MS = 1000;

it('takes answers to be as late as they were lately, and forgets that when it hears no more of it', () => {
  const forecast = new Forecast(new CostModel({ packed: true, overheadTokens: 8 }));
  expect(forecast.likelyUs(10 * MS, 0)).toBe(10 * MS);
  let nowUs = 0;
  for (let i = 0; i < 400; i++) {
    nowUs += MS;
    forecast.tookUs(10 * MS, { tookUs: 30 * MS, nowUs });
  }
  expect(forecast.likelyUs(10 * MS, nowUs) / MS).toBeGreaterThan(25);
  // Calls that are refused for it are never done, so nothing else would ever teach it better.
  expect(forecast.likelyUs(10 * MS, nowUs + 10_000 * MS) / MS).toBeCloseTo(10, 1);
});
