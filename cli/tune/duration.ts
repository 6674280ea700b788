import { InvalidArgumentError } from 'commander';

const MS = { us: 0.001, ms: 1, s: 1000 } as const;

/**
 * A duration such as 50ms, 0.2s or 800us in milliseconds.
 * @throws InvalidArgumentError, which commander tells together with the flag
 */
export function durationMs(text: string): number {
  const [, number, unit] = /^(\d+(?:\.\d+)?)\s*(us|ms|s)$/.exec(text.trim()) ?? [];
  const value = Number(number) * MS[unit as keyof typeof MS];
  if (value > 0) return value;
  throw new InvalidArgumentError('It must be a duration above zero with its unit, such as 50ms or 0.2s.');
}
