import { readFileSync } from 'node:fs';

/** Whether the children of a process can be told: they are read from /proc, which is Linux only. */
export const canListChildren = process.platform === 'linux';
if (!canListChildren) console.log('skipped aloud: without /proc the children of a process are not to be had');

/** Ids of the processes that this one has started. */
export const childrenOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);

/** A zombie that nobody has waited for is dead. */
export function isAlive(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}
