import { type Command, Option } from 'commander';
import { type Config, ownVariables, reachableHost } from '../config/config.ts';
import { settingOf } from '../config/settings.ts';
import { CommandFailure, exitCodes } from '../exit-codes.ts';
import { addSettings, configOf } from '../options.ts';
import { Orchestrator } from './orchestrator.ts';

/** Flags that say where the orchestrator is. */
export function addClientOptions(command: Command): Command {
  const text = `address of the orchestrator (default: from host and port; env: ${ownVariables.url})`;
  addSettings(command.addOption(new Option('--url <url>', text)), [settingOf('host'), settingOf('port')]);
  return command.addOption(new Option('--collection <name>', 'collection of documents (default: default)'));
}

/**
 * The orchestrator that the flags, the environment or nereid.yaml name.
 * @throws ConfigError, CommandFailure (a URL that is none)
 */
export function orchestratorOf(command: Command): { orchestrator: Orchestrator; config: Config } {
  const config = configOf(command, []);
  const given =
    (command.getOptionValue('url') as string | undefined) ?? (process.env[ownVariables.url] || undefined);
  const url = given ?? `http://${reachableHost(config.host)}:${config.port}`;
  if (!/^https?:\/\//.test(url) || !URL.canParse(url)) {
    const message = `--url must be an address such as http://127.0.0.1:8080, not ${JSON.stringify(url)}`;
    throw new CommandFailure(message, { exitCode: exitCodes.usage });
  }
  return { orchestrator: new Orchestrator(url), config };
}
