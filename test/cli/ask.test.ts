import { type AddressInfo, createServer } from 'node:net';
import { expect, test, vi } from 'vitest';
import { fakeOrchestrator, refuse, sendEvents } from './fake-orchestrator.ts';
import { inCheckout, nereid, spawnNode } from './spawned.ts';

const citation = {
  number: 1,
  document_id: 'book.pdf',
  chunk_id: 'c',
  title: 'The Book',
  page: 3,
  page_end: 4,
  quote: 'Batches   form when\nan instance is free.',
};
const source = { ...citation, text: 'Batches form when an instance is free. And more.', score: 1 };
const answer = {
  answer: 'When one is free [1].',
  mode: 'extractive',
  found: true,
  citations: [citation, { ...citation, quote: 'And more.' }],
  sources: [source],
  removed_citations: [],
  degraded: [{ source: 'rerank', reason: 'DEADLINE_EXCEEDED', message: 'too slow' }],
  timings: { total_ms: 12.4 },
};
const events = [
  { type: 'sources', mode: 'extractive', sources: [source], degraded: [] },
  { type: 'delta', text: 'When one ' },
  { type: 'delta', text: 'is free [1].' },
  { type: 'citation', citation },
  { type: 'done', ...answer },
];

/** An orchestrator whose every answer is this. */
const answering = (...all: { type: string; [field: string]: unknown }[]) =>
  fakeOrchestrator({
    handle: (_request, response) => {
      sendEvents(response, all);
      response.end();
      return true;
    },
  });

test('prints the answer, then its sources with page and quote, and says that it is extractive', async () => {
  const { url } = await answering(...events);
  const { code, out } = await nereid(['ask', 'How?', '--url', url]);
  expect(code).toBe(0);
  expect(out.split('\n')).toEqual([
    'When one is free [1].',
    '',
    'Sources:',
    '  [1] The Book, p. 3-4',
    '      "Batches form when an instance is free."',
    '      "And more."',
    '',
    'without rerank (DEADLINE_EXCEEDED): too slow',
    'Extractive: these are sentences of the documents, word for word, because no chat model is configured (LLM_BASE_URL). 12 ms.',
  ]);
});

test('names the chat model that wrote the answer', async () => {
  const { url } = await answering(
    { type: 'delta', text: 'Yes' },
    {
      ...answer,
      type: 'done',
      mode: 'llm',
      model: 'qwen',
      degraded: [],
    },
  );
  expect((await nereid(['ask', 'How?', '--url', url])).out).toMatch(/Written by qwen\. 12 ms\.$/);
});

test('sends what the flags say', async () => {
  const fake = await fakeOrchestrator();
  const { code, err } = await nereid([
    'ask',
    'How?',
    '--url',
    `${fake.url}/`,
    '--top-k',
    '3',
    '--collection',
    'mine',
  ]);
  expect(fake.requests).toEqual([
    { method: 'POST', path: '/v1/query', body: { query: 'How?', collection: 'mine', top_k: 3 } },
  ]);
  expect([code, err]).toEqual([1, 'error: NOT_FOUND: There is nothing at /v1/query.']);
});

test('--json prints the whole reply', async () => {
  const fake = await fakeOrchestrator({
    handle: (request, response) => {
      expect(request.headers.accept).toBe('application/json');
      response.end(JSON.stringify(answer));
      return true;
    },
  });
  expect(JSON.parse((await nereid(['ask', 'How?', '--json', '--url', fake.url])).out)).toEqual(answer);
});

test.each([
  [
    [
      { type: 'delta', text: 'Half' },
      { type: 'error', reason: 'LLM_UNAVAILABLE', message: 'It went away.' },
    ],
    'error: LLM_UNAVAILABLE: It went away.',
  ],
  [
    [{ type: 'delta', text: 'Half' }],
    'error: UNEXPECTED_ANSWER: the answer broke off: the connection ended before it was complete.',
  ],
])('an answer that fails halfway is told: %j', async (sent, expected) => {
  const { url } = await answering(...sent);
  const { code, out, err } = await nereid(['ask', 'How?', '--url', url]);
  expect([code, out.trim(), err]).toEqual([1, 'Half', expected]);
});

