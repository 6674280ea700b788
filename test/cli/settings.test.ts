import { Command } from 'commander';
import { expect, test } from 'vitest';
import { nearest } from '../../cli/config/nearest.ts';
import { settingOf, settings, settingsOf } from '../../cli/config/settings.ts';
import { addSettings, givenFlags } from '../../cli/options.ts';
import { serverConfigSchema } from '../../model-server/config.ts';
import { ragConfigSchema } from '../../orchestrator/config.ts';

const sharedKeys = Object.keys(serverConfigSchema.shape).filter((key) => key in ragConfigSchema.shape);

test('what both programs call by one name is one setting with one meaning', () => {
  expect(sharedKeys).toEqual(['host', 'logLevel']);
  const of = (schema: { toJSONSchema: () => { properties?: Record<string, unknown> } }, key: string) =>
    schema.toJSONSchema().properties?.[key];
  for (const key of sharedKeys) expect(of(serverConfigSchema, key)).toEqual(of(ragConfigSchema, key));
  expect(
    settings
      .filter(({ programs }) => programs.length === 2)
      .map(({ key }) => key)
      .sort(),
  ).toEqual(sharedKeys);
});

test('every setting of both schemas has a flag, a variable, a description and a rule of its own', () => {
  const keys = new Set([...Object.keys(serverConfigSchema.shape), ...Object.keys(ragConfigSchema.shape)]);
  expect(new Set(settings.map(({ key }) => key as string))).toEqual(keys);
  expect(new Set(settings.map(({ name }) => name)).size).toBe(keys.size);
  expect(new Set(settings.map(({ env }) => env)).size).toBe(keys.size);
  for (const { name, env, description, allowed } of settings) {
    expect(name).toMatch(/^[a-z]+(-[a-z]+)*$/);
    expect(env).toMatch(/^[A-Z]+(_[A-Z]+)*$/);
    expect(description).not.toBe('');
    expect(allowed).not.toBe('');
  }
});

test('the kinds are read from the schemas', () => {
  expect(settingOf('samples')).toMatchObject({
    kind: 'boolean',
    allowed: 'true or false',
    defaultText: 'true',
  });
  expect(settingOf('grpcPort')).toMatchObject({
    kind: 'number',
    env: 'NEREID_GRPC_PORT',
    defaultText: '8001',
  });
  expect(settingOf('llmApiKey')).toMatchObject({ kind: 'text', env: 'LLM_API_KEY', secret: true });
  expect(settingOf('logLevel').choices).toContain('silent');
});

test('every setting is a flag, and only those that were given count', () => {
  const command = addSettings(new Command('x'), settings);
  const flags = new Set(command.options.map(({ long }) => long));
  for (const { name, kind } of settings)
    expect(flags).toContain(kind === 'boolean' ? `--no-${name}` : `--${name}`);
  command.parse(['--grpc-port', '9001', '--no-samples'], { from: 'user' });
  expect(givenFlags(command)).toEqual({ grpcPort: '9001', samples: false });
});

test('the help names default and variable of every setting', () => {
  const help = addSettings(new Command('x'), settingsOf('server', 'rag'))
    .helpInformation()
    .replace(/\s+/g, ' ');
  for (const { env, description } of settings) {
    expect(help).toContain(env);
    expect(help).toContain(description.split(' ').slice(0, 3).join(' '));
  }
  expect(help).toContain('(default: 8001; env: NEREID_GRPC_PORT)');
});

test.each([
  ['grpcPort', 'grpc-port'],
  ['gprc-port', 'grpc-port'],
  ['NEREID_LLM_API_KEY', 'llm-api-key'],
  ['weather', undefined],
])('%s most likely means %s', (name, meant) => {
  expect(
    nearest(
      name,
      settings.map((setting) => setting.name),
    ),
  ).toBe(meant);
});
