import { isDeepStrictEqual } from 'node:util';
import { type Document, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, YAMLMap } from 'yaml';
import { fileValues, parsePlan } from './rollout-schema.ts';
import type { RolloutPlan } from './status.ts';

/** The file's name in a model's folder. */
export const ROLLOUT_FILE = 'rollout.yaml';

/**
 * Reads the text of a rollout.yaml.
 * @returns the plan, or every problem as a line of its own: `rollout.yaml:4: canary.steps must rise`
 */
export function parseRollout(text: string): { plan: RolloutPlan } | { problems: string[] } {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const at = (offset: number) => `${ROLLOUT_FILE}:${lines.linePos(offset).line}`;
  if (document.errors.length > 0) {
    return { problems: document.errors.map((error) => `${at(error.pos[0])}: ${error.message}`) };
  }
  let value: unknown;
  try {
    value = document.toJS();
  } catch (error) {
    // References that blow up or lead nowhere.
    return { problems: [`${ROLLOUT_FILE}: ${(error as Error).message}`] };
  }
  const parsed = parsePlan(value);
  if ('plan' in parsed) return parsed;
  return {
    problems: parsed.problems.map(({ path, message }) =>
      [`${at(offsetOf(document.contents, path))}:`, path.join('.'), message].filter((part) => part).join(' '),
    ),
  };
}

/**
 * The text of a rollout.yaml that says `plan`: the previous text with only the changed values replaced, so that its
 * comments and order stay (spacing inside of brackets becomes even); fresh text where that can't be done.
 */
export function renderRollout(plan: RolloutPlan, previous: string): string {
  const values = fileValues(plan);
  const document = parseDocument(previous, { prettyErrors: false });
  if (document.errors.length === 0 && isMap(document.contents)) {
    try {
      merge(document.contents, values, document);
      const text = document.toString({ lineWidth: 0 });
      if (says(text, plan)) return text;
    } catch {
      // A reference to a part that is gone: the comments are lost, the plan is not.
    }
  }
  const fresh = parseDocument('{}');
  const contents = new YAMLMap(fresh.schema);
  fresh.contents = contents as unknown as typeof fresh.contents;
  merge(contents, values, fresh);
  return fresh.toString({ lineWidth: 0 });
}

function says(text: string, plan: RolloutPlan): boolean {
  const parsed = parseRollout(text);
  return 'plan' in parsed && isDeepStrictEqual(fileValues(parsed.plan), fileValues(plan));
}

/** Makes a map of the document hold exactly these values, touching only what differs. */
function merge(map: YAMLMap, values: ReadonlyMap<unknown, unknown>, document: Document.Parsed): void {
  const names = new Set([...values.keys()].map(String));
  map.items = map.items.filter(({ key }) => names.has(nameOf(key)));
  for (const [name, value] of values) {
    const pair = map.items.find(({ key }) => nameOf(key) === String(name));
    if (pair === undefined) {
      // One line for each alias, the shadow and the canary: they read best as the table that they are.
      const block = name === 'aliases';
      const node = block ? new YAMLMap(document.schema) : document.createNode(value, { flow: true });
      if (block) merge(node as YAMLMap, value as ReadonlyMap<unknown, unknown>, document);
      map.add(document.createPair(name, node));
    } else if (value instanceof Map && isMap(pair.value)) {
      merge(pair.value, value, document);
    } else if (isScalar(pair.value) && (typeof value === 'number' || typeof value === 'string')) {
      if (pair.value.value !== value) pair.value.value = value;
    } else if (!(isSeq(pair.value) && isDeepStrictEqual(pair.value.toJS(document), value))) {
      pair.value = document.createNode(value, { flow: true });
    }
  }
}

/** Where the deepest part of a path that the document has begins. */
function offsetOf(root: unknown, path: readonly (string | number)[]): number {
  let offset = 0;
  let node: unknown = root;
  for (const part of path) {
    if (isMap<unknown, Node>(node)) {
      const pair = node.items.find(({ key }) => nameOf(key) === String(part));
      if (pair === undefined) break;
      offset = (pair.key as Node | null)?.range?.[0] ?? offset;
      node = pair.value;
    } else if (isSeq<Node>(node)) {
      node = node.items[Number(part)];
      offset = (node as Node | undefined)?.range?.[0] ?? offset;
    } else {
      break;
    }
  }
  return offset;
}

const nameOf = (key: unknown) => String(isScalar(key) ? key.value : key);
