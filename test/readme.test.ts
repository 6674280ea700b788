import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { readmeTables } from './readme-tables.ts';

const root = fileURLToPath(new URL('../', import.meta.url));
const file = `${root}README.md`;
const readme = () => readFileSync(file, 'utf8');
const manifest = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as {
  scripts: Record<string, string>;
  dependencies: Record<string, string>;
};

describe('the README', () => {
  it.each(Object.keys(readmeTables))(
    'holds the table %s as the code has it (npm run readme writes it)',
    (name) => {
      const section = new RegExp(`(<!-- ${name} -->\n)[\\s\\S]*?(\n<!-- /${name} -->)`);
      expect(readme()).toMatch(section);
      if (process.env.UPDATE_README !== undefined) {
        writeFileSync(
          file,
          readme().replace(section, (_, start: string, end: string) => start + readmeTables[name] + end),
        );
      }
      expect(section.exec(readme())?.[0]).toContain(readmeTables[name]);
    },
  );

  it('names only npm scripts that exist', () => {
    const named = [...readme().matchAll(/npm run ([\w:-]+)/g)].map((match) => match[1]!);
    expect(named.length).toBeGreaterThan(3);
    expect(named.filter((name) => manifest.scripts[name] === undefined)).toEqual([]);
  });

  it('names only files that exist', () => {
    const paths = [
      ...readme().matchAll(
        /`((?:model-server|orchestrator|cli|proto|loadtest|test|model-repository)\/[\w./-]*)`/g,
      ),
    ];
    expect(paths.length).toBeGreaterThan(10);
    expect(paths.map((match) => match[1]!).filter((path) => !existsSync(root + path))).toEqual([]);
  });

  it('says why each run-time dependency is there', () => {
    const missing = Object.keys(manifest.dependencies).filter((name) => !readme().includes(`| \`${name}\``));
    expect(missing).toEqual([]);
  });
});
