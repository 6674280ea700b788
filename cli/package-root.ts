import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of package.json: the checkout, or the installed package. */
export const packageRoot = findRoot(dirname(fileURLToPath(import.meta.url)));

/** Whether the source runs as it is, and not the build in `dist`. */
export const runsFromSource = import.meta.url.endsWith('.ts');

/** Version of the package. */
export function packageVersion(): string {
  return (JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { version: string }).version;
}

function findRoot(folder: string): string {
  return existsSync(join(folder, 'package.json')) ? folder : findRoot(dirname(folder));
}
