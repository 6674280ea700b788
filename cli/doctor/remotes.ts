import type { Config } from '../config/config.ts';
import type { Check } from './check.ts';

const TIMEOUT_MS = 5_000;

/** Whether what is configured outside this machine's two programs answers. */
export function remoteChecks(config: Config): Promise<Check[]> {
  return Promise.all([vectorStore(config), chatModel(config)]);
}

async function vectorStore({ qdrantUrl, qdrantApiKey }: Config): Promise<Check> {
  const name = 'vector store';
  if (qdrantUrl === undefined)
    return { name, status: 'ok', found: 'the embedded one (QDRANT_URL is not set)' };
  const headers: Record<string, string> = qdrantApiKey === undefined ? {} : { 'api-key': qdrantApiKey };
  const data = { url: withoutPassword(qdrantUrl) };
  const answer = await ask(`${qdrantUrl.replace(/\/+$/, '')}/collections`, headers);
  if (answer.status === 200) return { name, status: 'ok', found: `Qdrant answers at ${data.url}`, data };
  const advice =
    answer.status === 401 || answer.status === 403
      ? 'set QDRANT_API_KEY to a key that may read and write'
      : 'start Qdrant, correct QDRANT_URL, or unset it to use the embedded store';
  return { name, status: 'fail', found: `Qdrant at ${data.url}: ${answer.problem}`, advice, data };
}

async function chatModel({ llmBaseUrl, llmApiKey, llmModel }: Config): Promise<Check> {
  const name = 'chat model';
  if (llmBaseUrl === undefined) {
    return { name, status: 'ok', found: 'none (LLM_BASE_URL is not set): answers are extractive' };
  }
  const data = { url: withoutPassword(llmBaseUrl), model: llmModel };
  if (llmModel === undefined) {
    return {
      name,
      status: 'fail',
      found: `${data.url}, but no model is named`,
      advice: 'set LLM_MODEL',
      data,
    };
  }
  const headers: Record<string, string> =
    llmApiKey === undefined ? {} : { authorization: `Bearer ${llmApiKey}` };
  const answer = await ask(`${llmBaseUrl.replace(/\/+$/, '')}/models`, headers);
  const found = `${llmModel} at ${data.url}`;
  if (answer.status === 401 || answer.status === 403) {
    return {
      name,
      status: 'fail',
      found: `${found}: ${answer.problem}`,
      advice: 'set LLM_API_KEY to a valid key',
      data,
    };
  }
  if (answer.status === undefined) {
    const advice = 'start it, correct LLM_BASE_URL, or unset it to get extractive answers';
    return { name, status: 'fail', found: `${found}: ${answer.problem}`, advice, data };
  }
  // Not every server lists its models; one that does must know this one.
  const names = modelNames(answer.text);
  if (names === undefined || names.includes(llmModel))
    return { name, status: 'ok', found: `${found} answers`, data };
  const advice = `set LLM_MODEL to one of: ${names.slice(0, 10).join(', ')}`;
  return { name, status: 'warn', found: `${found}: the server does not list this model`, advice, data };
}

async function ask(
  url: string,
  headers: Record<string, string>,
): Promise<{ status?: number; text: string; problem: string }> {
  try {
    const response = await fetch(url, { headers, signal: AbortSignal.timeout(TIMEOUT_MS) });
    const text = await response.text();
    return { status: response.status, text, problem: `it answers ${response.status} ${response.statusText}` };
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    return { text: '', problem: cause instanceof Error ? cause.message || String(cause) : String(cause) };
  }
}

function modelNames(text: string): string[] | undefined {
  try {
    const { data } = JSON.parse(text) as { data?: { id?: string }[] };
    return data?.map(({ id }) => id ?? '');
  } catch {
    return undefined;
  }
}

function withoutPassword(url: string): string {
  const parsed = new URL(url);
  parsed.username = '';
  parsed.password = '';
  return parsed.href;
}
