import { z } from 'zod';
import type { AppDeps } from '../app-deps.ts';
import type { Route } from '../route.ts';
import { route } from '../route.ts';

const welcome = z
  .strictObject({ name: z.literal('nereid'), version: z.string(), documentation: z.string() })
  .meta({ id: 'Welcome' });

const openApiDocument = z
  .record(z.string(), z.unknown())
  .meta({ id: 'OpenApiDocument', description: 'an OpenAPI 3.1 document' });

/** What this is, and how it is doing. */
export function metaRoutes({ version, metrics }: AppDeps, openApi: () => Record<string, unknown>): Route[] {
  return [
    route({
      method: 'get',
      path: '/',
      summary: 'What this is',
      tag: 'operations',
      responses: { 200: { description: 'Name, version and where to read on', json: welcome } },
      errors: [],
      handle: () => ({ status: 200, body: { name: 'nereid', version, documentation: '/openapi.json' } }),
    }),
    route({
      method: 'get',
      path: '/openapi.json',
      summary: 'This document',
      tag: 'operations',
      responses: { 200: { description: 'OpenAPI 3.1', json: openApiDocument } },
      errors: [],
      handle: () => ({ status: 200, body: openApi() }),
    }),
    route({
      method: 'get',
      path: '/metrics',
      summary: 'Prometheus metrics',
      tag: 'operations',
      responses: { 200: { description: 'Text exposition format', text: true } },
      errors: [],
      async handle() {
        const headers = { 'content-type': metrics.registry.contentType };
        return { status: 200, body: await metrics.registry.metrics(), headers };
      },
    }),
  ];
}
