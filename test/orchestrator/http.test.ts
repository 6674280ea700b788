import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { describe, expect, test, vi } from 'vitest';
import { RagError } from '../../orchestrator/errors.ts';
import type { AppDeps } from '../../orchestrator/http/app.ts';
import { call, startApp } from './http-harness.ts';

const documents = [{ id: 'a', title: 'A', text: 'Bees make honey.' }];

/** Sends bytes as they are and reads to the end of the connection. */
async function raw(port: number, request: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.write(request);
  return text(socket);
}

describe('errors', () => {
  test('an unknown route is 404 in JSON, with a request id', async () => {
    const { status, body, headers } = await call(await startApp(), 'GET', '/nowhere');
    expect(status).toBe(404);
    expect(body.error).toMatchObject({ reason: 'NOT_FOUND', retryable: false });
    expect(body.error.request_id).toBe(headers.get('x-request-id'));
  });

  test('a wrong method is 405 and names the right ones', async () => {
    const { status, body, headers } = await call(await startApp(), 'PUT', '/v1/documents');
    expect(status).toBe(405);
    expect(headers.get('allow')).toBe('POST, GET');
    expect(body.error.message).toContain('it takes POST, GET');
  });

  test('malformed JSON is 400 with what is wrong', async () => {
    const init = { body: '{"query": ', headers: { 'content-type': 'application/json' } };
    const { status, body } = await call(await startApp(), 'POST', '/v1/search', init);
    expect(status).toBe(400);
    expect(body.error.message).toMatch(/not valid JSON/);
  });

  test('bytes that are not UTF-8 are refused instead of garbled', async () => {
    const bytes = Buffer.concat([Buffer.from('{"query":"caf'), Buffer.from([0xe9]), Buffer.from('"}')]);
    const init = { body: bytes, headers: { 'content-type': 'application/json' } };
    const { status, body } = await call(await startApp(), 'POST', '/v1/search', init);
    expect(status).toBe(400);
    expect(body.error.message).toMatch(/not valid UTF-8/);
  });

  test('a wrong content-type is 415 and says what to send', async () => {
    const init = { body: 'query=x', headers: { 'content-type': 'application/x-www-form-urlencoded' } };
    const { status, body } = await call(await startApp(), 'POST', '/v1/search', init);
    expect(status).toBe(415);
    expect(body.error.message).toContain('application/json');
  });

  test('a compressed body is 415: it could unpack to anything', async () => {
    const init = { body: 'x', headers: { 'content-type': 'application/json', 'content-encoding': 'gzip' } };
    expect((await call(await startApp(), 'POST', '/v1/search', init)).status).toBe(415);
  });

  test('no body is 400', async () => {
    const { status, body } = await call(await startApp(), 'POST', '/v1/search');
    expect(status).toBe(400);
    expect(body.error.message).toContain('no body');
  });

  test('every bad field is named at once', async () => {
    const json = { query: 3, top_k: 1_000, mode: 'magic', topk: 5 };
    const { status, body } = await call(await startApp(), 'POST', '/v1/search', { json });
    expect(status).toBe(400);
    const fields = body.error.details.faults.map(({ field }: { field: string }) => field);
    expect(fields).toEqual(expect.arrayContaining(['body.query', 'body.top_k', 'body.mode', 'body']));
    expect(body.error.message).toContain('topk');
  });

  test('a retryable failure says when to try again', async () => {
    const search = () =>
      Promise.reject(new RagError('QUEUE_FULL', 'full', { details: { retryAfterMs: 2_500 } }));
    const { status, body, headers } = await call(await startApp({ search }), 'POST', '/v1/search', {
      json: { query: 'x' },
    });
    expect(status).toBe(429);
    expect(headers.get('retry-after')).toBe('3');
    expect(body.error.retryable).toBe(true);
  });

  test('what breaks inside is not told to the outside', async () => {
    const search = () => Promise.reject(new TypeError('secret of /etc/shadow'));
    const { status, body } = await call(await startApp({ search }), 'POST', '/v1/search', {
      json: { query: 'x' },
    });
    expect(status).toBe(500);
    expect(JSON.stringify(body)).not.toContain('shadow');
  });

  test('a request that takes too long is 504 and names the limit', async () => {
    const never: Pick<AppDeps, 'search'> = {
      search: (_request, { signal }) =>
        new Promise((_resolve, reject) => signal?.addEventListener('abort', () => reject(signal.reason))),
    };
    const app = await startApp({ ...never, config: { requestTimeoutMs: 20 } });
    const { status, body } = await call(app, 'POST', '/v1/search', { json: { query: 'x' } });
    expect(status).toBe(504);
    expect(body.error.message).toContain('20 ms (--request-timeout-ms)');
  });
});

