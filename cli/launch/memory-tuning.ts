import { spawn } from 'node:child_process';

/**
 * Without these glibc keeps much of an unloaded model's memory for ever. It reads them once, when a process starts,
 * so they must be in the environment before that.
 */
export const mallocVariables = {
  serve: { MALLOC_ARENA_MAX: '2', MALLOC_TRIM_THRESHOLD_: '131072', MALLOC_MMAP_THRESHOLD_: '131072' },
  // The orchestrator unloads no models, and LanceDB's searches are three times slower with a low mmap threshold.
  rag: { MALLOC_ARENA_MAX: '2', MALLOC_TRIM_THRESHOLD_: '131072' },
} as const satisfies Record<string, Readonly<Record<string, string>>>;

/** A command that runs as a process of its own. */
export type Program = keyof typeof mallocVariables;

/**
 * V8 lets the young generation of every thread grow to three times 16 MB, and a server that makes short-lived buffers
 * fills it. With 4 MB both programs together stay about 200 MB smaller while they ingest, at no measurable cost.
 */
const NURSERY = '--max-semi-space-size=4';

/**
 * Where processors have protection keys V8 keeps a list of its code pages; when threads that use WebAssembly, as Node's own
 * module loader does, come and go, it can lose a page and end the process ("Check failed: jit_page.has_value()").
 */
const NO_KEYS = '--no-memory-protection-keys';

/** V8's flags that the programs are started with. */
export const v8Flags: readonly string[] = [NURSERY, NO_KEYS];

/** The flags that neither the command line nor NODE_OPTIONS sets. */
export function missingV8Flags(execArgv: readonly string[], nodeOptions = ''): string[] {
  const given = [...execArgv, ...nodeOptions.split(/\s+/)].map((flag) => flag.split('=')[0]);
  return v8Flags.filter((flag) => !given.includes(flag.split('=')[0]));
}

/** The variables that are not set; none where the allocator is not glibc's. */
export function missingMalloc(
  program: Program,
  { env, platform }: { env: NodeJS.ProcessEnv; platform: NodeJS.Platform },
): Record<string, string> {
  if (platform !== 'linux') return {};
  return Object.fromEntries(
    Object.entries(mallocVariables[program]).filter(([name]) => env[name] === undefined),
  );
}

/**
 * Starts this very command again with the allocator's variables and V8's flags when some are missing: in place where
 * the system can do that (`execve`, the process id stays), else as a child that gets every signal.
 * Returns only when nothing had to be done.
 */
export async function relaunchTuned(program: Program): Promise<void> {
  const variables = missingMalloc(program, process);
  const flags = missingV8Flags(process.execArgv, process.env.NODE_OPTIONS);
  if (Object.keys(variables).length === 0 && flags.length === 0) return;
  const env = { ...process.env, ...variables };
  const args = [...process.execArgv, ...flags, ...process.argv.slice(1)];
  if (typeof process.execve === 'function')
    process.execve(process.execPath, [process.execPath, ...args], env);
  process.exit(await runChild(args, env));
}

/** @returns the exit code to pass on */
function runChild(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const child = spawn(process.execPath, args, { env, stdio: 'inherit' });
  // From a terminal the child gets Ctrl-C by itself; a second copy would count as the second Ctrl-C.
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(code ?? (signal === 'SIGINT' ? 130 : 1)));
  });
}
