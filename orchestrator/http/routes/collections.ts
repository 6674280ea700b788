import { z } from 'zod';
import type { AppDeps } from '../app-deps.ts';
import type { Route } from '../route.ts';
import { route } from '../route.ts';

const collections = z
  .strictObject({
    collections: z.array(
      z.strictObject({
        name: z.string(),
        documents: z.int(),
        dimension: z.int(),
        space: z.string().meta({ description: 'which vectors they are; two spaces are never mixed' }),
      }),
    ),
  })
  .meta({ id: 'Collections' });

/** What collections there are. */
export function collectionRoutes({ vectors, metadata }: AppDeps): Route[] {
  return [
    route({
      method: 'get',
      path: '/v1/collections',
      summary: 'Every collection',
      tag: 'documents',
      responses: { 200: { description: 'By name', json: collections } },
      errors: ['STORE_UNAVAILABLE'],
      async handle() {
        const found = await vectors.listCollections();
        const listed = found.map(({ name, dimension, space }) => {
          const { total } = metadata.listDocuments(name, { limit: 1, offset: 0 });
          return { name, documents: total, dimension, space };
        });
        listed.sort((a, b) => (a.name < b.name ? -1 : 1));
        return { status: 200, body: { collections: listed } };
      },
    }),
  ];
}
