import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { EventSourceParserStream } from 'eventsource-parser/stream';
import { describe, expect, test, vi } from 'vitest';
import type { AnswerEvent, AnswerResponse } from '../../orchestrator/answer/answer.ts';
import { RagError } from '../../orchestrator/errors.ts';
import { call, someHits, startApp, type TestApp } from './http-harness.ts';

const hit = someHits.hits[0]!;
const { sources: _, ...passage } = hit;
const source = { number: 1, ...passage };
const citation = {
  number: 1,
  document_id: hit.document_id,
  chunk_id: hit.chunk_id,
  title: hit.title,
  offsets: hit.offsets,
  quote: hit.text,
  quote_offsets: hit.offsets,
};
const whole: AnswerResponse = {
  answer: 'Bees make honey. [1]',
  citations: [citation],
  sources: [source],
  mode: 'extractive',
  found: true,
  removed_citations: [],
  truncated: false,
  degraded: [],
  timings: { search: someHits.timings, search_ms: 2, total_ms: 3 },
};
const begin: AnswerEvent = { type: 'sources', mode: 'extractive', sources: [source], degraded: [] };

async function* happy(): AsyncGenerator<AnswerEvent> {
  yield begin;
  yield { type: 'delta', text: 'Bees make ' };
  yield { type: 'delta', text: 'honey. [1]' };
  yield { type: 'citation', citation };
  yield { type: 'done', ...whole };
}

/** Reads a stream of events to its end; each is checked against the schema that the route declares. */
async function events(app: TestApp, method: 'GET' | 'POST', path: string, json?: unknown) {
  const headers = { accept: 'text/event-stream', 'content-type': 'application/json' };
  const response = await fetch(app.url + path, {
    method,
    headers,
    ...(json !== undefined && { body: JSON.stringify(json) }),
  });
  const pattern = path.replace('job-1', '{id}');
  const schema = app.routes.find((route) => route.path === pattern)?.responses[200]?.events;
  const parsed = response
    .body!.pipeThrough(new TextDecoderStream())
    .pipeThrough(new EventSourceParserStream());
  const list: { event: string | undefined; data: Record<string, unknown> }[] = [];
  for await (const { event, data } of parsed) {
    list.push({ event, data: schema?.parse(JSON.parse(data)) as Record<string, unknown> });
  }
  return { response, list };
}

