import { accessSync, constants, existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Check, size } from './check.ts';

const GIB = 1024 ** 3;

/** Whether the data folder can be written, and has room. */
export async function diskCheck(dataDir: string): Promise<Check> {
  const name = 'data folder';
  // It is made at the first start; until then its nearest parent decides.
  let folder = dataDir;
  while (!existsSync(folder)) folder = dirname(folder);
  try {
    accessSync(folder, constants.W_OK);
  } catch {
    const advice = 'choose another one with --data-dir, or change its owner';
    return { name, status: 'fail', found: `${folder} can't be written`, advice, data: { path: dataDir } };
  }
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  const found = `${dataDir}${folder === dataDir ? '' : ' (not made yet)'}, ${size(free)} free`;
  const data = { path: dataDir, free_bytes: free };
  if (free >= GIB) return { name, status: 'ok', found, data };
  const advice =
    'uploads, vectors and full text need room; free some, or choose another disk with --data-dir';
  return { name, status: free < GIB / 10 ? 'fail' : 'warn', found, advice, data };
}
