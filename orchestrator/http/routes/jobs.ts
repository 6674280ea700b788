import { z } from 'zod';
import { RagError } from '../../errors.ts';
import type { AppDeps } from '../app-deps.ts';
import { job, jobEvent, toJob, toJobEvent } from '../job-wire.ts';
import type { Route } from '../route.ts';
import { route } from '../route.ts';
import { streamEvents } from '../sse.ts';

const params = z.strictObject({ id: z.string().min(1).max(128) });
const defaultHeartbeatMs = 15_000;

/** How far ingests are. */
export function jobRoutes({ jobs, draining, heartbeatMs = defaultHeartbeatMs }: AppDeps): Route[] {
  const find = (id: string) => {
    const record = jobs.get(id);
    if (!record) throw new RagError('NOT_FOUND', `There is no job ${JSON.stringify(id)}.`);
    return record;
  };
  return [
    route({
      method: 'get',
      path: '/v1/jobs/{id}',
      summary: 'How far a job is',
      tag: 'jobs',
      params,
      responses: { 200: { description: 'The job and each of its documents', json: job } },
      errors: ['NOT_FOUND', 'INVALID_INPUT'],
      handle: ({ params: { id } }) => ({ status: 200, body: toJob(find(id)) }),
    }),
    route({
      method: 'get',
      path: '/v1/jobs/{id}/events',
      summary: 'What happens to a job, as it happens',
      description: 'First what is settled already, then live, until the job is settled.',
      tag: 'jobs',
      params,
      responses: { 200: { description: 'Server-sent events', events: jobEvent } },
      errors: ['NOT_FOUND', 'INVALID_INPUT'],
      async handle({ params: { id }, response, signal }) {
        find(id);
        const ends = AbortSignal.any([signal, draining]);
        const events = jobs.events(id, { signal: ends });
        await streamEvents(response, { signal, heartbeatMs }, async (sink) => {
          try {
            for await (const event of events) await sink.send(event.type, toJobEvent(event));
            if (draining.aborted)
              throw new RagError(
                'STOPPING',
                'The orchestrator is shutting down; the job goes on at its next start.',
              );
          } catch (thrown) {
            const { reason, message, retryable } = RagError.from(thrown);
            if (!signal.aborted)
              await sink.send('error', { type: 'error', job_id: id, reason, message, retryable });
          }
        });
        return 'sent';
      },
    }),
  ];
}
