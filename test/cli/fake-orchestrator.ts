import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

/** A document as the fake takes it in, and what becomes of it. */
interface Upload {
  collection: string | undefined;
  documents: { id?: string; file: string; text: string }[];
}

export interface FakeOptions {
  /** Answers a request itself; false leaves it to the fake. */
  handle?: (request: IncomingMessage, response: ServerResponse, body: Buffer) => boolean;
  /** What becomes of a document; none: ready. */
  settle?: (id: string | undefined, text: string) => Record<string, unknown>;
  /** Bytes of one request. */
  maxRequestBytes?: number;
  /** Uploads that are refused with QUEUE_FULL before one is taken. */
  fullFor?: number;
}

export interface FakeOrchestrator {
  url: string;
  uploads: Upload[];
  requests: { method: string; path: string; body: unknown }[];
}

/** The parts of the orchestrator's API that the command line uses, on a real socket. */
export async function fakeOrchestrator(options: FakeOptions = {}): Promise<FakeOrchestrator> {
  const fake = { url: '', uploads: [] as Upload[], requests: [] as FakeOrchestrator['requests'] };
  let full = options.fullFor ?? 0;
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    if (options.handle?.(request, response, body) === true) return;
    const path = request.url ?? '';
    if (request.headers['content-type']?.startsWith('application/json')) {
      fake.requests.push({ method: request.method!, path, body: JSON.parse(body.toString()) });
    }
    const jobId = /^\/v1\/jobs\/(\d+)\/events$/.exec(path)?.[1];
    if (jobId !== undefined) sendJobEvents(response, fake.uploads[Number(jobId)]!, options);
    else if (path !== '/v1/documents') refuse(response, 404, 'NOT_FOUND', `There is nothing at ${path}.`);
    else if (body.length > (options.maxRequestBytes ?? Number.POSITIVE_INFINITY)) {
      refuse(response, 413, 'TOO_LARGE', `The upload has ${body.length} bytes.`);
    } else if (full-- > 0) refuse(response, 429, 'QUEUE_FULL', 'The queue is full.');
    else {
      fake.uploads.push(await readUpload(body, request.headers['content-type']!));
      response.writeHead(202, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ job_id: String(fake.uploads.length - 1), documents: [] }));
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  fake.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return fake;
}

/** An error as the API tells it. */
export function refuse(response: ServerResponse, status: number, reason: string, message: string): void {
  const retryable = status === 429 || status === 503;
  response.writeHead(status, {
    'content-type': 'application/json',
    ...(retryable ? { 'retry-after': '0' } : {}),
  });
  response.end(JSON.stringify({ error: { reason, message, retryable, request_id: 'r' } }));
}

/** Server-sent events, each named by its type. */
export function sendEvents(
  response: ServerResponse,
  events: readonly { type: string; [field: string]: unknown }[],
): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.write(': still here\n\n');
  for (const event of events) response.write(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
}

async function readUpload(body: Buffer, contentType: string): Promise<Upload> {
  const form = await new Response(new Uint8Array(body), {
    headers: { 'content-type': contentType },
  }).formData();
  const described = JSON.parse(String(form.get('documents'))) as { id?: string }[];
  const files = form.getAll('file') as File[];
  const documents = files.map(async (file, index) => ({
    ...described[index],
    file: file.name,
    text: await file.text(),
  }));
  return { collection: form.get('collection')?.toString(), documents: await Promise.all(documents) };
}

function sendJobEvents(response: ServerResponse, upload: Upload, { settle }: FakeOptions): void {
  const settled = upload.documents.map(({ id, text }) => ({
    id,
    status: 'ready',
    chunks: 1,
    embedded: 1,
    ...settle?.(id, text),
  }));
  sendEvents(
    response,
    settled.flatMap((document, index) => [
      { type: 'item_started', index },
      { type: 'item_progress', index, stage: 'embed', done: 1, total: 2 },
      { type: 'item_settled', index, document },
    ]),
  );
  response.end(
    `event: job_settled\ndata: ${JSON.stringify({ type: 'job_settled', job: { documents: settled } })}\n\n`,
  );
}
