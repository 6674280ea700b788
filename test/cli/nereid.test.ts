import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { inCheckout, nereid } from './spawned.ts';

const commands = ['up', 'serve', 'rag', 'ingest', 'ask', 'search', 'models', 'rollout', 'bench', 'doctor'];

test('--version is that of the package', async () => {
  const { version } = JSON.parse(readFileSync(inCheckout('package.json'), 'utf8'));
  expect(await nereid(['--version'])).toEqual({ code: 0, out: version, err: '' });
});

test('tests run on the Node that the package pins', () => {
  const { devDependencies } = JSON.parse(readFileSync(inCheckout('package.json'), 'utf8'));
  expect(process.versions.node).toBe(devDependencies.node);
});

test('--help lists every command', async () => {
  const { code, out } = await nereid(['--help']);
  expect(code).toBe(0);
  for (const name of commands) expect(out).toMatch(new RegExp(`^  ${name} +\\S`, 'm'));
});

test.each(commands)('%s --help gives examples and the exit codes', async (name) => {
  const { code, out } = await nereid([name, '--help']);
  expect(code).toBe(0);
  expect(out).toContain(`Usage: nereid ${name}`);
  expect(out).toMatch(new RegExp(`Examples:\n(  .*\n)*  .*nereid ${name}`));
  expect(out).toContain('Exit codes: 0 done');
  expect((await nereid(['help', name])).out).toBe(out);
});

test.each([
  [['serv'], "error: unknown command 'serv'"],
  [['serve', '--grpc-por', '1'], "error: unknown option '--grpc-por'"],
  [['ask'], "error: missing required argument 'question'"],
  [
    ['ask', 'x', '--top-k', 'many'],
    "error: option '--top-k <n>' argument 'many' is invalid. It must be a whole number, at least 1.",
  ],
  [
    ['search', 'x', '--mode', 'psychic'],
    "error: option '--mode <mode>' argument 'psychic' is invalid. Allowed choices are dense, keyword, hybrid.",
  ],
  [
    ['ask', 'x', '--url', 'ftp://x'],
    'error: --url must be an address such as http://127.0.0.1:8080, not "ftp://x"',
  ],
])('wrong usage ends with 2: %j', async (args, message) => {
  const { code, err } = await nereid(args);
  expect([code, err.split('\n')[0]]).toEqual([2, message]);
});

test('a wrong configuration ends with 2 before anything starts, with every error', async () => {
  const env = { NEREID_PROT: '1', NEREID_PORT: 'x' };
  const { code, out, err } = await nereid(['up', '--grpc-port', '-1'], { env });
  expect([code, out]).toEqual([2, '']);
  expect(err.split('\n')).toEqual([
    'error: the configuration has 3 errors:',
    '  - NEREID_PROT: there is no such variable. Did you mean NEREID_PORT?',
    '  - NEREID_PORT: port must be a whole number from 0 to 65535, not "x"',
    '  - --grpc-port: grpc-port must be a whole number from 0 to 65535, not "-1"',
  ]);
});

test('asking does not load what only the servers need', async () => {
  const trace = pathToFileURL(inCheckout('test/fixtures/cli/print-imports.ts')).href;
  const { out } = await nereid(['ask', 'x', '--port', '1'], { env: { NODE_OPTIONS: `--import ${trace}` } });
  expect(out).toContain('/cli/commands/ask.ts');
  expect(out).not.toMatch(/onnxruntime|lancedb|express|grpc-js|commands\/serve/);
});
