import { z } from 'zod';
import { floats } from './nereid-wires.ts';
import type { Wire } from './wire.ts';

const JSON_HEADERS = { 'content-type': 'application/json' };
const vector = z.array(z.number());
const teiReply = z.array(vector);
const openAiReply = z.object({ data: z.array(z.object({ embedding: vector })) });
const tensorReply = z.object({
  outputs: z
    .array(
      z.object({
        name: z.string(),
        shape: z.array(z.number().int()).min(1),
        data: vector.optional(),
        parameters: z.object({ binary_data_size: z.number().optional() }).optional(),
      }),
    )
    .min(1),
});

const json = (value: unknown) => Buffer.from(JSON.stringify(value));

/** text-embeddings-inference: POST /embed. */
export function teiWire(): Wire {
  return {
    path: '/embed',
    headers: JSON_HEADERS,
    encode: (texts) => json({ inputs: texts }),
    vectors: (reply) => teiReply.parse(JSON.parse(reply.toString())),
  };
}

/** OpenAI's embeddings, which many servers speak: POST /v1/embeddings. */
export function openAiWire(model: string): Wire {
  return {
    path: '/v1/embeddings',
    headers: JSON_HEADERS,
    encode: (texts) => json({ model, input: texts }),
    vectors: (reply) =>
      openAiReply.parse(JSON.parse(reply.toString())).data.map(({ embedding }) => embedding),
  };
}

/** The tensors that a KServe model takes. */
export type TensorInputs = 'text' | 'ids';

/** KServe v2: POST /v2/models/<model>/infer with the texts as BYTES tensor TEXT, or with token ids as int64 tensors. */
export function kserveWire(model: string, inputs: TensorInputs): Wire {
  return {
    // Triton takes slashes in a name as they are.
    path: `/v2/models/${encodeURIComponent(model).replaceAll('%2F', '/')}/infer`,
    headers: JSON_HEADERS,
    encode: (texts, rows) =>
      json({
        inputs:
          inputs === 'text'
            ? [{ name: 'TEXT', datatype: 'BYTES', shape: [texts.length, 1], data: texts }]
            : idTensors(rows),
        // Token states as JSON would measure the printing of numbers.
        parameters: { binary_data_output: true },
      }),
    vectors: (reply, headers) => tensorRows(reply, Number(headers['inference-header-content-length'])),
  };
}

/** input_ids, attention_mask and token_type_ids, padded to the longest row. */
function idTensors(rows: readonly (readonly number[])[]) {
  const length = Math.max(...rows.map((row) => row.length));
  const tensor = (name: string, value: (row: readonly number[], at: number) => number) => ({
    name,
    datatype: 'INT64',
    shape: [rows.length, length],
    data: rows.flatMap((row) => Array.from({ length }, (_, at) => value(row, at))),
  });
  return [
    tensor('input_ids', (row, at) => row[at] ?? 0),
    tensor('attention_mask', (row, at) => Number(at < row.length)),
    tensor('token_type_ids', () => 0),
  ];
}

/** The rows of the first output. */
function tensorRows(reply: Buffer, jsonBytes: number): ArrayLike<number>[] {
  const head = Number.isNaN(jsonBytes) ? reply : reply.subarray(0, jsonBytes);
  const [output] = tensorReply.parse(JSON.parse(head.toString())).outputs;
  const { shape, data, parameters, name } = output!;
  const size = parameters?.binary_data_size;
  const values = data ?? (size === undefined ? [] : floats(reply.subarray(jsonBytes, jsonBytes + size)));
  const width = values.length / shape[0]!;
  const count = shape.reduce((product, dimension) => product * dimension, 1);
  if (values.length !== count || width === 0)
    throw new Error(`output ${name} has ${values.length} numbers for the shape [${shape.join(', ')}]`);
  return Array.from({ length: shape[0]! }, (_, row) => values.slice(row * width, (row + 1) * width));
}
