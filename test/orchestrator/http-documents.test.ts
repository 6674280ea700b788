import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { text } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import type { TestApp } from './http-harness.ts';
import { call, startApp } from './http-harness.ts';

function add(app: TestApp, json: unknown) {
  return call(app, 'POST', '/v1/documents', { json });
}

describe('documents as JSON', () => {
  test('keep the id that the caller gave', async () => {
    const app = await startApp();
    const documents = [{ id: 'cran-1', title: 'One', text: 'Wings.' }, { text: '' }];
    const { status, body } = await add(app, { documents, collection: 'cranfield' });
    expect(status).toBe(202);
    expect(body).toMatchObject({
      collection: 'cranfield',
      documents: [{ id: 'cran-1', title: 'One', bytes: 6 }, { bytes: 0 }],
    });
    expect(await app.staged()).toHaveLength(2);
  });

  const refusals: [name: string, status: number, says: RegExp, body: unknown][] = [
    ['none', 400, /at least one document/, { documents: [] }],
    [
      'one id twice',
      400,
      /several documents with the same id: "a"/,
      {
        documents: [
          { id: 'a', text: '1' },
          { id: 'b', text: '2' },
          { id: 'a', text: '3' },
        ],
      },
    ],
    [
      'more than the limit',
      413,
      /has 51 documents; at most 50 are taken \(--max-documents\)/,
      { documents: Array.from({ length: 51 }, () => ({ text: '' })) },
    ],
    [
      'a text that is no string',
      400,
      /body\.documents\[1\]\.text/,
      { documents: [{ text: 'a' }, { text: 7 }] },
    ],
    [
      'an id with a control character',
      400,
      /body\.documents\[0\]\.id/,
      { documents: [{ id: 'a\u0000', text: '' }] },
    ],
    ['an id that no path can name', 400, /body\.documents\[0\]\.id/, { documents: [{ id: '..', text: '' }] }],
    ['half a surrogate pair in an id', 400, /half characters/, { documents: [{ id: '\ud800', text: '' }] }],
    [
      'huge metadata',
      400,
      /at most 65536 characters/,
      { documents: [{ text: '', metadata: { a: 'x'.repeat(65_536) } }] },
    ],
  ];

  test.each(refusals)('%s: refused', async (_name, status, says, body) => {
    const app = await startApp({ config: { maxJsonBytes: 1024 * 1024 } });
    const answer = await add(app, body);
    expect(answer).toMatchObject({ status, body: { error: { message: expect.stringMatching(says) } } });
    expect(await app.staged()).toEqual([]);
  });

  test('100,000 in one call are refused with the limit', async () => {
    const app = await startApp({ config: { maxJsonBytes: 20 * 1024 * 1024, maxDocuments: 10_000 } });
    const { status, body } = await add(app, {
      documents: Array.from({ length: 100_000 }, (_, id) => ({ id: `${id}`, text: 'x' })),
    });
    expect(status).toBe(413);
    expect(body.error.message).toContain('100000 documents; at most 10000');
  });

  test('100,000 faulty ones are reported in a bounded message', async () => {
    const app = await startApp({ config: { maxJsonBytes: 20 * 1024 * 1024, maxDocuments: 100_000 } });
    const { status, body } = await add(app, { documents: Array.from({ length: 100_000 }, () => ({})) });
    expect(status).toBe(400);
    expect(body.error.message).toContain('and 99980 more');
    expect(body.error.message.length).toBeLessThan(5_000);
  });

  test('metadata nested ten thousand deep is refused, not fatal', async () => {
    const app = await startApp();
    const nested = `${'{"a":'.repeat(8_000)}1${'}'.repeat(8_000)}`;
    const body = `{"documents":[{"text":"x","metadata":{"deep":${nested}}}]}`;
    const headers = { 'content-type': 'application/json' };
    const { status } = await call(app, 'POST', '/v1/documents', { body, headers });
    expect([202, 400]).toContain(status);
    expect((await call(app, 'GET', '/healthz')).status).toBe(200);
  });

  test('a JSON body over the limit is refused by its length', async () => {
    const app = await startApp();
    const { status, body } = await add(app, { documents: [{ text: 'x'.repeat(70_000) }] });
    expect(status).toBe(413);
    expect(body.error.message).toContain('--max-json-bytes');
  });

  test('a JSON body without length is refused while it still arrives', async () => {
    const app = await startApp();
    const request = httpRequest(`${app.url}/v1/documents`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
    });
    request.on('error', () => undefined);
    const answered = once(request, 'response');
    request.write(`{"documents":[{"text":"${'x'.repeat(100_000)}`);
    const [response] = await answered;
    expect(response.statusCode).toBe(413);
    expect(await text(response)).toContain('may have 65536 bytes here, and this one has more');
    request.destroy();
  });
});

describe('one document', () => {
  test.each(['a/b c', 'ü%2F?#&', '日本', '%', 'a+b', '...'])(
    'with the id %s is found and deleted',
    async (id) => {
      const app = await startApp();
      await add(app, { documents: [{ id, text: 'x' }] });
      app.jobs.settle('job-1');
      const path = `/v1/documents/${encodeURIComponent(id)}`;
      expect(await call(app, 'GET', path)).toMatchObject({ status: 200, body: { id, status: 'ready' } });
      expect((await call(app, 'DELETE', path)).status).toBe(204);
      expect((await call(app, 'GET', path)).status).toBe(404);
      expect((await call(app, 'DELETE', path)).status).toBe(404);
    },
  );

  test('a path that is not decodable is 400', async () => {
    const { status, body } = await call(await startApp(), 'GET', '/v1/documents/%E0%A4%A');
    expect(status).toBe(400);
    expect(body.error.message).toContain('%');
  });
});

test('documents are listed in pages', async () => {
  const app = await startApp();
  await add(app, { documents: ['a', 'b', 'c'].map((id) => ({ id, text: 'x' })) });
  app.jobs.settle('job-1');
  const { body } = await call(app, 'GET', '/v1/documents?limit=2&offset=1');
  expect(body).toMatchObject({ total: 3, limit: 2, offset: 1, documents: [{ id: 'b' }, { id: 'c' }] });
  expect((await call(app, 'GET', '/v1/documents?limit=0')).status).toBe(400);
  expect((await call(app, 'GET', '/v1/documents?limit=2&limit=3')).status).toBe(400);
});

test('collections are listed', async () => {
  const { body } = await call(await startApp(), 'GET', '/v1/collections');
  expect(body.collections).toEqual([{ name: 'default', documents: 0, dimension: 3, space: 's' }]);
});

test('a job is told with each of its documents', async () => {
  const app = await startApp();
  await add(app, {
    documents: [
      { id: 'a', text: 'x' },
      { id: 'b', text: 'y' },
    ],
  });
  app.jobs.settle('job-1', [1]);
  const { body } = await call(app, 'GET', '/v1/jobs/job-1');
  expect(body).toMatchObject({
    job_id: 'job-1',
    status: 'partial',
    documents: [
      { id: 'a', status: 'ready' },
      { id: 'b', status: 'failed' },
    ],
  });
  expect((await call(app, 'GET', '/v1/jobs/nope')).status).toBe(404);
});
