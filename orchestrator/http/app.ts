import type { Express, RequestHandler } from 'express';
import express from 'express';
import { RagError } from '../errors.ts';
import type { AppDeps } from './app-deps.ts';
import { errorHandler } from './error-response.ts';
import { beginExchange, exchangeOf } from './exchange.ts';
import { openApiDocument } from './openapi.ts';
import { BodyBudget } from './request-body.ts';
import { requestGuard } from './request-guard.ts';
import type { Route, RouteContext } from './route.ts';
import { collectionRoutes } from './routes/collections.ts';
import { documentRoutes } from './routes/documents.ts';
import { healthRoutes } from './routes/health.ts';
import { jobRoutes } from './routes/jobs.ts';
import { metaRoutes } from './routes/meta.ts';
import { queryRoutes } from './routes/query.ts';
import { searchRoutes } from './routes/search.ts';
import { send } from './send.ts';

export type { AppDeps, PartReadiness, Readiness } from './app-deps.ts';

/** JSON bodies of the largest kind that may be in work at one time. */
const bodiesAtOnce = 8;

const probes: ReadonlySet<string> = new Set(['/healthz', '/readyz', '/metrics']);

/** Every route of the API, in the order of its document. */
export function apiRoutes(deps: AppDeps): Route[] {
  const routes: Route[] = [];
  routes.push(
    ...documentRoutes(deps),
    ...jobRoutes(deps),
    ...searchRoutes(deps),
    ...queryRoutes(deps),
    ...collectionRoutes(deps),
    ...healthRoutes(deps),
    ...metaRoutes(deps, () => openApiDocument(routes, deps.version)),
  );
  return routes;
}

/** The HTTP side of the orchestrator; it does not listen. */
export function createApp(deps: AppDeps): Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.use(record(deps));
  app.use(requestGuard(deps.config.host));
  app.use(refuseWhenDraining(deps));
  const { maxJsonBytes } = deps.config;
  const bodies = new BodyBudget(maxJsonBytes * bodiesAtOnce);
  mount(app, apiRoutes(deps), { maxJsonBytes, bodies, stopping: deps.stopping });
  app.use((request) => {
    const message = `There is nothing at ${request.method} ${request.path}; GET /openapi.json lists what there is.`;
    throw new RagError('NOT_FOUND', message);
  });
  app.use(errorHandler(deps.log));
  return app;
}

function mount(app: Express, routes: readonly Route[], context: RouteContext): void {
  for (const [path, group] of Map.groupBy(routes, (route) => route.path)) {
    const expressPath = path.replace(/\{(\w+)\}/g, ':$1');
    const allowed = group.map(({ method }) => method.toUpperCase()).join(', ');
    for (const route of group) {
      app[route.method](expressPath, async (request, response) => {
        exchangeOf(request).route = path;
        await route.run(request, response, context);
      });
    }
    app.all(expressPath, (request, response) => {
      exchangeOf(request).route = path;
      response.setHeader('allow', allowed);
      if (request.method === 'OPTIONS') return send(request, response, { status: 204 });
      const message = `${path} does not take ${request.method}; it takes ${allowed}.`;
      throw new RagError('METHOD_NOT_ALLOWED', message);
    });
  }
}

/** Gives the request its id, and writes one log line and one measurement when it is over. */
function record({ log, metrics }: AppDeps): RequestHandler {
  return (request, response, next) => {
    const exchange = beginExchange(request, response);
    response.once('close', () => {
      const status = response.writableFinished ? response.statusCode : 499;
      const seconds = (performance.now() - exchange.startedAt) / 1000;
      const { route = 'unmatched', requestId, error } = exchange;
      metrics.requestDone({ method: request.method, route, status, seconds });
      const fields = {
        request_id: requestId,
        method: request.method,
        path: request.path,
        status,
        duration_ms: Math.round(seconds * 1000),
        ...(error && { reason: error.reason }),
      };
      // Probes come every few seconds for ever, and while a program starts many times a second; they hear the reason.
      log[probes.has(route) ? 'debug' : 'info'](fields, 'request');
    });
    next();
  };
}

/** A connection that was open before shutdown may still send requests; probes are answered to the end. */
function refuseWhenDraining({ draining }: AppDeps): RequestHandler {
  return (request, response, next) => {
    if (!draining.aborted) return next();
    response.setHeader('connection', 'close');
    if (probes.has(request.path)) return next();
    throw new RagError('STOPPING', 'The orchestrator is shutting down and takes no new requests.');
  };
}
