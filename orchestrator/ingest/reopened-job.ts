import { RagError } from '../errors.ts';
import type { JobItem, JobRecord } from '../ports.ts';
import { isSettled, settledStatus, taskOf } from './open-job.ts';
import type { IngestPipeline } from './pipeline.ts';

function lostUpload({ source, documentId, stagedFile }: JobItem): RagError {
  const message = `The upload of ${source || documentId} is gone (staging/${stagedFile}): upload it again.`;
  return new RagError('NOT_FOUND', message);
}

/** A job that a stopped program left, queued again; items whose upload is gone have failed. It is stored so. */
export async function reopenedJob(pipeline: IngestPipeline, left: JobRecord): Promise<JobRecord> {
  const { staging, metadata } = pipeline.deps;
  const items: JobItem[] = [];
  for (const item of left.items) {
    if (isSettled(item)) items.push(item);
    else if (await staging.has(item.stagedFile)) items.push({ ...item, status: 'queued' });
    else items.push(pipeline.fail(taskOf(left, item), lostUpload(item)));
  }
  const status = items.every(isSettled) ? settledStatus(items) : 'queued';
  const job: JobRecord = { ...left, items, status, updatedAt: new Date().toISOString() };
  metadata.putJob(job);
  return job;
}
