import { readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { cycles, factsOf } from './source-facts.ts';

/**
 * The house's rules. A file belongs to the first part whose pattern its path matches, and may import only from the
 * parts that `may` names; imports of types count too. Outside of these parts only proto/gen may be imported.
 */
const parts: Record<string, { files: RegExp; may: string[] }> = {
  // Reached only by worker URL: no part names them.
  'server backend': { files: /^model-server\/backend\//, may: ['server backend', 'server words'] },
  'server worker': {
    files: /^model-server\/executor\/worker\.ts$/,
    may: ['server backend', 'server executor', 'server words'],
  },

  'server words': {
    files: /^model-server\/(types|tensor-bytes|errors|config|log)\.ts$/,
    may: ['server words'],
  },
  'server scheduler': { files: /^model-server\/scheduler\//, may: ['server scheduler', 'server words'] },
  'server tasks': { files: /^model-server\/tasks\//, may: ['server tasks', 'server words'] },
  'server executor': { files: /^model-server\/executor\//, may: ['server executor', 'server words'] },
  // What models and api tell each other about models; types only.
  'server reports': {
    files: /^model-server\/models\/(reports|target)\.ts$/,
    may: ['server reports', 'server words'],
  },
  'server repository': {
    files: /^model-server\/models\/repository\//,
    may: ['server repository', 'server reports', 'server words'],
  },
  'server memory': {
    files: /^model-server\/models\/memory\//,
    may: ['server memory', 'server reports', 'server words'],
  },
  'server rollout': {
    files: /^model-server\/models\/rollout\//,
    may: ['server rollout', 'server reports', 'server words'],
  },
  'server models': {
    files: /^model-server\/models\//,
    may: [
      'server models',
      'server reports',
      'server repository',
      'server memory',
      'server rollout',
      'server scheduler',
      'server tasks',
      'server executor',
      'server words',
    ],
  },
  'server metrics': {
    files: /^model-server\/(metrics|gauges)\.ts$/,
    may: ['server models', 'server reports', 'server words'],
  },
  'server api': {
    files: /^model-server\/api\//,
    may: [
      'server api',
      'server metrics',
      'server models',
      'server reports',
      'server rollout',
      'server tasks',
      'server words',
      'proto',
    ],
  },
  'server main': {
    files: /^model-server\/main\.ts$/,
    may: ['server api', 'server metrics', 'server models', 'server executor', 'server words'],
  },

  'rag errors': { files: /^orchestrator\/errors\.ts$/, may: [] },
  'rag ports': { files: /^orchestrator\/ports\.ts$/, may: ['rag errors'] },
  'rag config': { files: /^orchestrator\/config\.ts$/, may: [] },
  'rag log': { files: /^orchestrator\/log\.ts$/, may: [] },
  'rag reader worker': {
    files: /^orchestrator\/ingest\/reader-worker\.ts$/,
    may: ['rag ingest', 'rag errors'],
  },
  'rag ingest': { files: /^orchestrator\/ingest\//, may: ['rag ingest', 'rag ports', 'rag errors'] },
  'rag retrieve': { files: /^orchestrator\/retrieve\//, may: ['rag retrieve', 'rag ports', 'rag errors'] },
  'rag answer': { files: /^orchestrator\/answer\//, may: ['rag answer', 'rag ports', 'rag errors'] },
  'rag adapters': {
    files: /^orchestrator\/adapters\//,
    may: ['rag adapters', 'rag ports', 'rag errors', 'proto'],
  },
  'rag metrics': {
    files: /^orchestrator\/metrics\.ts$/,
    may: ['rag retrieve', 'rag answer', 'rag ports', 'rag errors'],
  },
  'rag http': {
    files: /^orchestrator\/http\//,
    may: [
      'rag http',
      'rag ingest',
      'rag retrieve',
      'rag answer',
      'rag metrics',
      'rag ports',
      'rag config',
      'rag log',
      'rag errors',
    ],
  },
  // main.ts, and what it alone needs to put the others together.
  'rag main': {
    files: /^orchestrator\/[^/]+\.ts$/,
    may: [
      'rag main',
      'rag http',
      'rag ingest',
      'rag retrieve',
      'rag answer',
      'rag adapters',
      'rag metrics',
      'rag ports',
      'rag config',
      'rag log',
      'rag errors',
    ],
  },

  cli: { files: /^cli\//, may: ['cli', 'proto', 'rag config', 'server main', 'server words', 'rag main'] },
  proto: { files: /^proto\/gen\//, may: [] },
};

/** Of the programs, only these files may be imported from elsewhere. */
const entrances = /^(model-server|orchestrator)\/(main|config)\.ts$|^proto\/gen\//;
/**
 * process-port.ts is the main of an instance's own process, which reaches its parent in no other way; yield-to-server.ts has to
 * know the platform.
 */
const mayTouchProcess =
  /^cli\/|^(model-server|orchestrator)\/main\.ts$|^model-server\/executor\/(process-port|yield-to-server)\.ts$/;
const MOST_LINES = 300;

type Sources = ReadonlyMap<string, string>;

const partOf = (path: string) => Object.keys(parts).find((name) => parts[name]!.files.test(path));

/** Everything in these sources that breaks a rule, one line each. */
function violations(sources: Sources): string[] {
  const graph = new Map<string, string[]>();
  const found: string[] = [];
  for (const [path, source] of sources) {
    const { imports, touchesProcess } = factsOf(source);
    const part = partOf(path);
    if (part === undefined) found.push(`${path} belongs to no part: give it a place in the table`);
    if (touchesProcess && !mayTouchProcess.test(path))
      found.push(`${path} touches process, which is for main.ts and cli/`);
    if (isTooLong(source)) found.push(`${path} has more than ${MOST_LINES} lines and no "// Long because"`);
    if (imports.includes('(computed)'))
      found.push(`${path} imports what it computes, so that nobody can follow it`);
    const relative = imports.filter((name) => name.startsWith('.'));
    const targets = relative.map((name) => posix.join(posix.dirname(path), name));
    graph.set(path, targets);
    if (part !== undefined)
      found.push(...targets.flatMap((target) => importProblem(path, part, target) ?? []));
  }
  return [...found, ...cycles(graph)];
}

function isTooLong(source: string): boolean {
  const lines = source.replace(/\n$/, '').split('\n');
  return lines.length > MOST_LINES && !lines.slice(0, 5).some((line) => line.startsWith('// Long because'));
}

function importProblem(path: string, part: string, target: string): string | undefined {
  const generated = target.startsWith('proto/gen/') && target.endsWith('.js');
  if (!generated && !target.endsWith('.ts')) return `${path} imports ${target}, which does not end in .ts`;
  const other = partOf(target);
  if (other === undefined) return `${path} imports ${target}, which belongs to no part`;
  if (!parts[part]!.may.includes(other)) return `${path} (${part}) imports ${target} (${other})`;
  const leaves = path.split('/')[0] !== target.split('/')[0];
  return leaves && !entrances.test(target) ? `${path} reaches into another program: ${target}` : undefined;
}

function checkout(): Map<string, string> {
  const root = fileURLToPath(new URL('../', import.meta.url));
  const files = ['model-server', 'orchestrator', 'cli'].flatMap((folder) =>
    readdirSync(`${root}${folder}`, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => `${folder}/${name.replaceAll('\\', '/')}`),
  );
  return new Map(files.sort().map((path) => [path, readFileSync(`${root}${path}`, 'utf8')]));
}

test('the checkout keeps every rule', () => {
  const sources = checkout();
  expect(sources.size).toBeGreaterThan(60);
  expect(violations(sources)).toEqual([]);
});

test('every part of the table holds files, and names parts that exist', () => {
  const used = new Set([...checkout().keys()].map(partOf));
  for (const [name, { may }] of Object.entries(parts)) {
    if (name !== 'proto') expect(used, name).toContain(name);
    for (const other of may) expect(parts, `${name} names ${other}`).toHaveProperty([other]);
  }
});

describe('made-up sources show that each rule can fail', () => {
  const of = (sources: Record<string, string>) => violations(new Map(Object.entries(sources)));
  const nothing = {
    'cli/a.ts': 'export const text = "import x from \'../orchestrator/errors.ts\'"; // import "./b.ts"',
  };

  test('text and comments are no imports', () => expect(of(nothing)).toEqual([]));

  test.each([
    ['a static import', "import { a } from '../tasks/a.ts';"],
    ['a type import', "import type { A } from '../tasks/a.ts';"],
    ['a type inside a value import', "import { type A } from '../tasks/a.ts';"],
    ['a bare import', "import '../tasks/a.ts';"],
    ['a re-export', "export { a } from '../tasks/a.ts';"],
    ['a re-export of all', "export * from '../tasks/a.ts';"],
    ['a dynamic import', "const a = await import('../tasks/a.ts');"],
    ['a type taken from an import', "let a: import('../tasks/a.ts').A;"],
    ['the type of an import', "type A = typeof import('../tasks/a.ts');"],
  ])('%s against the order', (_what, source) => {
    expect(of({ 'model-server/scheduler/x.ts': source })).toEqual([
      'model-server/scheduler/x.ts (server scheduler) imports model-server/tasks/a.ts (server tasks)',
    ]);
  });

  test.each([
    ['model-server/models/x.ts', '../api/http/server.ts'],
    ['model-server/models/x.ts', '../backend/onnx.ts'],
    ['model-server/executor/x.ts', './worker.ts'],
    ['model-server/api/x.ts', '../scheduler/queue.ts'],
    ['model-server/main.ts', '../orchestrator/errors.ts'],
    ['orchestrator/ingest/x.ts', '../retrieve/search.ts'],
    ['orchestrator/answer/x.ts', '../adapters/llm-openai.ts'],
    ['orchestrator/retrieve/x.ts', '../../proto/gen/serving_pb.js'],
    ['orchestrator/adapters/x.ts', '../http/app.ts'],
    ['orchestrator/ports.ts', './ingest/jobs.ts'],
    ['orchestrator/ingest/x.ts', './reader-worker.ts'],
    ['cli/x.ts', '../model-server/models/registry.ts'],
    ['cli/x.ts', '../model-server/errors.ts'],
    ['cli/x.ts', '../orchestrator/samples.ts'],
    ['cli/x.ts', './y.js'],
    ['cli/x.ts', './y'],
    ['cli/x.ts', '../loadtest/bench.ts'],
  ])('%s may not import %s', (path, target) => {
    expect(of({ [path]: `import '${target}';` })).toHaveLength(1);
  });

  test.each([
    ['model-server/models/x.ts', '../executor/pool.ts'],
    ['model-server/executor/worker.ts', '../backend/onnx.ts'],
    ['orchestrator/http/x.ts', '../ingest/jobs.ts'],
    ['orchestrator/adapters/x.ts', '../../proto/gen/serving_pb.js'],
    ['cli/commands/x.ts', '../../orchestrator/main.ts'],
    ['cli/x.ts', 'commander'],
  ])('%s may import %s', (path, target) => {
    expect(of({ [path]: `import '${target}';` })).toEqual([]);
  });

  test.each([
    'process.exit(1);',
    "const home = process['env'].HOME;",
    'globalThis.process.exit(1);',
    "import { env } from 'node:process';",
    "import process from 'process';",
  ])('%s is for main.ts and cli/', (source) => {
    expect(of({ 'orchestrator/ingest/x.ts': source })).toHaveLength(1);
    expect(of({ 'orchestrator/main.ts': source, 'cli/x.ts': source })).toEqual([]);
  });

  test('a property or text called process is something else', () => {
    expect(
      of({ 'orchestrator/ingest/x.ts': "const a = { process: 1 }; a.process; say('process.exit');" }),
    ).toEqual([]);
  });

  test('a cycle is shown with its way, type imports too, and an import of itself', () => {
    const sources = {
      'cli/a.ts': "import './b.ts';",
      'cli/b.ts': "import type { C } from './c.ts';",
      'cli/c.ts': "export const a = () => import('./a.ts');",
      'cli/d.ts': "import './d.ts'; import './a.ts';",
    };
    expect(of(sources)).toEqual([
      'import cycle: cli/a.ts -> cli/b.ts -> cli/c.ts -> cli/a.ts',
      'import cycle: cli/d.ts -> cli/d.ts',
    ]);
  });

  test('a file above 300 lines must say why', () => {
    const lines = (count: number) => 'a;\n'.repeat(count);
    expect(of({ 'cli/a.ts': lines(300) })).toEqual([]);
    expect(of({ 'cli/a.ts': lines(301) })).toEqual([
      'cli/a.ts has more than 300 lines and no "// Long because"',
    ]);
    expect(of({ 'cli/a.ts': `// Long because it is one table.\n${lines(301)}` })).toEqual([]);
  });

  test('a file outside of the table, and an import that nobody can follow', () => {
    expect(of({ 'model-server/extra/x.ts': '' })).toEqual([
      'model-server/extra/x.ts belongs to no part: give it a place in the table',
    ]);
    expect(of({ 'cli/x.ts': 'await import(name);' })).toHaveLength(1);
  });
});
