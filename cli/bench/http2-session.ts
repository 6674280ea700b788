import type { ClientHttp2Session } from 'node:http2';

/** Resolves with the session when it is connected; rejects with why it can't be. */
export function whenConnected(session: ClientHttp2Session): Promise<ClientHttp2Session> {
  return new Promise((resolve, reject) => {
    // Stays as listener: a connection that breaks later is told to each call, and must not end the process.
    session.on('error', reject);
    session.once('connect', () => resolve(session));
  });
}
