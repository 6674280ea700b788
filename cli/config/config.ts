import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { type ServerConfig, serverConfigSchema } from '../../model-server/config.ts';
import { type RagConfig, ragConfigSchema } from '../../orchestrator/config.ts';
import { packageRoot } from '../package-root.ts';
import { ConfigError } from './config-error.ts';
import { readConfigFile } from './config-file.ts';
import { nearest } from './nearest.ts';
import {
  type Setting,
  type SettingKey,
  type Settings,
  settingOf,
  settings,
  settingsSchema,
} from './settings.ts';

/** Where settings come from; flags win over environment, environment over file, file over defaults. */
export interface ConfigSources {
  /** Flags that were really given: text, or true and false for switches. */
  flags?: Partial<Record<SettingKey, string | boolean>> | undefined;
  env: Readonly<Record<string, string | undefined>>;
  cwd: string;
  /** Without one, `nereid.yaml` in `cwd` is read if it is there. */
  configFile?: string | undefined;
  /** The listeners that the command opens, whose ports must differ; without it, those of both programs. */
  listeners?: readonly ListenerKey[] | undefined;
}

/** A setting that is the port of a listener. */
export type ListenerKey = 'grpcPort' | 'httpPort' | 'metricsPort' | 'port';

/** The listeners of each program. */
export const listenersOf = {
  server: ['grpcPort', 'httpPort', 'metricsPort'],
  rag: ['port'],
} as const satisfies Record<string, readonly ListenerKey[]>;

const allListeners: readonly ListenerKey[] = [...listenersOf.server, ...listenersOf.rag];

export interface Config extends Readonly<Settings> {
  /** The configuration file that was read. */
  readonly configFile: string | undefined;
  /** Name of the source of each setting that is not its default: `nereid.yaml:3`, `NEREID_PORT`, `--port`. */
  readonly origins: Readonly<Partial<Record<SettingKey, string>>>;
}

/** Variables that the command line itself reads. */
export const ownVariables = { configFile: 'NEREID_CONFIG', url: 'NEREID_URL' };

interface Given {
  text: string;
  where: string;
  /** Folder that a relative path starts from. */
  base: string;
}

type AllGiven = Map<SettingKey, Given>;

/**
 * Merges and checks every source, and freezes the result. Paths come back absolute.
 * @throws ConfigError with all problems at once
 */
export function loadConfig(sources: ConfigSources): Config {
  const given: AllGiven = new Map();
  const problems: string[] = [];
  const configFile = findFile(sources);
  if (configFile !== undefined) fromFile(configFile, given, problems);
  fromEnv(sources, given, problems);
  fromFlags(sources, given);
  const values = check(given, problems);
  problems.push(...sharedPorts(given, values, sources.listeners ?? allListeners));
  if (problems.length > 0) throw new ConfigError(problems);
  const origins = Object.fromEntries([...given].map(([key, { where }]) => [key, where]));
  const filled = withDerivedDefaults(settingsSchema.parse(values), given, sources.cwd);
  return Object.freeze({ ...filled, configFile, origins: Object.freeze(origins) });
}

/** The model server's part. */
export function serverConfig(config: Config): Readonly<ServerConfig> {
  return Object.freeze(serverConfigSchema.parse(config));
}

/** The orchestrator's part. */
export function ragConfig(config: Config): Readonly<RagConfig> {
  return Object.freeze(ragConfigSchema.parse(config));
}

/** The address a client on this machine reaches a listening host by. */
export function reachableHost(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  if (host === '::') return '[::1]';
  return host.includes(':') ? `[${host}]` : host;
}

function findFile({ configFile, env, cwd }: ConfigSources): string | undefined {
  const named = configFile ?? (env[ownVariables.configFile] || undefined);
  if (named !== undefined) return resolve(cwd, named);
  const usual = join(cwd, 'nereid.yaml');
  return existsSync(usual) ? usual : undefined;
}

function fromFile(path: string, given: AllGiven, problems: string[]): void {
  const file = readConfigFile(path);
  problems.push(...file.problems);
  for (const { name, text, where } of file.entries) {
    const setting = settings.find((candidate) => candidate.name === name);
    if (setting === undefined)
      problems.push(
        `${where}: there is no setting ${name}.${meant(
          name,
          settings.map((known) => known.name),
        )}`,
      );
    else if (text === undefined) problems.push(`${where}: ${name} must have one value: ${setting.allowed}`);
    else given.set(setting.key, { text, where, base: dirname(path) });
  }
}

