import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('./store-writer.ts', import.meta.url));

/**
 * Starts a program that writes documents from number `first` on, kills it (SIGKILL) as soon as it has told of
 * `acknowledged` of them, while it is at work on the next one. Gives the numbers that it told of.
 */
export async function killWriter(
  kind: 'vectors' | 'metadata',
  folder: string,
  options: { first: number; acknowledged: number },
): Promise<number[]> {
  const child = spawn(process.execPath, [program, kind, folder, String(options.first)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let complaint = '';
  child.stderr.on('data', (text) => {
    complaint += text;
  });
  const closed = once(child, 'close');
  const told: number[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    told.push(Number(line));
    if (told.length === options.acknowledged) child.kill('SIGKILL');
  }
  const [, signal] = await closed;
  if (signal !== 'SIGKILL') throw new Error(`The writer ended by itself: ${complaint}`);
  return told;
}
