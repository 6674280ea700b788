import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import {
  type ConfigSources,
  listenersOf,
  loadConfig,
  ragConfig,
  serverConfig,
} from '../../cli/config/config.ts';
import { ConfigError } from '../../cli/config/config-error.ts';
import { packageRoot } from '../../cli/package-root.ts';

function folderWith(files: Record<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), 'nereid-config-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return folder;
}

/** Loads with `nereid.yaml` in the working folder. */
function load(yaml: string, sources: Partial<ConfigSources> = {}) {
  return loadConfig({ env: {}, cwd: folderWith({ 'nereid.yaml': yaml }), ...sources });
}

function problemsOf(yaml: string, sources: Partial<ConfigSources> = {}): readonly string[] {
  try {
    load(yaml, sources);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  throw new Error('the configuration was accepted');
}

test('flags win over the environment, the environment over the file, the file over defaults', () => {
  const yaml = 'grpc-port: 1001\nhttp-port: 1002\nmetrics-port: 1003\n';
  const env = { NEREID_GRPC_PORT: '2001', NEREID_HTTP_PORT: '2002' };
  const config = load(yaml, { env, flags: { grpcPort: '3001' } });
  expect(config).toMatchObject({ grpcPort: 3001, httpPort: 2002, metricsPort: 1003, port: 8080 });
  expect(config.origins).toMatchObject({
    grpcPort: '--grpc-port',
    httpPort: 'NEREID_HTTP_PORT',
    metricsPort: 'nereid.yaml:3',
  });
  expect(config.origins.port).toBeUndefined();
});

test('each program gets its own part, and what they share is the same for both', () => {
  const config = load('host: 0.0.0.0\nlog-level: warn\ninstances: 3\nchunk-tokens: 64\n');
  expect(serverConfig(config)).toMatchObject({ host: '0.0.0.0', logLevel: 'warn', instances: 3 });
  expect(ragConfig(config)).toMatchObject({ host: '0.0.0.0', logLevel: 'warn', chunkTokens: 64 });
  expect(serverConfig(config)).not.toHaveProperty('chunkTokens');
  expect(ragConfig(config)).not.toHaveProperty('instances');
});

test('the result is frozen', () => {
  const config = load('');
  for (const part of [config, config.origins, serverConfig(config), ragConfig(config)])
    expect(Object.isFrozen(part)).toBe(true);
});

test('variables with a name of their own are read by it, and an empty one counts as not set', () => {
  const env = { QDRANT_URL: 'http://127.0.0.1:6333', LLM_API_KEY: 'key', LLM_MODEL: '' };
  const config = load('llm-model: from-file', { env });
  expect(config).toMatchObject({
    qdrantUrl: 'http://127.0.0.1:6333',
    llmApiKey: 'key',
    llmModel: 'from-file',
  });
});

test.each([
  ['samples: false', {}, undefined, false],
  ['', { NEREID_SAMPLES: 'no' }, undefined, false],
  ['', {}, { samples: false }, false],
  ['samples: false', { NEREID_SAMPLES: 'off' }, { samples: true }, true],
  ['', {}, undefined, true],
])('switches: %j %j %j -> %j', (yaml, env, flags, expected) => {
  expect(load(yaml, { env, flags }).samples).toBe(expected);
});

test('text that looks like a number stays as it was written', () => {
  expect(load('llm-api-key: 0123e4\nllm-model: 7').llmApiKey).toBe('0123e4');
});

test('everything wrong is told at once, with its place, its value and what is allowed', () => {
  const yaml =
    'grpcPort: 9001\nhttp-port: 70000\nlog-level: verbose\nmetrics-port:\ninstances: [1, 2]\nsamples: perhaps\n';
  const env = {
    NEREID_GRPCPORT: '3',
    LLM_BASE_URL: 'nowhere',
    NEREID_SERVER_ADDRESS: 'no-port',
    PATH: '/bin',
  };
  const flags = { maxBatchItems: 'many', chunkTokens: '', batchOverheadTokens: '-2' };
  expect(problemsOf(yaml, { env, flags })).toEqual([
    'nereid.yaml:1: there is no setting grpcPort. Did you mean grpc-port?',
    'nereid.yaml:4: metrics-port must have one value: a whole number from 0 to 65535',
    'nereid.yaml:5: instances must have one value: a whole number, at least 0',
    'NEREID_GRPCPORT: there is no such variable. Did you mean NEREID_GRPC_PORT?',
    'nereid.yaml:2: http-port must be a whole number from 0 to 65535, not "70000"',
    'nereid.yaml:3: log-level must be one of debug, info, warn, error, silent, not "verbose"',
    'nereid.yaml:6: samples must be true or false, not "perhaps"',
    'NEREID_SERVER_ADDRESS: server-address must be host:port, not "no-port"',
    'LLM_BASE_URL: llm-base-url must be a URL such as http://host:port, not "nowhere"',
    '--max-batch-items: max-batch-items must be a whole number, at least 1, not "many"',
    '--chunk-tokens: chunk-tokens must be a whole number, at least 16, not ""',
    '--batch-overhead-tokens: batch-overhead-tokens must be a number, at least 0, not "-2"',
  ]);
});

test('a secret never stands in a message', () => {
  const problems = problemsOf('llm-api-key: [sk-secret]\nllm-base-url: nowhere\n', {
    env: { NEREID_LLM_API_KEY: 'sk-secret' },
  });
  expect(problems).toHaveLength(3);
  expect(problems.join('\n')).not.toContain('sk-secret');
});

test('broken YAML is told with its line, and what can be read of it is still checked', () => {
  const problems = problemsOf('grpc-port: 9001\nport: "8080\nhttp-port: x\n');
  expect(problems[0]).toMatch(/^nereid\.yaml:\d: /);
});

test('a file that is a list, or that is not there, is told', () => {
  expect(problemsOf('- grpc-port: 1')).toEqual([
    'nereid.yaml: must be a list of "key: value" lines, like grpc-port: 8001',
  ]);
  const cwd = folderWith({});
  expect(() => loadConfig({ env: {}, cwd, configFile: 'other.yaml' })).toThrow(
    /other\.yaml can't be read: ENOENT/,
  );
  expect(() => loadConfig({ env: { NEREID_CONFIG: 'third.yaml' }, cwd })).toThrow(
    /third\.yaml can't be read/,
  );
});

test('two listeners on one port are refused, unless the system chooses', () => {
  expect(problemsOf('port: 8001')).toEqual([
    'grpc-port (default) and port (nereid.yaml:1) are both 8001; each needs a port of its own',
  ]);
  expect(load('port: 0\ngrpc-port: 0').port).toBe(0);
});

test('a port is compared only with those of the programs that the command starts', () => {
  expect(load('http-port: 8080', { listeners: listenersOf.server }).httpPort).toBe(8080);
  expect(load('port: 8001', { listeners: listenersOf.rag }).port).toBe(8001);
  expect(load('port: 8001', { listeners: [] }).port).toBe(8001);
  expect(problemsOf('http-port: 8001', { listeners: listenersOf.server })).toHaveLength(1);
});

test('variables that Kubernetes sets for a service named nereid are not settings', () => {
  const env = {
    NEREID_SERVICE_HOST: '10.0.0.7',
    NEREID_SERVICE_PORT: '8080',
    NEREID_SERVICE_PORT_HTTP: '8080',
    NEREID_PORT: 'tcp://10.0.0.7:8080',
    NEREID_PORT_8080_TCP: 'tcp://10.0.0.7:8080',
    NEREID_PORT_8080_TCP_ADDR: '10.0.0.7',
    NEREID_RAG_SERVICE_HOST: '10.0.0.8',
    NEREID_RAG_PORT: 'tcp://10.0.0.8:8080',
  };
  expect(load('port: 9000', { env }).port).toBe(9000);
  expect(problemsOf('', { env: { NEREID_PORT: 'ten', NEREID_PROT: '1' } })).toHaveLength(2);
});

test('paths start from where they were written, and the shipped models from the package', () => {
  const cwd = folderWith({});
  const elsewhere = folderWith({ 'my.yaml': 'data-dir: store\n' });
  const config = loadConfig({
    env: { NEREID_MODEL_REPOSITORY: 'models' },
    cwd,
    configFile: join(elsewhere, 'my.yaml'),
  });
  expect(config.dataDir).toBe(join(elsewhere, 'store'));
  expect(config.modelRepository).toBe(join(cwd, 'models'));
  expect(loadConfig({ env: {}, cwd }).modelRepository).toBe(join(packageRoot, 'model-repository'));
  expect(loadConfig({ env: {}, cwd }).dataDir).toBe(join(cwd, 'data'));
});

test("without an address the model server's own host and port are taken", () => {
  expect(load('grpc-port: 9001\nhost: 0.0.0.0').serverAddress).toBe('127.0.0.1:9001');
  expect(load('grpc-port: 9001\nserver-address: far:1').serverAddress).toBe('far:1');
});
