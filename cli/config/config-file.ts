import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { isMap, isScalar, LineCounter, type Node, parseDocument } from 'yaml';

/** One key of nereid.yaml. */
export interface FileEntry {
  name: string;
  /** As written; undefined when it is a list, a map or nothing. */
  text: string | undefined;
  /** `nereid.yaml:3` */
  where: string;
}

export interface ConfigFile {
  entries: FileEntry[];
  /** What makes it unreadable as a whole or in part. */
  problems: string[];
}

/** Reads a flat YAML file; never throws for what is in it or for a file that can't be read. */
export function readConfigFile(path: string): ConfigFile {
  const short = basename(path);
  let source: string;
  try {
    source = readFileSync(path, 'utf8');
  } catch (error) {
    return {
      entries: [],
      problems: [`the configuration file ${path} can't be read: ${(error as Error).message}`],
    };
  }
  const lines = new LineCounter();
  const document = parseDocument(source, { lineCounter: lines, uniqueKeys: true, prettyErrors: false });
  const at = (offset: number) => `${short}:${lines.linePos(offset).line}`;
  const problems = document.errors.map((error) => `${at(error.pos[0])}: ${error.message}`);
  if (document.contents === null) return { entries: [], problems };
  if (!isMap<Node, Node | null>(document.contents)) {
    return {
      entries: [],
      problems: [...problems, `${short}: must be a list of "key: value" lines, like grpc-port: 8001`],
    };
  }
  const entries = document.contents.items.map(({ key, value }) => ({
    name: String(key),
    text: scalarText(value),
    where: at(key.range?.[0] ?? 0),
  }));
  return { entries, problems };
}

function scalarText(value: Node | null): string | undefined {
  if (!isScalar(value) || value.value === null) return undefined;
  // Text as written, so that a key like 0123 or 1e5 is not turned into a number on its way.
  return typeof value.value === 'string' ? value.value : (value.source ?? String(value.value));
}
