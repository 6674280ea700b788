/**
 * A program that the crash tests start and kill: writes documents into a store for ever, and prints a line for each
 * one after the store has acknowledged it. Arguments: which store, its folder, the number of the first document.
 */
import { openLanceDb } from '../../orchestrator/adapters/lancedb.ts';
import { openSqlite } from '../../orchestrator/adapters/sqlite.ts';
import { axis, chunk, dimension } from './stored-chunk.ts';
import { document, item, job } from './stored-record.ts';

const [kind, folder = '', first = '0'] = process.argv.slice(2);

async function writeVectors(): Promise<never> {
  const store = await openLanceDb({ folder });
  await store.ensureCollection({ name: 'crash', dimension, space: 'space-a' });
  for (let number = Number(first); ; number += 1) {
    const documentId = `d${number}`;
    const write = (revision: string) =>
      store.upsert(
        'crash',
        [0, 1, 2].map((ordinal) =>
          chunk({ documentId, revision, ordinal, vector: axis(ordinal), text: 'harbour' }),
        ),
      );
    await write('old');
    await write('new');
    await store.deleteDocument('crash', documentId, { exceptRevision: 'new' });
    process.stdout.write(`${number}\n`);
    if (number % 3 === 0) void store.optimize('crash');
  }
}

function writeMetadata(): never {
  const store = openSqlite({ file: `${folder}/nereid.db` });
  for (let number = Number(first); ; number += 1) {
    const id = `d${number}`;
    store.putDocument(document({ id, status: 'pending', revision: '' }));
    store.putJob(job({ id, items: [item({ documentId: id }), item({ index: 1 })] }));
    store.publish(document({ id, revision: 'new' }), {
      jobId: id,
      item: item({ documentId: id, status: 'ready' }),
    });
    process.stdout.write(`${number}\n`);
  }
}

if (kind === 'vectors') await writeVectors();
else writeMetadata();
