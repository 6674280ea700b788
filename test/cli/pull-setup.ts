import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { expect, onTestFinished } from 'vitest';
import { openFolder } from '../../cli/pull/folder.ts';
import { openHub } from '../../cli/pull/hub.ts';
import { hubAccess } from '../../cli/pull/hub-request.ts';
import { type PullRequest, type PullResult, pull } from '../../cli/pull/pull.ts';
import type { PullEvent, Surroundings } from '../../cli/pull/source.ts';
import { type FakeHub, type FakeHubOptions, fakeHub, sha256 } from './fake-hub.ts';

/** A folder of this test's own. */
export function emptyFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'nereid-pull-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Writes files below a folder. */
export function fill(folder: string, files: Record<string, Uint8Array | string>): string {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
  return folder;
}

/** An ONNX model of one graph: a weight inside of so many bytes, and weights in other files. */
export function onnxFile({
  bytes = 100,
  external = [],
  seed = 1,
}: {
  bytes?: number;
  external?: string[];
  seed?: number;
} = {}): Uint8Array {
  const weight = Uint8Array.from({ length: bytes }, (_, index) => (index * 31 + seed * 7) % 251);
  const graph = new BinaryWriter();
  graph.uint32((5 << 3) | 2).bytes(
    new BinaryWriter()
      .uint32((9 << 3) | 2)
      .bytes(weight)
      .finish(),
  );
  for (const location of external) {
    const entry = (key: string, value: string) =>
      new BinaryWriter().uint32(10).string(key).uint32(18).string(value).finish();
    const tensor = new BinaryWriter().uint32((8 << 3) | 2).string('w');
    tensor.uint32((13 << 3) | 2).bytes(entry('location', location));
    tensor.uint32((13 << 3) | 2).bytes(entry('offset', '0'));
    // Half of them stand in a constant node, where exporters put them too.
    if (external.indexOf(location) % 2 === 0) graph.uint32((5 << 3) | 2).bytes(tensor.finish());
    else {
      const attribute = new BinaryWriter().uint32((5 << 3) | 2).bytes(tensor.finish());
      const node = new BinaryWriter().uint32((5 << 3) | 2).bytes(attribute.finish());
      graph.uint32((1 << 3) | 2).bytes(node.finish());
    }
  }
  return new BinaryWriter()
    .uint32(8)
    .int64(8)
    .uint32((7 << 3) | 2)
    .bytes(graph.finish())
    .finish();
}

/** The files of a small sentence-transformers model. */
export function embedderFiles(
  options: Parameters<typeof onnxFile>[0] = {},
): Record<string, Uint8Array | string> {
  return {
    'README.md': '# not needed',
    '1_Pooling/config.json': '{"pooling_mode_mean_tokens":true}',
    'config.json': '{"model_type":"bert"}',
    'modules.json': '[]',
    'onnx/model.onnx': onnxFile(options),
    'onnx/model_int8.onnx': onnxFile({ bytes: 40, seed: 2 }),
    'pytorch_model.bin': 'not needed',
    'sentence_bert_config.json': '{"max_seq_length":128}',
    'tokenizer.json': '{"version":"1.0"}',
    'tokenizer_config.json': '{}',
  };
}

/** What a pull of those leaves, besides what it writes itself. */
export const embedderTargets = [
  '1_Pooling/config.json',
  'config.json',
  'model.onnx',
  'modules.json',
  'sentence_bert_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
];

export interface PullFixture {
  repository: string;
  events: PullEvent[];
  pauses: number[];
  surroundings: Surroundings;
  fromHub(hub: FakeHub, options?: FixtureOptions): Promise<PullResult>;
  fromFolder(folder: string, options?: FixtureOptions): Promise<PullResult>;
  /** Paths below the repository, sorted. */
  paths(): string[];
}

interface FixtureOptions extends Partial<PullRequest> {
  revision?: string;
  id?: string;
  env?: Record<string, string>;
  signal?: AbortSignal;
  onEvent?: (event: PullEvent) => void;
}

/** A pull in this process, into a repository of its own, that waits for nothing. */
export function pullFixture(overrides: Partial<Surroundings> = {}): PullFixture {
  const repository = join(emptyFolder(), 'repository');
  const events: PullEvent[] = [];
  const pauses: number[] = [];
  const surroundings: Surroundings = {
    fetch: globalThis.fetch,
    open,
    freeBytes: async () => 1e12,
    pause: async (ms) => void pauses.push(ms),
    stallMs: 60_000,
    now: () => new Date('2026-01-02T03:04:05Z'),
    pid: process.pid,
    ...overrides,
  };
  const placing = ({ signal = new AbortController().signal, onEvent }: FixtureOptions) => ({
    signal,
    surroundings,
    onEvent: (event: PullEvent) => {
      events.push(event);
      onEvent?.(event);
    },
  });
  const request = (options: FixtureOptions): PullRequest => ({
    name: 'tiny',
    repository,
    wish: { variant: 'auto' },
    machine: { arch: 'x64', flags: new Set(['avx2']) },
    force: false,
    maxBytes: 1e9,
    programVersion: '0.0.1',
    ...options,
  });
  return {
    repository,
    events,
    pauses,
    surroundings,
    fromHub: async (hub, options = {}) => {
      const { id = hub.id, revision = 'main', env = {} } = options;
      const access = hubAccess({ HF_ENDPOINT: hub.url, ...env }, { id, revision });
      const how = placing(options);
      const onRetry = () => undefined;
      return pull(await openHub(access, { ...how, onRetry }), request(options), how);
    },
    fromFolder: async (folder, options = {}) =>
      pull(await openFolder(folder), request(options), placing(options)),
    paths: () =>
      existsSync(repository)
        ? readdirSync(repository, { recursive: true, withFileTypes: true })
            .filter((entry) => !entry.isDirectory())
            .map((entry) => join(entry.parentPath, entry.name).slice(repository.length + 1))
            .sort()
        : [],
  };
}

/** Checks a version folder file by file against its manifest, and returns the targets. */
export function checkManifest(folder: string): string[] {
  const lines = readFileSync(join(folder, 'SHA256SUMS'), 'utf8').trimEnd().split('\n');
  const targets = lines.map((line) => {
    const [, hash, target] = /^([0-9a-f]{64}) {2}(.+)$/.exec(line)!;
    expect(sha256(readFileSync(join(folder, target!))), target).toBe(hash);
    return target!;
  });
  const there = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1));
  expect([...targets, 'SHA256SUMS'].sort()).toEqual(there.sort());
  return targets.filter((target) => target !== 'pulled.json');
}

/** The weights of the embedder that a pull takes unless told. */
export const MODEL = 'onnx/model.onnx';
/** Those of its files that come from the other host. */
export const LARGE_FILES = [MODEL, 'onnx/model_int8.onnx'];

/** A hub that has the embedder. */
export const hubWith = (options: Partial<FakeHubOptions> = {}) =>
  fakeHub({ files: embedderFiles(), lfs: LARGE_FILES, ...options });

/** Downloads of its weights from the host of large files. */
export const downloads = (hub: FakeHub) =>
  hub.requests.filter(({ host, path }) => host === 'cdn' && path === `/${MODEL}`);
