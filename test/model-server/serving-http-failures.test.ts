import { request as httpRequest } from 'node:http';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import type { ServingPort } from '../../model-server/api/ports.ts';
import { ServingError } from '../../model-server/errors.ts';
import { EmbedRequestSchema } from '../../proto/gen/serving_pb.js';
import { fakeServing } from './fake-models.ts';
import { bytesOf, EMBED, embedding, JSON_TYPE, PROTO_TYPE, servingOverHttp } from './serving-http-setup.ts';

const { start, post, embedJson } = servingOverHttp();

/** Is asked, and answers only when the call is over. */
const waiting = () => {
  const asked = Promise.withResolvers<AbortSignal>();
  const embed: ServingPort['embed'] = (_, __, { signal }) => {
    asked.resolve(signal!);
    return new Promise((_resolve, reject) => {
      const end = () => reject(signal!.reason);
      if (signal!.aborted) end();
      else signal!.addEventListener('abort', end);
    });
  };
  return { asked: asked.promise, serving: fakeServing({ embed }) };
};

describe('a call that fails', () => {
  it('for overload says when to try again', async () => {
    const full = new ServingError('QUEUE_FULL', '20000 texts wait, the limit is 20000', {
      retryAfterMs: 1200.5,
    });
    const { calls } = await start({ serving: fakeServing({ embed: () => Promise.reject(full) }) });
    const { status, headers, body } = await embedJson({ inputs: ['a'] });
    expect(status).toBe(429);
    expect(body).toEqual({ code: 'resource_exhausted', message: full.message, reason: 'QUEUE_FULL' });
    const told = ['retry-after', 'nereid-retry-after-ms', 'nereid-reason'].map((name) => headers.get(name));
    expect(told).toEqual(['2', '1201', 'QUEUE_FULL']);
    expect(calls).toMatchObject([{ method: 'Embed', reason: 'QUEUE_FULL' }]);
  });

  it('tells errors in JSON, also to those who speak protobuf', async () => {
    const broken = () => Promise.reject(new TypeError('a bug'));
    const { logged } = await start({ serving: fakeServing({ embed: broken }) });
    const reply = await post(EMBED, bytesOf(EmbedRequestSchema, {}), { headers: PROTO_TYPE });
    expect(reply.status).toBe(500);
    expect(await reply.json()).toEqual({ code: 'internal', message: 'a bug', reason: 'INTERNAL' });
    expect(logged).toMatchObject([{ level: 'error', fields: { method: 'Embed', reason: 'INTERNAL' } }]);
  });

  it('for its deadline', async () => {
    const { asked, serving } = waiting();
    await start({ serving });
    const reply = await embedJson({ inputs: ['a'] }, { 'connect-timeout-ms': '30' });
    expect((await asked).aborted).toBe(true);
    expect(reply).toMatchObject({
      status: 504,
      body: { code: 'deadline_exceeded', reason: 'DEADLINE_EXCEEDED' },
    });
  });

  it('because the client left is cancelled', async () => {
    const { asked, serving } = waiting();
    const { calls, inFlight } = await start({ serving });
    const client = new AbortController();
    const reply = post(EMBED, '{"inputs": ["a"]}', { signal: client.signal });
    const signal = await asked;
    client.abort();
    await expect(reply).rejects.toThrow();
    await inFlight.idle();
    expect(signal.reason).toMatchObject({ reason: 'CANCELLED' });
    expect(calls).toMatchObject([{ method: 'Embed', reason: 'CANCELLED' }]);
  });

  it('because the client left in the middle of its request is cancelled, and nothing asked', async () => {
    const { seen, serving } = embedding();
    const { httpPort, calls } = await start({ serving });
    const headers = { ...JSON_TYPE, 'content-length': '100' };
    const request = httpRequest({ port: httpPort, path: EMBED, method: 'POST', headers });
    request.on('error', () => undefined);
    request.write('{', () => request.destroy());
    await expect.poll(() => calls).toMatchObject([{ method: 'Embed', reason: 'CANCELLED' }]);
    expect(seen).toEqual([]);
  });
});

it('an answered call has neither ended early nor left a timer behind', async () => {
  const { seen, serving } = embedding();
  const signals: AbortSignal[] = [];
  const embed: ServingPort['embed'] = (...args) => {
    signals.push(args[2].signal!);
    return serving.embed(...args);
  };
  const { close } = await start({ serving: fakeServing({ embed }) });
  const set = vi.spyOn(globalThis, 'setTimeout');
  const cleared = vi.spyOn(globalThis, 'clearTimeout');
  onTestFinished(() => void vi.restoreAllMocks());
  expect(await embedJson({ inputs: ['a'] }, { 'connect-timeout-ms': '7654321' })).toMatchObject({
    status: 200,
  });
  await close();
  expect([seen.length, signals[0]!.aborted]).toEqual([1, false]);
  const deadlines = set.mock.calls.flatMap(([, delayMs], index) =>
    delayMs! > 7_000_000 && delayMs! <= 7_654_321 ? [set.mock.results[index]!.value] : [],
  );
  expect(deadlines).toHaveLength(1);
  expect(cleared.mock.calls.flat()).toContain(deadlines[0]);
});

it('a call that runs is in flight, is finished while the server closes, and ends its connection', async () => {
  const gate = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  const { serving } = embedding();
  const embed: ServingPort['embed'] = async (...args) => {
    asked.resolve();
    await gate.promise;
    return serving.embed(...args);
  };
  const { http, inFlight } = await start({ serving: fakeServing({ embed }) });
  const reply = embedJson({ inputs: ['a'] });
  await asked.promise;
  const order: string[] = [];
  const idle = inFlight.idle().then(() => order.push('idle'));
  const closed = http.close().then(() => order.push('closed'));
  expect(order).toEqual([]);
  gate.resolve();
  const { status, headers } = await reply;
  await Promise.all([idle, closed]);
  expect([status, headers.get('connection')]).toEqual([200, 'close']);
  expect(order).toEqual(['idle', 'closed']);
});
