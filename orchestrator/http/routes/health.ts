import { z } from 'zod';
import type { AppDeps } from '../app-deps.ts';
import type { Route } from '../route.ts';
import { route } from '../route.ts';

const part = z.strictObject({
  ready: z.boolean(),
  message: z.string().meta({ description: 'what it is, or why it is not ready' }),
});

const readiness = z
  .strictObject({
    status: z.enum(['ready', 'not_ready', 'draining']),
    parts: z.strictObject({ model_server: part, vector_store: part, metadata_store: part }),
  })
  .meta({ id: 'Readiness' });

const health = z.strictObject({ status: z.literal('ok'), version: z.string() }).meta({ id: 'Health' });

/** For probes. */
export function healthRoutes({ version, readiness: check, draining }: AppDeps): Route[] {
  return [
    route({
      method: 'get',
      path: '/healthz',
      summary: 'Whether the process is alive',
      tag: 'operations',
      responses: { 200: { description: 'It is', json: health } },
      errors: [],
      handle: () => ({ status: 200, body: { status: 'ok', version } }),
    }),
    route({
      method: 'get',
      path: '/readyz',
      summary: 'Whether searches and ingests work now',
      tag: 'operations',
      responses: {
        200: { description: 'Every part is ready', json: readiness },
        503: { description: 'Some part is not ready; its message says why', json: readiness },
      },
      errors: [],
      async handle() {
        const parts = await check();
        const ready = Object.values(parts).every((one) => one.ready);
        if (ready && !draining.aborted) return { status: 200, body: { status: 'ready', parts } };
        const status = draining.aborted ? 'draining' : 'not_ready';
        return { status: 503, body: { status, parts }, headers: { 'retry-after': '1' } };
      },
    }),
  ];
}
