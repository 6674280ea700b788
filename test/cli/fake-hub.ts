import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

export interface FakeRequest {
  /** `hub`, or `cdn`: the other host that large files come from. */
  host: 'hub' | 'cdn';
  method: string;
  path: string;
  range: string | undefined;
  authorization: string | undefined;
}

export interface FakeHubOptions {
  id?: string;
  /** Files of the model; those named in `lfs` come by a redirect to the other host. */
  files: Record<string, Uint8Array | string>;
  lfs?: readonly string[];
  commit?: string;
  /** Revisions that there are; each is the commit. */
  revisions?: readonly string[];
  /** Entries of one page of a listing. */
  pageSize?: number;
  /** Entries that the listing has besides the files. */
  extraEntries?: readonly Record<string, unknown>[];
  /** Answers a request itself, to make a fault; false leaves it to the fake. */
  handle?: (request: FakeRequest, response: ServerResponse) => boolean;
}

export interface FakeHub {
  url: string;
  cdnUrl: string;
  id: string;
  commit: string;
  requests: FakeRequest[];
  options: FakeHubOptions;
}

/** What the pull needs of the Hugging Face hub, on real sockets: model, tree, resolve with ranges, and a CDN beside it. */
export async function fakeHub(options: FakeHubOptions): Promise<FakeHub> {
  const id = options.id ?? 'acme/Tiny-Embedder';
  const commit = options.commit ?? '1'.repeat(40);
  const fake: FakeHub = { url: '', cdnUrl: '', id, commit, requests: [], options };
  fake.url = await listen((request, response) => onHub(fake, request, response));
  fake.cdnUrl = await listen((request, response) => onCdn(fake, request, response));
  return fake;
}

/** Sends a part of the content with the headers of the whole, then breaks the connection. */
export function breakAfter(response: ServerResponse, content: Uint8Array, bytes: number): void {
  response.writeHead(200, { 'content-length': content.length });
  response.write(content.subarray(0, bytes), () => response.socket!.end());
}

/** An error as the hub tells it. */
export function refuse(response: ServerResponse, status: number, code?: string): void {
  response.writeHead(status, {
    'content-type': 'application/json',
    ...(code === undefined ? {} : { 'x-error-code': code }),
  });
  response.end(JSON.stringify({ error: 'told by the hub' }));
}

async function listen(
  handler: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<string> {
  const server: Server = createServer(handler);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function seen(
  fake: FakeHub,
  host: FakeRequest['host'],
  { method, url, headers }: IncomingMessage,
): FakeRequest {
  const { range, authorization } = headers;
  const request = { host, method: method!, path: decodeURIComponent(url!), range, authorization };
  fake.requests.push(request);
  return request;
}

function onHub(fake: FakeHub, incoming: IncomingMessage, response: ServerResponse): void {
  const request = seen(fake, 'hub', incoming);
  if (fake.options.handle?.(request, response) === true) return;
  const { pathname, searchParams } = new URL(incoming.url!, fake.url);
  const path = decodeURIComponent(pathname);
  const { id, commit } = fake;
  const known = [commit, ...(fake.options.revisions ?? ['main'])];
  const [, , asked = '', file] =
    new RegExp(`^/(api/models/)?${id}/(?:revision|tree|resolve)/(${known.join('|')})(?:/(.*))?$`).exec(
      path,
    ) ?? [];
  if (!path.includes(`/${id}/`)) refuse(response, incoming.headers.authorization ? 404 : 401, 'RepoNotFound');
  else if (asked === '') refuse(response, 404, 'RevisionNotFound');
  else if (path.startsWith(`/api/models/${id}/revision/`)) {
    sendJson(response, { _id: 'x', id, sha: commit, private: false, lastModified: '2026-01-01T00:00:00Z' });
  } else if (path.startsWith(`/api/models/${id}/tree/`)) sendTree(fake, response, searchParams);
  else if (fake.options.files[file!] === undefined) refuse(response, 404, 'EntryNotFound');
  else if (fake.options.lfs?.includes(file!) === true) {
    const content = bytesOf(fake.options.files[file!]!);
    response.writeHead(302, {
      location: `${fake.cdnUrl}/${file}`,
      'x-repo-commit': commit,
      'x-linked-etag': `"${sha256(content)}"`,
      'x-linked-size': content.length,
    });
    response.end();
  } else sendFile(response, bytesOf(fake.options.files[file!]!), incoming);
}

function onCdn(fake: FakeHub, incoming: IncomingMessage, response: ServerResponse): void {
  const request = seen(fake, 'cdn', incoming);
  if (fake.options.handle?.(request, response) === true) return;
  sendFile(response, bytesOf(fake.options.files[request.path.slice(1)]!), incoming);
}

function sendTree(fake: FakeHub, response: ServerResponse, query: URLSearchParams): void {
  const { files, lfs = [], pageSize = 1000, extraEntries = [] } = fake.options;
  const entries: Record<string, unknown>[] = [
    { type: 'directory', path: 'onnx', oid: 'd'.repeat(40), size: 0 },
    ...Object.entries(files).map(([path, given]) => {
      const content = bytesOf(given);
      const entry = { type: 'file', path, size: content.length, oid: gitSha1(content) };
      return lfs.includes(path)
        ? {
            ...entry,
            oid: 'e'.repeat(40),
            lfs: { oid: sha256(content), size: content.length, pointerSize: 130 },
          }
        : entry;
    }),
    ...extraEntries,
  ];
  const from = Number(query.get('cursor') ?? 0);
  const more = from + pageSize < entries.length;
  const next = `<${fake.url}/api/models/${fake.id}/tree/${fake.commit}?recursive=true&cursor=${from + pageSize}>; rel="next"`;
  if (more) response.setHeader('link', next);
  sendJson(response, entries.slice(from, from + pageSize));
}

function sendFile(response: ServerResponse, content: Uint8Array, { headers, method }: IncomingMessage): void {
  const from = Number(/^bytes=(\d+)-/.exec(headers.range ?? '')?.[1] ?? Number.NaN);
  const body = method === 'HEAD' ? '' : content;
  response.setHeader('accept-ranges', 'bytes');
  if (Number.isNaN(from)) response.writeHead(200, { 'content-length': content.length }).end(body);
  else if (from >= content.length) refuse(response, 416);
  else {
    response.writeHead(206, {
      'content-range': `bytes ${from}-${content.length - 1}/${content.length}`,
      'content-length': content.length - from,
    });
    response.end(content.subarray(from));
  }
}

function sendJson(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end(JSON.stringify(value));
}

function bytesOf(content: Uint8Array | string): Uint8Array {
  return typeof content === 'string' ? Buffer.from(content) : content;
}

/** SHA-256, hexadecimal. */
export function sha256(content: Uint8Array | string): string {
  return createHash('sha256').update(content).digest('hex');
}

/** Git's hash of a file. */
export function gitSha1(content: Uint8Array): string {
  return createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
}
