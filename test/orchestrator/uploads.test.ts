import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { describe, expect, test, vi } from 'vitest';
import { RagError } from '../../orchestrator/errors.ts';
import type { TestApp } from './http-harness.ts';
import { call, startApp } from './http-harness.ts';

function form(...files: [name: string, content: string | Uint8Array][]): FormData {
  const data = new FormData();
  for (const [name, content] of files) data.append('file', new Blob([content as string]), name);
  return data;
}

function upload(app: TestApp, body: FormData, query = '') {
  return call(app, 'POST', `/v1/documents${query}`, { body });
}

const boundary = 'xxBOUNDARYxx';
const partHead = `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="big.txt"\r\nContent-Type: text/plain\r\n\r\n`;

/** A multipart request whose body the test writes by hand. */
function openUpload(app: TestApp, headers: Record<string, string | number> = {}) {
  const type = `multipart/form-data; boundary=${boundary}`;
  const request = httpRequest(`${app.url}/v1/documents`, {
    method: 'POST',
    headers: { 'content-type': type, ...headers },
  });
  request.on('error', () => undefined);
  return request;
}

describe('an upload', () => {
  test('streams its files to staging and becomes one job', async () => {
    const app = await startApp();
    const { status, body, headers } = await upload(app, form(['a.txt', 'Bees.'], ['b.md', '# Honey']));
    expect(status).toBe(202);
    expect(headers.get('location')).toBe(`/v1/jobs/${body.job_id}`);
    expect(body.documents).toMatchObject([
      { source: 'a.txt', bytes: 5 },
      { source: 'b.md', bytes: 7 },
    ]);
    const inputs = app.jobs.submitted[0] ?? [];
    expect((await app.staged()).toSorted()).toEqual(inputs.map(({ stagedFile }) => stagedFile).toSorted());
  });

  test('takes ids, titles and metadata per file, and the collection', async () => {
    const app = await startApp();
    const data = form(['a.txt', 'Bees.'], ['b.txt', 'Wax.']);
    data.append('collection', 'nature');
    data.append('documents', JSON.stringify([{ id: 'x/1', title: 'Bees', metadata: { year: 2020 } }]));
    const { body } = await upload(app, data);
    expect(body).toMatchObject({
      collection: 'nature',
      documents: [{ id: 'x/1', title: 'Bees' }, { title: '' }],
    });
    expect(app.jobs.submitted[0]?.[0]?.metadata).toEqual({ year: 2020 });
  });

  test('keeps file names in UTF-8, and drops their folders and control characters', async () => {
    const app = await startApp();
    const { body } = await upload(
      app,
      form(['übung – 日本.txt', 'a'], ['../../etc/pass\nwd', 'b'], ['C:\\x\\y.txt', 'c']),
    );
    const sources = body.documents.map(({ source }: { source: string }) => source);
    expect(sources).toEqual(['übung – 日本.txt', 'passwd', 'y.txt']);
  });

  test('waits for the job when asked, and tells each document its fate', async () => {
    const app = await startApp();
    const answer = upload(app, form(['a.txt', 'ok'], ['b.pdf', 'broken']), '?wait=true');
    await vi.waitFor(() => expect(app.jobs.submitted).toHaveLength(1));
    app.jobs.settle('job-1', [1]);
    const { status, body } = await answer;
    expect(status).toBe(200);
    expect(body.status).toBe('partial');
    expect(body.documents).toMatchObject([
      { status: 'ready' },
      { status: 'failed', error: { reason: 'DOCUMENT_UNREADABLE' } },
    ]);
  });

  test('that waits is answered 202 when the process begins to stop', async () => {
    const app = await startApp();
    const answer = upload(app, form(['a.txt', 'ok']), '?wait=true');
    await vi.waitFor(() => expect(app.jobs.submitted).toHaveLength(1));
    app.drain();
    expect((await answer).status).toBe(202);
  });
});

