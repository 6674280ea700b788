import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

/** What a fake answers. */
export interface FakeAnswer {
  status?: number;
  headers?: Record<string, string>;
  text?: string;
  bytes?: Buffer;
}

/** A small HTTP server on a real socket, closed when the test is over. */
export async function startFakeHttp(
  answer: (request: IncomingMessage, body: string) => FakeAnswer | Promise<FakeAnswer>,
): Promise<{ url: string; sockets: () => number }> {
  let connections = 0;
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const {
      status = 200,
      headers = {},
      text,
      bytes,
    } = await answer(request, Buffer.concat(chunks).toString());
    response.writeHead(status, headers).end(bytes ?? text ?? '');
  });
  server.on('connection', () => connections++);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, sockets: () => connections };
}