describe('POST /v1/query', () => {
  test('as JSON', async () => {
    const app = await startApp({ answerOnce: async () => whole });
    const { status, body } = await call(app, 'POST', '/v1/query', { json: { question: 'Who makes honey?' } });
    expect(status).toBe(200);
    expect(body).toEqual(whole);
  });

  test('as typed events, by Accept', async () => {
    const app = await startApp({ answer: happy });
    const { response, list } = await events(app, 'POST', '/v1/query', { query: 'Who makes honey?' });
    expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/);
    expect(response.headers.get('cache-control')).toContain('no-transform');
    expect(response.headers.get('x-accel-buffering')).toBe('no');
    expect(list.map(({ event }) => event)).toEqual(['sources', 'delta', 'delta', 'citation', 'done']);
    expect(list.at(-1)?.data).toMatchObject({ type: 'done', answer: whole.answer });
  });

  test('`stream` decides against Accept', async () => {
    const app = await startApp({ answer: happy, answerOnce: async () => whole });
    const headers = { accept: 'text/event-stream' };
    const json = { query: 'Who?', stream: false };
    expect((await call(app, 'POST', '/v1/query', { json, headers })).body).toEqual(whole);
    const streamed = await call(app, 'POST', '/v1/query', { json: { query: 'Who?', stream: true } });
    expect(streamed.body).toContain('event: done\n');
  });

  test('what fails before the first event has a status of its own', async () => {
    const answer = async function* (): AsyncGenerator<AnswerEvent> {
      if (Date.now() > 0) throw new RagError('MODEL_SERVER_UNAVAILABLE', 'down');
      yield begin;
    };
    const app = await startApp({ answer });
    const { status, body } = await call(app, 'POST', '/v1/query', { json: { query: 'x', stream: true } });
    expect(status).toBe(503);
    expect(body.error.reason).toBe('MODEL_SERVER_UNAVAILABLE');
  });

  test('what fails later is an event', async () => {
    const answer = async function* (): AsyncGenerator<AnswerEvent> {
      yield begin;
      throw new RagError('LLM_REFUSED', 'no credit left');
    };
    const { list } = await events(await startApp({ answer }), 'POST', '/v1/query', { query: 'x' });
    expect(list.at(-1)).toMatchObject({
      event: 'error',
      data: { reason: 'LLM_REFUSED', message: 'no credit left' },
    });
  });

  test('time that runs out is an event too', async () => {
    const app = await startApp({
      config: { requestTimeoutMs: 30 },
      answer: async function* (_request, { signal }) {
        yield begin;
        await once(signal!, 'abort');
        yield {
          type: 'error',
          reason: 'DEADLINE_EXCEEDED',
          message: signal!.reason.message,
          retryable: true,
        };
      },
    });
    const { list } = await events(app, 'POST', '/v1/query', { query: 'x' });
    const message = expect.stringContaining('30 ms (--request-timeout-ms)');
    expect(list.at(-1)).toMatchObject({ event: 'error', data: { reason: 'DEADLINE_EXCEEDED', message } });
  });

  test('a caller who goes away ends the work', async () => {
    let signal: AbortSignal | undefined;
    let finished = false;
    const app = await startApp({
      answer: async function* (_request, options) {
        signal = options.signal;
        try {
          yield begin;
          await once(signal!, 'abort');
          throw signal!.reason;
        } finally {
          finished = true;
        }
      },
    });
    const abort = new AbortController();
    const init = {
      method: 'POST',
      body: '{"query":"x","stream":true}',
      headers: { 'content-type': 'application/json' },
    };
    const response = await fetch(`${app.url}/v1/query`, { ...init, signal: abort.signal });
    await response.body!.getReader().read();
    expect(signal?.aborted).toBe(false);
    abort.abort();
    await vi.waitFor(() => expect(finished).toBe(true));
    expect(signal?.reason).toMatchObject({ reason: 'CANCELLED' });
  });

  test('a caller who reads slowly slows the work down', async () => {
    let made = 0;
    let finished = false;
    const app = await startApp({
      answer: async function* () {
        yield begin;
        try {
          for (; made < 10_000; made += 1) yield { type: 'delta', text: 'x'.repeat(10_000) };
        } finally {
          finished = true;
        }
      },
    });
    const request = httpRequest(`${app.url}/v1/query`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
    });
    request.end('{"query":"x","stream":true}');
    const [response] = await once(request, 'response');
    response.pause();
    let before = -1;
    await vi.waitFor(
      () => {
        const same = before === made && made > 0;
        before = made;
        expect(same).toBe(true);
      },
      { interval: 100 },
    );
    expect(made).toBeLessThan(10_000);
    response.destroy();
    await vi.waitFor(() => expect(finished).toBe(true));
  });

  test('needs exactly one question', async () => {
    const app = await startApp();
    const none = await call(app, 'POST', '/v1/query', { json: {} });
    const both = await call(app, 'POST', '/v1/query', { json: { query: 'a', question: 'b' } });
    for (const { status, body } of [none, both]) {
      expect(status).toBe(400);
      expect(body.error.message).toContain('`query` or in `question`, once');
    }
  });
});

describe('GET /v1/jobs/{id}/events', () => {
  const path = '/v1/jobs/job-1/events';
  const json = { documents: [{ id: 'a', text: 'x' }] };
  const all = ['item_started', 'item_progress', 'item_settled', 'job_settled'];

  test('tells what happens until the job is settled, and keeps the connection alive', async () => {
    const app = await startApp({ heartbeatMs: 5 });
    await call(app, 'POST', '/v1/documents', { json });
    const response = await fetch(app.url + path);
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    let seen = '';
    while (!seen.includes(': still here')) seen += (await reader.read()).value ?? '';
    expect(seen).not.toContain('job_settled');
    app.jobs.settle('job-1');
    for (let next = await reader.read(); !next.done; next = await reader.read()) seen += next.value;
    expect([...seen.matchAll(/^event: (\w+)$/gm)].map(([, event]) => event)).toEqual(all);
  });

  test('works for a job that is settled already', async () => {
    const app = await startApp();
    await call(app, 'POST', '/v1/documents', { json });
    app.jobs.settle('job-1');
    const { list } = await events(app, 'GET', path);
    expect(list.map(({ event }) => event)).toEqual(all);
  });

  test('ends with an error that can be retried when the process begins to stop', async () => {
    const app = await startApp();
    await call(app, 'POST', '/v1/documents', { json });
    const ended = events(app, 'GET', path);
    await vi.waitFor(() => expect(app.jobs.listening).toBe(1));
    app.drain();
    expect((await ended).list.at(-1)).toMatchObject({
      event: 'error',
      data: { reason: 'STOPPING', retryable: true },
    });
  });

  test('an unknown job is 404', async () => {
    expect((await call(await startApp(), 'GET', path)).status).toBe(404);
  });
});
