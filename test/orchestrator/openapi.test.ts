import type { Express } from 'express';
import { expect, test } from 'vitest';
import { call, startApp } from './http-harness.ts';

interface Layer {
  route?: { path: string; methods: Record<string, boolean> };
}

/** What Express really routes, as `get /v1/jobs/{id}`; the catch-all for wrong methods is left out. */
function routed(app: Express): string[] {
  const layers = (app.router as unknown as { stack: Layer[] }).stack;
  return layers.flatMap(({ route }) => {
    if (!route || Object.keys(route.methods).length > 1) return [];
    const path = route.path.replace(/:(\w+)/g, '{$1}');
    return Object.keys(route.methods).map((method) => `${method} ${path}`);
  });
}

test('every express route is in the document and vice versa', async () => {
  const app = await startApp();
  const { body } = await call(app, 'GET', '/openapi.json');
  const documented = Object.entries(body.paths).flatMap(([path, operations]) =>
    Object.keys(operations as object).map((method) => `${method} ${path}`),
  );
  expect(documented.toSorted()).toEqual(routed(app.app).toSorted());
  expect(documented).toContain('post /v1/documents');
  expect(documented.length).toBeGreaterThan(10);
});

test('is OpenAPI 3.1 whose references all resolve', async () => {
  const { body } = await call(await startApp(), 'GET', '/openapi.json');
  expect(body.openapi).toBe('3.1.0');
  const references = [...JSON.stringify(body).matchAll(/"\$ref":"([^"]+)"/g)].map(([, to]) => to ?? '');
  expect(references.length).toBeGreaterThan(20);
  for (const reference of new Set(references)) {
    expect(reference).toMatch(/^#\/components\/schemas\/\w+$/);
    expect(body.components.schemas).toHaveProperty(reference.split('/').at(-1) ?? '');
  }
  expect(JSON.stringify(body)).not.toContain('$defs');
});

test('shows bodies, parameters, events and failures of a route', async () => {
  const { body } = await call(await startApp(), 'GET', '/openapi.json');
  const add = body.paths['/v1/documents'].post;
  expect(Object.keys(add.requestBody.content)).toEqual(['application/json', 'multipart/form-data']);
  expect(Object.keys(add.responses)).toEqual(
    expect.arrayContaining(['200', '202', '400', '413', '415', '429']),
  );
  expect(add.parameters).toMatchObject([{ name: 'wait', in: 'query', required: false }]);
  const query = body.paths['/v1/query'].post.responses['200'].content;
  expect(Object.keys(query)).toEqual(['application/json', 'text/event-stream']);
  const one = body.paths['/v1/documents/{id}'].get.parameters;
  expect(one[0]).toMatchObject({ name: 'id', in: 'path', required: true });
  expect(body.components.schemas.SearchRequest).toMatchObject({
    required: ['query'],
    properties: { top_k: { minimum: 1, maximum: 100, default: 10 } },
  });
});
