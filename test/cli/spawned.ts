import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { onTestFinished, vi } from 'vitest';

/** Path of a file of the checkout. */
export function inCheckout(path: string): string {
  return fileURLToPath(new URL(`../../${path}`, import.meta.url));
}

/** A child process of a test: its lines so far, and its end. It is killed when the test is over. */
export interface Spawned {
  child: ChildProcess;
  stdout: string[];
  stderr: string[];
  /** Waits for a line of standard output. */
  line(matching: RegExp): Promise<string>;
  ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

export interface SpawnOptions {
  env?: Record<string, string>;
  cwd?: string;
}

/** The environment without the settings of whoever runs the tests. */
function cleanEnv(): NodeJS.ProcessEnv {
  const entries = Object.entries(process.env).filter(
    ([name]) => !/^(NEREID_|LLM_|QDRANT_|MALLOC_)/.test(name),
  );
  return Object.fromEntries(entries);
}

/** Runs a TypeScript file with the Node that runs the tests. */
export function spawnNode(
  file: string,
  args: readonly string[],
  { env = {}, cwd }: SpawnOptions = {},
): Spawned {
  const child = spawn(process.execPath, [file, ...args], {
    env: { ...cleanEnv(), ...env },
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const collect = (stream: NodeJS.ReadableStream) => {
    const lines: string[] = [];
    createInterface({ input: stream }).on('line', (line) => lines.push(line));
    return lines;
  };
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal }));
  const line = (matching: RegExp) =>
    vi.waitFor(
      () => {
        const found = stdout.find((text) => matching.test(text));
        if (found === undefined) throw new Error(`no ${matching} in:\n${[...stdout, ...stderr].join('\n')}`);
        return found;
      },
      { timeout: 50_000 },
    );
  return { child, stdout, stderr, line, ended };
}

/** Runs `nereid` to its end. */
export async function nereid(
  args: readonly string[],
  options: SpawnOptions = {},
): Promise<{ code: number | null; out: string; err: string }> {
  const spawned = spawnNode(inCheckout('cli/nereid.ts'), args, options);
  const { code } = await spawned.ended;
  return { code, out: spawned.stdout.join('\n'), err: spawned.stderr.join('\n') };
}
