import { type Command, Option } from 'commander';
import { type Config, type ListenerKey, loadConfig, ownVariables } from './config/config.ts';
import { type Setting, type SettingKey, settings } from './config/settings.ts';

/** Adds `--config` and a flag for each setting. */
export function addSettings(command: Command, of: readonly Setting[]): Command {
  command.addOption(
    new Option(
      '--config <file>',
      `configuration file (default: nereid.yaml if it is there; env: ${ownVariables.configFile})`,
    ),
  );
  for (const setting of of) for (const option of optionsOf(setting)) command.addOption(option);
  return command;
}

/**
 * The configuration with this command's flags on top; `listeners` are those that the command opens, by default all.
 * @throws ConfigError
 */
export function configOf(command: Command, listeners?: readonly ListenerKey[]): Config {
  return loadConfig({
    flags: givenFlags(command),
    env: process.env,
    cwd: process.cwd(),
    configFile: command.getOptionValue('config') as string | undefined,
    listeners,
  });
}

/** The settings that were really given as flags. */
export function givenFlags(command: Command): Partial<Record<SettingKey, string | boolean>> {
  const given = settings
    .filter(({ key }) => command.getOptionValueSource(key) === 'cli')
    .map(({ key }) => [key, command.getOptionValue(key) as string | boolean]);
  return Object.fromEntries(given);
}

/** A switch can be turned both ways; the help shows the way that differs from the default. */
function optionsOf(setting: Setting): Option[] {
  const { name, kind, description, defaultText } = setting;
  if (kind !== 'boolean')
    return [new Option(`--${name} <${valueName(setting)}>`, `${description} (${facts(setting)})`)];
  const usual = defaultText === 'true' ? new Option(`--${name}`) : new Option(`--no-${name}`);
  const other = defaultText === 'true' ? `--no-${name}` : `--${name}`;
  const verb = defaultText === 'true' ? 'do not ' : '';
  return [usual.hideHelp(), new Option(other, `${verb}${description} (env: ${setting.env})`)];
}

function valueName({ kind, choices }: Setting): string {
  if (choices.length > 0) return 'level';
  return kind === 'number' ? 'n' : 'value';
}

function facts({ defaultText, env, choices }: Setting): string {
  const parts = [
    ...(choices.length > 0 ? [choices.join(', ')] : []),
    ...(defaultText ? [`default: ${defaultText}`] : []),
    `env: ${env}`,
  ];
  return parts.join('; ');
}
