import { z } from 'zod';
import { errorTable } from '../errors.ts';
import { errorBody } from './error-response.ts';
import type { ResponseSpec, Route, RouteDocument } from './route.ts';

type Json = Record<string, unknown>;

/** The API as OpenAPI 3.1, made from the very schemas that check requests and type the answers. */
export function openApiDocument(routes: readonly Route[], version: string): Json {
  const components = new Components();
  const paths: Record<string, Json> = {};
  for (const route of routes) {
    paths[route.path] = { ...paths[route.path], [route.method]: operation(route, components) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Nereid',
      version,
      description: 'Documents in, searches and cited answers out. Every failure has the body of `Error`.',
    },
    paths,
    components: { schemas: components.schemas },
  };
}

function operation(route: RouteDocument, components: Components): Json {
  const responses: Record<string, Json> = {};
  for (const [status, spec] of Object.entries(route.responses)) {
    responses[status] = response(spec, components);
  }
  for (const [status, reasons] of failures(route)) {
    responses[status] ??= {
      description: `Failed: ${reasons.join(', ')}`,
      content: json(components.add(errorBody, 'output')),
    };
  }
  return {
    operationId: operationId(route),
    summary: route.summary,
    ...(route.description && { description: route.description }),
    tags: [route.tag],
    parameters: [...parameters(route.params, 'path'), ...parameters(route.query, 'query')],
    ...((route.body || route.multipart) && { requestBody: requestBody(route, components) }),
    responses,
  };
}

/** `get /v1/jobs/{id}/events` becomes `get_v1_jobs_id_events`. */
function operationId({ method, path }: RouteDocument): string {
  const words = path.match(/\w+/g) ?? ['root'];
  return [method, ...words].join('_');
}

function response(spec: ResponseSpec, components: Components): Json {
  const content: Json = {
    ...(spec.json && json(components.add(spec.json, 'output'))),
    ...(spec.events && { 'text/event-stream': { schema: components.add(spec.events, 'output') } }),
    ...(spec.text && { 'text/plain': { schema: { type: 'string' } } }),
  };
  return { description: spec.description, ...(Object.keys(content).length > 0 && { content }) };
}

function requestBody(route: RouteDocument, components: Components): Json {
  const content: Json = {
    ...(route.body && json(components.add(route.body, 'input'))),
    ...(route.multipart && { 'multipart/form-data': { schema: components.add(route.multipart, 'input') } }),
  };
  return { required: true, content };
}

function parameters(schema: z.ZodObject | undefined, where: 'path' | 'query'): Json[] {
  if (!schema) return [];
  const { properties = {}, required = [] } = z.toJSONSchema(schema, { io: 'input' });
  return Object.entries(properties).map(([name, property]) => ({
    name,
    in: where,
    required: where === 'path' || required.includes(name),
    schema: property,
  }));
}

function failures(route: RouteDocument): Map<string, string[]> {
  const byStatus = new Map<string, string[]>();
  for (const reason of [...route.errors, 'FORBIDDEN', 'STOPPING', 'INTERNAL'] as const) {
    const status = String(errorTable[reason].http);
    const reasons = byStatus.get(status) ?? [];
    if (!reasons.includes(reason)) byStatus.set(status, [...reasons, reason]);
  }
  return byStatus;
}

function json(schema: Json): Json {
  return { 'application/json': { schema } };
}

/** Schemas that have an id (`.meta({ id })`) stand once under `components`; others stand where they are used. */
class Components {
  readonly schemas: Record<string, Json> = {};

  add(schema: z.ZodType, io: 'input' | 'output'): Json {
    const { $schema: _, $defs = {}, ...own } = z.toJSONSchema(schema, { io });
    for (const [id, definition] of Object.entries($defs)) this.#keep(id, definition as Json);
    const id = schema.meta()?.id;
    if (id === undefined || own.$ref !== undefined) return relink(own) as Json;
    this.#keep(id, own);
    return { $ref: `#/components/schemas/${id}` };
  }

  #keep(id: string, { id: _, $id: __, ...definition }: Json): void {
    this.schemas[id] = relink(definition) as Json;
  }
}

/** zod points into `$defs` of each schema; the document keeps them in one place. */
function relink(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(relink);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => {
      if (key === '$ref' && typeof inner === 'string')
        return [key, inner.replace('#/$defs/', '#/components/schemas/')];
      return [key, relink(inner)];
    }),
  );
}