test('the address comes from the same settings as the orchestrator', async () => {
  const fake = await fakeOrchestrator();
  const { port } = new URL(fake.url);
  for (const env of [{ NEREID_PORT: port }, { NEREID_URL: fake.url }]) await nereid(['ask', 'How?'], { env });
  await nereid(['ask', 'How?', '--port', port]);
  expect(fake.requests).toHaveLength(3);
});

test('when nobody listens it says what was tried and how to start it, without a stack', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  for (const command of [
    ['ask', 'How?'],
    ['search', 'x'],
    ['ingest', 'package.json'],
  ]) {
    const { code, err } = await nereid([...command, '--port', String(port)], { cwd: inCheckout('.') });
    expect(code).toBe(1);
    expect(err.split('\n').at(-1)).toBe(
      `error: UNREACHABLE: nothing listens at http://127.0.0.1:${port}. Start it with: npm start   (or name another address with --url)`,
    );
  }
});

test('another program on the port is recognised as that', async () => {
  const fake = await fakeOrchestrator({
    handle: (_request, response) => {
      response.writeHead(403).end('<html>Forbidden</html>');
      return true;
    },
  });
  const { code, err } = await nereid(['ask', 'How?', '--url', fake.url]);
  expect([code, err]).toEqual([
    1,
    `error: UNEXPECTED_ANSWER: ${fake.url}/v1/query answered 403 Forbidden: <html>Forbidden</html>. Is this a Nereid orchestrator?`,
  ]);
});

test('Ctrl-C ends the request too', async () => {
  let closed = false;
  const fake = await fakeOrchestrator({
    handle: (_request, response) => {
      response.once('close', () => {
        closed = true;
      });
      sendEvents(response, [{ type: 'delta', text: 'Once\n' }]);
      return true;
    },
  });
  const asking = spawnNode(inCheckout('cli/nereid.ts'), ['ask', 'How?', '--url', fake.url]);
  await asking.line(/Once/);
  asking.child.kill('SIGINT');
  expect((await asking.ended).code ?? 130).toBe(130);
  await vi.waitFor(() => expect(closed).toBe(true));
});

test('search lists hits with the rank that each source gave', async () => {
  const fake = await fakeOrchestrator({
    handle: (request, response, body) => {
      if (request.url !== '/v1/search') return false;
      expect(JSON.parse(body.toString())).toEqual({
        query: 'wing',
        top_k: 2,
        mode: 'keyword',
        rerank: false,
      });
      const hit = {
        ...source,
        score: 0.5,
        sources: { keyword: { rank: 1, score: 9 }, rerank: { rank: 2, score: 1 } },
      };
      response.end(
        JSON.stringify({
          hits: [hit],
          mode: 'keyword',
          score_kind: 'bm25',
          degraded: [],
          timings: { total_ms: 3 },
        }),
      );
      return true;
    },
  });
  const args = ['search', 'wing', '--url', fake.url, '--top-k', '2', '--mode', 'keyword', '--no-rerank'];
  const { out, code } = await nereid(args);
  expect(code).toBe(0);
  expect(out.split('\n')).toEqual([
    '  1. The Book, p. 3-4  0.5000  (keyword #1, rerank #2)',
    '     Batches form when an instance is free. And more.',
    '',
    '1 hit, keyword, scores are bm25. 3 ms.',
  ]);
  expect(JSON.parse((await nereid([...args, '--json'])).out).hits).toHaveLength(1);
});

test('a refusal is told with its reason', async () => {
  const fake = await fakeOrchestrator({
    handle: (_request, response) => {
      refuse(
        response,
        503,
        'MODEL_SERVER_UNAVAILABLE',
        'The model server at 127.0.0.1:8001 does not answer.',
      );
      return true;
    },
  });
  const { code, err } = await nereid(['search', 'x', '--url', fake.url]);
  expect([code, err]).toEqual([
    1,
    'error: MODEL_SERVER_UNAVAILABLE: The model server at 127.0.0.1:8001 does not answer.',
  ]);
});
