import { z } from 'zod';
import { nearest } from './nearest.ts';

/** Unknown fields that are told by name: looking for what is meant takes time, and nobody reads thousands. */
const MOST_TOLD = 10;

/** A message of these fields; an unknown field is told with the known one that is meant. */
export function message<Shape extends z.ZodRawShape>(shape: Shape) {
  const known = Object.keys(shape);
  return z.strictObject(shape, {
    error: (issue) => {
      if (issue.code !== 'unrecognized_keys') return undefined;
      const unknown = issue.keys as string[];
      const told = unknown.slice(0, MOST_TOLD).map((name) => unknownField(name, known));
      if (unknown.length > MOST_TOLD) told.push(`${unknown.length - MOST_TOLD} more fields are not known`);
      return told.join('; ');
    },
  });
}

function unknownField(name: string, known: readonly string[]): string {
  const meant = nearest(name, known);
  return `${name.slice(0, 100)} is no known field${meant === undefined ? '' : `; is ${meant} meant?`}`;
}

/** A repeated field: in the text format it stands once, many times, or as a list. */
export function list<Item extends z.ZodType>(item: Item) {
  return z.preprocess((value) => {
    if (value === undefined) return [];
    return Array.isArray(value) ? value : [value];
  }, z.array(item).max(10_000));
}

/** A map field, as a list of entries. */
export function mapOf<Value extends z.ZodType>(value: Value) {
  return list(message({ key: z.string(), value })).superRefine((entries, context) => {
    const seen = new Set<string>();
    for (const { key } of entries) {
      if (seen.has(key)) return context.addIssue(`the key ${key} stands there twice`);
      seen.add(key);
    }
    return undefined;
  });
}

/** A whole number of `least` to `most`. */
export function integer(least: number, most = Number.MAX_SAFE_INTEGER) {
  return z.int().min(least).max(most);
}

/** true or false, in all spellings of the text format. */
export const flag = z.preprocess((value) => {
  if (value === 1 || value === 't') return true;
  return value === 0 || value === 'f' ? false : value;
}, z.boolean());

/** An enum by name or number; the names stand in the order of their numbers, undefined where a number is not served. */
export function enumOf<const Names extends Record<string, unknown>>(
  names: Names,
  refusals: Record<string, string> = {},
) {
  type Name = keyof Names & string;
  const all = Object.keys(names) as Name[];
  return z.preprocess(
    (value) => (typeof value === 'number' ? (all.find((name) => names[name] === value) ?? value) : value),
    z.custom<Name>(
      (value) => typeof value === 'string' && all.includes(value as Name) && !(value in refusals),
      {
        error: (issue) => {
          const why = Object.hasOwn(refusals, String(issue.input))
            ? refusals[String(issue.input)]
            : undefined;
          if (why !== undefined) return `${String(issue.input)} is not served: ${why}`;
          return `is ${JSON.stringify(issue.input)}, but must be one of ${all.filter((name) => !(name in refusals)).join(', ')}`;
        },
      },
    ),
  );
}

/**
 * A field that is known but not honoured. Its default value (and those named harmless) may stand there, because tools
 * write them out; anything else is refused with the reason.
 */
export function refused(reason: string, ...harmless: unknown[]) {
  const isDefault = (value: unknown) =>
    [undefined, null, 0, false, '', ...harmless].includes(value) ||
    (Array.isArray(value) && value.length === 0);
  return z
    .unknown()
    .refine(isDefault, { error: `is not served: ${reason}` })
    .optional();
}