test('bodies that are held whole are bounded together', async () => {
  const app = await startApp();
  const headers = { 'content-type': 'application/json' };
  const slow = Array.from({ length: 8 }, () => {
    const request = httpRequest(`${app.url}/v1/documents`, { method: 'POST', headers });
    request.on('error', () => undefined);
    request.write('{');
    return request;
  });
  await vi.waitFor(async () => {
    const { status, body } = await call(app, 'POST', '/v1/documents', { json: { documents } });
    expect(status).toBe(429);
    expect(body.error.message).toContain('Other requests with 524288 bytes');
  });
  expect((await call(app, 'POST', '/v1/search', { json: { query: 'x' } })).status).toBe(200);
  for (const request of slow) request.destroy();
  await vi.waitFor(async () => {
    expect((await call(app, 'POST', '/v1/documents', { json: { documents } })).status).toBe(202);
  });
});

describe('request ids', () => {
  test('a plain one is kept', async () => {
    const { headers } = await call(await startApp(), 'GET', '/healthz', {
      headers: { 'x-request-id': 'abc-1.2:3' },
    });
    expect(headers.get('x-request-id')).toBe('abc-1.2:3');
  });

  test('anything else is replaced', async () => {
    const { headers } = await call(await startApp(), 'GET', '/healthz', {
      headers: { 'x-request-id': 'a "b"' },
    });
    expect(headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
  });
});

describe('browsers', () => {
  test('a foreign Host is refused while it listens on loopback', async () => {
    const app = await startApp();
    const answer = await raw(
      app.port,
      'GET /v1/documents HTTP/1.1\r\nHost: evil.example:8080\r\nConnection: close\r\n\r\n',
    );
    expect(answer).toMatch(/^HTTP\/1.1 403 /);
    expect(answer).toContain('evil.example');
  });

  test.each(['localhost:8080', '127.0.0.1', '[::1]:8080', 'LOCALHOST'])('Host %s is local', async (host) => {
    const app = await startApp();
    const answer = await raw(app.port, `GET /healthz HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1.1 200 /);
  });

  test.each(['127.0.0.1.evil.example', 'localhost.evil.example', '0x7f.evil', ''])(
    'Host "%s" is not',
    async (host) => {
      const app = await startApp();
      const answer = await raw(
        app.port,
        `GET /healthz HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
      );
      expect(answer).toMatch(/^HTTP\/1.1 40[03] /);
    },
  );

  test('any Host will do when it listens for other machines', async () => {
    const app = await startApp({ config: { host: '0.0.0.0' } });
    const answer = await raw(
      app.port,
      'GET /healthz HTTP/1.1\r\nHost: rag.internal\r\nConnection: close\r\n\r\n',
    );
    expect(answer).toMatch(/^HTTP\/1.1 200 /);
  });

  test.each(['http://evil.example', 'null'])('a write from a page of %s is refused', async (origin) => {
    const app = await startApp();
    const { status, body } = await call(app, 'POST', '/v1/documents', {
      json: { documents },
      headers: { origin },
    });
    expect(status).toBe(403);
    expect(body.error.reason).toBe('FORBIDDEN');
    expect(app.jobs.submitted).toHaveLength(0);
  });

  test('a write from its own page is taken', async () => {
    const app = await startApp();
    const { status } = await call(app, 'POST', '/v1/documents', {
      json: { documents },
      headers: { origin: app.url },
    });
    expect(status).toBe(202);
  });

  test('sends no CORS headers and no x-powered-by', async () => {
    const { headers } = await call(await startApp(), 'GET', '/', {
      headers: { origin: 'http://evil.example' },
    });
    expect([...headers.keys()].filter((name) => /^access-control|^x-powered/.test(name))).toEqual([]);
  });
});

describe('operations', () => {
  test('healthz, readyz, the welcome and metrics answer', async () => {
    const app = await startApp();
    expect((await call(app, 'GET', '/healthz')).body.status).toBe('ok');
    expect((await call(app, 'GET', '/readyz')).body.status).toBe('ready');
    expect((await call(app, 'GET', '/')).body.documentation).toBe('/openapi.json');
    await call(app, 'POST', '/v1/search', { json: { query: 'x' } });
    const { body } = await call(app, 'GET', '/metrics');
    expect(body).toContain(
      'nereid_rag_http_request_duration_seconds_count{method="POST",route="/v1/search",status="200"} 1',
    );
    expect(body).toContain('process_resident_memory_bytes');
  });

  test('readyz is 503 and says which part is not ready', async () => {
    const up = { ready: true, message: 'up' };
    const model_server = { ready: false, message: 'nobody listens on 127.0.0.1:8001' };
    const readiness = async () => ({ model_server, vector_store: up, metadata_store: up });
    const { status, body } = await call(await startApp({ readiness }), 'GET', '/readyz');
    expect(status).toBe(503);
    expect(body).toMatchObject({ status: 'not_ready', parts: { model_server } });
  });

  test('while draining, probes are answered and work is refused', async () => {
    const app = await startApp();
    app.drain();
    expect((await call(app, 'GET', '/healthz')).status).toBe(200);
    expect(await call(app, 'GET', '/readyz')).toMatchObject({ status: 503, body: { status: 'draining' } });
    const { status, body } = await call(app, 'POST', '/v1/search', { json: { query: 'x' } });
    expect(status).toBe(503);
    expect(body.error).toMatchObject({ reason: 'STOPPING', retryable: true });
  });
});
