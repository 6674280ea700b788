import { BlockList, isIP } from 'node:net';
import type { RequestHandler } from 'express';
import { RagError } from '../errors.ts';

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/**
 * Keeps web pages out of a server that has no password. While it listens on a loopback address, the Host header must
 * name one too (a page can point its own name at 127.0.0.1); and a write that a browser sends must come from a page
 * of this very server.
 */
export function requestGuard(listenHost: string): RequestHandler {
  const local = isLoopback(listenHost);
  return (request, _response, next) => {
    const { host, origin } = request.headers;
    const name = hostName(`http://${host ?? ''}`);
    if (local && (name === undefined || !(isLoopback(name) || name === listenHost.toLowerCase()))) {
      const message = `The Host header is ${quoted(host)}, but this server listens on ${listenHost} and answers only to local names such as localhost. To serve other machines, start it with --host.`;
      throw new RagError('FORBIDDEN', message);
    }
    const reads = request.method === 'GET' || request.method === 'HEAD' || request.method === 'OPTIONS';
    if (!reads && origin !== undefined && !isSameHost(origin, host)) {
      const message = `A page of ${quoted(origin)} may not write here: cross-origin requests of browsers are refused.`;
      throw new RagError('FORBIDDEN', message);
    }
    next();
  };
}

function isLoopback(name: string): boolean {
  const lower = name.toLowerCase();
  if (lower === 'localhost' || lower.endsWith('.localhost')) return true;
  const family = isIP(lower);
  return family !== 0 && loopback.check(lower, family === 4 ? 'ipv4' : 'ipv6');
}

/** The host's name in lower case, without port and brackets. */
function hostName(url: string): string | undefined {
  return URL.parse(url)?.hostname.replace(/^\[|\]$/g, '');
}

function isSameHost(origin: string, host: string | undefined): boolean {
  const from = URL.parse(origin);
  const here = URL.parse(`${from?.protocol}//${host}`);
  return from !== null && here !== null && from.host === here.host;
}

function quoted(value: string | undefined): string {
  return value === undefined ? 'missing' : JSON.stringify(value.slice(0, 100));
}
