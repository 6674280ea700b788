import type { Registry as PromRegistry } from 'prom-client';
import type { Registry } from '../../models/registry.ts';
import type { Answer, Routes } from './server.ts';

/** Health, readiness and version. */
export function healthRoutes(registry: Registry, state: { draining: boolean; version: string }): Routes {
  const alive = (): Answer => ({ status: 200, body: { status: 'alive' } });
  const ready = (): Answer => {
    const models = registry.models.map(({ folder, state: modelState, reason }) => ({
      name: folder.name,
      version: folder.version,
      state: modelState,
      ...(reason === '' ? {} : { reason }),
    }));
    const isReady = registry.ready && !state.draining;
    const status = isReady ? 'ready' : state.draining ? 'draining' : 'not ready';
    return { status: isReady ? 200 : 503, body: { status, models } };
  };
  const server = (): Answer => ({
    status: 200,
    body: { name: 'nereid', version: state.version, extensions: [] },
  });
  return {
    '/healthz': alive,
    '/readyz': ready,
    '/version': server,
    '/v2': server,
    '/v2/health/live': alive,
    '/v2/health/ready': ready,
  };
}

/** Prometheus metrics. */
export function metricsRoutes(metrics: PromRegistry): Routes {
  return {
    '/metrics': async () => ({ status: 200, body: await metrics.metrics(), type: metrics.contentType }),
  };
}
