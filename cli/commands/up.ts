import { styleText } from 'node:util';
import { Command } from 'commander';
import { type Config, reachableHost } from '../config/config.ts';
import { settingOf, settingsOf } from '../config/settings.ts';
import { exitCodes } from '../exit-codes.ts';
import type { Ports } from '../launch/run-program.ts';
import { addSettings, configOf, givenFlags } from '../options.ts';
import { askCommand } from '../supervisor/ask-command.ts';
import { readableLine } from '../supervisor/log-line.ts';
import { programs } from '../supervisor/programs.ts';
import { runSupervisor } from '../supervisor/run-supervisor.ts';
import { Supervisor } from '../supervisor/supervisor.ts';

/** `nereid up`: both programs as children of this one, kept alive until Ctrl-C. */
export function command(): Command {
  const own = settingsOf('server', 'rag').filter(({ key }) => key !== 'serverAddress');
  return addSettings(new Command(), own)
    .description(
      'Starts the model server and the orchestrator, and keeps both running. When the store is empty the sample ' +
        'documents are ingested. Ctrl-C drains both; a second one ends them at once.',
    )
    .option('--json', "print the programs' log lines as they are, and readiness as a line of JSON")
    .addHelpText(
      'after',
      `
Examples:
  nereid up
  nereid up --port 9080 --data-dir /var/lib/nereid --no-samples
  nereid up --grpc-port 0 --http-port 0 --metrics-port 0 --port 0   (any free ports)`,
    )
    .action(async ({ json = false }: { json?: boolean }, self: Command) => {
      process.exitCode = await up(configOf(self), { json, flags: givenFlags(self) });
    });
}

interface UpOptions {
  json: boolean;
  flags: ReturnType<typeof givenFlags>;
}

async function up(config: Config, { json, flags }: UpOptions): Promise<number> {
  const startedMs = performance.now();
  const write = (program: string, text: string) => console.log(`${prefix(program)}${text}`);
  const notice = (program: string, text: string) =>
    json ? console.error(`${program}: ${text}`) : write(program, styleText('yellow', text));
  const supervisor = new Supervisor({
    programs: programs(config, { ...process.env, ...asEnv(flags, config) }),
    onLine: (program, line) => (json ? console.log(line) : write(program, readableLine(line))),
    onNotice: notice,
  });
  const code = await runSupervisor(supervisor, {
    onReady: (ports) => {
      const readyMs = Math.round(performance.now() - startedMs);
      console.log(
        json
          ? JSON.stringify({ type: 'ready', ready_ms: readyMs, ...ports })
          : banner(config, ports, readyMs),
      );
    },
    onNotice: (text) => notice('nereid', text),
  });
  if (code === exitCodes.ok) notice('nereid', 'both programs have stopped');
  return code;
}

/** Flags as the variables that say the same, for the children. */
function asEnv(flags: UpOptions['flags'], { configFile }: Config): Record<string, string> {
  const given = Object.entries(flags).map(([key, value]) => [
    settingOf(key as keyof typeof flags).env,
    String(value),
  ]);
  return { ...Object.fromEntries(given), ...(configFile === undefined ? {} : { NEREID_CONFIG: configFile }) };
}

function prefix(program: string): string {
  const colour = program === 'server' ? 'cyan' : program === 'rag' ? 'magenta' : 'green';
  return styleText(colour, `${program.padEnd(6)} | `);
}

function banner(config: Config, ports: Ports, readyMs: number): string {
  const host = reachableHost(config.host);
  const url = `http://${host}:${ports.port}`;
  return `
Nereid is ready after ${(readyMs / 1000).toFixed(1)} s.

  Orchestrator   ${url}   (the API: ${url}/openapi.json)
  Model server   gRPC ${host}:${ports.grpcPort}, health http://${host}:${ports.httpPort}/readyz, metrics http://${host}:${ports.metricsPort}/metrics
  Data           ${config.dataDir}

In another terminal:

  ${askCommand(url)}

Ctrl-C stops both.
`;
}
