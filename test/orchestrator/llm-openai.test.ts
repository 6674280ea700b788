import { afterEach, beforeEach, expect, test } from 'vitest';
import type { LlmOptions } from '../../orchestrator/adapters/llm-openai.ts';
import { openLlm } from '../../orchestrator/adapters/llm-openai.ts';
import { RagError } from '../../orchestrator/errors.ts';
import type { LlmUsage } from '../../orchestrator/ports.ts';
import type { StubLlm } from './stub-llm.ts';
import { says, startStubLlm } from './stub-llm.ts';

const key = 'sk-very-secret-0123456789';
let stub: StubLlm;

beforeEach(async () => {
  stub = await startStubLlm(says('Hello', ' world'));
});

afterEach(() => stub.close());

interface Outcome {
  pieces: string[];
  usage?: LlmUsage | undefined;
  error?: RagError | undefined;
}

async function chat(options: Partial<LlmOptions> = {}, signal?: AbortSignal): Promise<Outcome> {
  const llm = openLlm({ baseUrl: stub.baseUrl, apiKey: key, model: 'm', retryDelayMs: 1, ...options });
  const pieces: string[] = [];
  const answer = llm.stream([{ role: 'user', content: 'hi' }], { maxTokens: 99, temperature: 0, signal });
  try {
    for (;;) {
      const next = await answer.next();
      if (next.done) return { pieces, usage: next.value };
      pieces.push(next.value);
    }
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(RagError);
    const error = thrown as RagError;
    expect(`${error.message} ${error.stack} ${JSON.stringify(error.details ?? {})}`).not.toContain(key);
    return { pieces, error };
  }
}

test('an answer is streamed piece by piece, with its usage', async () => {
  expect(await chat()).toEqual({
    pieces: ['Hello', ' world'],
    usage: { promptTokens: 12, completionTokens: 2 },
  });
  expect(stub.requests).toMatchObject([
    {
      path: '/v1/chat/completions',
      headers: { authorization: `Bearer ${key}` },
      body: {
        model: 'm',
        stream: true,
        max_tokens: 99,
        temperature: 0,
        stream_options: { include_usage: true },
      },
    },
  ]);
});

test('no key, no authorization; a trailing slash in the address does not matter', async () => {
  await chat({ apiKey: undefined, baseUrl: `${stub.baseUrl}/` });
  expect(stub.requests[0]?.headers.authorization).toBeUndefined();
  expect(stub.requests[0]?.path).toBe('/v1/chat/completions');
});

