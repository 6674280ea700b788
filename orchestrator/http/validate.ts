import type { z } from 'zod';
import { RagError } from '../errors.ts';

/** Faults that a message lists at most. */
const maxListed = 20;

/**
 * Checks data that came from outside, and names every fault at once.
 * @throws RagError INVALID_INPUT
 */
export function validate<T>(schema: z.ZodType<T>, data: unknown, where: 'path' | 'query' | 'body'): T {
  const result = schema.safeParse(data);
  if (result.success) return result.data;
  const faults = result.error.issues.map((issue) => ({
    field: fieldName(where, issue.path),
    message: issue.message,
  }));
  const listed = faults.slice(0, maxListed);
  const words = listed.map(({ field, message }) => `${field}: ${message}`).join('; ');
  const more = faults.length > maxListed ? `; and ${faults.length - maxListed} more` : '';
  throw new RagError('INVALID_INPUT', `The request is not valid. ${words}${more}.`, {
    details: { faults: listed, fault_count: faults.length },
  });
}

function fieldName(where: string, path: readonly PropertyKey[]): string {
  return path.reduce<string>(
    (name, key) => (typeof key === 'number' ? `${name}[${key}]` : `${name}.${String(key)}`),
    where,
  );
}
