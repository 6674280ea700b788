import type { Registry as PromRegistry } from 'prom-client';
import type { AdminPort } from '../ports.ts';
import type { Answer, Routes } from './server.ts';

/** Health, readiness and version. */
export function healthRoutes(
  admin: Pick<AdminPort, 'readiness'>,
  state: { draining: boolean; version: string },
): Routes {
  const alive = (): Answer => ({ status: 200, body: { status: 'alive' } });
  const readiness = (): Answer => {
    const { ready, models } = admin.readiness();
    const isReady = ready && !state.draining;
    const status = isReady ? 'ready' : state.draining ? 'draining' : 'not ready';
    const shown = models.map(({ name, version, state: modelState, reason }) => ({
      name,
      version,
      state: modelState,
      ...(reason === '' ? {} : { reason }),
    }));
    return { status: isReady ? 200 : 503, body: { status, models: shown } };
  };
  const server = (): Answer => ({
    status: 200,
    body: { name: 'nereid', version: state.version, extensions: [] },
  });
  return {
    '/healthz': alive,
    '/readyz': readiness,
    '/version': server,
    '/v2': server,
    '/v2/health/live': alive,
    '/v2/health/ready': readiness,
  };
}

/** Prometheus metrics, and the latest batches as they were predicted and as they came out. */
export function metricsRoutes(metrics: PromRegistry, batches: () => object): Routes {
  return {
    '/metrics': async () => ({ status: 200, body: await metrics.metrics(), type: metrics.contentType }),
    '/debug/batches': () => ({ status: 200, body: batches() }),
  };
}
