import { z } from 'zod';

/** Characters of a document's metadata as JSON, at most. */
const maxMetadataLength = 64 * 1024;

export const collectionName = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/,
    'must be 1 to 64 letters, digits, - and _, and begin with a letter or digit',
  )
  .default('default');

export const documentId = z
  .string()
  .min(1)
  .max(512)
  .refine(
    (id) => id.isWellFormed() && !/\p{Cc}/u.test(id),
    'must not hold control characters or half characters',
  )
  .refine((id) => id !== '.' && id !== '..', 'must not be . or .., which no path can name')
  .meta({ description: 'any text; URL-encode it in paths' });

export const metadata = z
  .record(z.string(), z.unknown())
  .refine(
    fits,
    `must have at most ${maxMetadataLength} characters as JSON, and not be nested thousands deep`,
  );

export const timestamp = z.iso.datetime();

export const failure = z.strictObject({ reason: z.string(), message: z.string() }).meta({
  id: 'Failure',
  description: 'why a document could not be ingested; the reason is one of the error table',
});

function fits(value: unknown): boolean {
  try {
    return JSON.stringify(value).length <= maxMetadataLength;
  } catch {
    return false;
  }
}