function fromEnv({ env, cwd }: ConfigSources, given: AllGiven, problems: string[]): void {
  const known = new Set([...settings.map((setting) => setting.env), ...Object.values(ownVariables)]);
  for (const name of Object.keys(env)) {
    if (name.startsWith('NEREID_') && !known.has(name) && !isServiceLink(name, env[name])) {
      problems.push(`${name}: there is no such variable.${meant(name, [...known])}`);
    }
  }
  for (const setting of settings) {
    const text = env[setting.env];
    // An empty variable is how compose files and shells say "not set".
    if (text === undefined || text === '' || isServiceLink(setting.env, text)) continue;
    given.set(setting.key, { text, where: setting.env, base: cwd });
  }
}

/** Kubernetes sets such variables in every pod of a namespace with a service named nereid, or nereid-something. */
function isServiceLink(name: string, text = ''): boolean {
  return (
    /^NEREID_(\w+_)?SERVICE_(HOST|PORT(_\w+)?)$/.test(name) ||
    /^NEREID_(\w+_)?PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/.test(name) ||
    (/^NEREID_(\w+_)?PORT$/.test(name) && /^(tcp|udp|sctp):\/\//.test(text))
  );
}

function fromFlags({ flags = {}, cwd }: ConfigSources, given: AllGiven): void {
  for (const [key, value] of Object.entries(flags) as [SettingKey, string | boolean][]) {
    const where = value === false ? `--no-${settingOf(key).name}` : `--${settingOf(key).name}`;
    given.set(key, { text: String(value), where, base: cwd });
  }
}

/** Values that passed; for each that did not, a problem. */
function check(given: AllGiven, problems: string[]): Partial<Record<SettingKey, unknown>> {
  const values: Partial<Record<SettingKey, unknown>> = {};
  for (const [key, { text, where }] of given) {
    const setting = settingOf(key);
    // Number('') is 0, and nobody means that.
    const blank = setting.kind === 'number' && text.trim() === '';
    const result = settingsSchema.shape[key].safeParse(text);
    if (result.success && !blank) values[key] = result.data;
    else
      problems.push(
        `${where}: ${setting.name} must be ${allowed(setting, result.error?.issues)}${actual(setting, text)}`,
      );
  }
  return values;
}

function allowed(setting: Setting, issues: readonly { code?: string; message: string }[] = []): string {
  const own = issues.find(({ message }) => message.startsWith('must be '));
  return own === undefined ? setting.allowed : own.message.slice('must be '.length);
}

function actual(setting: Setting, text: string): string {
  if (setting.secret) return ' (the value is secret and not shown)';
  return `, not ${JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}...` : text)}`;
}

/** Two listeners on one port fail late and unclearly; say it here. */
function sharedPorts(
  given: AllGiven,
  values: Partial<Record<SettingKey, unknown>>,
  listeners: readonly ListenerKey[],
): string[] {
  const problems: string[] = [];
  const owners = new Map<number, string>();
  for (const key of listeners) {
    const value = given.has(key) ? values[key] : settingsSchema.shape[key].parse(undefined);
    if (typeof value !== 'number' || value === 0) continue;
    const { name } = settingOf(key);
    const label = `${name} (${given.get(key)?.where ?? 'default'})`;
    const owner = owners.get(value);
    if (owner === undefined) owners.set(value, label);
    else problems.push(`${owner} and ${label} are both ${value}; each needs a port of its own`);
  }
  return problems;
}

function withDerivedDefaults(values: Settings, given: AllGiven, cwd: string): Settings {
  const path = (key: 'modelRepository' | 'dataDir', base: string) =>
    resolve(given.get(key)?.base ?? base, values[key]);
  return {
    ...values,
    // The shipped models lie in the package, wherever the command is run.
    modelRepository: path('modelRepository', packageRoot),
    dataDir: path('dataDir', cwd),
    serverAddress: given.has('serverAddress')
      ? values.serverAddress
      : `${reachableHost(values.host)}:${values.grpcPort}`,
  };
}

function meant(name: string, known: readonly string[]): string {
  const close = nearest(name, known);
  return close === undefined ? '' : ` Did you mean ${close}?`;
}
