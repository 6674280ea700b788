import type { ModelInfo } from '../../proto/gen/serving_pb.js';
import { EmbedService } from '../../proto/gen/serving_pb.js';
import { RagError } from '../errors.ts';
import type { EmbeddingModel } from '../ports.ts';
import type { GrpcClient } from './grpc-client.ts';
import { isGone } from './grpc-error.ts';
import { malformedReply } from './malformed-reply.ts';
import type { ModelList } from './model-list.ts';
import { bestOfSpace, isServed, namesOf, severalModels } from './model-list.ts';

/** A space, or undefined for that of the model that answers when none is asked for. */
type Space = string | undefined;

/**
 * The embedding models of the server by vector space. What it told is kept until a call or a newer list finds it to be
 * wrong, so that a search costs no question beyond its own.
 */
export class ServedModels {
  readonly #client: GrpcClient;
  readonly #list: ModelList;
  readonly #model: string;
  readonly #known = new Map<Space, EmbeddingModel>();
  /** Questions under way, which callers share. */
  readonly #asking = new Map<string, Promise<EmbeddingModel>>();

  /** @param model whose versions come first, and answer when no space is asked for; empty: the only one that embeds */
  constructor(client: GrpcClient, list: ModelList, model: string) {
    this.#client = client;
    this.#list = list;
    this.#model = model;
  }

  /** What is known already, else what the server says. @throws RagError as `ask` */
  async find(space: Space): Promise<EmbeddingModel> {
    const known = this.#known.get(space);
    return known && this.#list.last?.some((info) => isStill(known, info)) ? known : this.ask(space);
  }

  /**
   * Asks the server afresh.
   * @param inUse where no space is asked for and several models could answer, the one that has all of these is meant
   * @throws RagError SPACE_MISMATCH when nothing of the space is served, MODEL_SERVER_UNAVAILABLE while that may still
   * change because versions are being loaded, MODEL_SERVER_REFUSED when no space is asked for, several models embed and
   * nothing tells which one is meant, and what the calls fail with
   */
  ask(space: Space, inUse: readonly string[] = []): Promise<EmbeddingModel> {
    const question = JSON.stringify([space, inUse]);
    const shared = this.#asking.get(question);
    if (shared) return shared;
    const asked = this.#askFor(space, inUse).finally(() => this.#asking.delete(question));
    this.#asking.set(question, asked);
    return asked;
  }

  /** Not found any more until the server has been asked again. */
  forget(stale: EmbeddingModel): void {
    for (const [space, model] of this.#known) if (model === stale) this.#known.delete(space);
  }

  async #askFor(space: Space, inUse: readonly string[]): Promise<EmbeddingModel> {
    const model = await (space === undefined ? this.#current(inUse) : this.#ofSpace(space));
    this.#known.set(space, model).set(model.space, model);
    return model;
  }

  async #current(inUse: readonly string[]): Promise<EmbeddingModel> {
    const listed = await this.#list.fresh();
    const embedders = namesOf(listed.filter((info) => isServed(info) && info.tasks.includes('embed')));
    // Where none is known to embed yet, the server's own words say why.
    const named = this.#model || (embedders[0] ?? '');
    if (this.#model !== '' || embedders.length < 2) return this.#answering(named, listed);
    const [model, ...others] = namesOf(inUse.flatMap((space) => bestOfSpace(listed, space, '') ?? []));
    const lost = inUse.find((space) => !bestOfSpace(listed, space, ''));
    if (model !== undefined && others.length === 0 && lost === undefined)
      return this.#answering(model, listed);
    // What nobody has may be the space of a model that is still coming.
    const missing = lost === undefined ? undefined : this.#noneOf(lost, listed);
    if (missing?.retryable) throw missing;
    throw severalModels(this.#list, embedders, { can: 'embed new collections', flag: '--embed-model' });
  }

  /** Tokenizing names the version that answers; afterwards it is loaded, so that a list says all about it. */
  async #answering(model: string, listed: readonly ModelInfo[]): Promise<EmbeddingModel> {
    const request = { model, inputs: [''] };
    const tokenized = await this.#client.call(EmbedService.method.tokenize, request);
    const { name = '', version = 0, space = '' } = tokenized.model ?? {};
    const isIt = (info: ModelInfo) => info.name === name && info.version === version && info.space === space;
    const known = listed.find((info) => isIt(info) && info.dimension > 0);
    const { dimension = 0 } = known ?? (await this.#list.fresh()).find(isIt) ?? {};
    if (dimension === 0 || space === '') {
      const what = `model "${name}" version ${version} without a dimension or a space`;
      throw malformedReply(this.#client.address, what);
    }
    const { maxTokens, specialTokens } = tokenized;
    return { model: name, version, space, dimension, maxTokens, specialTokens };
  }

  async #ofSpace(space: string): Promise<EmbeddingModel> {
    const listed = await this.#list.fresh();
    const chosen = bestOfSpace(listed, space, this.#model);
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
    throw this.#noneOf(space, await this.#list.fresh());
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
}

function isLookedAt({ state, tasks }: ModelInfo): boolean {
  return state !== 'loading' && tasks.length > 0;
}

/** Whether the list bears out what is known of a model; a version whose files are being read has no space yet. */
function isStill({ model, version, space }: EmbeddingModel, info: ModelInfo): boolean {
  const isSame = info.name === model && info.version === version;
  return isSame && isServed(info) && (info.space === space || info.space === '');
}
