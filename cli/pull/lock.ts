import { link, open, readFile, rename, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { CommandFailure } from '../exit-codes.ts';

/** Locks of this process: an equal process id in another one is that of an earlier life of the same container. */
const held = new Set<string>();

/**
 * Holds a lock file until it is disposed of. One whose process has died is taken over; whether a process on another
 * machine lives can't be known, so that its lock stays.
 * @throws CommandFailure when another process holds it
 */
export async function lock(
  path: string,
  { pid, what }: { pid: number; what: string },
): Promise<AsyncDisposable> {
  const own = `${pid} ${hostname()}\n`;
  if (!(await create(path, own))) {
    const holder = await readFile(path, 'utf8').catch(() => '');
    if (!isDead(path, holder) || !(await removeStale(path, holder)) || !(await create(path, own))) {
      const message = `another pull of ${what} is running (process ${holder.trim() || 'unknown'}). Wait for it; if there is none, delete ${path}`;
      throw new CommandFailure(message);
    }
  }
  held.add(path);
  return {
    [Symbol.asyncDispose]: async () => {
      held.delete(path);
      await rm(path, { force: true });
    },
  };
}

async function create(path: string, text: string): Promise<boolean> {
  try {
    const handle = await open(path, 'wx');
    await handle.writeFile(text);
    await handle.close();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function isDead(path: string, holder: string): boolean {
  const [pid, host] = holder.trim().split(' ');
  if (host !== hostname() || !/^\d+$/.test(pid ?? '')) return false;
  if (Number(pid) === process.pid) return !held.has(path);
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

/** Two may find the same dead holder: what was taken away must be what was read, or it goes back. */
async function removeStale(path: string, holder: string): Promise<boolean> {
  const aside = `${path}.${process.pid}`;
  try {
    await rename(path, aside);
  } catch {
    return false;
  }
  const removed = await readFile(aside, 'utf8');
  if (removed !== holder) await link(aside, path).catch(() => undefined);
  await rm(aside, { force: true });
  return removed === holder;
}
