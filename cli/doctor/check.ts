import { styleText } from 'node:util';

/** What one look at the machine found. */
export interface Check {
  name: string;
  status: 'ok' | 'warn' | 'fail';
  /** What was found. */
  found: string;
  /** What to do about it; for warn and fail. */
  advice?: string;
  /** The figures, for scripts. */
  data?: Record<string, unknown>;
}

const labels = { ok: ['green', ' OK '], warn: ['yellow', 'WARN'], fail: ['red', 'FAIL'] } as const;

/** The checks as a person reads them. */
export function checkList(checks: readonly Check[]): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  const indent = ' '.repeat(6 + width + 2);
  return checks
    .map(({ name, status, found, advice }) => {
      const [colour, label] = labels[status];
      const head = `${styleText(colour, label)}  ${name.padEnd(width)}  ${found}`;
      return advice === undefined ? head : `${head}\n${indent}-> ${advice}`;
    })
    .join('\n');
}

/** Bytes as a person reads them. */
export function size(bytes: number): string {
  const mib = bytes / 1024 ** 2;
  return mib < 1024 ? `${Math.round(mib)} MiB` : `${(mib / 1024).toFixed(1)} GiB`;
}
