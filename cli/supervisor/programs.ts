import { join } from 'node:path';
import { type Config, reachableHost } from '../config/config.ts';
import { type SettingKey, settingOf } from '../config/settings.ts';
import { mallocVariables, missingV8Flags, type Program } from '../launch/memory-tuning.ts';
import type { Ports } from '../launch/run-program.ts';
import { packageRoot, runsFromSource } from '../package-root.ts';
import type { ProgramCommand } from './program.ts';
import type { SupervisedProgram } from './supervisor.ts';

/** Beyond a program's own deadline for draining. */
const KILL_AFTER_MS = 5_000;

/** The model server and the orchestrator as children, with the settings in `env` and the ports as they turn out. */
export function programs(config: Config, env: NodeJS.ProcessEnv): SupervisedProgram[] {
  const host = reachableHost(config.host);
  return [
    {
      name: 'server',
      command: ({ own }) => nereid('serve', env, { ...own }),
      readyUrl: ({ httpPort }) => `http://${host}:${httpPort}/readyz`,
      graceMs: config.drainMs + KILL_AFTER_MS,
    },
    {
      name: 'rag',
      command: ({ own, others }) =>
        nereid('rag', env, { ...own, serverAddress: `${host}:${others.grpcPort}` }),
      readyUrl: ({ port }) => `http://${host}:${port}/readyz`,
      graceMs: config.shutdownMs + KILL_AFTER_MS,
    },
  ];
}

type Overrides = Partial<Record<SettingKey, string | number>> | Ports;

function nereid(command: Program, env: NodeJS.ProcessEnv, overrides: Overrides): ProgramCommand {
  const variables = Object.entries(overrides).map(([key, value]) => [
    settingOf(key as SettingKey).env,
    String(value),
  ]);
  const entry = join(packageRoot, runsFromSource ? 'cli/nereid.ts' : 'dist/cli/nereid.js');
  return {
    file: process.execPath,
    args: ['--disable-warning=ExperimentalWarning', ...missingV8Flags([], env.NODE_OPTIONS), entry, command],
    env: { ...mallocVariables[command], ...env, ...Object.fromEntries(variables) },
  };
}
