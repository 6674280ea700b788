import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { JobRunner, type JobRunnerOptions } from '../../orchestrator/ingest/jobs.ts';
import { IngestPipeline, type PipelineOptions } from '../../orchestrator/ingest/pipeline.ts';
import type { StagedInput } from '../../orchestrator/ingest/staged-input.ts';
import { Staging } from '../../orchestrator/ingest/staging.ts';
import type { MetadataStore, VectorStore } from '../../orchestrator/ports.ts';
import { FakeEmbedder, MemoryMetadataStore, MemoryVectorStore } from './fakes.ts';

export const COLLECTION = 'books';

const defaults: PipelineOptions = {
  chunkTokens: 60,
  chunkOverlapTokens: 10,
  readTimeoutMs: 30_000,
  readMemoryMb: 128,
};

export interface World<
  V extends VectorStore = MemoryVectorStore,
  M extends MetadataStore = MemoryMetadataStore,
> {
  embedder: FakeEmbedder;
  vectors: V;
  metadata: M;
  staging: Staging;
  folder: string;
  pipeline(options?: Partial<PipelineOptions>): IngestPipeline;
  runner(options?: Partial<JobRunnerOptions & PipelineOptions>): JobRunner;
  /** Stages bare text; `source` makes it a file. */
  text(text: string, input?: Partial<StagedInput>): Promise<StagedInput>;
  stagedFiles(): Promise<string[]>;
  close(): Promise<void>;
}

/** Stores, a staging area on disk, and whatever runners a test makes over them. */
export async function openWorld(): Promise<World>;
export async function openWorld<V extends VectorStore, M extends MetadataStore>(stores: {
  vectors: V;
  metadata: M;
  /** Data folder that the test removes; without one, a temporary one. */
  folder: string;
}): Promise<World<V, M>>;
export async function openWorld(stores?: {
  vectors: VectorStore;
  metadata: MetadataStore;
  folder: string;
}): Promise<World<VectorStore, MetadataStore>> {
  const folder = stores?.folder ?? (await mkdtemp(join(tmpdir(), 'nereid-ingest-')));
  const staging = await Staging.open(folder);
  const embedder = new FakeEmbedder();
  const { vectors, metadata } = stores ?? {
    vectors: new MemoryVectorStore(),
    metadata: new MemoryMetadataStore(),
  };
  const runners: JobRunner[] = [];
  const pipelines: IngestPipeline[] = [];
  const pipeline = (options: Partial<PipelineOptions> = {}) => {
    const made = new IngestPipeline({ embedder, vectors, metadata, staging }, { ...defaults, ...options });
    pipelines.push(made);
    return made;
  };
  return {
    embedder,
    vectors,
    metadata,
    staging,
    folder,
    pipeline,
    runner(options = {}) {
      const made = new JobRunner(pipeline(options), { maxQueuedJobs: 10, ...options });
      runners.push(made);
      return made;
    },
    async text(text, input = {}) {
      const staged = await staging.write(text, { maxBytes: 10_000_000 });
      return { ...staged, source: '', mediaType: 'text/plain', ...input };
    },
    stagedFiles: () => readdir(staging.folder),
    async close() {
      await Promise.all(runners.map((runner) => runner.close()));
      await Promise.all(pipelines.map((made) => made.close()));
      if (stores === undefined) await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Text of so many sentences, each one unlike the others. */
export function story(sentences: number, name = 'harbour'): string {
  return Array.from({ length: sentences }, (_, i) => {
    const gap = i % 7 === 6 ? '\n\n' : ' ';
    return `Sentence number ${i} tells of the ${name} and of ship ${(i * 7919) % 1013}, which came in with the tide.${gap}`;
  })
    .join('')
    .trim();
}
