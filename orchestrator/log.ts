import pino from 'pino';

export type Log = pino.Logger;

/** JSON lines on standard output; bodies, documents and keys are never logged. */
export function makeLog(level: string): Log {
  return pino({ level, base: { name: 'orchestrator' } });
}
