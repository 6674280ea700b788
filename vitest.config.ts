import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Native addons and worker threads live in most suites: a process per file keeps a crash in its own file.
    pool: 'forks',
    maxWorkers: 2,
    // V8 loses track of its code pages where threads that use WebAssembly come and go on processors with protection keys.
    execArgv: ['--no-memory-protection-keys'],
    // Programs that tests start must not spend time on tuning, nor write to the user's cache.
    env: { NEREID_TUNE_MS: '0' },
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
