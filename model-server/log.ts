import pino from 'pino';

export type Log = pino.Logger;

/** JSON lines on standard output; texts and vectors are never logged. */
export function makeLog(level: string): Log {
  return pino({ name: 'model-server', level, base: { name: 'model-server' } });
}
