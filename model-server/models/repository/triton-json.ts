/** The map fields of Triton's ModelConfig: their keys are the user's, so they are left as they are. */
const MAPS = new Set([
  'parameters',
  'inputs',
  'metric_tags',
  'cc_model_filenames',
  'priority_queue_policy',
  'input_map',
  'output_map',
]);
/** Fields of 64 bits, which protobuf's JSON writes as strings. */
const LONG_INTEGERS = new Set([
  'dims',
  'shape',
  'versions',
  'max_queue_delay_microseconds',
  'default_timeout_microseconds',
  'priority_levels',
  'default_priority_level',
]);
const MOST_LEVELS = 64;

/**
 * A message in protobuf's JSON format in the form that the text format has: names in snake case, maps as lists of
 * entries, 64-bit integers as numbers.
 * @throws Error when it lies too deep
 */
export function fromProtobufJson(value: unknown, field = '', level = 0): unknown {
  if (level > MOST_LEVELS) throw new Error(`messages lie deeper than ${MOST_LEVELS} levels`);
  if (Array.isArray(value)) return value.map((item) => fromProtobufJson(item, field, level + 1));
  if (typeof value === 'string' && LONG_INTEGERS.has(field) && /^-?\d{1,16}$/.test(value))
    return Number(value);
  if (typeof value !== 'object' || value === null) return value;
  const isMap = MAPS.has(field);
  const entries = Object.entries(value)
    // null stands for an absent field.
    .filter(([, item]) => item !== null)
    .map(([key, item]): [string, unknown] => {
      const name = isMap ? key : snakeCase(key);
      return [name, fromProtobufJson(item, isMap ? '' : name, level + 1)];
    });
  return isMap ? entries.map(([key, item]) => ({ key, value: item })) : Object.fromEntries(entries);
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
