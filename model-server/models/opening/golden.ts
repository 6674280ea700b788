import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { ServingError } from '../../errors.ts';

const MOST_BYTES = 16 * 1024 * 1024;

const goldenSchema = z.object({
  /** What made the vectors. */
  reference: z.string().default('an unnamed reference'),
  /** Cosine with the reference below which the model is suspect. */
  minCosine: z.number().min(-1).max(1).default(0.99),
  cases: z.array(z.object({ text: z.string(), embedding: z.array(z.number()).min(1) })).min(1),
});

/** Texts with the vectors that a trusted implementation made of them. */
export type Golden = z.infer<typeof goldenSchema>;

/**
 * Reads golden.json from the first of these folders that has one; the version's comes before the model's.
 * @throws ServingError MODEL_CONFIG_INVALID naming the file and the field when it is not of that form
 */
export function readGolden(folders: readonly string[]): Golden | undefined {
  const file = folders.map((folder) => join(folder, 'golden.json')).find((path) => existsSync(path));
  if (file === undefined) return undefined;
  const fail = (why: string): never => {
    throw new ServingError('MODEL_CONFIG_INVALID', `${file}: ${why}`);
  };
  const stat = statSync(file);
  // Reading a named pipe would wait for a writer for ever.
  if (!stat.isFile()) fail('it is no regular file');
  const { size } = stat;
  if (size > MOST_BYTES) fail(`${size} bytes are above the limit of ${MOST_BYTES}; keep fewer texts`);
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    fail(`not valid JSON: ${(error as Error).message}`);
  }
  const parsed = goldenSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  return fail(`${issue!.path.join('.')}: ${issue!.message}`);
}
