import { z } from 'zod';
import { RagError } from '../../errors.ts';
import type { AppDeps } from '../app-deps.ts';
import { job, jobEvent, toJob, toJobEvent } from '../job-wire.ts';
import type { Route } from '../route.ts';
import { route } from '../route.ts';
import { streamEvents } from '../sse.ts';

const params = z.strictObject({ id: z.string().min(1).max(128) });
const defaultHeartbeatMs = 15_000;
const stoppingMessage = 'The orchestrator is shutting down; the job goes on at its next start.';

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
        const events = jobs.events(id, { signal: AbortSignal.any([signal, draining]) });
        await streamEvents(response, { signal, heartbeatMs }, async (sink) => {
          for await (const event of events) await sink.send(toJobEvent(event));
          if (draining.aborted) throw new RagError('STOPPING', stoppingMessage);
        });
        return 'sent';
      },
    }),
  ];
}