describe('a refused upload leaves nothing staged', () => {
  const refusals: [name: string, status: number, says: RegExp, data: () => FormData][] = [
    [
      'too many files',
      413,
      /more than 3 files.*--max-upload-files/,
      () => form(['a', '1'], ['b', '2'], ['c', '3'], ['d', '4']),
    ],
    [
      'one file too large',
      413,
      /"b.bin" has more than 262144 bytes.*--max-upload-bytes/,
      () => form(['a', '1'], ['b.bin', new Uint8Array(300_000)]),
    ],
    [
      'no file',
      400,
      /no file/,
      () => {
        const data = new FormData();
        data.append('collection', 'x');
        return data;
      },
    ],
    [
      'a bad collection',
      400,
      /body.collection/,
      () => {
        const data = form(['a', '1']);
        data.append('collection', 'no spaces!');
        return data;
      },
    ],
    [
      'documents that are not JSON',
      400,
      /body.documents: is not valid JSON/,
      () => {
        const data = form(['a', '1']);
        data.append('documents', '{');
        return data;
      },
    ],
    [
      'more descriptions than files',
      400,
      /describes 2 documents/,
      () => {
        const data = form(['a', '1']);
        data.append('documents', '[{},{}]');
        return data;
      },
    ],
    [
      'one id twice',
      400,
      /same id: "x"/,
      () => {
        const data = form(['a', '1'], ['b', '2']);
        data.append('documents', '[{"id":"x"},{"id":"x"}]');
        return data;
      },
    ],
    [
      'an unknown field',
      400,
      /metadat/,
      () => {
        const data = form(['a', '1']);
        data.append('metadat', '{}');
        return data;
      },
    ],
  ];

  test.each(refusals)('%s', async (_name, status, says, data) => {
    const app = await startApp();
    const answer = await upload(app, data());
    expect(answer).toMatchObject({ status, body: { error: { message: expect.stringMatching(says) } } });
    expect(await app.staged()).toEqual([]);
    expect(app.jobs.submitted).toHaveLength(0);
  });

  test('the queue is full', async () => {
    const app = await startApp();
    app.jobs.refusal = new RagError('QUEUE_FULL', 'full');
    expect((await upload(app, form(['a', '1']))).status).toBe(429);
    expect(await app.staged()).toEqual([]);
  });

  test('multipart without a boundary', async () => {
    const app = await startApp();
    const headers = { 'content-type': 'multipart/form-data' };
    const { status, body } = await call(app, 'POST', '/v1/documents', { body: 'x', headers });
    expect(status).toBe(400);
    expect(body.error.message).toMatch(/boundary/i);
  });

  test('a body that ends inside a file', async () => {
    const app = await startApp();
    const request = openUpload(app);
    request.end(`${partHead}half of it`);
    const [response] = await once(request, 'response');
    expect(response.statusCode).toBe(400);
    expect(await text(response)).toMatch(/multipart body can't be read/);
    expect(await app.staged()).toEqual([]);
  });

  test('a connection that is cut inside a file', async () => {
    const app = await startApp();
    const request = openUpload(app, { 'content-length': 100_000 });
    request.write(partHead + 'a'.repeat(50_000));
    await vi.waitFor(async () => expect(await app.staged()).toHaveLength(1));
    request.destroy();
    await vi.waitFor(async () => expect(await app.staged()).toEqual([]));
    expect(app.jobs.submitted).toHaveLength(0);
  });
});

describe('size', () => {
  const types = [
    [
      `multipart/form-data; boundary=${boundary}`,
      /5368709120 bytes; one request may have 1048576 \(--max-request-bytes\)/,
    ],
    ['application/json', /may have 65536 bytes here, and this one has 5368709120 bytes/],
  ] as const;

  test.each(types)('5 GB of %s are refused by Content-Length before anything is read', async (type, says) => {
    const app = await startApp();
    const socket = connect(app.port, '127.0.0.1');
    const head = [
      'POST /v1/documents HTTP/1.1',
      'Host: localhost',
      `Content-Type: ${type}`,
      `Content-Length: ${5 * 1024 ** 3}`,
    ];
    socket.write(`${head.join('\r\n')}\r\n\r\n`);
    const answer = await text(socket);
    expect(answer).toMatch(/^HTTP\/1.1 413 /);
    expect(answer).toMatch(says);
    expect(answer).toMatch(/\r\nconnection: close\r\n/i);
  });

  test('a caller who asks first is refused before it sends anything', async () => {
    const app = await startApp();
    const request = openUpload(app, { expect: '100-continue', 'content-length': 5 * 1024 ** 3 });
    let continued = false;
    request.on('continue', () => {
      continued = true;
    });
    request.flushHeaders();
    const [response] = await once(request, 'response');
    expect(response.statusCode).toBe(413);
    expect(continued).toBe(false);
    request.destroy();
  });

  test('a caller who asks first and is welcome is told to go on', async () => {
    const app = await startApp();
    const body = `${partHead}hello\r\n--${boundary}--\r\n`;
    const request = openUpload(app, { expect: '100-continue', 'content-length': body.length });
    request.on('continue', () => request.end(body));
    request.flushHeaders();
    const [response] = await once(request, 'response');
    response.resume();
    expect(response.statusCode).toBe(202);
  });

  test('without Content-Length it is refused as soon as the limit is crossed', async () => {
    const app = await startApp({ config: { maxRequestBytes: 100_000, maxUploadBytes: 10_000_000 } });
    const request = openUpload(app);
    request.write(partHead);
    const answered = once(request, 'response');
    for (let sent = 0; sent < 20; sent += 1) request.write('a'.repeat(10_000));
    const [response] = await answered;
    expect(response.statusCode).toBe(413);
    expect(await text(response)).toContain('more than 100000 bytes');
    expect(await app.staged()).toEqual([]);
    request.destroy();
  });

  test('one file over its limit is refused while it still arrives', async () => {
    const app = await startApp({ config: { maxUploadBytes: 50_000 } });
    const request = openUpload(app);
    const answered = once(request, 'response');
    request.write(partHead + 'a'.repeat(100_000));
    const [response] = await answered;
    expect(response.statusCode).toBe(413);
    expect(await app.staged()).toEqual([]);
    request.destroy();
  });
});
