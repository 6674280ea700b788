import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { z } from 'zod';
import type { Measurement, RowResult, SpeedRow } from './speed-row.ts';

const kinds = ['unary', 'stream'] as const;
const answer = z.object({
  summary: z.array(
    z.object({
      kind: z.enum(kinds),
      callsPerSecond: z.number(),
      ratio: z.number(),
      least: z.number(),
      most: z.number(),
      cpuRatio: z.number(),
    }),
  ),
});

const rowOf = (kind: (typeof kinds)[number]): SpeedRow => ({
  id: `cached-${kind}`,
  what: `cached embeddings, ${kind} / an empty handler`,
  target: kind === 'unary' ? { atLeast: 0.85 } : undefined,
  digits: 3,
  unit: '',
});

/** Calls that are answered from the cache, as the benchmark of its own measures them: in a process of its own. */
export const ceiling: Measurement = {
  rows: kinds.map(rowOf),
  async measure({ rounds, seconds, say }) {
    const file = fileURLToPath(new URL('./ceiling.ts', import.meta.url));
    const args = [file, '--json', '--rounds', String(rounds), '--seconds', String(seconds)];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    const { summary } = answer.parse(JSON.parse(stdout));
    const results = new Map<string, RowResult>();
    for (const { kind, callsPerSecond, ratio, least, most, cpuRatio } of summary) {
      const note = `${callsPerSecond} calls/s, by CPU ${cpuRatio.toFixed(3)}`;
      results.set(`cached-${kind}`, { values: [least, ratio, most], note });
      say(`cached, ${kind}: ${note}, ratio ${ratio}`);
    }
    return results;
  },
};
