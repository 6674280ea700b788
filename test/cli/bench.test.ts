import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type BenchOptions, checkBenchOptions } from '../../cli/bench/bench-options.ts';
import { Limit } from '../../cli/bench/limit.ts';
import { seeded } from '../../cli/bench/random.ts';
import { command } from '../../cli/commands/bench.ts';
import { startFakeEmbedServer } from './fake-embed-server.ts';
import { type FakeAnswer, startFakeHttp } from './fake-http.ts';
import { inCheckout, nereid, spawnNode } from './spawned.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bench-'));
});
afterEach(() => rm(folder, { recursive: true }));

const short = ['--rounds', '2', '--duration-secs', '0.2', '--warm-up-secs', '0.05', '--concurrency', '4'];
/** A port where no metrics are, so that a server that runs on this machine is not asked. */
const noMetrics = ['--metrics-url', 'http://127.0.0.1:1/metrics'];

describe('a run', () => {
  test('over gRPC, with another server beside it, as JSON and markdown', async () => {
    const server = await startFakeEmbedServer();
    const other: string[] = [];
    const { url } = await startFakeHttp((request, body) => {
      other.push(`${request.url} ${body}`);
      return { text: '[[0.1,0.2]]' };
    });
    const report = join(folder, 'report.md');
    const { code, out, err } = await nereid([
      'bench',
      ...['--server-address', server.address, ...short, ...noMetrics, '--tokens', '6-9', '--json'],
      ...['--against', url, '--protocol', 'tei', '--report', report, '--priority', 'bulk', '--tenant', 'me'],
    ]);
    expect([code, err]).toEqual([0, '']);
    const found = JSON.parse(out) as {
      rounds: number;
      limit?: unknown;
      served: { textsPerSecond: { median: number }; failures: object; calls: number };
      against: { textsPerSecond: { median: number }; failures: object };
      comparison: { rate: { median: number } };
    };
    expect(found.rounds).toBe(2);
    expect(found.served.textsPerSecond.median).toBeGreaterThan(0);
    expect([found.served.failures, found.against.failures]).toEqual([{}, {}]);
    expect(found.comparison.rate.median).toBeGreaterThan(0);
    expect(server.metadata()).toMatchObject({ 'nereid-priority': 'bulk', 'nereid-tenant': 'me' });
    // No text was sent twice, but for the question which model it is.
    const texts = server.texts.filter((text) => text !== 'which model is this?');
    expect(texts.length).toBeGreaterThanOrEqual(found.served.calls);
    expect(new Set(texts).size).toBe(texts.length);
    for (const text of texts) expect(text.split(' ').length).toBeGreaterThanOrEqual(4);
    expect(other[0]).toMatch(/^\/embed {"inputs":\["[a-z ]+"\]}$/);
    expect(await readFile(report, 'utf8')).toContain('| p99, ratio to the other |');
  });

  test('over a stream, at a rate, with a deadline, as a table; failures are told by reason', async () => {
    const server = await startFakeEmbedServer();
    let calls = 0;
    server.before = (texts) =>
      texts[0] !== 'which model is this?' && calls++ % 2 === 0
        ? { code: 8, reason: 'QUEUE_FULL', details: 'the queue is full' }
        : undefined;
    const { code, out } = await nereid([
      'bench',
      ...['--server-address', server.address, ...short, ...noMetrics, '--mode', 'stream', '--rate', '200'],
      ...['--timeout-ms', '5000', '--texts-per-call', '3', '--tokens', '8'],
    ]);
    expect(code).toBe(0);
    expect(out).toMatch(
      /^load +200 calls a second \(Poisson arrivals\), 3 texts a call, texts of 8 tokens; one gRPC stream; deadline 5000 ms/m,
    );
    expect(out).toMatch(/^limit +not measured: there is no .*mini.*; name it with --model-file$/m);
    expect(out).toMatch(/^goodput, texts\/s within 5000 ms +\d/m);
    expect(out).toMatch(/^server: \d+ calls failed with QUEUE_FULL: the queue is full$/m);
  });

  test.each([
    ['http', 'application/proto'],
    ['http-json', 'application/json'],
  ])('over the door %s sends %s, texts of a file and the deadline', async (door, type) => {
    const server = await startFakeEmbedServer();
    const seen: Record<string, unknown>[] = [];
    const { url } = await startFakeHttp((request) => {
      seen.push({ ...request.headers, url: request.url });
      return { status: 503, text: '{"code":"unavailable","message":"later","reason":"MODEL_NOT_READY"}' };
    });
    const texts = join(folder, 'texts.txt');
    await writeFile(texts, 'one\ntwo three\n');
    const { code, out } = await nereid([
      'bench',
      ...['--server-address', server.address, '--http-url', url, ...short, ...noMetrics],
      ...['--over', door, '--texts', texts, '--timeout-ms', '200', '--no-limit'],
    ]);
    expect(code).toBe(0);
    expect(seen[0]).toMatchObject({
      'content-type': type,
      'connect-timeout-ms': '200',
      'connect-protocol-version': '1',
      url: '/nereid.serving.v1.EmbedService/Embed',
    });
    expect(out).toMatch(/failed with MODEL_NOT_READY: later/);
  });

  test('a reply that is none is a failure, and so is one with other dimensions', async () => {
    const server = await startFakeEmbedServer();
    let answers = 0;
    server.before = () => {
      // The first one tells the dimension.
      if (answers++ > 0) server.vector = [1, 2];
      return undefined;
    };
    const { out } = await nereid([
      'bench',
      '--server-address',
      server.address,
      ...short,
      ...noMetrics,
      '--json',
    ]);
    const { served } = JSON.parse(out) as { served: { failures: Record<string, { message: string }> } };
    expect(served.failures.BAD_REPLY!.message).toBe('vector 0 has 2 numbers instead of 3');
  });

  test.each<[string, string[], RegExp, FakeAnswer]>([
    ['openai', [], /^\/v1\/embeddings .*"model":"mini"/, { text: '{"data":[{"embedding":[1]}]}' }],
    [
      'kserve',
      ['--against-tensors', 'ids', '--against-model', 'a/b'],
      /^\/v2\/models\/a\/b\/infer .*"input_ids"/,
      { text: '{"outputs":[{"name":"o","shape":[1,2],"data":[1,2]}]}' },
    ],
  ])('another server that speaks %s', async (protocol, more, request, answer) => {
    const server = await startFakeEmbedServer();
    const seen: string[] = [];
    const { url } = await startFakeHttp((asked, body) => {
      seen.push(`${asked.url} ${body}`);
      return answer;
    });
    const { code, out } = await nereid([
      'bench',
      ...['--server-address', server.address, ...short, ...noMetrics, '--json', '--rounds', '1'],
      ...['--against', url, '--protocol', protocol, ...more],
    ]);
    expect(code).toBe(0);
    expect(seen[0]).toMatch(request);
    expect((JSON.parse(out) as { against: { failures: object } }).against.failures).toEqual({});
  });

  test('Ctrl-C ends early, reports what was measured and exits with 130', async () => {
    const server = await startFakeEmbedServer();
    const run = spawnNode(inCheckout('cli/nereid.ts'), [
      'bench',
      ...[
        '--server-address',
        server.address,
        ...noMetrics,
        '--duration-secs',
        '600',
        '--warm-up-secs',
        '0',
        '--json',
      ],
    ]);
    await vi.waitFor(() => expect(server.texts.length).toBeGreaterThan(100), { timeout: 50_000 });
    run.child.kill('SIGINT');
    const { code } = await run.ended;
    expect(code).toBe(130);
    const { rounds, served } = JSON.parse(run.stdout.join('\n')) as {
      rounds: number;
      served: { calls: number };
    };
    expect(rounds).toBe(1);
    expect(served.calls).toBeGreaterThan(10);
  });
});

