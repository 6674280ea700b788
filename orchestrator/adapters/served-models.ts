import type { ModelInfo } from '../../proto/gen/serving_pb.js';
import { EmbedService, ModelService } from '../../proto/gen/serving_pb.js';
import { RagError } from '../errors.ts';
import type { EmbeddingModel } from '../ports.ts';
import type { GrpcClient } from './grpc-client.ts';
import { isGone } from './grpc-error.ts';
import { malformedReply } from './malformed-reply.ts';

/** A space, or undefined for that of the version that answers when none is asked for. */
type Space = string | undefined;

/**
 * The embedding models of the server by vector space. What it told is kept until a call finds it to be wrong, so that a
 * search costs no question beyond its own.
 */
export class ServedModels {
  readonly #client: GrpcClient;
  readonly #model: string;
  readonly #known = new Map<Space, EmbeddingModel>();
  /** Questions under way, which callers share. */
  readonly #asking = new Map<Space, Promise<EmbeddingModel>>();

  /** @param model whose versions come first, and answer when no space is asked for; empty: the only one that embeds */
  constructor(client: GrpcClient, model: string) {
    this.#client = client;
    this.#model = model;
  }

  /** What is known already, else what the server says. @throws RagError as `ask` */
  async find(space: Space): Promise<EmbeddingModel> {
    return this.#known.get(space) ?? this.ask(space);
  }

  /**
   * Asks the server afresh.
   * @throws RagError SPACE_MISMATCH when nothing of the space is served, MODEL_SERVER_UNAVAILABLE while that may still
   * change because versions are being loaded, and what the calls fail with
   */
  ask(space: Space): Promise<EmbeddingModel> {
    const shared = this.#asking.get(space);
    if (shared) return shared;
    const asked = this.#askFor(space).finally(() => this.#asking.delete(space));
    this.#asking.set(space, asked);
    return asked;
  }

  /** Not found any more until the server has been asked again. */
  forget(stale: EmbeddingModel): void {
    for (const [space, model] of this.#known) if (model === stale) this.#known.delete(space);
  }

  async #askFor(space: Space): Promise<EmbeddingModel> {
    const model = await (space === undefined ? this.#current() : this.#ofSpace(space));
    this.#known.set(space, model).set(model.space, model);
    return model;
  }

  /** Tokenizing names the version that answers; afterwards it is loaded, so that the list says all about it. */
  async #current(): Promise<EmbeddingModel> {
    const request = { model: this.#model, inputs: [''] };
    const tokenized = await this.#client.call(EmbedService.method.tokenize, request);
    const { name = '', version = 0, space = '' } = tokenized.model ?? {};
    const listed = (await this.#list()).find((model) => model.name === name && model.version === version);
    if (!listed?.dimension || !space) {
      const what = `model "${name}" version ${version} without a dimension or a space`;
      throw malformedReply(this.#client.address, what);
    }
    const { maxTokens, specialTokens } = tokenized;
    return { model: name, version, space, dimension: listed.dimension, maxTokens, specialTokens };
  }

  async #ofSpace(space: string): Promise<EmbeddingModel> {
    const listed = await this.#list();
    const chosen = this.#choose(listed, space);
    if (!chosen) throw this.#noneOf(space, listed);
    const { name: model, version, dimension } = chosen;
    try {
      const request = { model, version, inputs: [''] };
      const tokenized = await this.#client.call(EmbedService.method.tokenize, request);
      const { maxTokens, specialTokens } = tokenized;
      if (tokenized.model?.space === space)
        return { model, version, space, dimension, maxTokens, specialTokens };
    } catch (error) {
      if (!isGone(error)) throw error;
    }
    // It went between the two questions.
    throw this.#noneOf(space, await this.#list());
  }

  #choose(listed: readonly ModelInfo[], space: string): ModelInfo | undefined {
    const fit = listed.filter((info) => isServed(info) && info.dimension > 0 && info.space === space);
    const rank = ({ name, state }: ModelInfo) => Number(name === this.#model) * 2 + Number(state === 'ready');
    return fit.sort((a, b) => rank(b) - rank(a) || b.version - a.version)[0];
  }

  #noneOf(space: string, listed: readonly ModelInfo[]): RagError {
    const { address } = this.#client;
    const there = listed.filter((info) => isServed(info) && info.space !== '');
    // A server that is starting brings its versions up one after the other, and knows a space when it has read the files.
    const isSettled = there.length > 0 && listed.filter(isServed).every(isLookedAt);
    if (!isSettled) {
      const message = `The model server at ${address} serves nothing of the vector space ${space}, but is still loading models. Try again in a moment.`;
      return new RagError('MODEL_SERVER_UNAVAILABLE', message);
    }
    const names = there.map((info) => `${info.name} version ${info.version} (space ${info.space})`);
    const message = `The model server at ${address} serves nothing of the vector space ${space || '(none)'}; it has ${names.join(', ')}.`;
    return new RagError('SPACE_MISMATCH', message);
  }

  async #list(): Promise<ModelInfo[]> {
    return (await this.#client.call(ModelService.method.listModels, {})).models;
  }
}

function isServed({ served, state }: ModelInfo): boolean {
  return served && state !== 'failed';
}

function isLookedAt({ state, tasks }: ModelInfo): boolean {
  return state !== 'loading' && tasks.length > 0;
}
