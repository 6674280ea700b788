import { parseAst } from 'vitest/node';

interface Node {
  type: string;
  [key: string]: unknown;
}

function* walk(node: unknown): Generator<Node> {
  if (Array.isArray(node)) for (const item of node) yield* walk(item);
  else if (typeof node === 'object' && node !== null) {
    if ('type' in node && typeof node.type === 'string') yield node as Node;
    yield* walk(Object.values(node));
  }
}

/** What one source file does that the architecture cares about. */
export interface Facts {
  /** Specifiers of static, dynamic, type and re-exporting imports. */
  imports: string[];
  touchesProcess: boolean;
}

const sourced = new Set([
  'ImportDeclaration',
  'ExportNamedDeclaration',
  'ExportAllDeclaration',
  'ImportExpression',
  'TSImportType',
]);

/** What a TypeScript source imports and whether it touches the process. */
export function factsOf(source: string): Facts {
  const facts: Facts = { imports: [], touchesProcess: false };
  for (const node of walk(parseAst(source, { lang: 'ts' }))) {
    const from = (node.source as Node | null | undefined)?.value;
    if (sourced.has(node.type) && typeof from === 'string') facts.imports.push(from);
    if (node.type === 'ImportExpression' && typeof from !== 'string') facts.imports.push('(computed)');
    const object = node.object as Node | undefined;
    const named = object?.type === 'Identifier' && object.name === 'process';
    const ofGlobal = (node.property as Node | undefined)?.name === 'process' && object?.name === 'globalThis';
    if (node.type === 'MemberExpression' && (named || ofGlobal)) facts.touchesProcess = true;
  }
  facts.touchesProcess ||= facts.imports.some((name) => /^(node:)?process$/.test(name));
  return facts;
}

/** Each way to come back to a file by following imports. */
export function cycles(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]) => {
    const seen = trail.indexOf(path);
    if (seen >= 0) found.push(`import cycle: ${[...trail.slice(seen), path].join(' -> ')}`);
    if (seen >= 0 || done.has(path)) return;
    for (const target of graph.get(path) ?? []) visit(target, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
  return found;
}