test('a report that can not be written does not cost the figures', async () => {
  const server = await startFakeEmbedServer();
  const report = join(folder, 'none', 'report.md');
  const { code, out, err } = await nereid([
    'bench',
    ...['--server-address', server.address, ...short, ...noMetrics, '--report', report],
  ]);
  expect(code).toBe(1);
  expect(out).toMatch(/^texts\/s +\d/m);
  expect(err).toMatch(/--report .*report\.md can't be written: ENOENT/);
});

describe('errors say what to do', () => {
  test('no server', async () => {
    const { code, err } = await nereid(['bench', '--server-address', '127.0.0.1:1']);
    expect(code).toBe(1);
    expect(err).toMatch(/no model server answers at 127\.0\.0\.1:1 .*Start it with: npm start/);
  });

  test('no other server', async () => {
    const server = await startFakeEmbedServer();
    const { code, err } = await nereid([
      'bench',
      ...['--server-address', server.address, '--against', 'http://127.0.0.1:1', '--protocol', 'tei'],
    ]);
    expect([code, err]).toEqual([
      1,
      'error: no load can be sent to http://127.0.0.1:1: nothing listens there.',
    ]);
  });

  const options: BenchOptions = {
    over: 'grpc',
    mode: 'unary',
    concurrency: 1,
    tokens: '5',
    textsPerCall: 1,
    timeoutMs: 0,
    durationSecs: 1,
    warmUpSecs: 0,
    rounds: 1,
    limit: true,
    againstTensors: 'text',
    json: false,
  };

  test.each<[Partial<BenchOptions>, string]>([
    [
      { against: 'http://x' },
      '--against needs --protocol tei, openai or kserve: what the other server speaks.',
    ],
    [{ protocol: 'tei' }, '--protocol says what the server of --against speaks, which is not given.'],
    [{ mode: 'stream', over: 'http' }, '--mode stream goes over gRPC only.'],
    [
      { metricsUrl: 'ftp://x' },
      '--metrics-url must be an address such as http://127.0.0.1:3000, not "ftp://x"',
    ],
    [{ httpUrl: 'x' }, '--http-url must be an address such as http://127.0.0.1:3000, not "x"'],
  ])('%j', (more, message) => {
    expect(() => checkBenchOptions({ ...options, ...more })).toThrow(message);
    expect(() => checkBenchOptions(options)).not.toThrow();
  });

  test('numbers out of range', async () => {
    const wrong = async (...args: string[]) => {
      const bench = command()
        .exitOverride()
        .configureOutput({ writeErr: () => undefined });
      return bench.parseAsync(args, { from: 'user' }).then(
        () => 'taken',
        (error: Error) => error.message,
      );
    };
    expect([
      await wrong('--concurrency', '0'),
      await wrong('--rate', '0'),
      await wrong('--timeout-ms', '-1'),
    ]).toEqual([
      "error: option '--concurrency <n>' argument '0' is invalid. It must be a whole number, at least 1.",
      "error: option '--rate <n>' argument '0' is invalid. It must be a number above 0.",
      "error: option '--timeout-ms <n>' argument '-1' is invalid. It must be a number, at least 0.",
    ]);
  });
});

test('the limit drives the shipped model, and says which inputs it does not know', async () => {
  const modelFile = inCheckout('model-repository/all-minilm-l6-v2/1/model.onnx');
  const rows = Array.from({ length: 16 }, (_, index) => [
    101,
    ...Array.from({ length: 1 + (index % 4) }, () => 2003),
    102,
  ]);
  await using limit = await Limit.open(
    { workers: 2, threads: 1, batch: 4 },
    { modelFile, rows, random: seeded(1) },
  );
  const { textsPerSecond, tokensPerSecond, medianMs, cpuUsPerToken } = await limit.run(100);
  expect(tokensPerSecond / textsPerSecond).toBeGreaterThanOrEqual(3);
  expect(tokensPerSecond / textsPerSecond).toBeLessThanOrEqual(6);
  expect([medianMs > 0, cpuUsPerToken > 0]).toEqual([true, true]);
  await expect(
    Limit.open(
      { workers: 1, threads: 1, batch: 1 },
      { modelFile: join(folder, 'none.onnx'), rows, random: seeded(1) },
    ),
  ).rejects.toThrow(/none\.onnx/);
});
