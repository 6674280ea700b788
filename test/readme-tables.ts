import { serverConfigSchema } from '../model-server/config.ts';
import { errorTable as serverErrors } from '../model-server/errors.ts';
import { ragConfigSchema } from '../orchestrator/config.ts';
import { errorTable as ragErrors } from '../orchestrator/errors.ts';

const GRPC_NAMES: Record<number, string> = {
  1: 'CANCELLED',
  3: 'INVALID_ARGUMENT',
  4: 'DEADLINE_EXCEEDED',
  5: 'NOT_FOUND',
  8: 'RESOURCE_EXHAUSTED',
  9: 'FAILED_PRECONDITION',
  12: 'UNIMPLEMENTED',
  13: 'INTERNAL',
  14: 'UNAVAILABLE',
};

const kebab = (name: string) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
const yesNo = (retryable: boolean) => (retryable ? 'yes' : 'no');
const table = (head: string[], rows: string[][]) =>
  [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');

function settings(schema: typeof serverConfigSchema | typeof ragConfigSchema): string {
  const defaults = schema.parse({}) as Record<string, unknown>;
  const rows = Object.entries(schema.shape).map(([name, field]) => {
    const meta = (field as { meta(): { description?: string; env?: string } | undefined }).meta();
    const environment = meta?.env ?? `NEREID_${kebab(name).replaceAll('-', '_').toUpperCase()}`;
    const standard =
      defaults[name] === undefined || defaults[name] === '' ? '' : `\`${String(defaults[name])}\``;
    return [`\`--${kebab(name)}\``, `\`${environment}\``, standard, meta?.description ?? ''];
  });
  return table(['flag', 'environment', 'default', 'what'], rows);
}

/** The generated parts of the README, by the name in their markers. */
export const readmeTables: Record<string, string> = {
  'server-errors': table(
    ['reason', 'gRPC', 'HTTP', 'retry'],
    Object.entries(serverErrors).map(([reason, row]) => [
      reason,
      GRPC_NAMES[row.grpc]!,
      String(row.http),
      yesNo(row.retryable),
    ]),
  ),
  'rag-errors': table(
    ['reason', 'HTTP', 'retry'],
    Object.entries(ragErrors).map(([reason, row]) => [reason, String(row.http), yesNo(row.retryable)]),
  ),
  'server-settings': settings(serverConfigSchema),
  'rag-settings': settings(ragConfigSchema),
};
