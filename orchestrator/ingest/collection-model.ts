import { RagError } from '../errors.ts';
import type { CallOptions, CollectionInfo, Embedder, EmbeddingModel, VectorStore } from '../ports.ts';

interface CollectionDeps {
  embedder: Pick<Embedder, 'describe'>;
  vectors: Pick<VectorStore, 'getCollection' | 'listCollections' | 'ensureCollection'>;
}

/**
 * The model that a collection's documents are embedded with: the one of its space, also when another answers by default
 * by now. A new collection is made, in the space of the model that new ones take.
 * @throws RagError SPACE_MISMATCH when no model of its space and dimension is served, and as `newCollectionModel`
 */
export async function collectionModel(
  deps: CollectionDeps,
  name: string,
  options: CallOptions,
): Promise<EmbeddingModel> {
  const known = await deps.vectors.getCollection(name);
  if (known !== undefined) return modelOf(deps, known, options);
  const model = await newCollectionModel(deps.embedder, await deps.vectors.listCollections(), options);
  try {
    await deps.vectors.ensureCollection(infoOf(name, model));
    return model;
  } catch (thrown) {
    // Another document may have made it meanwhile, with the version that answered before: then its space counts.
    const isTaken = RagError.from(thrown).reason === 'SPACE_MISMATCH';
    const made = isTaken ? await deps.vectors.getCollection(name) : undefined;
    if (made === undefined) throw thrown;
    return modelOf(deps, made, options);
  }
}

/**
 * The model that a new collection takes: the one that answers by default; of several, the one that has the
 * spaces of all collections, so that a further model on the server changes nothing for them.
 * @throws RagError MODEL_SERVER_REFUSED, which names the models, when several could and the collections do not tell which
 */
export function newCollectionModel(
  embedder: Pick<Embedder, 'describe'>,
  collections: readonly CollectionInfo[],
  { signal }: CallOptions,
): Promise<EmbeddingModel> {
  const spacesInUse = [...new Set(collections.map(({ space }) => space))];
  return embedder.describe({ spacesInUse, signal });
}

async function modelOf(
  { embedder, vectors }: CollectionDeps,
  known: CollectionInfo,
  { signal }: CallOptions,
): Promise<EmbeddingModel> {
  const model = await embedder.describe({ space: known.space, signal }).catch((thrown: unknown) => {
    throw refused(known, RagError.from(thrown));
  });
  // The store tells what does not agree.
  if (model.space !== known.space || model.dimension !== known.dimension)
    await vectors.ensureCollection(infoOf(known.name, model));
  return model;
}

function infoOf(name: string, { dimension, space }: EmbeddingModel): CollectionInfo {
  return { name, dimension, space };
}

function refused({ name, space }: CollectionInfo, error: RagError): RagError {
  if (error.reason !== 'SPACE_MISMATCH') return error;
  const message = `Collection "${name}" can't take documents: it holds vectors of the space ${space}. ${error.message} Serve the model that filled the collection, or ingest into a new collection.`;
  return new RagError('SPACE_MISMATCH', message, { details: { collection: space }, cause: error });
}
