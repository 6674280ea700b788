import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../shared/', import.meta.url));

/** Whether the optional test material (reference models, documents, judged queries) lies beside the checkout. */
export const hasShared = existsSync(root);

if (!hasShared)
  console.log('skipped aloud: no ../shared folder beside the checkout, so tests on its material do not run');

/** Path of a file in the optional test material. */
export function shared(...path: string[]): string {
  return [root.replace(/\/$/, ''), ...path].join('/');
}
