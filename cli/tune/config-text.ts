import type { Candidate } from './point.ts';
import { fieldsOf, messagesOf, type TextField, without } from './text-fields.ts';

/** What a candidate stands for in config.pbtxt. */
export function configFragment({ instances, threads, queueDelayUs }: Candidate): string {
  return [
    `instance_group [ { count: ${instances} kind: KIND_CPU } ]`,
    `parameters { key: "intra_op_thread_count" value: { string_value: "${threads}" } }`,
    `dynamic_batching { max_queue_delay_microseconds: ${queueDelayUs} }`,
  ].join('\n');
}

/**
 * A config.pbtxt with a candidate's values in place of its own; all else stays, such as the other fields of
 * `dynamic_batching`.
 */
export function configText(text: string, candidate: Candidate): string {
  const fields = fieldsOf(text);
  const named = (name: string) => fields.filter((field) => field.name === name);
  const [instances, threads, batching] = configFragment(candidate).split('\n');
  const gone: { start: number; end: number }[] = [...named('instance_group')];
  for (const field of named('parameters')) {
    for (const entry of messagesOf(text, field)) {
      if (!isThreads(text, entry)) continue;
      gone.push(field.inside!.isList ? entry : field);
    }
  }
  const kept = named('dynamic_batching').flatMap((field) => keptBatching(text, field));
  gone.push(...named('dynamic_batching'));
  const inBatching = [batching!.slice(0, -1).trimEnd(), ...kept, '}'].join(' ');
  return `${without(text, gone).trimEnd()}\n${instances}\n${threads}\n${inBatching}\n`;
}

/** A Triton configuration in JSON (config.json), in the same way. */
export function configJson(message: Readonly<Record<string, unknown>>, candidate: Candidate): string {
  const { instance_group: _, instanceGroup: __, dynamicBatching, parameters, ...rest } = message;
  const batching = (dynamicBatching ?? rest.dynamic_batching ?? {}) as Record<string, unknown>;
  const { maxQueueDelayMicroseconds: ___, ...kept } = batching;
  return JSON.stringify(
    {
      ...rest,
      instance_group: [{ count: candidate.instances, kind: 'KIND_CPU' }],
      parameters: {
        ...(parameters as object | undefined),
        intra_op_thread_count: { string_value: `${candidate.threads}` },
      },
      dynamic_batching: { ...kept, max_queue_delay_microseconds: candidate.queueDelayUs },
    },
    null,
    2,
  );
}

/** Whether a configuration, as text or JSON, puts instances on GPUs. */
export function wantsGpu(text: string): boolean {
  return /\bKIND_GPU\b/.test(text.replace(/#[^\n]*/g, ''));
}

function isThreads(text: string, { inside }: TextField): boolean {
  const key = fieldsOf(text, inside!.start, inside!.end).find(({ name }) => name === 'key');
  return key !== undefined && /["']intra_op_thread_count["']/.test(text.slice(key.start, key.end));
}

function keptBatching(text: string, { inside }: TextField): string[] {
  if (inside === undefined) return [];
  return fieldsOf(text, inside.start, inside.end)
    .filter(({ name }) => name !== 'max_queue_delay_microseconds')
    .map(({ start, end }) => text.slice(start, end));
}
