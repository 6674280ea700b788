import type { ModelInfo } from '../../proto/gen/serving_pb.js';
import { ModelService } from '../../proto/gen/serving_pb.js';
import { RagError } from '../errors.ts';
import type { GrpcClient } from './grpc-client.ts';

export interface ModelListOptions {
  /** Milliseconds after which the list is fetched anew, beside the request that finds it old. Default 5,000. */
  relistMs?: number | undefined;
}

/** What the model server has, as it told last. Its methods throw what the call to the server fails with. */
export class ModelList {
  readonly #client: GrpcClient;
  readonly #relistMs: number;
  #last: { models: readonly ModelInfo[]; at: number } | undefined;
  #relisting: Promise<readonly ModelInfo[]> | undefined;

  constructor(client: GrpcClient, { relistMs = 5_000 }: ModelListOptions = {}) {
    this.#client = client;
    this.#relistMs = relistMs;
  }

  /** host:port of the server, for messages. */
  get address(): string {
    return this.#client.address;
  }

  /** What was told last; undefined before the server has been asked. */
  get last(): readonly ModelInfo[] | undefined {
    return this.#last?.models;
  }

  /** Asks the server. */
  async fresh(): Promise<readonly ModelInfo[]> {
    const { models } = await this.#client.call(ModelService.method.listModels, {});
    this.#last = { models, at: performance.now() };
    return models;
  }

  /** What was told last. When it is old it is good once more while a new list comes, so that nobody waits for that. */
  async latest(): Promise<readonly ModelInfo[]> {
    const last = this.#last;
    if (last && performance.now() - last.at < this.#relistMs) return last.models;
    this.#relisting ??= this.fresh().finally(() => {
      this.#relisting = undefined;
    });
    if (!last) return this.#relisting;
    // Whatever is wrong with the server, the call that goes on tells it.
    this.#relisting.catch(() => undefined);
    return last.models;
  }
}

/** Whether a version is there to answer, perhaps after it has been loaded. */
export function isServed({ served, state }: ModelInfo): boolean {
  return served && state !== 'failed';
}

/** The version that answers in a space: of the named model first, then one that is loaded, then the highest. */
export function bestOfSpace(
  listed: readonly ModelInfo[],
  space: string,
  preferredModel: string,
): ModelInfo | undefined {
  const fit = listed.filter((info) => isServed(info) && info.dimension > 0 && info.space === space);
  const rank = ({ name, state }: ModelInfo) =>
    Number(name === preferredModel) * 2 + Number(state === 'ready');
  return fit.sort((a, b) => rank(b) - rank(a) || b.version - a.version)[0];
}

/** Names of models, each once. */
export function namesOf(models: readonly ModelInfo[]): string[] {
  return [...new Set(models.map(({ name }) => name))].sort();
}

/** What a request is refused with that several models could answer, and nothing tells which one is meant. */
export function severalModels(
  { address }: ModelList,
  names: readonly string[],
  { can, flag }: { can: string; flag: string },
): RagError {
  const message = `The model server at ${address} serves several models that can ${can}: ${names.join(', ')}. Say which one is meant with ${flag}.`;
  return new RagError('MODEL_SERVER_REFUSED', message);
}
