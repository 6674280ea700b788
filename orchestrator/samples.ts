import { readdir, readFile } from 'node:fs/promises';
import type { JobRunner } from './ingest/jobs.ts';
import type { StagedInput } from './ingest/staged-input.ts';
import type { Staging } from './ingest/staging.ts';
import type { JobRecord, MetadataStore } from './ports.ts';

// The build in dist/orchestrator has no copy of the documents.
const folder = new URL(
  import.meta.url.endsWith('.ts') ? './samples/' : '../../orchestrator/samples/',
  import.meta.url,
);

/** Where the samples go; a test may give others than the real ones. */
export interface SampleTarget {
  metadata: Pick<MetadataStore, 'listDocuments' | 'countUnfinishedJobs'>;
  staging: Pick<Staging, 'write'>;
  jobs: Pick<JobRunner, 'submit'>;
}

/**
 * Ingests the documents that come with Nereid when nothing has been ingested yet, so that there is something to ask
 * about. Undefined when there is something already.
 * @throws RagError what staging and the job queue throw
 */
export async function ingestSamples({
  metadata,
  staging,
  jobs,
}: SampleTarget): Promise<JobRecord | undefined> {
  const { total } = metadata.listDocuments(undefined, { limit: 1, offset: 0 });
  if (total > 0 || metadata.countUnfinishedJobs() > 0) return undefined;
  const names = (await readdir(folder)).filter((name) => name.endsWith('.md')).toSorted();
  const inputs = names.map(async (name): Promise<StagedInput> => {
    const bytes = await readFile(new URL(name, folder));
    const staged = await staging.write(bytes, { maxBytes: bytes.length });
    return { ...staged, documentId: `nereid/${name}`, source: name, mediaType: 'text/markdown' };
  });
  return jobs.submit('default', await Promise.all(inputs));
}
