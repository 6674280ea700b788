import { createParser } from 'eventsource-parser';
import { z } from 'zod';
import { RagError } from '../errors.ts';

/** What one message of a chat completion tells; fields that are not needed here are not looked at. */
const chunkSchema = z.object({
  choices: z
    .array(
      z.object({
        delta: z.object({ content: z.string().nullish() }).nullish(),
        message: z.object({ content: z.string().nullish() }).nullish(),
        finish_reason: z.string().nullish(),
      }),
    )
    .nullish(),
  usage: z.object({ prompt_tokens: z.number().nullish(), completion_tokens: z.number().nullish() }).nullish(),
  error: z.union([z.string(), z.object({ message: z.string().nullish() })]).nullish(),
});

export type ChatChunk = z.infer<typeof chunkSchema>;

/** Bytes of one event at most: pieces of an answer are small, so more is no chat API. */
const maxEventLength = 256 * 1024;
/** Bytes of an answer that comes whole, from a server that does not stream. */
const maxBodyLength = 4 * 1024 * 1024;

/**
 * The messages of a chat completion, streamed or whole, in order. Ends at `[DONE]` or at the end of the body.
 * @throws RagError LLM_REFUSED when it is not a chat completion; what reading the body throws
 */
export async function* readChunks(
  response: Response,
  from: string,
): AsyncGenerator<ChatChunk, 'done' | 'ended'> {
  const body = response.body;
  if (!body) throw new RagError('LLM_REFUSED', `${from} sent an empty reply.`);
  if (response.headers.get('content-type')?.includes('application/json')) {
    yield parseChunk(await readWhole(body, from), from);
    return 'done';
  }
  const events: string[] = [];
  let broken: string | undefined;
  const parser = createParser({
    maxBufferSize: maxEventLength,
    onEvent: ({ data }) => events.push(data),
    onError: ({ type, message }) => {
      if (type === 'max-buffer-size-exceeded') broken = message;
    },
  });
  const decoder = new TextDecoder();
  for await (const bytes of body) {
    parser.feed(decoder.decode(bytes, { stream: true }));
    for (const data of events.splice(0)) {
      if (data.trim() === '[DONE]') return 'done';
      yield parseChunk(data, from);
    }
    if (broken)
      throw new RagError('LLM_REFUSED', `${from} sent an event of more than ${maxEventLength} characters.`);
  }
  return 'ended';
}

async function readWhole(body: AsyncIterable<Uint8Array>, from: string): Promise<string> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of body) {
    size += part.byteLength;
    if (size > maxBodyLength)
      throw new RagError('LLM_REFUSED', `${from} sent more than ${maxBodyLength} bytes.`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

function parseChunk(data: string, from: string): ChatChunk {
  let json: unknown;
  try {
    json = JSON.parse(data);
  } catch {
    throw new RagError('LLM_REFUSED', `${from} sent what is not JSON where a chat completion was due.`);
  }
  const parsed = chunkSchema.safeParse(json);
  if (!parsed.success) throw new RagError('LLM_REFUSED', `${from} sent JSON that is not a chat completion.`);
  return parsed.data;
}