test('characters that are cut between two packets come out whole', async () => {
  stub.reply(async (response) => {
    response.head();
    const event = Buffer.from('data: {"choices":[{"delta":{"content":"Zürich 東京 😀"}}]}\r\n\r\n');
    for (const byte of event) {
      response.bytes(Uint8Array.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    response.finish();
  });
  expect((await chat()).pieces.join('')).toBe('Zürich 東京 😀');
});

test('a server that never says [DONE] is done when it gives a finish reason', async () => {
  stub.reply((response) => {
    response.head();
    response.bytes(': keep-alive\n\n');
    response.delta('all');
    response.event({ choices: [{ delta: {}, finish_reason: 'stop' }] });
    response.raw.end();
  });
  expect(await chat()).toEqual({ pieces: ['all'], usage: undefined });
});

test('an answer that ran into its token limit says so', async () => {
  stub.reply((response) => {
    response.head();
    response.delta('half');
    response.finish('length');
  });
  expect((await chat()).usage).toEqual({ truncated: true });
});

test.each([
  ['breaks', (response: { cut(): void }) => response.cut()],
  ['ends', (response: { raw: { end(): void } }) => response.raw.end()],
])('a reply that %s in the middle is an incomplete answer', async (_how, end) => {
  const sent = Promise.withResolvers<void>();
  stub.reply(async (response) => {
    response.head();
    response.delta('Half of');
    await sent.promise;
    end(response);
  });
  const llm = openLlm({ baseUrl: stub.baseUrl, model: 'm' });
  const answer = llm.stream([], { maxTokens: 9 });
  expect((await answer.next()).value).toBe('Half of');
  sent.resolve();
  const error = await answer.next().then(
    () => expect.unreachable('the reply was cut'),
    (thrown: unknown) => RagError.from(thrown),
  );
  expect(error.reason).toBe('LLM_UNAVAILABLE');
  expect(error.message).toContain('incomplete: it stops after 7 characters');
  expect(stub.requests).toHaveLength(1);
});

test('an error in the middle of the stream is told in its own words', async () => {
  stub.reply((response) => {
    response.head();
    response.delta('So');
    response.event({ error: { message: `out of memory, key ${key}`, code: 500 } });
    response.raw.end();
  });
  const { pieces, error } = await chat();
  expect(pieces).toEqual(['So']);
  expect(error?.reason).toBe('LLM_UNAVAILABLE');
  expect(error?.message).toContain('out of memory');
});

test.each([
  [401, 'LLM_REFUSED', 'LLM_API_KEY'],
  [403, 'LLM_REFUSED', 'LLM_API_KEY'],
  [404, 'LLM_REFUSED', 'LLM_MODEL'],
  [413, 'LLM_REFUSED', '413'],
  [302, 'LLM_REFUSED', 'LLM_BASE_URL'],
])('status %i is final and says what to check', async (status, reason, says) => {
  stub.reply((response) =>
    response.json(status, { error: { message: `bad key ${key}` } }, { location: `https://x/?k=${key}` }),
  );
  const { error } = await chat();
  expect(error?.reason).toBe(reason);
  expect(error?.message).toContain(says);
  expect(stub.requests).toHaveLength(1);
});

test('too many requests: it waits as long as it is asked to and tries again', async () => {
  stub.reply((response) => response.json(429, '{}', { 'retry-after': '0' }), says('ok'));
  expect((await chat()).pieces).toEqual(['ok']);
  expect(stub.requests).toHaveLength(2);
});

test('it does not wait longer than it may, and says what the server asks for', async () => {
  stub.reply((response) => response.json(429, { error: 'slow down' }, { 'retry-after': '3600' }));
  const { error } = await chat();
  expect(error?.reason).toBe('LLM_UNAVAILABLE');
  expect(error?.message).toMatch(/slow down.*3600/);
  expect(stub.requests).toHaveLength(1);
});

test('it gives up after the last attempt', async () => {
  stub.reply((response) => response.json(503, 'upstream <b>down</b>'));
  const { error } = await chat({ maxAttempts: 3 });
  expect(error?.reason).toBe('LLM_UNAVAILABLE');
  expect(error?.message).toContain('upstream <b>down</b>');
  expect(stub.requests).toHaveLength(3);
});

test('nobody there: named, with what to check', async () => {
  await stub.close();
  const { error } = await chat({
    baseUrl: `${stub.baseUrl.replace('http://', `http://user:${key}@`)}?token=${key}`,
  });
  expect(error?.reason).toBe('LLM_UNAVAILABLE');
  expect(error?.message).toMatch(
    /http:\/\/127\.0\.0\.1:\d+\/v1\/chat\/completions.*ECONNREFUSED.*LLM_BASE_URL/,
  );
  stub = await startStubLlm();
});

test('options that a server refuses are left out, from then on too', async () => {
  stub.reply((response, { body }) => {
    for (const name of ['stream_options', 'max_tokens', 'temperature']) {
      if (name in body) return response.json(400, { error: { message: `Unsupported parameter: '${name}'` } });
    }
    return says('fine')(response, { path: '', headers: {}, body });
  });
  const llm = openLlm({ baseUrl: stub.baseUrl, model: 'm' });
  const ask = async () => {
    const pieces: string[] = [];
    for await (const piece of llm.stream([], { maxTokens: 7, temperature: 0 })) pieces.push(piece);
    return pieces;
  };
  expect(await ask()).toEqual(['fine']);
  expect(stub.requests.at(-1)?.body).toMatchObject({ max_completion_tokens: 7 });
  const before = stub.requests.length;
  expect(await ask()).toEqual(['fine']);
  expect(stub.requests).toHaveLength(before + 1);
});

test('a bad request that has nothing to do with those options is final', async () => {
  stub.reply((response) => response.json(400, { detail: 'context too long' }));
  const { error } = await chat();
  expect(error?.reason).toBe('LLM_REFUSED');
  expect(error?.message).toContain('context too long');
  expect(stub.requests).toHaveLength(1);
});

test('a server that does not stream gives its whole answer as one piece', async () => {
  const whole = {
    choices: [{ message: { role: 'assistant', content: 'whole' }, finish_reason: 'stop' }],
    usage: { prompt_tokens: 1, completion_tokens: 2 },
  };
  stub.reply((response) => response.json(200, whole));
  expect(await chat()).toEqual({ pieces: ['whole'], usage: { promptTokens: 1, completionTokens: 2 } });
});

test.each([
  ['not JSON', '{"choices": [', 'not JSON'],
  ['other JSON', '{"choices": "none"}', 'not a chat completion'],
  ['an endless event', 'x'.repeat(400_000), 'more than'],
])('garbage is refused: %s', async (_what, data, says) => {
  stub.reply((response) => {
    response.head();
    response.bytes(data.length > 1_000 ? `data: ${data}` : `data: ${data}\n\n`);
    if (data.length <= 1_000) response.finish();
  });
  const { error } = await chat();
  expect(error?.reason).toBe('LLM_REFUSED');
  expect(error?.message).toContain(says);
});

test('an abort ends the request on the server too', async () => {
  const gone = Promise.withResolvers<void>();
  const stop = new AbortController();
  stub.reply((response) => {
    response.raw.on('close', () => gone.resolve());
    response.head();
    response.delta('first');
  });
  const llm = openLlm({ baseUrl: stub.baseUrl, model: 'm' });
  const answer = llm.stream([], { maxTokens: 9, signal: stop.signal });
  await answer.next();
  stop.abort();
  await expect(answer.next()).rejects.toMatchObject({ reason: 'CANCELLED' });
  await gone.promise;
});

test('a reader that has enough ends the request on the server', async () => {
  const gone = Promise.withResolvers<void>();
  stub.reply((response) => {
    response.raw.on('close', () => gone.resolve());
    response.head();
    response.delta('first');
  });
  const llm = openLlm({ baseUrl: stub.baseUrl, model: 'm' });
  for await (const piece of llm.stream([], { maxTokens: 9 })) {
    expect(piece).toBe('first');
    break;
  }
  await gone.promise;
});

test('an abort before the start and during a wait for a retry', async () => {
  const timeout = new DOMException('too late', 'TimeoutError');
  expect((await chat({}, AbortSignal.abort(timeout))).error?.reason).toBe('DEADLINE_EXCEEDED');
  expect(stub.requests).toHaveLength(0);
  const stop = new AbortController();
  stub.reply((response) => {
    response.json(503, '{}', { 'retry-after': '9' });
    response.raw.on('finish', () => stop.abort());
  });
  expect((await chat({}, stop.signal)).error?.reason).toBe('CANCELLED');
});

test('a server that falls silent is given up', async () => {
  stub.reply((response) => {
    response.head();
    response.delta('and then');
  });
  const { pieces, error } = await chat({ idleTimeoutMs: 100 });
  expect(pieces).toEqual(['and then']);
  expect(error?.reason).toBe('LLM_UNAVAILABLE');
  expect(error?.message).toContain('100 ms');
});
